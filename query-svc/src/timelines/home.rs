//! The home timeline: every post and repost by its owner and by the accounts that the owner follows now, and every public
//! post with a tag that the owner follows now.
//!
//! Above the floor, no entry is missing, except for the posts of large accounts. A page finds those when it is read, and
//! merges them in. Below the floor, a page finds the posts of all followees when it is read (fan-out on read), without end.
//! Posts with followed tags are merged in everywhere, because no entries are written for them. The posts, authors and follows
//! at that time decide what is shown. So do the owner's exclusive lists: the header says whether there are any.
//!
//! The newest part of a timeline that is read again and again is in memory ([`heads`]). A page begins with it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use model::clock::SharedClock;
use model::ids::UserId;
use model::values::FilterContext;

use super::authors::{Authors, in_direction, merged, range};
use super::tags::with_tags;
use crate::cursor::Cursor;
use crate::documents::Held;
use crate::filters::Filtering;
use crate::handled::Appearance;
use crate::heads::{self, Filling, Head};
use crate::metrics::HomeStep;
use crate::paging::{Listing, Part};
use crate::read_model::{ReadError, ReadModel};
use crate::shown::{AuthorFilter, Candidate, HomeRules, Replies, ShownPost};
use views::{End, Header, RelationId};

/// How visits of owners are handled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HomeSettings {
    /// A visit is recorded if the last recorded visit is older than this.
    pub(crate) note_visit_every: Duration,
    /// How far above the present time the floor is put when an owner comes back.
    pub(crate) wake_margin: Duration,
}

/// The home timeline of one owner, for one page.
#[derive(Debug)]
pub(crate) struct Home<'a> {
    read_model: &'a ReadModel,
    owner: UserId,
    settings: HomeSettings,
    clock: &'a SharedClock,
    /// Whether the reader is the owner, whose visit counts. Any other reader must leave no trace.
    visits: bool,
    replies: Replies,
    /// Entries are not read at all.
    from_rows: bool,
    /// The newest part in memory, once it was looked for.
    head: Option<Option<OfHead>>,
    /// What the header said at the last look.
    state: Option<State>,
    /// The owner and everybody whom the owner follows now. They are known or read when a page first reaches below the floor.
    sources: Option<Authors>,
}

/// The newest part in memory, and what belongs to the timeline.
#[derive(Debug)]
struct OfHead {
    head: Arc<Head>,
    rules: HomeRules,
}

/// What the header says, prepared for reading.
#[derive(Debug)]
struct State {
    /// No entry is missing above this place. TOP if no entries count.
    floor: Cursor,
    /// Large accounts that the owner follows now.
    large: Authors,
    rules: HomeRules,
    note_visit: bool,
}

impl<'a> Home<'a> {
    pub(crate) fn new(
        read_model: &'a ReadModel,
        owner: UserId,
        visits: bool,
        replies: Replies,
        settings: HomeSettings,
        clock: &'a SharedClock,
    ) -> Self {
        Self {
            read_model,
            owner,
            settings,
            clock,
            visits,
            replies,
            from_rows: false,
            head: None,
            state: None,
            sources: None,
        }
    }

    /// The same, found by the rows of all posts and not by entries. An entry is written some time after the row.
    pub(crate) fn by_rows(self) -> Self {
        Self {
            from_rows: true,
            visits: false,
            ..self
        }
    }

    /// Records the visit, if that is due. A failure does no harm: the next visit will be recorded.
    pub(crate) async fn note_visit(&self) {
        if !self.state.as_ref().is_some_and(|state| state.note_visit) {
            return;
        }
        let timelines = &self.read_model.views.home_timelines;
        if let Err(error) = self
            .read_model
            .ask(timelines.note_visit(self.owner, self.clock.now()))
            .await
        {
            self.read_model.metrics.visits_not_noted.inc();
            tracing::warn!(%error, owner = %self.owner, "a visit could not be recorded");
        }
    }

    /// Reads the header, for a page without entries.
    async fn look_at_header(&mut self) -> Result<(), ReadError> {
        let timelines = &self.read_model.views.home_timelines;
        let header = self.read_model.ask(timelines.header(self.owner)).await?;
        let rules = self.rules(&header).await?;
        self.state = Some(State {
            floor: Cursor::TOP,
            large: Authors::new(Vec::new()),
            rules,
            note_visit: false,
        });
        Ok(())
    }

    async fn rules(&self, header: &Header) -> Result<HomeRules, ReadError> {
        home_rules(self.read_model, self.owner, header, self.replies).await
    }

