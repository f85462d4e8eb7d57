//! A load at a fixed rate. Each request begins at its time, whether or not earlier ones have a response. No request is ever repeated. A
//! request without a success within five seconds counts as failed. A success that shows something stale also counts as failed.
//!
//! Meanwhile some people watch their home timelines. No post may be missing there.

mod community;
mod connection;
mod front;
mod report;
mod streams;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

pub(crate) use self::community::Community;
use self::community::{Follow, ids};
pub(crate) use self::front::Front;
use self::front::{Call, Lane};
pub(crate) use self::report::Report;
use self::report::Sample;
use self::streams::Streams;

/// The mix of requests, in shares of twenty: thirteen reads, seven writes.
const MIX: [Kind; 20] = [
    Kind::Post,
    Kind::Home,
    Kind::FreshHome,
    Kind::Like,
    Kind::Thread,
    Kind::FreshPost,
    Kind::Home,
    Kind::Post,
    Kind::UserPosts,
    Kind::FreshHome,
    Kind::Profile,
    Kind::Follow,
    Kind::Home,
    Kind::Public,
    Kind::Post,
    Kind::FreshHome,
    Kind::Like,
    Kind::Thread,
    Kind::Reply,
    Kind::FreshPost,
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Post,
    Reply,
    Like,
    Follow,
    Home,
    /// A home timeline that must show a certain post, which is new or was seen before.
    FreshHome,
    /// A post that was acknowledged, so a query must show it.
    FreshPost,
    Thread,
    UserPosts,
    Profile,
    Public,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Post => "post",
            Kind::Reply => "reply",
            Kind::Like => "like",
            Kind::Follow => "follow",
            Kind::Home | Kind::FreshHome => "home",
            Kind::FreshPost => "read",
            Kind::Thread => "thread",
            Kind::UserPosts => "posts",
            Kind::Profile => "profile",
            Kind::Public => "public",
        }
    }
}

/// A load that continues until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Load {
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<Report>>,
    streams: Streams,
    community: Arc<Community>,
}

impl Load {
    /// `rate` requests a second. `microblog` is the program that watches streams.
    pub(crate) async fn start(community: &Arc<Community>, rate: u32, microblog: &Path) -> anyhow::Result<Self> {
        let streams = Streams::open(community, microblog).await?;
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(run(community.clone(), rate, stopped));
        Ok(Self {
            stop,
            running,
            streams,
            community: community.clone(),
        })
    }

    /// Stops the load, waits for the requests that are under way, and prints their outcomes. It is an error if a stream lacks a post.
    pub(crate) async fn stop(self, what: &str) -> anyhow::Result<Report> {
        // The receiver exists until the load is stopped or dropped.
        let _ = self.stop.send(());
        let report = self.running.await??;
        report.print(what);
        self.streams.prove_complete(&self.community).await?;
        Ok(report)
    }
}

async fn run(community: Arc<Community>, rate: u32, mut stopped: oneshot::Receiver<()>) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    // A late tick is not left out: all missed requests begin at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    let mut samples = Vec::new();
    let mut number = 0;
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            Some(sample) = under_way.join_next() => samples.push(sample?),
            _ = ticks.tick() => {
                under_way.spawn(one(community.clone(), number));
                number += 1;
            }
        }
    }
    while let Some(sample) = under_way.join_next().await {
        samples.push(sample?);
    }
    Ok(Report::new(begun, samples))
}

async fn one(community: Arc<Community>, number: u64) -> Sample {
    let dice = mixed(number);
    let kind = MIX[usize::try_from(number % 20).unwrap_or(0)];
    let lane = if dice & 1 == 0 {
        Lane::Fresh
    } else {
        Lane::Kept(usize::from(dice.to_le_bytes()[7]))
    };
    let begun = Instant::now();
    let outcome = perform(&community, kind, lane, dice >> 1).await;
    Sample {
        kind: kind.name(),
        lane,
        begun,
        took: begun.elapsed(),
        failure: outcome.err(),
    }
}

