//! `microblog verify`: recomputes from the events what every user should see, and compares it with what query-svc serves.
//!
//! An oracle is useful only if it shares nothing with what it checks. So it computes without any code of the views. The only exception is
//! the names of subscriptions, which say which dead letters belong to the views.
//!
//! On a live system, two reads never see the same state. The order of the steps solves this:
//!
//! 1. Read all events: state S.
//! 2. Write a mark into every partition. All of S is below the marks.
//! 3. Ask query-svc with a `Consistency-Token` of the marks. The answer contains all of S, and perhaps more.
//! 4. Read the events that were written since. A difference that one of them could explain is ignored. All others count.

mod bookmarks;
mod check;
mod compare;
mod filters;
mod history;
mod lists;
mod notifications;
mod oracle;
mod posts;
mod report;
mod reports;
mod said;
mod served;
mod sight;
mod tags;
mod timeline;
mod upwards;
mod viewers;

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::io;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use event_log::consistency::ConsistencyToken;
use event_log::event_store::{EVENTS, EventStore, Retries};
use event_log::mongo::Databases;
use event_log::subscription::dead_letters::DeadLetters;
use futures_util::{Stream, StreamExt, stream};
use model::clock::SystemClock;
use model::ids::{EventId, Partition, PostId};
use model::tags::TagKey;
use mongodb::Database;
use reqwest::Url;
use service::auth::Signer;
use service::config::Auth;
use views::subscribed_generation;

use self::check::{Checker, Difference, Findings};
use self::oracle::UserIndex;
pub use self::report::{Finding, Report};
use crate::api_client::{ApiClient, Call};
use crate::connection::Connection;
use crate::progress::Progress;

/// After so many differences, more of them give no new information.
const ENOUGH: usize = 20_000;
/// Each post is read as up to five different viewers, with about ten requests for each.
const DEFAULT_POSTS: usize = 200;
/// Each timeline of a tag is read three times.
const DEFAULT_TAGS: usize = 200;
/// Polling reads a home timeline twice.
const DEFAULT_POLLED: usize = 50;

/// Recompute every timeline from the events and compare it with what is served
///
/// Reads all events from the event store, and computes by brute force what every user should see (home timeline, posts, followers,
/// following, bookmarks, followed tags, lists with their members, tags and timelines, filters, profile with its counts, the public timeline, and
/// timelines of tags). Then reads all of it from query-svc, page by page to the end, with access tokens that it signs itself. Prints each
/// difference.
///
/// Also reads as other viewers: every user's posts as a follower, a former follower, a stranger and a visitor without an account see them.
/// For some random posts, all of these and the author read the thread, the likes, the reposts and the history. The lists of some users, and
/// the lists of these posts, are also polled from their oldest item upwards.
///
/// You can run it on a live system: what is written during the run is not compared.
///
/// Needs the configuration of the services (MICROBLOG__MONGODB__URI, MICROBLOG__AUTH__SIGNING_KEY). On a machine with `microblog up`, it
/// needs none.
///
/// Exit code: 0 no difference, 1 differences, 2 the check could not be done.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Where query-svc answers
    #[arg(
        long,
        value_name = "URL",
        env = "MICROBLOG_QUERY_URL",
        default_value = "http://127.0.0.1:8082"
    )]
    query_url: Url,

    /// Check only so many users, spread evenly over all
    #[arg(long, value_name = "N")]
    users: Option<NonZeroUsize>,

    /// Check the thread, likes, reposts and history of so many random posts
    #[arg(long, value_name = "N", default_value_t = DEFAULT_POSTS)]
    posts: usize,

    /// Check the timelines of so many random tags
    #[arg(long, value_name = "N", default_value_t = DEFAULT_TAGS)]
    tags: usize,

    /// Poll the lists of so many users upwards, spread evenly over the checked users
    #[arg(long, value_name = "N", default_value_t = DEFAULT_POLLED)]
    polled: usize,

    /// Make the same random choices as the run that printed this number
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// How many users or posts to check at the same time
    #[arg(long, value_name = "N", default_value = "16")]
    concurrency: NonZeroUsize,

    /// Posts per page, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    page_size: u32,

    /// How long to wait for the views to catch up, and for a service that does not answer
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = crate::cli_values::duration)]
    timeout: Duration,

    /// How many differences to print
    #[arg(long, value_name = "N", default_value_t = 100)]
    print: usize,

    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.connection.config()?;
    let databases = Databases::connect(&config.mongodb, "microblog-verify").await?;
    let options = Options {
        users: arguments.users,
        posts: arguments.posts,
        tags: arguments.tags,
        polled: arguments.polled,
        seed: arguments.seed.unwrap_or_else(any_seed),
        concurrency: arguments.concurrency,
        page_size: arguments.page_size,
        timeout: arguments.timeout,
    };
    let report = verify_with(
        &databases,
        &config.auth,
        &arguments.query_url,
        &options,
        &Progress::new(),
    )
    .await?;
    databases.close().await;
    report.print(&mut io::stdout().lock(), arguments.print)?;
    Ok(if report.differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How to verify.
#[derive(Debug, Clone)]
pub struct Options {
    /// Check only so many users.
    pub users: Option<NonZeroUsize>,
    /// For so many random posts, everything is read.
    pub posts: usize,
    /// So many random tags have their timelines read.
    pub tags: usize,
    /// The lists of so many users are also polled upwards.
    pub polled: usize,
    /// The same seed makes the same random choices.
    pub seed: u64,
    pub concurrency: NonZeroUsize,
    pub page_size: u32,
    /// How long to wait for the views to catch up, and for a service that does not answer.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let concurrency = const { NonZeroUsize::new(16).expect("16 is not zero") };
        Self {
            users: None,
            posts: DEFAULT_POSTS,
            tags: DEFAULT_TAGS,
            polled: DEFAULT_POLLED,
            seed: any_seed(),
            concurrency,
            page_size: 100,
            timeout: Duration::from_secs(120),
        }
    }
}

