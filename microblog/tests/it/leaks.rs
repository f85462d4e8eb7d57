//! The matrix of denials and paths: nothing is seen that may not be, and everything else still is.
//!
//! Each case is one denial, with an author, a viewer and a friend of both. Each column is one path by which the viewer could see something
//! of the author. Before the denial the viewer sees every column. Afterwards the columns of the case are empty, and the others are not: at
//! once with the token of the command, and without a token when the views have passed it. A path of the API that is in no column fails the
//! test.
//!
//! The streams of the viewer are columns in two ways. Whoever comes back after the denial is shown as much as by the pages. Whoever was
//! there all the time is shown nothing that the author does after the denial, as soon as the views have passed it.
//!
//! The web pages are columns too: each shows as much as the path of the API that it is made of.

mod live;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{TimeDelta, Utc};
use futures_util::StreamExt as _;
use model::api::{List, Post};
use model::ids::{ListId, PostId};
use model::values::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use self::table::{Act, BY_MESSAGE, CASES, COLUMNS, Column, ME, OF_THE_PLACE, OPEN, OWN_DOING, UNREAD, Who, names};
use crate::home::e2e;
use crate::stack::{Person, Program, Stack, eventually};
use crate::web::{Browser, gateway_of};

/// The people and the posts of one case.
struct Scene<'s> {
    stack: &'s Stack,
    moderator: &'s Person,
    /// Of the viewer, and of a visitor.
    browsers: [Browser; 2],
    author: Person,
    viewer: Person,
    friend: Person,
    direct: PostId,
    shared: PostId,
    quoting: PostId,
    /// Another post of the viewer.
    other: PostId,
    visibility: &'static str,
    /// With the author, the friend, the tag.
    lists: [ListId; 3],
    number: usize,
}

impl<'s> Scene<'s> {
    async fn set(
        stack: &'s Stack,
        gateway: &Program,
        moderator: &'s Person,
        number: usize,
        visibility: &'static str,
    ) -> Self {
        let handles = ["author", "viewer", "friend"].map(|role| format!("{role}{number}"));
        let [author, viewer, friend] = stack.people(handles.each_ref().map(String::as_str)).await;
        let browsers = [(); 2].map(|()| Browser::new(gateway));
        browsers[0].log_in(&viewer.handle, &Stack::password_of(&viewer)).await;
        for (follower, followee) in [
            (&viewer, &author),
            (&viewer, &friend),
            (&friend, &author),
            (&author, &friend),
        ] {
            stack.follow(follower, followee).await;
        }
        let text = |what: &str| format!("text of {what} {number}. #{what}{number}");
        let bio = json!({ "bio": text("bio") });
        let _: Value = stack.command(Method::PATCH, ME, Some(&author), Some(bio)).await;
        let shared = stack.post(&friend, "shared").await.id;
        let write = async |what: &str, visibility: &str, in_reply_to: Option<PostId>| -> PostId {
            let text = match visibility {
                _ if what == "mention" => format!("{} @viewer{number}", text(what)),
                "mentioned" => format!("{} @viewer{number} @friend{number}", text(what)),
                _ => text(what),
            };
            let quote_of = (what == "quote").then_some(shared);
            let body = json!({
                "text": text, "visibility": visibility, "in_reply_to": in_reply_to, "quote_of": quote_of,
            });
            let post: Post = stack
                .command(Method::POST, "/v1/posts", Some(&author), Some(body))
                .await;
            post.id
        };
        let direct = write("direct", visibility, None).await;
        write("answer", visibility, Some(shared)).await;
        write("quote", visibility, None).await;
        write("tagged", visibility, None).await;
        let quoted = write("quoted", "public", None).await;
        let body = json!({ "text": "Look at that.", "quote_of": quoted });
        let quoting: Post = stack
            .command(Method::POST, "/v1/posts", Some(&friend), Some(body))
            .await;
        let followed = format!("/v1/tags/tagged{number}/follow");
        let _: Value = stack.command(Method::PUT, &followed, Some(&viewer), None).await;
        let reposted = write("reposted", "public", None).await;
        stack.repost(&friend, reposted).await;
        stack.like(&friend, direct).await;
        stack.like(&author, shared).await;
        stack.repost(&author, shared).await;
        let new_list = async |inside: String| -> ListId {
            let body = Some(json!({ "title": "A list" }));
            let list: List = stack.command(Method::POST, "/v1/lists", Some(&viewer), body).await;
            let inside = format!("/v1/lists/{}/{inside}", list.id);
            let _: Value = stack.command(Method::PUT, &inside, Some(&viewer), None).await;
            list.id
        };
        let lists = [
            new_list(format!("members/{}", author.id)).await,
            new_list(format!("members/{}", friend.id)).await,
            new_list(format!("tags/direct{number}")).await,
        ];
        let list_of_author = format!("/v1/lists/{}/tags/marker{number}", lists[0]);
        let _: Value = stack.command(Method::PUT, &list_of_author, Some(&viewer), None).await;
        let own = stack.post(&viewer, "own").await.id;
        let other = stack.post(&viewer, "other").await.id;
        stack.like(&author, own).await;
        stack.repost(&author, own).await;
        write("said", visibility, Some(own)).await;
        write("mention", visibility, None).await;
        let bookmark = format!("/v1/posts/{direct}/bookmark");
        let _: Value = stack.command(Method::PUT, &bookmark, Some(&viewer), None).await;
        Self {
            stack,
            moderator,
            browsers,
            author,
            viewer,
            friend,
            direct,
            shared,
            quoting: quoting.id,
            other,
            visibility,
            lists,
            number,
        }
    }

