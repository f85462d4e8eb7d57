//! Pages of a list, newest first: what all lists have in common.
//!
//! A list gives candidates in order. Which of them are shown is decided when the page is read: deleted ones are not, and
//! neither are those that the caller may not see. A page continues until it is full, the list ends, or it has looked at
//! enough. So no list costs without bound, however much of it is hidden from the caller. A page that stopped early is short,
//! perhaps empty. Its cursors continue from the last candidate that it looked at.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use event_log::position::Position;
use model::ids::{PostId, uuid_v7_floor};
use serde::Serialize;
use views::End;

use crate::cursor::Cursor;
use crate::handled::{Appearance, Handled};
use crate::read_model::ReadError;
use crate::since::{Resumed, Seen, Since};

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageRequest {
    pub(crate) limit: usize,
    pub(crate) start: Start,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Newest,
    /// The newest items below the cursor.
    Before(Cursor),
    /// The oldest items that the client does not know yet. So a client that polls skips none.
    After(Since),
}

/// As [`model::api::Page`], but the items are serialized straight from the cache.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<Cursor>,
    pub(crate) prev: Option<Since>,
    /// The list was read to its end, upwards or downwards.
    #[serde(skip)]
    pub(crate) ended: bool,
    /// Something was not shown. Perhaps a row that it needs is still missing.
    #[serde(skip)]
    pub(crate) hides: bool,
}

/// Some candidates of a list, and where the list continues. `more` is None at the end of the list.
#[derive(Debug)]
pub(crate) struct Part<C> {
    pub(crate) candidates: Vec<C>,
    pub(crate) more: Option<Cursor>,
}

impl<C> Part<C> {
    /// The answer to a question for `count` candidates. If there are fewer, the list has ended.
    pub(crate) fn of(candidates: Vec<C>, count: usize, place: impl Fn(&C) -> Cursor) -> Self {
        let more = candidates.last().filter(|_| candidates.len() >= count).map(place);
        Self { candidates, more }
    }
}

/// A guess that was too short is made longer by this factor. So the questions that find too little cost little, compared with
/// those that find enough.
pub(crate) const LONGER: i32 = 8;

/// The part of a range that begins at `end` and is `span` long, and the place where the rest begins. None if the part is the
/// whole range.
pub(crate) fn shortened(
    above: Cursor,
    below: Cursor,
    span: TimeDelta,
    end: End,
    now: DateTime<Utc>,
) -> (Cursor, Cursor, Option<Cursor>) {
    let floor = |time: DateTime<Utc>| Cursor::from(PostId::from_uuid(uuid_v7_floor(time)));
    match end {
        End::Newest => {
            let newest = below.to_post().time().min(now);
            match newest.checked_sub_signed(span) {
                // No id is older than the epoch.
                Some(time) if time > DateTime::UNIX_EPOCH && floor(time) > above => {
                    (floor(time), below, Some(floor(time).above()))
                }
                _ => (above, below, None),
            }
        }
        End::Oldest => match above.to_post().time().checked_add_signed(span) {
            // New posts may soon appear beyond now, so no place there counts as looked at.
            Some(time) if time < now && floor(time) < below => (above, floor(time), Some(floor(time).below())),
            _ => (above, below, None),
        },
    }
}

/// A list that pages can be made of.
pub(crate) trait Listing {
    type Candidate;
    type Item;

    fn place(candidate: &Self::Candidate) -> Cursor;

    /// The newest candidates below a place, `count` at most, newest first.
    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<Self::Candidate>, ReadError>;

    /// The oldest candidates above a place, `count` at most, oldest first.
    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<Self::Candidate>, ReadError>;

    /// The event by which each candidate appeared. None if it is not known.
    async fn appearances(&mut self, candidates: &[Self::Candidate]) -> Result<Vec<Option<Appearance>>, ReadError>;

