//! What one user has chosen elsewhere, from the CSV files of a Mastodon export: whom they follow, mute and block, their lists, their
//! bookmarks and the tags that they follow.
//!
//! Every request can be repeated: what is there already stays as it is, and a list that has the title already is used. So an import that was
//! interrupted begins again, and keeps no state. It takes as long as the rate limits want: the session is renewed on the way.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use model::api::{List, Page};
use model::ids::{ListId, PostId, UserId};
use model::tags::Tag;
use model::values::{Handle, ListTitle};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{StatusCode, Url};
use serde_json::json;
use uuid::Uuid;

use super::accounts::{Account, Registrar};
use super::fields::{Separator, split};
use super::input::{InputError, Lines, Problem};
use super::run::judge;
use super::summary::{print_refused, tally_table};
use super::tally::{Kind, Outcome, Refusal, Tally};
use super::{Arguments, SOME_REFUSED};
use crate::api_client::{Answer, ApiClient, Call};
use crate::progress::Progress;
use crate::terminal::{self, say};

/// The files of one user's export.
#[derive(Debug, Clone, clap::Args)]
pub struct Choices {
    /// The user who has the lists, follows and so on of a Mastodon export. The password is in MICROBLOG_PASSWORD, or see --password-file
    #[arg(long, value_name = "HANDLE", value_parser = crate::cli_values::handle, conflicts_with_all = ["follows", "posts", "dry_run"])]
    pub user: Option<Handle>,

    /// The file with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,

    /// The domain of the accounts that are users here: `ada@DOMAIN` is @ada. An account without a domain is a user here too
    #[arg(long, value_name = "DOMAIN", requires = "user")]
    pub domain: Option<String>,

    /// following_accounts.csv
    #[arg(long, value_name = "FILE", requires = "user")]
    pub following: Option<PathBuf>,

    /// blocked_accounts.csv
    #[arg(long, value_name = "FILE", requires = "user")]
    pub blocks: Option<PathBuf>,

    /// muted_accounts.csv: `Hide notifications` is kept
    #[arg(long, value_name = "FILE", requires = "user")]
    pub mutes: Option<PathBuf>,

    /// lists.csv: who is in which list. A list that has the title already is used
    #[arg(long, value_name = "FILE", requires = "user")]
    pub lists: Option<PathBuf>,

    /// bookmarks.csv: only addresses that end with the id of a post here
    #[arg(long, value_name = "FILE", requires = "user")]
    pub bookmarks: Option<PathBuf>,

    /// A tag a line, with or without the #. Only `#hashtag` in the first line is the name of the column
    #[arg(long, value_name = "FILE", requires = "user")]
    pub followed_tags: Option<PathBuf>,

    /// Where query-svc answers
    #[arg(
        long,
        value_name = "URL",
        env = "MICROBLOG_QUERY_URL",
        default_value = "http://127.0.0.1:8082"
    )]
    pub query_url: Url,
}

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Follow(Handle),
    Mute { who: Handle, notifications: bool },
    Block(Handle),
    Listed { title: ListTitle, who: Handle },
    Bookmark(PostId),
    Tag(Tag),
}

impl Choice {
    fn kind(&self) -> Kind {
        match self {
            Choice::Follow(_) => Kind::Follow,
            Choice::Mute { .. } => Kind::Mute,
            Choice::Block(_) => Kind::Block,
            Choice::Listed { .. } => Kind::Listed,
            Choice::Bookmark(_) => Kind::Bookmark,
            Choice::Tag(_) => Kind::Tag,
        }
    }
}

/// The files in the order in which they are sent. A block comes after the follows, which it ends.
const KINDS: [Kind; 6] = [
    Kind::Follow,
    Kind::Listed,
    Kind::Tag,
    Kind::Mute,
    Kind::Block,
    Kind::Bookmark,
];

impl Choices {
    fn file(&self, kind: Kind) -> Option<&Path> {
        let file = match kind {
            Kind::Follow => &self.following,
            Kind::Listed => &self.lists,
            Kind::Tag => &self.followed_tags,
            Kind::Mute => &self.mutes,
            Kind::Block => &self.blocks,
            Kind::Bookmark => &self.bookmarks,
            Kind::User | Kind::Post => &None,
        };
        file.as_deref()
    }