    fn fill(&self, template: &str) -> String {
        [
            ("{author}", self.author.id.to_string()),
            ("{viewer}", self.viewer.id.to_string()),
            ("{friend}", self.friend.id.to_string()),
            ("{direct}", self.direct.to_string()),
            ("{shared}", self.shared.to_string()),
            ("{quoting}", self.quoting.to_string()),
            ("{list}", self.lists[0].to_string()),
            ("{list of the friend}", self.lists[1].to_string()),
            ("{list of the tag}", self.lists[2].to_string()),
            ("{number}", self.number.to_string()),
            // Whatever is in the scene is newer than its first user.
            ("{before}", URL_SAFE_NO_PAD.encode(self.author.id.as_bytes())),
            ("{tag}", format!("direct{}", self.number)),
            ("{password}", Stack::password_of(&self.author)),
            ("{in two seconds}", (Utc::now() + TimeDelta::seconds(2)).to_rfc3339()),
        ]
        .iter()
        .fold(template.to_owned(), |filled, (name, value)| filled.replace(name, value))
    }

    async fn act(&self, (who, method, path, body): &Act) {
        let actor = match who {
            Who::Author => &self.author,
            Who::Viewer => &self.viewer,
            Who::Moderator => self.moderator,
        };
        let body = (!body.is_empty()).then(|| serde_json::from_str(&self.fill(body)).expect("JSON"));
        let answer = self
            .stack
            .send_command(method.clone(), &self.fill(path), Some(actor), body)
            .await;
        let status = answer.status();
        assert!(status.is_success(), "{method} {path} was answered {status}");
    }