    /// The item to show for each candidate, in the same order. `None` if it is not shown. If the list can't afford to decide on all of them,
    /// there are fewer, and the page ends. At least the first candidate of a page has an answer.
    async fn admit(&mut self, candidates: &[Self::Candidate]) -> Result<Vec<Option<Self::Item>>, ReadError>;
}

/// In which order items appear in a list.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// In the order of their places: nothing arrives late.
    InOrder,
    /// Items may arrive late. Their places are ids, which several clocks make before the events are committed.
    Late {
        /// What the views held before anything of the list was read.
        handled: Handled,
        now: DateTime<Utc>,
        /// How far an id may lie behind.
        overlap: TimeDelta,
    },
}

impl Arrival {
    /// The place below which nothing new can appear any more if the views held `held`. It lies `overlap` before the position
    /// that every partition had handled, and before now.
    fn settled(&self, held: &Handled) -> Cursor {
        match self {
            Arrival::InOrder => Cursor::TOP,
            Arrival::Late { now, overlap, .. } => match held.slowest() {
                Position::ORIGIN => Cursor::BOTTOM,
                slowest => floor_of(slowest.time().min(*now) - *overlap),
            },
        }
    }

    /// The `prev` of a page: the list was looked at from `settled` up to `up_to`, while the views held at least `held`.
    pub(crate) fn since(&self, settled: Cursor, up_to: Cursor, held: Option<Handled>) -> Since {
        let Some(held) = held else {
            return Since::settled(up_to);
        };
        let settled = settled.max(up_to.min(self.settled(&held)));
        if settled >= up_to {
            return Since::settled(settled);
        }
        Since {
            settled,
            seen: Some(Box::new(Seen {
                up_to,
                handled: held,
                resumed: None,
            })),
        }
    }

    fn held(&self) -> Option<Handled> {
        match self {
            Arrival::InOrder => None,
            Arrival::Late { handled, .. } => Some(handled.clone()),
        }
    }
}

/// The place below every id that a clock makes from `time` on.
fn floor_of(time: DateTime<Utc>) -> Cursor {
    PostId::from_uuid(uuid_v7_floor(time)).into()
}

/// What one page may cost at most.
#[derive(Debug, Clone, Copy)]
struct Budget {
    /// How many candidates a page may decide on: whether they are shown. Each decision loads posts, authors and relations.
    decided: usize,
    /// How many candidates a page may read, including those that an earlier page has shown.
    read: usize,
    /// How many times a page may ask for candidates.
    parts: usize,
}

impl Budget {
    /// A page may decide on five times as many candidates as the longest page shows.
    const PAGE: Self = Self {
        decided: 500,
        read: 5_000,
        parts: 32,
    };
}

/// How many candidates are read first if most of them are already known. Each further read takes twice as many, up to eight
/// times this number.
const KNOWN_STEP: usize = 200;

/// Makes a page.
pub(crate) async fn page<L: Listing>(
    list: &mut L,
    request: PageRequest,
    arrival: &Arrival,
) -> Result<Page<L::Item>, ReadError> {
    page_within(Budget::PAGE, list, request, arrival).await
}

/// The same for a part of another page, which has no budget of its own.
pub(crate) async fn page_of_at_most<L: Listing>(
    decided: usize,
    list: &mut L,
    request: PageRequest,
    arrival: &Arrival,
) -> Result<Page<L::Item>, ReadError> {
    let budget = Budget {
        decided,
        ..Budget::PAGE
    };
    page_within(budget, list, request, arrival).await
}

async fn page_within<L: Listing>(
    budget: Budget,
    list: &mut L,
    request: PageRequest,
    arrival: &Arrival,
) -> Result<Page<L::Item>, ReadError> {
    match request.start {
        Start::Newest => downwards(budget, list, Cursor::TOP, request.limit, arrival).await,
        Start::Before(below) => downwards(budget, list, below, request.limit, arrival).await,
        Start::After(since) => upwards(budget, list, since, request.limit, arrival).await,
    }
}

