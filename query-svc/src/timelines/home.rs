//! The home timeline: every post and repost by its owner and by the accounts that the owner follows now.
//!
//! Above the floor the entries that were written for the owner are complete, except for large accounts, whose posts
//! are looked up and merged in. Below the floor the posts of all followees are looked up, without end. What of all this
//! is shown is decided by the posts, authors and follows as they are when the page is read.

use std::time::Duration;

use shared::clock::SharedClock;
use shared::ids::UserId;

use super::authored::{fan_out_on_read, merged, range};
use crate::cursor::Cursor;
use crate::metrics::HomeStep;
use crate::paging::Listing;
use crate::reading::{ReadError, Reading};
use crate::shown::{Candidate, List, ShownPost};
use crate::views::{End, Header, RelationId};

/// How a visit is treated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HomeSettings {
    /// A visit is written down if the last one that was is older.
    pub(crate) note_visit_every: Duration,
    /// How far above the present the floor of an owner who comes back is put.
    pub(crate) wake_margin: Duration,
}

/// The home timeline of one owner, for one page.
#[derive(Debug)]
pub(crate) struct Home<'a> {
    reading: &'a Reading,
    owner: UserId,
    settings: HomeSettings,
    clock: &'a SharedClock,
    /// Whether this is the owner, whose visit counts; else somebody looks who must leave no trace.
    visits: bool,
    /// What the header said at the last look.
    state: Option<State>,
    /// The owner and everybody whom the owner follows now; read when a page first reaches below the floor.
    sources: Option<Vec<UserId>>,
}

/// What the header says, made ready for reading.
#[derive(Debug)]
struct State {
    /// Entries are complete above this place. TOP if there are none that count.
    floor: Cursor,
    /// Large accounts that the owner follows now.
    large: Vec<UserId>,
    note_visit: bool,
}

impl<'a> Home<'a> {
    pub(crate) fn new(
        reading: &'a Reading,
        owner: UserId,
        visits: bool,
        settings: HomeSettings,
        clock: &'a SharedClock,
    ) -> Self {
        Self {
            reading,
            owner,
            settings,
            clock,
            visits,
            state: None,
            sources: None,
        }
    }

    /// Writes the visit down, if that is due. That it fails harms nobody: the next visit will be.
    pub(crate) async fn note_visit(&self) {
        if !self.state.as_ref().is_some_and(|state| state.note_visit) {
            return;
        }
        let timelines = &self.reading.views.home_timelines;
        if let Err(error) = self
            .reading
            .ask(timelines.note_visit(self.owner, self.clock.now()))
            .await
        {
            self.reading.metrics.visits_not_noted.inc();
            tracing::warn!(%error, owner = %self.owner, "a visit could not be written down");
        }
    }

    /// Reads the first entries between two places, and the header by which they count. An idle owner is woken.
    async fn look(
        &mut self,
        above: Cursor,
        below: Cursor,
        count: usize,
        end: End,
    ) -> Result<Vec<Candidate>, ReadError> {
        let timelines = &self.reading.views.home_timelines;
        let page = || {
            self.reading
                .ask(timelines.page(self.owner, range(above, below, count, end)))
        };
        let (mut header, mut entries) = page().await?;
        if header.idle {
            self.count(HomeStep::IDLE);
            if self.visits {
                self.wake().await;
                (header, entries) = page().await?;
            }
        }
        let note_visit = self.visits && !header.idle && !self.visited_lately(&header);
        let floor = match header.floor {
            _ if header.idle => Cursor::TOP,
            Some(floor) => Cursor::from(floor),
            None => Cursor::BOTTOM,
        };
        let large = self.followed(header.large).await?;
        self.state = Some(State {
            floor,
            large,
            note_visit,
        });
        Ok(entries.into_iter().map(Candidate::from).collect())
    }

    /// That it fails, or comes too late, harms nobody: the page goes without entries, and the next visit will wake the owner.
    async fn wake(&self) {
        let timelines = &self.reading.views.home_timelines;
        // The time is taken when the write may begin: what came before may have taken as long as the margin.
        let wake = async {
            timelines
                .wake(self.owner, self.clock.now(), self.settings.wake_margin)
                .await
        };
        if let Err(error) = self.reading.ask(wake).await {
            self.reading.metrics.visits_not_noted.inc();
            tracing::warn!(%error, owner = %self.owner, "an idle owner could not be woken");
        }
    }