    /// The user here whom an account means.
    fn who(&self, account: &str) -> Result<Handle, String> {
        let account = account.trim();
        let account = account.strip_prefix('@').unwrap_or(account);
        let (name, domain) = account
            .split_once('@')
            .map_or((account, None), |(name, domain)| (name, Some(domain)));
        match (domain, &self.domain) {
            (None, _) => {}
            (Some(domain), Some(here)) if domain.eq_ignore_ascii_case(here) => {}
            (Some(_), Some(here)) => return Err(format!("not an account of {here}")),
            (Some(_), None) => return Err("an account of another server; see --domain".to_owned()),
        }
        Handle::parse(name).map_err(|error| format!("no handle here: it {error}"))
    }

    /// What a line asks for. `None` if it is the line with the names of the columns.
    fn read(&self, kind: Kind, line: u64, fields: &[String]) -> Option<Result<Choice, String>> {
        let first = fields.first().map_or("", |field| field.trim());
        // What may be the title of a list, or a tag that somebody follows, names no column.
        let column = match kind {
            Kind::Follow | Kind::Mute | Kind::Block => Some("Account address"),
            Kind::Tag => Some("#hashtag"),
            Kind::Listed | Kind::Bookmark | Kind::User | Kind::Post => None,
        };
        if line == 1 && Some(first) == column {
            return None;
        }
        let second = fields.get(1).map(|field| field.trim());
        Some(match kind {
            Kind::Follow => self.who(first).map(Choice::Follow),
            Kind::Block => self.who(first).map(Choice::Block),
            Kind::Mute => self.who(first).map(|who| Choice::Mute {
                who,
                notifications: second.is_some_and(|hides| hides.eq_ignore_ascii_case("false")),
            }),
            Kind::Listed => match second {
                Some(account) => ListTitle::parse(first)
                    .map_err(|error| format!("no title of a list: it {error}"))
                    .and_then(|title| self.who(account).map(|who| Choice::Listed { title, who })),
                None => Err("no title and account".to_owned()),
            },
            Kind::Bookmark => {
                let id = first.rsplit('/').next().unwrap_or_default();
                id.parse()
                    .map(Choice::Bookmark)
                    .map_err(|_| "a post of another server".to_owned())
            }
            Kind::Tag => {
                let tag = first.trim_start_matches(['#', '＃']);
                tag.parse().map(Choice::Tag).map_err(|_| "no tag".to_owned())
            }
            Kind::User | Kind::Post => Err("no choice".to_owned()),
        })
    }
}

/// Reads the files of one user, sends everything, and prints what was refused.
pub(super) async fn run(handle: &Handle, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let choices = &arguments.choices;
    if KINDS.iter().all(|&kind| choices.file(kind).is_none()) {
        bail!("there is nothing to import for @{handle}: give at least one of the files of the export");
    }
    let progress = Progress::new();
    let command = ApiClient::new(&arguments.command_url, arguments.timeout)?;
    let mut sender = Sender {
        registrar: Registrar::of_user(command.clone(), terminal::password(choices.password_file.as_deref())?),
        account: Account::of(handle.clone()),
        command,
        query: ApiClient::new(&choices.query_url, arguments.timeout)?,
        seen: None,
        users: HashMap::new(),
        lists: None,
    };
    let log_in = sender.registrar.access_token(&sender.account, None).await;
    log_in.with_context(|| format!("@{handle} can't log in"))?;
    let mut tally = Tally::default();
    let sent = sender.send_all(choices, &progress, &mut tally).await;
    if let Err(error) = sender.registrar.log_out(&arguments.command_url, &sender.account).await {
        progress.say(format_args!("could not log out: {error:#}"));
    }
    say(&tally_table(KINDS.map(|kind| (kind, &tally))).to_string())?;
    let refused = tally.refused_in_all();
    if refused > 0 {
        print_refused(&[&tally], &mut std::io::stdout().lock())?;
    }
    Ok(match sent {
        Err(error) => {
            progress.say(format_args!(
                "{error:#}\nnot complete; run the same command again, which sends everything again"
            ));
            ExitCode::FAILURE
        }
        Ok(()) if refused > 0 => ExitCode::from(SOME_REFUSED),
        Ok(()) => ExitCode::SUCCESS,
    })
}

fn refused(kind: Kind, reason: String, example: String) -> Outcome {
    Outcome::Refused(kind, Refusal { reason, example })
}

/// Sends what the user has chosen.
struct Sender {
    registrar: Registrar,
    account: Account,
    command: ApiClient,
    query: ApiClient,
    /// What the last command answered. It covers all commands before it.
    seen: Option<String>,
    /// `None` for a handle that nobody has.
    users: HashMap<Handle, Option<UserId>>,
    /// The lists of the user. `None` until the first line that needs one.
    lists: Option<HashMap<String, ListId>>,
}