async fn perform(community: &Community, kind: Kind, lane: Lane, dice: u64) -> Result<(), String> {
    let front = &community.front;
    match kind {
        Kind::Post | Kind::Reply => {
            let author = community.any(dice);
            let mut body = json!({ "text": format!("number {dice:x}") });
            if let Kind::Reply = kind {
                body["in_reply_to"] = json!(community.recent(dice >> 8).id);
            }
            let call = Call::post("/v1/posts", body).bearer(&community.person(author).token);
            let answer = front.send(lane, &call).await?;
            let id = answer.text("id").map_err(|error| error.to_string())?;
            community.posted(author, &id, answer.consistency);
        }
        Kind::Like => {
            let (person, post) = (community.any(dice), community.recent(dice >> 8).id);
            let call = Call::put(format!("/v1/posts/{post}/like")).bearer(&community.person(person).token);
            let answer = front.send(lane, &call).await?;
            community.liked(person, &post, answer.consistency);
        }
        Kind::Follow => return change_follow(community, lane, dice).await,
        Kind::Home => {
            let call = Call::get("/v1/timelines/home").bearer(&community.person(community.any(dice)).token);
            front.send(lane, &call).await?;
        }
        Kind::FreshHome => return home_shows_it(community, lane, dice).await,
        Kind::FreshPost => {
            let (post, reader) = (community.recent(dice), community.any(dice >> 8));
            let call = Call::get(format!("/v1/posts/{}", post.id)).bearer(&community.person(reader).token);
            front.send(lane, &call.consistency(&post.consistency)).await?;
        }
        Kind::Thread => {
            let post = community.recent(dice);
            let call = Call::get(format!("/v1/posts/{}/thread", post.id));
            front.send(lane, &call.consistency(&post.consistency)).await?;
        }
        Kind::UserPosts => {
            let id = &community.person(community.any(dice)).id;
            front.send(lane, &Call::get(format!("/v1/users/{id}/posts"))).await?;
        }
        Kind::Profile => {
            let id = &community.person(community.any(dice)).id;
            front.send(lane, &Call::get(format!("/v1/users/{id}"))).await?;
        }
        Kind::Public => {
            front.send(lane, &Call::get("/v1/timelines/public")).await?;
        }
    }
    Ok(())
}

async fn change_follow(community: &Community, lane: Lane, dice: u64) -> Result<(), String> {
    let pair = community.any_fickle(dice);
    let (follower, followee) = (community.person(pair.0), community.person(pair.1));
    let path = format!("/v1/users/{}/follow", followee.id);
    let Some(follows) = community.begin_change(pair) else {
        // Another request is changing this follow, so this one reads it instead.
        let call = Call::get(format!("/v1/relationships?id={}", followee.id)).bearer(&follower.token);
        return community.front.send(lane, &call).await.map(drop);
    };
    let call = if follows { Call::delete(path) } else { Call::put(path) };
    let outcome = community.front.send(lane, &call.bearer(&follower.token)).await;
    let acknowledged = outcome.as_ref().ok().map(|answer| Follow {
        follows: !follows,
        consistency: answer.consistency.clone().unwrap_or_default(),
    });
    community.end_change(pair, acknowledged);
    outcome.map(drop)
}

/// A reader who knows a post, because it was acknowledged or seen before, must find it on every page that reaches so far back.
async fn home_shows_it(community: &Community, lane: Lane, dice: u64) -> Result<(), String> {
    let (reader, post) = community.recent_on_home(dice);
    let call = Call::get("/v1/timelines/home?limit=40").bearer(&community.person(reader).token);
    let page = community
        .front
        .send(lane, &call.consistency(&post.consistency))
        .await?
        .body;
    let is_last_page = page["next"].is_null();
    // Newest first, by id.
    let reaches = is_last_page || ids(&page).last().is_some_and(|oldest| oldest <= post.id.as_str());
    if reaches && !ids(&page).any(|id| id == post.id) {
        return Err(format!(
            "the home timeline of {reader} lacks post {} of {}: stale",
            post.id, post.author
        ));
    }
    Ok(())
}

/// The same pseudo-random numbers in every run (splitmix64, public domain).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