    fn visited_lately(&self, header: &Header) -> bool {
        let every = chrono::TimeDelta::from_std(self.settings.note_visit_every).unwrap_or(chrono::TimeDelta::MAX);
        header.last_read.is_some_and(|last| self.clock.now() - last < every)
    }

    /// Those of the accounts that the owner follows now. Headers only ever gain names.
    async fn followed(&self, accounts: Vec<UserId>) -> Result<Vec<UserId>, ReadError> {
        if accounts.is_empty() {
            return Ok(accounts);
        }
        let follows = accounts.iter().map(|&it| RelationId::follow(self.owner, it)).collect();
        let follows = self.reading.relations(follows).await?;
        Ok(accounts
            .into_iter()
            .filter(|&it| follows[&RelationId::follow(self.owner, it)])
            .collect())
    }

    /// Adds what large accounts have posted above the floor, between two places.
    async fn with_large(
        &self,
        mut entries: Vec<Candidate>,
        above: Cursor,
        below: Cursor,
        count: usize,
        end: End,
    ) -> Result<Vec<Candidate>, ReadError> {
        let large = self.state.as_ref().map_or(&[][..], |state| &state.large);
        if large.is_empty() {
            return Ok(entries);
        }
        self.count(HomeStep::LARGE);
        entries.extend(fan_out_on_read(self.reading, large, range(above, below, count, end)).await?);
        Ok(merged(entries, count, end))
    }

    /// What the owner and everybody whom the owner follows has posted, between two places.
    async fn by_all_sources(
        &mut self,
        above: Cursor,
        below: Cursor,
        count: usize,
        end: End,
    ) -> Result<Vec<Candidate>, ReadError> {
        self.count(HomeStep::BELOW_FLOOR);
        let sources = match &mut self.sources {
            Some(sources) => sources,
            unknown => {
                let mut sources = self
                    .reading
                    .ask(self.reading.views.relations.followees(self.owner))
                    .await?;
                sources.push(self.owner);
                unknown.insert(sources)
            }
        };
        fan_out_on_read(self.reading, sources, range(above, below, count, end)).await
    }

    fn floor(&self) -> Cursor {
        self.state.as_ref().map_or(Cursor::TOP, |state| state.floor)
    }

    fn count(&self, kind: HomeStep) {
        self.reading.metrics.home_steps.get_or_create(&kind).inc();
    }
}

impl Listing for Home<'_> {
    type Candidate = Candidate;
    type Item = ShownPost;

    fn place(candidate: &Candidate) -> Cursor {
        candidate.place()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Vec<Candidate>, ReadError> {
        let mut found = Vec::new();
        // The floor only rises: what once lay below it needs no second look.
        if self.state.is_none() || below > self.floor().above() {
            let entries = self.look(Cursor::BOTTOM, below, count, End::Newest).await?;
            let floor = self.floor();
            if below > floor.above() {
                self.count(HomeStep::STORED);
                found = self.with_large(entries, floor, below, count, End::Newest).await?;
            }
        }
        let floor = self.floor();
        if found.len() < count && floor > Cursor::BOTTOM {
            let rest = count - found.len();
            found.extend(
                self.by_all_sources(Cursor::BOTTOM, below.min(floor.above()), rest, End::Newest)
                    .await?,
            );
        }
        Ok(found)
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Vec<Candidate>, ReadError> {
        let mut found = Vec::new();
        let mut from = above;
        loop {
            let rest = count - found.len();
            let entries = self.look(from, Cursor::TOP, rest, End::Oldest).await?;
            let floor = self.floor();
            if from >= floor {
                self.count(HomeStep::STORED);
                let mut entries = self.with_large(entries, from, Cursor::TOP, rest, End::Oldest).await?;
                entries.reverse();
                found.extend(entries);
                return Ok(found);
            }
            let mut below = self.by_all_sources(from, floor.above(), rest, End::Oldest).await?;
            below.reverse();
            found.extend(below);
            if found.len() == count || floor == Cursor::TOP {
                return Ok(found);
            }
            // The look began below the floor; and by now the floor may be higher.
            from = floor;
        }
    }

    async fn admit(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<ShownPost>>, ReadError> {
        self.reading.show(candidates, Some(self.owner), List::Home).await
    }
}