    /// Reads the first entries between two places, and the header that says whether they count. Wakes an idle owner.
    async fn look(
        &mut self,
        above: Cursor,
        below: Cursor,
        count: usize,
        end: End,
    ) -> Result<Part<Candidate>, ReadError> {
        let timelines = &self.read_model.views.home_timelines;
        let page = || {
            self.read_model
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
        let note_visit = self.visits && !header.idle && !self.visited_lately(header.last_read);
        let floor = match header.floor {
            _ if header.idle => Cursor::TOP,
            Some(floor) => Cursor::from(floor),
            None => Cursor::BOTTOM,
        };
        let rules = self.rules(&header).await?;
        let large = self.followed(header.large).await?;
        self.state = Some(State {
            floor,
            large: Authors::new(large),
            rules,
            note_visit,
        });
        Ok(in_direction(
            entries.into_iter().map(Candidate::from).collect(),
            count,
            end,
        ))
    }

    /// Wakes an idle owner. It does no harm if this fails or comes too late: the page continues without entries, and the next
    /// visit wakes the owner.
    async fn wake(&self) {
        let timelines = &self.read_model.views.home_timelines;
        // Take the time when the write may begin. The wait before it may have taken as long as the margin.
        let wake = async {
            timelines
                .wake(self.owner, self.clock.now(), self.settings.wake_margin)
                .await
        };
        if let Err(error) = self.read_model.ask(wake).await {
            self.read_model.metrics.visits_not_noted.inc();
            tracing::warn!(%error, owner = %self.owner, "an idle owner could not be woken");
        }
    }

    fn visited_lately(&self, last_read: Option<DateTime<Utc>>) -> bool {
        let every = chrono::TimeDelta::from_std(self.settings.note_visit_every).unwrap_or(chrono::TimeDelta::MAX);
        last_read.is_some_and(|last| self.clock.now() - last < every)
    }

    /// Those of the accounts that the owner follows now. A header never loses a name, so it may name others too.
    async fn followed(&self, accounts: Vec<UserId>) -> Result<Vec<UserId>, ReadError> {
        if accounts.is_empty() {
            return Ok(accounts);
        }
        let follows = accounts.iter().map(|&it| RelationId::follow(self.owner, it)).collect();
        let follows = self.read_model.relations(follows).await?;
        Ok(accounts
            .into_iter()
            .filter(|&it| follows[&RelationId::follow(self.owner, it)] == Held::Yes)
            .collect())
    }

    /// Adds what is merged in above the floor, between two places: what large accounts have posted, and followed tags.
    async fn with_merged(
        &mut self,
        entries: Part<Candidate>,
        between: (Cursor, Cursor),
        count: usize,
        end: End,
    ) -> Result<Part<Candidate>, ReadError> {
        let (read_model, now) = (self.read_model, self.clock.now());
        self.count(HomeStep::STORED);
        let mut part = entries;
        if let Some(State { large, .. }) = self.state.as_mut().filter(|state| !state.large.is_empty()) {
            let by_large = large.part(read_model, between, count, end, now).await?;
            self.count(HomeStep::LARGE);
            part = merged(vec![part, by_large], count, end);
        }
        self.with_tags(part, between, count, end).await
    }

    /// Adds the public posts with followed tags, between the same two places.
    async fn with_tags(
        &self,
        part: Part<Candidate>,
        between: (Cursor, Cursor),
        count: usize,
        end: End,
    ) -> Result<Part<Candidate>, ReadError> {
        let Some(rules) = self.known_rules().filter(|rules| !rules.tags.is_empty()) else {
            return Ok(part);
        };
        self.count(HomeStep::TAGS);
        with_tags(self.read_model, &rules.tags, part, between, count, end).await
    }

    /// What the owner and everybody whom the owner follows have posted, and followed tags, between two places.
    async fn by_all_sources(
        &mut self,
        between: (Cursor, Cursor),
        count: usize,
        end: End,
    ) -> Result<Part<Candidate>, ReadError> {
        self.count(HomeStep::BELOW_FLOOR);
        let (read_model, now) = (self.read_model, self.clock.now());
        let sources = match &mut self.sources {
            Some(sources) => sources,
            unknown => unknown.insert(match self.head.as_ref().and_then(Option::as_ref) {
                Some(OfHead { head, .. }) => {
                    let (sources, density) = head.sources();
                    Authors::new(sources.to_vec()).with_density(density)
                }
                None => {
                    let mut sources = read_model.ask(read_model.views.relations.followees(self.owner)).await?;
                    sources.push(self.owner);
                    Authors::new(sources)
                }
            }),
        };
        let part = sources.part(read_model, between, count, end, now).await?;
        self.with_tags(part, between, count, end).await
    }

    /// The newest part of the timeline, if it is in memory. An owner who reads again gets one.
    async fn head(&mut self) -> Result<Option<&OfHead>, ReadError> {
        if self.head.is_none() {
            let documents = self.read_model.documents.as_deref().filter(|_| !self.from_rows);
            let found = match documents.map(|documents| &documents.heads) {
                None => None,
                Some(heads) => match heads.of(self.owner) {
                    // The visit is due. So this page looks at the header, and wakes an owner who is idle.
                    Some(head) if self.visits && !self.visited_lately(head.last_read()) => {
                        head.note_visit(self.clock.now());
                        None
                    }
                    Some(head) => Some(head),
                    None => match heads.fill(self.owner) {
                        // The future is on the heap, because most pages don't need it.
                        Some(filling) => Some(Box::pin(self.fill(filling)).await?),
                        None => None,
                    },
                },
            };
            self.head = Some(found.map(|head| OfHead {
                rules: head.rules(self.replies),
                head,
            }));
        }
        Ok(self.known_head())
    }

    async fn fill(&self, mut filling: Filling<'_>) -> Result<Arc<Head>, ReadError> {
        let read_model = self.read_model;
        let (header, mut sources) = futures_util::try_join!(
            read_model.ask(read_model.views.home_timelines.header(self.owner)),
            read_model.ask(read_model.views.relations.followees(self.owner)),
        )?;
        let rules = self.rules(&header).await?;
        sources.push(self.owner);
        filling.follow(&sources, &rules.tags);
        let everywhere = (Cursor::BOTTOM, Cursor::TOP);
        let mut sources = Authors::new(sources);
        let now = self.clock.now();
        let by_sources = sources
            .part(read_model, everywhere, heads::LENGTH, End::Newest, now)
            .await?;
        let newest = with_tags(
            read_model,
            &rules.tags,
            by_sources,
            everywhere,
            heads::LENGTH,
            End::Newest,
        )
        .await?;
        Ok(filling.finish(&newest, &rules, &header))
    }

    fn floor(&self) -> Cursor {
        self.known_floor().unwrap_or(Cursor::TOP)
    }

    /// What the header says, or said when the head was filled. The floor only rises.
    fn known_floor(&self) -> Option<Cursor> {
        let of_head = || self.known_head().map(|it| it.head.floor());
        self.state.as_ref().map(|state| state.floor).or_else(of_head)
    }

    /// What was read last is the newest.
    fn known_rules(&self) -> Option<&HomeRules> {
        let of_head = || self.known_head().map(|it| &it.rules);
        self.state.as_ref().map(|state| &state.rules).or_else(of_head)
    }

    fn known_head(&self) -> Option<&OfHead> {
        self.head.as_ref().and_then(Option::as_ref)
    }

    fn count(&self, kind: HomeStep) {
        self.read_model.metrics.home_steps.get_or_create(&kind).inc();
    }
}

/// What belongs to a home timeline, by its header.
pub(crate) async fn home_rules(
    read_model: &ReadModel,
    owner: UserId,
    header: &Header,
    replies: Replies,
) -> Result<HomeRules, ReadError> {
    // Most owners have never followed a tag. For them, the header saves the question.
    let tags = match header.follows_tags && read_model.check_has_tags().is_ok() {
        true => {
            read_model
                .ask(read_model.views.followed_tags.all_of_user(owner))
                .await?
        }
        false => Vec::new(),
    };
    Ok(HomeRules {
        tags,
        exclusive_lists: header.exclusive_lists,
        replies,
    })
}

impl Listing for Home<'_> {
    type Candidate = Candidate;
    type Item = ShownPost;