fn any_seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// Verifies what one query-svc serves. `auth` needs the signing key.
pub async fn verify(databases: &Databases, auth: &Auth, query_url: &Url, options: &Options) -> anyhow::Result<Report> {
    verify_with(databases, auth, query_url, options, &Progress::silent()).await
}

async fn verify_with(
    databases: &Databases,
    auth: &Auth,
    query_url: &Url,
    options: &Options,
    progress: &Progress,
) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let signer = Signer::from_config(auth, SystemClock::shared())?;
    let api = ApiClient::new(query_url, options.timeout)?;
    let letters = DeadLetters::new(&databases.views);
    let discarded: HashSet<_> = letters
        .discarded(|name| subscribed_generation(name).is_some())
        .await?
        .into_iter()
        .collect();
    let waiting_letters = letters.list().await?.iter().filter(|letter| !letter.discarded).count() as u64;

    // Opening an event store creates it. This check comes first, so that `verify` creates nothing in an installation that was never
    // started.
    let there = databases
        .events
        .list_collection_names()
        .await?
        .iter()
        .any(|name| name == EVENTS);
    ensure!(
        there,
        "there is no event store in the database '{}'",
        databases.events.name()
    );
    let mut observation = read(&databases.events, &discarded, progress).await?;
    let oracle = std::mem::take(&mut observation.facts).into_oracle();
    let token = barrier(&databases.events).await?;
    progress.say("waiting for the views");
    wait_for_views(&api, &token).await?;

    let checker = Checker {
        oracle: &oracle,
        api: &api,
        signer: &signer,
        consistency_token: &token,
        page_size: options.page_size,
        now: chrono::Utc::now(),
        seed: options.seed,
    };
    let looks = Looks {
        users: sample(
            oracle.users().collect(),
            options.users.map_or(usize::MAX, NonZeroUsize::get),
        ),
        posts: by_chance(options.seed, oracle.posts(), options.posts),
        tags: by_chance(options.seed, oracle.tags(), options.tags),
        polled: options.polled,
        concurrency: options.concurrency,
    };
    let found = looks.compare(&checker, &databases.events, &discarded, progress).await?;

    let touched = observation.touched_since(&databases.events).await?;
    let all = found.differences.len();
    let stands = |difference: &Difference| !difference.depends_on.iter().any(|one| touched.contains(one));
    let mut differences: Vec<Finding> = found
        .differences
        .into_iter()
        .filter(stands)
        .map(|difference| Finding {
            place: difference.place,
            what: difference.what,
        })
        .collect();
    differences.sort_by(|one, other| one.place.cmp(&other.place));
    Ok(Report {
        users: looks.users.len() as u64,
        posts: looks.posts.len() as u64,
        seed: options.seed,
        events: observation.events,
        items: found.items,
        pages: found.pages,
        in_motion: (all - differences.len()) as u64,
        gave_up: all >= ENOUGH,
        differences,
        discarded: discarded.len() as u64,
        waiting_letters,
        took: begun.elapsed(),
    })
}

