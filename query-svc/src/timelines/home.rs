//! The home timeline: every post and repost by its owner and by the accounts that the owner follows now.
//!
//! Above the floor the entries that were written for the owner are complete, except for large accounts, whose posts
//! are looked up and merged in. Below the floor the posts of all followees are looked up, without end. What of all this
//! is shown is decided by the posts, authors and follows as they are when the page is read.

use std::time::Duration;

use shared::clock::SharedClock;
use shared::ids::{PostId, UserId, uuid_v7_floor};

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
    /// Known after the first step.
    state: Option<State>,
}

/// What the header says, made ready for reading.
#[derive(Debug)]
struct State {
    /// Entries are complete above this place. TOP if there are none that count.
    floor: Cursor,
    /// Large accounts that the owner follows now.
    large: Vec<UserId>,
    /// The owner and everybody whom the owner follows now; read when a page first reaches below the floor.
    sources: Option<Vec<UserId>>,
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

    /// The header, and with it the first entries between two places, as far as they count. No entries if the header is
    /// no longer the one that they were chosen by.
    async fn begin(
        &mut self,
        above: Cursor,
        below: Cursor,
        count: usize,
        end: End,
    ) -> Result<Option<Vec<Candidate>>, ReadError> {
        let timelines = &self.reading.views.home_timelines;
        let (mut header, entries) = self
            .reading
            .ask(timelines.page(self.owner, range(above, below, count, end)))
            .await?;
        let was_idle = header.idle;
        if was_idle {
            self.count(HomeStep::IDLE);
            if self.visits {
                // Above every post whose fan-out may have skipped this owner.
                let margin = chrono::TimeDelta::from_std(self.settings.wake_margin).unwrap_or(chrono::TimeDelta::MAX);
                let wake = async {
                    // Right before the write: what came before it may have taken as long as the margin.
                    let now = self.clock.now();
                    let floor = PostId::from_uuid(uuid_v7_floor(now + margin));
                    timelines.wake(self.owner, floor, now).await
                };
                header = self.reading.ask(wake).await?;
            }
        }
        let note_visit = self.visits && !self.visited_lately(&header);
        let floor = match header.floor {
            _ if header.idle => Cursor::TOP,
            Some(floor) => Cursor::from(floor),
            None => Cursor::BOTTOM,
        };
        let large = self.followed(header.large).await?;
        self.state = Some(State {
            floor,
            large,
            sources: None,
            note_visit,
        });
        Ok((!was_idle).then(|| entries.into_iter().map(Candidate::from).collect()))
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
        let follows = self
            .reading
            .relations(accounts.iter().map(|&it| RelationId::follow(self.owner, it)))
            .await?;
        Ok(accounts
            .into_iter()
            .filter(|&it| follows[&RelationId::follow(self.owner, it)])
            .collect())
    }

    async fn entries(&self, above: Cursor, below: Cursor, count: usize, end: End) -> Result<Vec<Candidate>, ReadError> {
        let timelines = &self.reading.views.home_timelines;
        let entries = self
            .reading
            .ask(timelines.entries(self.owner, range(above, below, count, end)))
            .await?;
        Ok(entries.into_iter().map(Candidate::from).collect())
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
        let sources = match self.state.as_mut().and_then(|state| state.sources.take()) {
            Some(sources) => sources,
            None => {
                let mut sources = self
                    .reading
                    .ask(self.reading.views.relations.followees(self.owner))
                    .await?;
                sources.push(self.owner);
                sources
            }
        };
        let found = fan_out_on_read(self.reading, &sources, range(above, below, count, end)).await;
        if let Some(state) = &mut self.state {
            state.sources = Some(sources);
        }
        found
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
        let read_already = match self.state {
            None => self.begin(Cursor::BOTTOM, below, count, End::Newest).await?,
            Some(_) => None,
        };
        let floor = self.floor();
        let mut found = Vec::new();
        if below > floor.above() {
            self.count(HomeStep::STORED);
            let entries = match read_already {
                Some(entries) => entries,
                None => self.entries(floor, below, count, End::Newest).await?,
            };
            found = self.with_large(entries, floor, below, count, End::Newest).await?;
        }
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
        let read_already = match self.state {
            None => self.begin(above, Cursor::TOP, count, End::Oldest).await?,
            Some(_) => None,
        };
        let floor = self.floor();
        let mut found = Vec::new();
        if above < floor {
            found = self.by_all_sources(above, floor.above(), count, End::Oldest).await?;
            found.reverse();
        }
        let rest = count - found.len();
        if rest > 0 && floor < Cursor::TOP {
            self.count(HomeStep::STORED);
            let from = above.max(floor);
            let entries = match read_already {
                Some(entries) if above >= floor => entries,
                _ => self.entries(from, Cursor::TOP, rest, End::Oldest).await?,
            };
            let mut entries = self.with_large(entries, from, Cursor::TOP, rest, End::Oldest).await?;
            entries.reverse();
            found.extend(entries);
        }
        Ok(found)
    }

    async fn admit(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<ShownPost>>, ReadError> {
        self.reading.show(candidates, Some(self.owner), List::Home).await
    }
}