    fn place(candidate: &Candidate) -> Cursor {
        candidate.place()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<Candidate>, ReadError> {
        // `verify` leaves no visit. Downwards it compares what is stored, and in its other readings what is in memory.
        if (self.visits || self.replies == Replies::Followed)
            && let Some(part) = self.head().await?.and_then(|it| it.head.older(below, count))
        {
            self.count(HomeStep::HEAD);
            return Ok(part);
        }
        // The floor only rises, so a place that was once below it needs no second look.
        if self.known_floor().is_none_or(|floor| below > floor.above()) {
            let entries = self.look(Cursor::BOTTOM, below, count, End::Newest).await?;
            let floor = self.floor();
            if below > floor.above() {
                let mut part = self.with_merged(entries, (floor, below), count, End::Newest).await?;
                if part.more.is_none() && floor > Cursor::BOTTOM {
                    part.more = Some(floor.above());
                }
                return Ok(part);
            }
        }
        let below = below.min(self.floor().above());
        self.by_all_sources((Cursor::BOTTOM, below), count, End::Newest).await
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<Candidate>, ReadError> {
        if self.from_rows {
            if self.state.is_none() {
                self.look_at_header().await?;
            }
            return self.by_all_sources((above, Cursor::TOP), count, End::Oldest).await;
        }
        if let Some(part) = self.head().await?.and_then(|it| it.head.newer(above, count)) {
            self.count(HomeStep::HEAD);
            return Ok(part);
        }
        let entries = self.look(above, Cursor::TOP, count, End::Oldest).await?;
        let floor = self.floor();
        if above >= floor {
            return self
                .with_merged(entries, (above, Cursor::TOP), count, End::Oldest)
                .await;
        }
        let mut part = self.by_all_sources((above, floor.above()), count, End::Oldest).await?;
        if part.more.is_none() && floor < Cursor::TOP {
            // This look began below the floor, and the floor may be higher by the next one.
            part.more = Some(floor);
        }
        Ok(part)
    }

    /// Entries don't contain the position of their event, but posts do.
    async fn appearances(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<Appearance>>, ReadError> {
        self.read_model.appearances_of(candidates).await
    }

    async fn admit(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<ShownPost>>, ReadError> {
        let nothing = HomeRules::default();
        let rules = self.known_rules().unwrap_or(&nothing);
        self.read_model
            .show(
                candidates,
                Some(self.owner),
                AuthorFilter::Followed(rules),
                Filtering::In(FilterContext::Home),
            )
            .await
    }
}