async fn read(
    events: &Database,
    discarded: &HashSet<EventId>,
    progress: &Progress,
) -> anyhow::Result<history::Observation> {
    let estimate = events
        .collection::<bson::Document>(EVENTS)
        .estimated_document_count()
        .await?;
    let bar = progress.bar("events", estimate, 0);
    let observation = history::read_all(events, discarded, chrono::Utc::now(), |seen| {
        if seen.is_multiple_of(1_000) {
            bar.set(seen, estimate.max(seen));
        }
    })
    .await
    .context("reading the events")?;
    bar.set(observation.events, observation.events);
    bar.end();
    Ok(observation)
}

/// A token that requires everything that was acknowledged before now, in every partition.
async fn barrier(events: &Database) -> anyhow::Result<String> {
    let store = EventStore::open(events.clone(), SystemClock::shared(), Retries::default()).await?;
    let position = store.mark_all().await?;
    let mut token = ConsistencyToken::new(store.id());
    Partition::all().for_each(|partition| token.advance(partition, position));
    Ok(token.to_string())
}

/// query-svc answers 503 while the views are behind the token. The client then tries again.
async fn wait_for_views(api: &ApiClient, token: &str) -> anyhow::Result<()> {
    let call = Call::get("/v1/timelines/public?limit=1").consistency_token(token);
    let answer = api.call(&call).await.context("the views did not catch up")?;
    ensure!(answer.status.is_success(), answer.unexpected());
    Ok(())
}

/// Takes items spread evenly over all, so that old and new ones are among them.
fn sample<T: Copy>(all: Vec<T>, limit: usize) -> Vec<T> {
    if limit >= all.len() {
        return all;
    }
    (0..limit).map(|number| all[number * all.len() / limit]).collect()
}

/// Takes `count` random items, each with the same probability.
fn by_chance<T: Hash>(seed: u64, mut all: Vec<T>, count: usize) -> Vec<T> {
    all.sort_by_cached_key(|item| viewers::chance(seed, item));
    all.truncate(count);
    all
}

/// What to check.
struct Looks {
    users: Vec<UserIndex>,
    posts: Vec<PostId>,
    tags: Vec<TagKey>,
    /// For so many users, lists are polled.
    polled: usize,
    concurrency: NonZeroUsize,
}

impl Looks {
    async fn compare(
        &self,
        checker: &Checker<'_>,
        events: &Database,
        discarded: &HashSet<EventId>,
        progress: &Progress,
    ) -> anyhow::Result<Findings> {
        let mut all = checker.public_timeline().await?;
        all.add(checker.reports().await?);
        let polled: HashSet<UserIndex> = sample(self.users.clone(), self.polled).into_iter().collect();
        let users = stream::iter(&self.users).map(|&user| checker.user(user, polled.contains(&user)));
        let users = users.buffer_unordered(self.concurrency.get());
        gather(&mut all, users, "users", self.users.len(), progress).await?;

        let people = checker.oracle.people_of(&self.posts);
        let posts = stream::iter(&self.posts).map(async |&post| {
            let texts = history::texts_of(events, discarded, post).await?;
            checker.post(post, &people[&post], &texts).await
        });
        let posts = posts.buffer_unordered(self.concurrency.get());
        gather(&mut all, posts, "posts", self.posts.len(), progress).await?;

        let tags = stream::iter(&self.tags).map(|tag| checker.tag_timeline(tag));
        let tags = tags.buffer_unordered(self.concurrency.get());
        gather(&mut all, tags, "tags", self.tags.len(), progress).await?;
        Ok(all)
    }
}

/// Collects findings, until there are so many differences that more would give no new information.
async fn gather(
    all: &mut Findings,
    findings: impl Stream<Item = anyhow::Result<Findings>>,
    of_what: &'static str,
    count: usize,
    progress: &Progress,
) -> anyhow::Result<()> {
    let bar = progress.bar(of_what, count as u64, 0);
    let mut findings = std::pin::pin!(findings);
    while all.differences.len() < ENOUGH
        && let Some(found) = findings.next().await
    {
        all.add(found?);
        bar.advance();
        if !all.differences.is_empty() {
            bar.message(format!("{} differences so far", all.differences.len()));
        }
    }
    bar.end();
    Ok(())
}
