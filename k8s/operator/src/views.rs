//! What the operator reads from the views' database, and what it writes there.

use std::sync::Mutex;
use std::time::Duration;

use event_log::event_store::{EventStore, Retries};
use event_log::mongo::Databases;
use event_log::position::Position;
use event_log::subscription::dead_letters::DeadLetters;
use event_log::subscription::leases::Leases;
use model::clock::SharedClock;
use model::ids::PARTITIONS;
use mongodb::error::Error;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use views::generation::{Control, Generations, Phase};
use views::subscription_name;

/// How long one observation waits for a mark that it has just written. An idle projection passes the mark within milliseconds.
const PASSES_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The state at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observed {
    /// None if no projector has opened the database yet.
    pub control: Option<Control>,
    /// An earlier version has written part of the generation that is read.
    pub outdated: bool,
    /// The lowest checkpoint.
    pub position: Option<Position>,
    /// The lowest checkpoint of a generation that catches up.
    pub catching_up: Option<Position>,
    /// How far the generation that is read is behind. None while nobody follows it.
    pub lag: Option<Duration>,
    pub dead_letters: i64,
}

/// The database, as the operator sees it.
#[derive(Debug)]
pub(crate) struct Views {
    databases: Databases,
    clock: SharedClock,
    store: OnceCell<EventStore>,
    generations: Generations,
    dead_letters: DeadLetters,
    /// A mark that the generation has not passed yet, and since when the operator waits for that.
    outstanding: Mutex<Option<(Position, Instant)>>,
}

impl Views {
    pub(crate) fn new(databases: Databases, clock: SharedClock) -> Self {
        Self {
            generations: Generations::new(databases.views.clone(), clock.clone()),
            dead_letters: DeadLetters::new(&databases.views),
            databases,
            clock,
            store: OnceCell::new(),
            outstanding: Mutex::new(None),
        }
    }

    pub(crate) async fn observe(&self) -> Result<Observed, Error> {
        self.databases.connections.until_lost(self.look()).await
    }

    async fn look(&self) -> Result<Observed, Error> {
        let Some(control) = self.generations.current().await? else {
            return Ok(Observed {
                control: None,
                outdated: false,
                position: None,
                catching_up: None,
                lag: None,
                dead_letters: 0,
            });
        };
        let lag = if control.paused {
            None
        } else {
            Some(self.lag(control.active).await?)
        };
        let catching_up = match &control.building {
            Some(building) if building.phase == Phase::CatchingUp => self.position(building.generation).await?,
            _ => None,
        };
        Ok(Observed {
            position: self.position(control.active).await?,
            catching_up,
            dead_letters: i64::try_from(self.dead_letters.waiting(&subscription_name(control.active)).await?)
                .unwrap_or(i64::MAX),
            lag,
            outdated: self.generations.is_outdated(&control).await?,
            control: Some(control),
        })
    }

    /// Tells the projectors to stop following events, or to continue.
    pub(crate) async fn pause(&self, paused: bool) -> Result<(), Error> {
        // The delay of a mark during the pause says nothing about the time afterwards.
        self.remember(None);
        self.databases
            .connections
            .until_lost(self.generations.pause(paused))
            .await
    }

    async fn position(&self, generation: i64) -> Result<Option<Position>, Error> {
        let leases = Leases::new(self.databases.views.clone(), &subscription_name(generation))
            .all()
            .await?;
        let complete = leases.len() == usize::from(PARTITIONS);
        Ok(leases.iter().map(|lease| lease.position).min().filter(|_| complete))
    }

    /// How long a mark takes until every partition has passed it. If that is not soon, later observations wait for the same mark.
    async fn lag(&self, generation: i64) -> Result<Duration, Error> {
        let (mark, since) = match self.outstanding() {
            Some(outstanding) => outstanding,
            None => {
                let since = Instant::now();
                (self.store().await?.mark_all().await?, since)
            }
        };
        let deadline = Instant::now() + PASSES_WITHIN;
        loop {
            if self
                .position(generation)
                .await?
                .is_some_and(|position| position >= mark)
            {
                self.remember(None);
                return Ok(since.elapsed());
            }
            if Instant::now() >= deadline {
                self.remember(Some((mark, since)));
                return Ok(since.elapsed());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn store(&self) -> Result<&EventStore, Error> {
        let open = || EventStore::open(self.databases.events.clone(), self.clock.clone(), Retries::default());
        self.store.get_or_try_init(open).await
    }

    fn outstanding(&self) -> Option<(Position, Instant)> {
        *self.outstanding.lock().expect("nobody panics while holding it")
    }

    fn remember(&self, mark: Option<(Position, Instant)>) {
        *self.outstanding.lock().expect("nobody panics while holding it") = mark;
    }
}
