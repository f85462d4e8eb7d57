//! `microblog verify`: recomputes from the events what everybody should see, and compares it with what query-svc serves.
//!
//! An oracle is of use only while it shares nothing with what it judges. What should be seen is computed here without any of the views' code: of that,
//! only the names of subscriptions are used, to know which dead letters are the views'.
//!
//! On a live system no two looks see the same state. The order of the steps makes up for it:
//!
//! 1. read all events: state S;
//! 2. write a mark into every partition's order; all of S is before it;
//! 3. ask query-svc with a `Consistency-Token` of the mark: whatever is served has all of S in it, and perhaps more;
//! 4. read the events that came since. A difference that one of these could explain says nothing; all others stand.

mod bookmarks;
mod check;
mod compare;
mod history;
mod oracle;
mod posts;
mod report;
mod served;
mod timeline;
mod upwards;
mod viewers;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
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

/// With so many differences, more of them say nothing new.
const ENOUGH: usize = 20_000;
/// Each is looked at with up to five pairs of eyes, in about ten requests each.
const DEFAULT_POSTS: usize = 200;
/// A home timeline is read twice for it.
const DEFAULT_POLLED: usize = 50;

/// Recompute every timeline from the events and compare it with what is served
///
/// Reads all events from the event store, computes by brute force what every user should see (home timeline, posts,
/// followers, following, profile with its counts, and the public timeline), and reads all of it from query-svc, page by
/// page to the end, with access tokens that it signs itself. Prints each difference.
///
/// Looks with others' eyes too: everybody's posts as a follower, a former follower, a stranger and somebody without an
/// account see them. Of some posts, which are chosen by chance, all of these and the author read the thread, the likes,
/// the reposts and the history. The lists of some users, and those of these posts, are also polled from their oldest item
/// upwards.
///
/// May be run on a live system: what is written while it runs is not judged.
///
/// It needs the configuration of the services (MICROBLOG__MONGODB__URI, MICROBLOG__AUTH__SIGNING_KEY); on a machine with
/// `microblog up`, nothing.
///
/// Exit code: 0 no difference, 1 differences, 2 it could not be told.
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

    /// Look at so many users only, evenly taken from all
    #[arg(long, value_name = "N")]
    users: Option<NonZeroUsize>,

    /// Look at the thread, likes, reposts and history of so many posts, chosen by chance
    #[arg(long, value_name = "N", default_value_t = DEFAULT_POSTS)]
    posts: usize,

    /// Poll the lists of so many users upwards, evenly taken from those looked at
    #[arg(long, value_name = "N", default_value_t = DEFAULT_POLLED)]
    polled: usize,

    /// Choose as the run did that printed this number
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Users or posts at a time
    #[arg(long, value_name = "N", default_value = "16")]
    concurrency: NonZeroUsize,

    /// Posts a page, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    page_size: u32,

    /// How long to wait for the views to catch up, and for a service that does not answer
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = crate::cli_values::duration)]
    patience: Duration,

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
        polled: arguments.polled,
        seed: arguments.seed.unwrap_or_else(any_seed),
        concurrency: arguments.concurrency,
        page_size: arguments.page_size,
        patience: arguments.patience,
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

/// How to go about it.
#[derive(Debug, Clone)]
pub struct Options {
    /// So many users only.
    pub users: Option<NonZeroUsize>,
    /// Of so many posts, chosen by chance, everything is read.
    pub posts: usize,
    /// The lists of so many users are polled upwards too.
    pub polled: usize,
    /// Makes the same choices again.
    pub seed: u64,
    pub concurrency: NonZeroUsize,
    pub page_size: u32,
    /// For the views to catch up, and for a service that does not answer.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let concurrency = const { NonZeroUsize::new(16).expect("16 is not zero") };
        Self {
            users: None,
            posts: DEFAULT_POSTS,
            polled: DEFAULT_POLLED,
            seed: any_seed(),
            concurrency,
            page_size: 100,
            patience: Duration::from_secs(120),
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
    let api = ApiClient::new(query_url, options.patience)?;
    let letters = DeadLetters::new(&databases.views);
    let discarded: HashSet<_> = letters
        .discarded(|name| subscribed_generation(name).is_some())
        .await?
        .into_iter()
        .collect();
    let waiting_letters = letters.list().await?.iter().filter(|letter| !letter.discarded).count() as u64;

    // An installation that nobody ever started would be made by opening it.
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
    let mut reading = read(&databases.events, &discarded, progress).await?;
    let oracle = std::mem::take(&mut reading.facts).into_oracle();
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
        polled: options.polled,
        concurrency: options.concurrency,
    };
    let found = looks.compare(&checker, &databases.events, &discarded, progress).await?;

    let touched = reading.touched_since(&databases.events).await?;
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
        events: reading.events,
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
) -> anyhow::Result<history::Reading> {
    let estimate = events
        .collection::<bson::Document>(EVENTS)
        .estimated_document_count()
        .await?;
    let bar = progress.bar("events", estimate, 0);
    let reading = history::read_all(events, discarded, chrono::Utc::now(), |seen| {
        if seen.is_multiple_of(1_000) {
            bar.set(seen, estimate.max(seen));
        }
    })
    .await
    .context("reading the events")?;
    bar.set(reading.events, reading.events);
    bar.end();
    Ok(reading)
}

/// A token that asks for everything that was acknowledged before now, in every partition.
async fn barrier(events: &Database) -> anyhow::Result<String> {
    let store = EventStore::open(events.clone(), SystemClock::shared(), Retries::default()).await?;
    let position = store.mark_all().await?;
    let mut token = ConsistencyToken::new(store.id());
    Partition::all().for_each(|partition| token.advance(partition, position));
    Ok(token.to_string())
}

/// query-svc says 503 while the views are behind the token, which the client takes for "again".
async fn wait_for_views(api: &ApiClient, token: &str) -> anyhow::Result<()> {
    let call = Call::get("/v1/timelines/public?limit=1").consistency_token(token);
    let answer = api.call(&call).await.context("the views did not catch up")?;
    ensure!(answer.status.is_success(), answer.unexpected());
    Ok(())
}

/// Evenly taken from all, so that old and new ones are among them.
fn sample<T: Copy>(all: Vec<T>, limit: usize) -> Vec<T> {
    if limit >= all.len() {
        return all;
    }
    (0..limit).map(|number| all[number * all.len() / limit]).collect()
}

/// So many, each as probable as the others.
fn by_chance(seed: u64, mut all: Vec<PostId>, count: usize) -> Vec<PostId> {
    all.sort_by_cached_key(|id| viewers::chance(seed, id));
    all.truncate(count);
    all
}

/// What is looked at.
struct Looks {
    users: Vec<UserIndex>,
    posts: Vec<PostId>,
    /// Of so many users, lists are polled.
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
        Ok(all)
    }
}

/// Adds up, until so much differs that more would say nothing new.
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