impl Sender {
    async fn send_all(&mut self, choices: &Choices, progress: &Progress, tally: &mut Tally) -> anyhow::Result<()> {
        for kind in KINDS {
            let Some(path) = choices.file(kind) else { continue };
            progress.say(format_args!("sending {}", path.display()));
            for line in Lines::open(path)? {
                // A line that can't be read is refused like others: it says nothing about those after it.
                let (number, fields) = match line {
                    Ok((_, text)) if text.trim().is_empty() => continue,
                    Ok((number, text)) => (number, split(&text, Separator::Comma)),
                    Err(InputError::Line {
                        line,
                        problem: problem @ Problem::NotUtf8,
                        ..
                    }) => (line, Err(problem)),
                    Err(error) => return Err(error.into()),
                };
                let place = format!("{} line {number}", path.display());
                let choice = match fields {
                    Ok(fields) => choices.read(kind, number, &fields),
                    Err(problem) => Some(Err(problem.to_string())),
                };
                tally.note(match choice {
                    None => continue,
                    Some(Ok(choice)) => self.send(&choice, place).await?,
                    Some(Err(reason)) => refused(kind, reason, place),
                });
            }
        }
        Ok(())
    }

    async fn command(&mut self, call: &Call<'_>) -> anyhow::Result<Answer> {
        let answer = self.registrar.send(&self.command, &self.account, call).await?;
        // The token was renewed. A line can do nothing about a second refusal.
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(answer.unexpected().into());
        }
        if answer.consistency_token.is_some() {
            self.seen.clone_from(&answer.consistency_token);
        }
        Ok(answer)
    }

    async fn query(&self, path: String) -> anyhow::Result<Answer> {
        let call = Call::get(path);
        let call = match &self.seen {
            Some(seen) => call.consistency_token(seen),
            None => call,
        };
        Ok(self.registrar.send(&self.query, &self.account, &call).await?)
    }

    async fn send(&mut self, choice: &Choice, place: String) -> anyhow::Result<Outcome> {
        let kind = choice.kind();
        let path = match choice {
            Choice::Follow(who) | Choice::Mute { who, .. } | Choice::Block(who) | Choice::Listed { who, .. } => {
                let Some(user) = self.user(who).await? else {
                    return Ok(refused(
                        kind,
                        "nobody here has the handle".to_owned(),
                        format!("{place}: @{who}"),
                    ));
                };
                match choice {
                    Choice::Listed { title, .. } => match self.list(title, &place).await? {
                        Ok(list) => format!("/v1/lists/{list}/members/{user}"),
                        Err(refused) => return Ok(refused),
                    },
                    Choice::Mute { .. } => format!("/v1/users/{user}/mute"),
                    Choice::Block(_) => format!("/v1/users/{user}/block"),
                    _ => format!("/v1/users/{user}/follow"),
                }
            }
            Choice::Bookmark(post) => format!("/v1/posts/{post}/bookmark"),
            Choice::Tag(tag) => {
                let tag = utf8_percent_encode(tag.as_str(), NON_ALPHANUMERIC);
                format!("/v1/tags/{tag}/follow")
            }
        };
        let call = Call::put(path);
        let call = match choice {
            Choice::Mute { notifications, .. } => call.body(json!({ "notifications": notifications })),
            _ => call,
        };
        judge(kind, place, StatusCode::OK, &self.command(&call).await?)
    }

    async fn user(&mut self, handle: &Handle) -> anyhow::Result<Option<UserId>> {
        if let Some(&known) = self.users.get(handle) {
            return Ok(known);
        }
        let answer = self.query(format!("/v1/users/@{handle}")).await?;
        let found = match answer.status {
            StatusCode::NOT_FOUND => None,
            _ => Some(answer.success::<model::api::User>()?.id),
        };
        self.users.insert(handle.clone(), found);
        Ok(found)
    }

    /// The list with this title. It is made if the user has none.
    async fn list(&mut self, title: &ListTitle, place: &str) -> anyhow::Result<Result<ListId, Outcome>> {
        let mut lists = match self.lists.take() {
            Some(lists) => lists,
            None => self.lists_of_user().await?,
        };
        let known = lists.get(title.as_str()).copied();
        let list = match known {
            Some(known) => Ok(known),
            None => self.make_list(title, place).await?,
        };
        if let Ok(list) = list {
            lists.insert(title.as_str().to_owned(), list);
        }
        self.lists = Some(lists);
        Ok(list)
    }

    /// If several lists have a title, the last one made counts.
    async fn lists_of_user(&self) -> anyhow::Result<HashMap<String, ListId>> {
        let mut lists = HashMap::new();
        let mut path = "/v1/lists?limit=100".to_owned();
        loop {
            let page: Page<List> = self.query(path).await?.success()?;
            for list in page.items {
                lists.entry(list.title).or_insert(list.id);
            }
            let Some(next) = page.next else { return Ok(lists) };
            let next = utf8_percent_encode(&next, NON_ALPHANUMERIC);
            path = format!("/v1/lists?limit=100&before={next}");
        }
    }

    /// The key is another one each time, so that a list that was deleted is made again.
    async fn make_list(&mut self, title: &ListTitle, place: &str) -> anyhow::Result<Result<ListId, Outcome>> {
        let key = Uuid::new_v4().to_string();
        let body = json!({ "title": title.as_str() });
        let answer = self
            .command(&Call::post("/v1/lists", body).idempotency_key(&key))
            .await?;
        if let outcome @ Outcome::Refused(..) = judge(Kind::Listed, place.to_owned(), StatusCode::CREATED, &answer)? {
            return Ok(Err(outcome));
        }
        Ok(Ok(answer.success::<List>()?.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(domain: Option<&str>) -> Choices {
        Choices {
            user: None,
            password_file: None,
            domain: domain.map(str::to_owned),
            following: None,
            blocks: None,
            mutes: None,
            lists: None,
            bookmarks: None,
            followed_tags: None,
            query_url: Url::parse("http://127.0.0.1:8082").unwrap(),
        }
    }

    fn read(kind: Kind, line: u64, text: &str) -> Option<Result<Choice, String>> {
        let fields = split(text, Separator::Comma).unwrap();
        choices(Some("here.example")).read(kind, line, &fields)
    }

    fn ada() -> Handle {
        Handle::parse("ada").unwrap()
    }

    #[test]
    fn lines_of_each_file_are_understood() {
        let post = "0199d2d7-8a10-7000-8000-000000000001";
        for (kind, text, expected) in [
            (Kind::Follow, "Ada@here.example,true,false,", Choice::Follow(ada())),
            (Kind::Block, "@ada", Choice::Block(ada())),
            (
                Kind::Mute,
                "ada@HERE.example,false",
                Choice::Mute {
                    who: ada(),
                    notifications: true,
                },
            ),
            (
                Kind::Mute,
                "ada,true",
                Choice::Mute {
                    who: ada(),
                    notifications: false,
                },
            ),
            (
                Kind::Listed,
                "\"Friends, close\",ada@here.example",
                Choice::Listed {
                    title: ListTitle::parse("Friends, close").unwrap(),
                    who: ada(),
                },
            ),
            (
                Kind::Bookmark,
                "https://here.example/v1/posts/0199d2d7-8a10-7000-8000-000000000001",
                Choice::Bookmark(post.parse().unwrap()),
            ),
            (Kind::Tag, "＃Rust", Choice::Tag("Rust".parse().unwrap())),
        ] {
            assert_eq!(read(kind, 1, text), Some(Ok(expected)), "{text}");
        }
    }

    #[test]
    fn only_the_first_line_may_name_the_columns() {
        assert_eq!(read(Kind::Follow, 1, "Account address,Show boosts,Languages"), None);
        assert!(matches!(read(Kind::Follow, 2, "Account address"), Some(Err(_))));
        assert_eq!(read(Kind::Tag, 1, "#hashtag"), None);
        // These may be what the user has chosen.
        for (kind, text) in [
            (Kind::Tag, "Tag"),
            (Kind::Tag, "#Hashtag"),
            (Kind::Listed, "Account address,ada"),
            (Kind::Listed, "Tag,ada"),
        ] {
            assert!(matches!(read(kind, 1, text), Some(Ok(_))), "{text}");
        }
    }

    #[test]
    fn an_account_or_a_post_of_another_server_is_refused() {
        for (kind, text) in [
            (Kind::Follow, "ada@other.example"),
            (Kind::Bookmark, "https://other.example/users/ada/statuses/1234"),
            (Kind::Listed, "Friends"),
            (Kind::Listed, " ,ada"),
            (Kind::Tag, "two words"),
            (Kind::Block, "ada.lovelace"),
        ] {
            assert!(matches!(read(kind, 2, text), Some(Err(_))), "{text}");
        }
        let unknown = choices(None).who("ada@here.example");
        assert!(unknown.unwrap_err().contains("--domain"));
    }
}