async fn downwards<L: Listing>(
    budget: Budget,
    list: &mut L,
    below: Cursor,
    limit: usize,
    arrival: &Arrival,
) -> Result<Page<L::Item>, ReadError> {
    // One item more than is shown tells whether there is a next page.
    let mut gathered = gather(budget, list, Direction::Older, below, limit + 1, None).await?;
    let next = if gathered.shown.len() > limit {
        gathered.shown.truncate(limit);
        gathered.shown.last().map(|(place, _)| *place)
    } else {
        gathered.more
    };
    let prev = match gathered.first {
        Some(newest) => arrival.since(Cursor::BOTTOM, newest, arrival.held()),
        None => {
            let place = below.below();
            Since::settled(arrival.held().map_or(place, |held| place.min(arrival.settled(&held))))
        }
    };
    let (ended, hides) = (gathered.more.is_none(), gathered.hides);
    let items = gathered.shown.into_iter().map(|(_, item)| item).collect();
    Ok(Page {
        items,
        next,
        prev: Some(prev),
        ended,
        hides,
    })
}

/// The oldest items first: late items among the known ones, then new items.
///
/// A look for late items begins at the settled place. It ends at the end of the list, or with a page that has nothing but new
/// items. Until then, each page continues where the one before it stopped. So a client that polls makes progress, however
/// many items come again. A look that took several pages for known items ends only when it has reached items that are newer
/// than the look itself. Otherwise, where many items are known, most pages would go to such looks.
async fn upwards<L: Listing>(
    budget: Budget,
    list: &mut L,
    since: Since,
    limit: usize,
    arrival: &Arrival,
) -> Result<Page<L::Item>, ReadError> {
    let Since { settled, seen } = since;
    let known_to = seen.as_ref().map_or(settled, |seen| seen.up_to);
    let held = arrival.held();
    let resumed = seen.as_ref().and_then(|seen| seen.resumed.as_ref());
    let goes_on = resumed.is_some();
    let (from, begun) = match resumed {
        // If another process began the look, this one may not show everything that the other held.
        Some(resumed) => (resumed.at, held.map(|held| held.min(&resumed.handled))),
        None => (settled, held),
    };
    let gathered = gather(budget, list, Direction::Newer, from, limit, seen.as_deref()).await?;
    let reached = match gathered.more {
        Some(place) => place,
        None => gathered.last.map_or(known_to, |last| last.max(known_to)),
    };
    let late = gathered.shown.first().is_some_and(|(place, _)| *place <= known_to);
    let older_than_look = goes_on
        && begun
            .as_ref()
            .is_some_and(|begun| reached < floor_of(begun.highest().time()));
    let prev = match (seen, begun) {
        (Some(mut seen), Some(handled)) if reached < seen.up_to => {
            seen.resumed = Some(Resumed { at: reached, handled });
            Since {
                settled,
                seen: Some(seen),
            }
        }
        (Some(_), begun) if gathered.more.is_some() && (late || reached == known_to || older_than_look) => {
            // Otherwise, the items that come again would fill every page.
            let mut since = arrival.since(settled, reached, begun.clone());
            if let (Some(seen), Some(handled)) = (&mut since.seen, begun) {
                seen.resumed = Some(Resumed { at: reached, handled });
            }
            since
        }
        (_, begun) => arrival.since(settled, reached, begun),
    };
    let next = gathered.shown.first().map_or(known_to.above(), |(place, _)| *place);
    let (ended, hides) = (gathered.more.is_none(), gathered.hides);
    let items = gathered.shown.into_iter().rev().map(|(_, item)| item).collect();
    Ok(Page {
        items,
        next: Some(next),
        prev: Some(prev),
        ended,
        hides,
    })
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Older,
    Newer,
}

/// What was found from a place on.
#[derive(Debug)]
struct Gathered<T> {
    shown: Vec<(Cursor, T)>,
    /// The first and the last candidate, whether they are shown or not.
    first: Option<Cursor>,
    last: Option<Cursor>,
    /// Everything up to here was looked at, and there may be more. `None` at the end of the list.
    more: Option<Cursor>,
    /// A candidate was not shown.
    hides: bool,
}

