//! The users in whose name requests are sent, and everything that was acknowledged to them.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::front::{Call, Front, Lane};
use crate::narration::say;

/// How many users post and read. None of them ever unfollows anybody, so it is known what each home timeline must show.
const STEADY: usize = 8;
/// How many users follow and unfollow.
const FICKLE: usize = 2;
/// How many accounts each steady user follows.
const FOLLOWS: usize = 4;
/// The time-out while a service starts, for the first time or again.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The time-out when the system is quiet again.
const PROOF_TIMEOUT: Duration = Duration::from_secs(15);
const READERS: usize = 8;

/// A user who is registered and logged in.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) token: String,
    /// The numbers of the users whose posts the home timeline shows, including the user itself.
    pub(crate) sees: Vec<usize>,
}

/// A post that the service has acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) id: String,
    pub(crate) author: usize,
    /// A query with this token shows the post.
    pub(crate) consistency: String,
}

/// Whether a user follows another one, as acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Follow {
    pub(crate) follows: bool,
    pub(crate) consistency: String,
}

#[derive(Debug, Default)]
struct Ledger {
    posts: Vec<Post>,
    /// For each like: the token with which every query shows it.
    likes: BTreeMap<(usize, String), String>,
    /// The last acknowledged state. None if the outcome of a command is unknown.
    follows: BTreeMap<(usize, usize), Option<Follow>>,
}

#[derive(Debug)]
pub(crate) struct Community {
    pub(crate) front: Front,
    people: Vec<Person>,
    ledger: Mutex<Ledger>,
    /// Follows that are being changed. With two commands at the same time, nobody would know which was the last.
    in_change: Mutex<HashSet<(usize, usize)>>,
}

impl Community {
    /// Registers all users.
    pub(crate) async fn found(front: Front) -> Result<Self> {
        let people = stream::iter(0..STEADY + FICKLE)
            .map(|number| register(&front, number))
            .buffered(4)
            .try_collect::<Vec<_>>()
            .await?;
        let community = Self {
            front,
            people,
            ledger: Mutex::default(),
            in_change: Mutex::default(),
        };
        for (number, person) in community.steady() {
            for followee in person.sees.iter().filter(|&&followee| followee != number) {
                let call = Call::put(format!("/v1/users/{}/follow", community.people[*followee].id));
                let answer = community.front.insist(&call.bearer(&person.token), TIMEOUT).await?;
                let follow = Follow {
                    follows: true,
                    consistency: answer.consistency.unwrap_or_default(),
                };
                community.ledger().follows.insert((number, *followee), Some(follow));
            }
        }
        // From the first request on, there are posts to reply to and to read.
        for (number, person) in community.steady() {
            let call = Call::post("/v1/posts", json!({ "text": format!("hello from {number}") }));
            let answer = community.front.insist(&call.bearer(&person.token), TIMEOUT).await?;
            community.posted(number, &answer.text("id")?, answer.consistency);
        }
        say(format_args!("registered {} people", community.people.len()));
        Ok(community)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn steady(&self) -> impl Iterator<Item = (usize, &Person)> {
        self.people.iter().take(STEADY).enumerate()
    }

    pub(crate) fn person(&self, number: usize) -> &Person {
        &self.people[number]
    }

    /// A steady user.
    pub(crate) fn any(&self, dice: u64) -> usize {
        pick(STEADY, dice)
    }

    /// A fickle user and a steady one.
    pub(crate) fn any_fickle(&self, dice: u64) -> (usize, usize) {
        (STEADY + pick(FICKLE, dice >> 8), pick(STEADY, dice))
    }

    /// One of the newest acknowledged posts.
    pub(crate) fn recent(&self, dice: u64) -> Post {
        let ledger = self.ledger();
        let posts = &ledger.posts;
        let newest = posts.len().saturating_sub(60);
        posts[newest + pick(posts.len() - newest, dice)].clone()
    }

    /// One of the newest posts that a home timeline must show, and the owner of that timeline.
    pub(crate) fn recent_on_home(&self, dice: u64) -> (usize, Post) {
        let post = self.recent(dice);
        let readers: Vec<usize> = self
            .steady()
            .filter(|(_, person)| person.sees.contains(&post.author))
            .map(|(number, _)| number)
            .collect();
        (readers[pick(readers.len(), dice >> 16)], post)
    }

    pub(crate) fn posted(&self, author: usize, id: &str, consistency: Option<String>) -> Post {
        let post = Post {
            id: id.to_owned(),
            author,
            consistency: consistency.unwrap_or_default(),
        };
        self.ledger().posts.push(post.clone());
        post
    }

    /// How many posts have been acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.ledger().posts.len()
    }