    /// The columns that show something of the author, to the viewer or to a visitor.
    async fn seen(&self, viewer: Option<&Person>, with_token: bool) -> BTreeSet<&'static str> {
        let columns = COLUMNS.iter().filter(|column| viewer.is_some() || !column.own);
        let mut by_path: BTreeMap<&str, Vec<&Column>> = BTreeMap::new();
        columns.for_each(|column| by_path.entry(column.path).or_default().push(column));
        let browser = &self.browsers[usize::from(viewer.is_none())];
        browser.must_see(self.stack.seen().filter(|_| with_token));
        let reads = by_path.into_iter().map(async |(path, columns)| {
            let path = self.fill(path);
            let (status, body) = match with_token {
                _ if !path.starts_with("/v1/") => {
                    let page = browser.see(&path).await;
                    (page.status, page.html)
                }
                _ if path.starts_with("/v1/streams/") => self.stack.read_stream(&path, viewer, with_token).await,
                true => self.stack.try_read(&path, viewer).await,
                false => self.stack.read_without_token(&path, viewer).await,
            };
            assert!(
                matches!(status, StatusCode::OK | StatusCode::NOT_FOUND),
                "{path} was answered {status}: {body}"
            );
            let shows = |column: &&Column| match column.trace {
                UNREAD => !body.contains("\"count\":0"),
                OPEN => status == StatusCode::OK,
                trace if trace.starts_with('{') => body.contains(&format!("\"id\":\"{}\"", self.fill(trace))),
                trace if trace.starts_with('"') => body.contains(&self.fill(trace)),
                trace => body.contains(&format!("{trace} {}.", self.number)),
            };
            names(columns.into_iter().filter(shows))
        });
        // A service lets one caller wait with a limited number of requests.
        let reads = futures_util::stream::iter(reads.collect::<Vec<_>>());
        let seen: Vec<_> = reads.buffer_unordered(16).collect().await;
        seen.into_iter().flatten().collect()
    }
}

e2e! {
    async fn nothing_is_seen_that_may_not_be_by_any_path() {
        let described: Value = serde_json::to_value(query_svc::openapi()).expect("JSON");
        let described = described["paths"].as_object().expect("paths").keys();
        let columns: BTreeSet<String> = COLUMNS.iter().map(|column| without_names(column.path)).collect();
        let missing: Vec<_> = described
            .filter(|path| !OWN_DOING.contains(&path.as_str()) && !OF_THE_PLACE.contains(&path.as_str()) && !BY_MESSAGE.contains(&path.as_str()) && !columns.contains(&without_names(path)))
            .collect();
        assert!(missing.is_empty(), "no column has these paths: {missing:?}");

        // A stream that its reader has left is counted until it says something again.
        let stack = Stack::start_with(&[("live.max_connections_per_caller", "1000")]).await;
        let moderator = stack.person("moderator").await;
        stack.give(&moderator, Some(Role::Moderator)).await;
        let gateway = gateway_of(&stack);
        let mut delays = Vec::new();
        for (number, case) in CASES.iter().enumerate() {
            let scene = Scene::set(&stack, &gateway, &moderator, number, case.visibility).await;
            let seen = scene.seen(Some(&scene.viewer), true).await;
            assert_eq!(seen, case.before(), "{}: before the denial", case.name);
            let streams = scene.watch().await;
            for act in case.denial {
                scene.act(act).await;
            }
            let answered = Instant::now();
            let expected = case.after();
            if case.soon {
                eventually(case.name, || async {
                    (scene.seen(Some(&scene.viewer), true).await == expected).then_some(())
                })
                .await;
            } else {
                // The views have passed the denial.
                scene.stack.read::<Value>("/v1/timelines/public?limit=1", None).await;
                delays.push(answered.elapsed());
            }
            scene.act_again().await;
            assert_eq!(scene.seen(Some(&scene.viewer), true).await, expected, "{}: with the token", case.name);
            let seen = scene.seen(Some(&scene.viewer), false).await;
            assert_eq!(seen, expected, "{}: without a token", case.name);
            if case.visitors_too {
                let expected = &expected - &names(COLUMNS.iter().filter(|column| column.own));
                assert_eq!(scene.seen(None, true).await, expected, "{}: a visitor", case.name);
            }
            assert_eq!(scene.seen_live(streams).await, live::expected(case), "{}: live", case.name);
        }
        delays.sort();
        let usual = delays[delays.len() / 2];
        assert!(usual < Duration::from_secs(1), "a denial takes effect on live streams after {usual:?}");
        eventually("the deletion is swept up", || async {
            let reports = stack.verify().await;
            reports.iter().all(|report| report.in_motion == 0).then_some(())
        })
        .await;
        stack.assert_verified().await;
    }
}

/// The path without its query, and with all names in it the same.
fn without_names(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let parts = path
        .split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}