/// The first `want` items that are shown, from a place on. There are fewer at the end of the list, or if the budget runs out.
async fn gather<L: Listing>(
    budget: Budget,
    list: &mut L,
    direction: Direction,
    from: Cursor,
    want: usize,
    seen: Option<&Seen>,
) -> Result<Gathered<L::Item>, ReadError> {
    let mut gathered = Gathered {
        shown: Vec::with_capacity(want),
        first: None,
        last: None,
        more: Some(from),
        hides: false,
    };
    let mut waiting: VecDeque<L::Candidate> = VecDeque::new();
    // Where the list is read next. None once its end has been read.
    let mut edge = Some(from);
    let (mut step, mut decided, mut read, mut parts) = (want, 0, 0, 0);
    loop {
        if waiting.is_empty() {
            gathered.more = edge;
            let Some(place) = edge else { return Ok(gathered) };
            if decided >= budget.decided || read >= budget.read || parts >= budget.parts {
                return Ok(gathered);
            }
            let known = seen.filter(|seen| place < seen.up_to);
            let count = known
                .map_or(step, |_| step.max(KNOWN_STEP << parts.min(3)))
                .min(budget.read - read);
            let part = match direction {
                Direction::Older => list.older(place, count).await?,
                Direction::Newer => list.newer(place, count).await?,
            };
            edge = part.more;
            read += part.candidates.len();
            parts += 1;
            gathered.first = gathered.first.or(part.candidates.first().map(L::place));
            gathered.last = part.candidates.last().map(L::place).or(gathered.last);
            waiting = match known {
                Some(seen) => unknown(list, part.candidates, seen).await?,
                None => part.candidates.into(),
            };
            continue;
        }
        let most = step.min(budget.decided - decided).min(waiting.len());
        if most == 0 {
            return Ok(gathered);
        }
        let candidates: Vec<L::Candidate> = waiting.drain(..most).collect();
        let admitted = list.admit(&candidates).await?;
        decided += candidates.len();
        let ends_here = admitted.len() < candidates.len();
        let before = gathered.shown.len();
        for (candidate, item) in candidates.iter().zip(admitted) {
            let place = L::place(candidate);
            gathered.more = Some(place);
            gathered.hides |= item.is_none();
            if let Some(item) = item {
                gathered.shown.push((place, item));
                if gathered.shown.len() == want {
                    if gathered.last == Some(place) && edge.is_none() {
                        gathered.more = None;
                    }
                    return Ok(gathered);
                }
            }
        }
        if ends_here {
            return Ok(gathered);
        }
        let missing = want - gathered.shown.len();
        step = if (gathered.shown.len() - before) * 2 >= candidates.len() {
            // Ask for a few more than are missing, because some of these will not be shown either.
            missing + missing / 4 + 2
        } else {
            (step * 4).max(missing)
        };
    }
}

/// Leaves out candidates that an earlier page has shown, or has decided not to show.
async fn unknown<L: Listing>(
    list: &mut L,
    candidates: Vec<L::Candidate>,
    seen: &Seen,
) -> Result<VecDeque<L::Candidate>, ReadError> {
    let above = candidates.partition_point(|candidate| L::place(candidate) <= seen.up_to);
    let appearances = list.appearances(&candidates[..above]).await?;
    let shown_then = |appearance: &Option<Appearance>| {
        appearance
            .as_ref()
            .is_some_and(|appearance| seen.handled.shows(appearance))
    };
    let known = appearances
        .iter()
        .map(shown_then)
        .chain(std::iter::repeat_n(false, candidates.len() - above));
    Ok(candidates
        .into_iter()
        .zip(known)
        .filter_map(|(candidate, known)| (!known).then_some(candidate))
        .collect())
}

#[cfg(test)]
mod tests;