    /// The posts that a home timeline must show, of those that were acknowledged after the first `since`.
    pub(crate) fn home_since(&self, reader: usize, since: usize) -> Vec<String> {
        let sees = &self.people[reader].sees;
        let ledger = self.ledger();
        let later = ledger
            .posts
            .iter()
            .skip(since)
            .filter(|post| sees.contains(&post.author));
        later.map(|post| post.id.clone()).collect()
    }

    pub(crate) fn handle(number: usize) -> String {
        format!("person_{number}")
    }

    pub(crate) fn password(number: usize) -> String {
        format!("the password of {number}")
    }

    pub(crate) fn liked(&self, person: usize, post: &str, consistency: Option<String>) {
        let like = (person, post.to_owned());
        self.ledger().likes.insert(like, consistency.unwrap_or_default());
    }

    /// Whether the follower follows now. None while another command is changing that.
    pub(crate) fn begin_change(&self, pair: (usize, usize)) -> Option<bool> {
        let mut in_change = self.in_change.lock().unwrap_or_else(PoisonError::into_inner);
        let follows = || {
            let last = self.ledger().follows.get(&pair).cloned().flatten();
            last.is_some_and(|last| last.follows)
        };
        in_change.insert(pair).then(follows)
    }

    /// `now` is None if the command was not acknowledged.
    pub(crate) fn end_change(&self, pair: (usize, usize), now: Option<Follow>) {
        self.ledger().follows.insert(pair, now);
        self.in_change
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&pair);
    }

    /// Each steady user posts something, independently of any load.
    pub(crate) async fn everybody_posts(&self) -> Result<Vec<Post>> {
        let mut posts = Vec::new();
        for (number, person) in self.steady() {
            let call = Call::post("/v1/posts", json!({ "text": "by itself" }));
            let answer = self.front.insist(&call.bearer(&person.token), TIMEOUT).await?;
            posts.push(self.posted(number, &answer.text("id")?, answer.consistency));
        }
        Ok(posts)
    }

    /// How many of the posts a query shows that waits for them.
    pub(crate) async fn shown(&self, posts: &[Post]) -> usize {
        let mut shown = 0;
        for post in posts {
            shown += usize::from(self.shows(post).await);
        }
        shown
    }

    /// Whether a query that waits for the post shows it.
    async fn shows(&self, post: &Post) -> bool {
        let call = Call::get(format!("/v1/posts/{}", post.id)).bearer(&self.people[post.author].token);
        self.front
            .send(Lane::Fresh, &call.consistency(&post.consistency))
            .await
            .is_ok()
    }

    /// Reads back everything that was acknowledged.
    pub(crate) async fn prove_nothing_is_lost(&self) -> Result<()> {
        let (posts, likes, follows) = {
            let ledger = self.ledger();
            (ledger.posts.clone(), ledger.likes.clone(), ledger.follows.clone())
        };
        let mut missing = Vec::new();
        for (number, person) in self.steady() {
            let of_author: Vec<&Post> = posts.iter().filter(|post| post.author == number).collect();
            let shown = self.all_posts_of(person, &of_author).await?;
            let lost = of_author.iter().filter(|post| !shown.contains(&post.id));
            missing.extend(lost.map(|post| format!("post {} of {number}", post.id)));
        }
        let lost_likes = stream::iter(&likes)
            .map(|((liker, post), consistency)| self.lost_like(*liker, post, consistency))
            .buffer_unordered(READERS)
            .collect::<Vec<_>>()
            .await;
        missing.extend(lost_likes.into_iter().flatten());
        for (&pair, last) in &follows {
            if let Some(last) = last {
                missing.extend(self.lost_follow(pair, last).await);
            }
        }
        let counted = format!(
            "{} posts, {} likes, {} follows",
            posts.len(),
            likes.len(),
            follows.len()
        );
        ensure!(
            missing.is_empty(),
            "of {counted} that were acknowledged, {} are lost:\n{}",
            missing.len(),
            missing.join("\n")
        );
        say(format_args!("nothing that was acknowledged is lost: {counted}"));
        Ok(())
    }

    async fn all_posts_of(&self, person: &Person, expected: &[&Post]) -> Result<HashSet<String>> {
        let mut shown = HashSet::new();
        // The tokens of all these posts concern one partition. The newest one is the highest, except for commands that overlapped. So a
        // query that has seen the last few tokens shows everything.
        for post in expected.iter().rev().take(READERS) {
            let call = Call::get(format!("/v1/posts/{}", post.id));
            let call = call.bearer(&person.token).consistency(&post.consistency);
            // A lost post is reported below, together with all others.
            let _ = self.front.insist(&call, PROOF_TIMEOUT).await;
        }
        let mut before = String::new();
        loop {
            let path = format!("/v1/users/{}/posts?limit=100{before}", person.id);
            let page = self
                .front
                .insist(&Call::get(path).bearer(&person.token), TIMEOUT)
                .await?;
            shown.extend(ids(&page.body).map(str::to_owned));
            match page.body["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return Ok(shown),
            }
        }
    }

    async fn lost_like(&self, liker: usize, post: &str, consistency: &str) -> Option<String> {
        let call = Call::get(format!("/v1/posts/{post}")).bearer(&self.people[liker].token);
        let answer = self.front.insist(&call.consistency(consistency), PROOF_TIMEOUT).await;
        match answer {
            Ok(answer) if answer.body["viewer"]["liked"] == true => None,
            Ok(answer) => Some(format!("{liker} likes {post}: {}", answer.body)),
            Err(error) => Some(format!("{liker} likes {post}: {error:#}")),
        }
    }

    async fn lost_follow(&self, (follower, followee): (usize, usize), last: &Follow) -> Option<String> {
        let path = format!("/v1/relationships?id={}", self.people[followee].id);
        let call = Call::get(path).bearer(&self.people[follower].token);
        let answer = self
            .front
            .insist(&call.consistency(&last.consistency), PROOF_TIMEOUT)
            .await;
        let named = format!("{follower} follows {followee}: {}", last.follows);
        match answer {
            Ok(answer) if answer.body["items"][0]["following"] == last.follows => None,
            Ok(answer) => Some(format!("{named}, but {}", answer.body)),
            Err(error) => Some(format!("{named}, but {error:#}")),
        }
    }
}

async fn register(front: &Front, number: usize) -> Result<Person> {
    // The namespace is new. If a handle is taken, an earlier attempt took it and its response was lost.
    let (handle, password) = (Community::handle(number), Community::password(number));
    let email = format!("{handle}@example.org");
    let registration = json!({ "handle": handle, "email": email, "password": password });
    let login = Call::post("/v1/sessions", json!({ "handle": handle, "password": password }));
    let registered = front.insist(&Call::post("/v1/users", registration), TIMEOUT).await;
    let session = front.insist(&login, TIMEOUT).await;
    let id = registered
        .with_context(|| format!("registering {handle}"))?
        .text("id")?;
    Ok(Person {
        id,
        token: session?.text("access_token")?,
        sees: (0..=FOLLOWS).map(|further| (number + further) % STEADY).collect(),
    })
}

/// The ids of a page's items.
pub(crate) fn ids(page: &Value) -> impl Iterator<Item = &str> {
    let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item["id"].as_str())
}

fn pick(count: usize, dice: u64) -> usize {
    usize::try_from(dice % u64::try_from(count).unwrap_or(1).max(1)).unwrap_or(0)
}
