//! Pages of a list, newest first: what every list does alike.
//!
//! A list gives candidates in order; which of them are shown is decided when they are read (deleted ones are not, and
//! those that the caller may not see). A page goes on until it is full or the list ends, so that what is left out
//! never makes it short.

use serde::Serialize;

use crate::cursor::Cursor;
use crate::reading::ReadError;

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRequest {
    pub(crate) limit: usize,
    pub(crate) start: Start,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Newest,
    /// The newest items that are older.
    Before(Cursor),
    /// The oldest items that are newer, so that who polls skips none.
    After(Cursor),
}

/// As [`shared::api::Page`], with items that are written straight from the cache.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<Cursor>,
    pub(crate) prev: Option<Cursor>,
}

/// A list that pages can be made of.
pub(crate) trait Listing {
    type Candidate;
    type Item;

    fn place(candidate: &Self::Candidate) -> Cursor;

    /// The newest `count` candidates below a place, newest first. Fewer mean that there are no more.
    async fn older(&mut self, below: Cursor, count: usize) -> Result<Vec<Self::Candidate>, ReadError>;

    /// The oldest `count` candidates above a place, oldest first. Fewer mean that there are no more.
    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Vec<Self::Candidate>, ReadError>;

    /// What is to be shown of them, in their order; `None` for those that are not.
    async fn admit(&mut self, candidates: &[Self::Candidate]) -> Result<Vec<Option<Self::Item>>, ReadError>;
}

/// However many candidates have turned out not to be shown, one step takes no more than these.
const LONGEST_STEP: usize = 1_000;

/// Makes a page.
///
/// `settled` is a place below which nothing new can appear any more. `prev` is never above it: what comes late, because
/// ids are given by several clocks and projected by several processes, is still above the cursor that a client polls
/// with. So items may come again, and none is missed.
pub(crate) async fn page<L: Listing>(
    list: &mut L,
    request: PageRequest,
    settled: Cursor,
) -> Result<Page<L::Item>, ReadError> {
    let limit = request.limit;
    let (found, next, newest) = match request.start {
        Start::Newest | Start::Before(_) => {
            let below = if let Start::Before(cursor) = request.start {
                cursor
            } else {
                Cursor::TOP
            };
            // One more than is shown tells whether there is a next page.
            let mut found = gather(list, Direction::Older, below, limit + 1).await?;
            let more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().filter(|_| more).map(|(place, _)| *place);
            let newest = found.first().map_or(below.below(), |(place, _)| *place);
            (found, next, newest)
        }
        Start::After(above) => {
            let mut found = gather(list, Direction::Newer, above, limit).await?;
            found.reverse();
            let next = found.last().map_or(above.above(), |(place, _)| *place);
            let newest = found.first().map_or(above, |(place, _)| *place);
            (found, Some(next), newest)
        }
    };
    let items = found.into_iter().map(|(_, item)| item).collect();
    Ok(Page {
        items,
        next,
        prev: Some(newest.min(settled)),
    })
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Older,
    Newer,
}

/// The first `want` items that are shown, from a place on; fewer only at the end of the list.
async fn gather<L: Listing>(
    list: &mut L,
    direction: Direction,
    from: Cursor,
    want: usize,
) -> Result<Vec<(Cursor, L::Item)>, ReadError> {
    let mut shown = Vec::with_capacity(want);
    let mut edge = from;
    let mut step = want;
    loop {
        let candidates = match direction {
            Direction::Older => list.older(edge, step).await?,
            Direction::Newer => list.newer(edge, step).await?,
        };
        let Some(last) = candidates.last() else {
            return Ok(shown);
        };
        edge = L::place(last);
        let before = shown.len();
        let admitted = list.admit(&candidates).await?;
        let places = candidates.iter().map(L::place);
        shown.extend(places.zip(admitted).filter_map(|(place, item)| Some((place, item?))));
        if shown.len() >= want {
            shown.truncate(want);
            return Ok(shown);
        }
        if candidates.len() < step {
            return Ok(shown);
        }
        let missing = want - shown.len();
        step = if (shown.len() - before) * 2 >= candidates.len() {
            // A few more than are missing, because some of these will not be shown either.
            missing + missing / 4 + 2
        } else {
            (step * 2).clamp(missing, LONGEST_STEP)
        };
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    /// Places in a list; a place is shown if the second is true.
    #[derive(Debug, Clone)]
    struct Numbers {
        ascending: Vec<(u8, bool)>,
        steps: usize,
    }

    fn cursor(n: u128) -> Cursor {
        Cursor::from_bytes(n.to_be_bytes())
    }

    impl Listing for Numbers {
        type Candidate = (u8, bool);
        type Item = u8;

        fn place(&(n, _): &(u8, bool)) -> Cursor {
            cursor(n.into())
        }

        async fn older(&mut self, below: Cursor, count: usize) -> Result<Vec<(u8, bool)>, ReadError> {
            self.steps += 1;
            Ok(self
                .ascending
                .iter()
                .rev()
                .copied()
                .filter(|n| Self::place(n) < below)
                .take(count)
                .collect())
        }

        async fn newer(&mut self, above: Cursor, count: usize) -> Result<Vec<(u8, bool)>, ReadError> {
            self.steps += 1;
            Ok(self
                .ascending
                .iter()
                .copied()
                .filter(|n| Self::place(n) > above)
                .take(count)
                .collect())
        }

        async fn admit(&mut self, candidates: &[(u8, bool)]) -> Result<Vec<Option<u8>>, ReadError> {
            Ok(candidates.iter().map(|&(n, shown)| shown.then_some(n)).collect())
        }
    }

    fn read(list: &mut Numbers, limit: usize, start: Start, settled: Cursor) -> Page<u8> {
        page(list, PageRequest { limit, start }, settled)
            .now_or_never()
            .unwrap()
            .unwrap()
    }

    fn numbers(shown: impl IntoIterator<Item = (u8, bool)>) -> Numbers {
        Numbers {
            ascending: shown.into_iter().collect(),
            steps: 0,
        }
    }

    #[test]
    fn a_full_page_takes_one_step_and_knows_whether_another_follows() {
        let mut list = numbers((1..=10).map(|n| (n, true)));
        let page = read(&mut list, 3, Start::Newest, Cursor::TOP);
        assert_eq!(
            (page.items, page.next, list.steps),
            (vec![10, 9, 8], Some(cursor(8)), 1)
        );
        let page = read(&mut list, 3, Start::Before(cursor(4)), Cursor::TOP);
        assert_eq!((page.items, page.next), (vec![3, 2, 1], None));
    }

    #[test]
    fn what_is_left_out_does_not_make_a_page_short() {
        let mut list = numbers((1..=200).map(|n| (n, n <= 3)));
        let page = read(&mut list, 2, Start::Newest, Cursor::TOP);
        assert_eq!((page.items, page.next), (vec![3, 2], Some(cursor(2))));
        assert!(list.steps < 10, "{} steps", list.steps);
    }

    #[test]
    fn after_gives_the_oldest_of_what_is_newer_newest_first() {
        let mut list = numbers((1..=10).map(|n| (n, n != 5)));
        let page = read(&mut list, 3, Start::After(cursor(3)), Cursor::TOP);
        assert_eq!(
            (page.items, page.next, page.prev),
            (vec![7, 6, 4], Some(cursor(4)), Some(cursor(7)))
        );
    }

    #[test]
    fn prev_is_not_above_what_is_settled() {
        let mut list = numbers((1..=10).map(|n| (n, true)));
        assert_eq!(read(&mut list, 3, Start::Newest, cursor(6)).prev, Some(cursor(6)));
        assert_eq!(
            read(&mut list, 3, Start::Before(cursor(5)), cursor(6)).prev,
            Some(cursor(4))
        );
        assert_eq!(
            read(&mut list, 3, Start::After(cursor(1)), cursor(2)).prev,
            Some(cursor(2))
        );
    }

    #[test]
    fn an_empty_page_leads_back_to_where_it_is() {
        let mut list = numbers([(5, true)]);
        let page = read(&mut list, 3, Start::Before(cursor(5)), Cursor::TOP);
        assert_eq!((page.items, page.next, page.prev), (vec![], None, Some(cursor(4))));
        let page = read(&mut list, 3, Start::After(cursor(5)), Cursor::TOP);
        assert_eq!(
            (page.items, page.next, page.prev),
            (vec![], Some(cursor(6)), Some(cursor(5)))
        );
        let mut nothing = numbers([]);
        let page = read(&mut nothing, 3, Start::Newest, cursor(9));
        assert_eq!((page.items, page.next, page.prev), (vec![], None, Some(cursor(9))));
    }

    proptest! {
        #[test]
        fn pages_hold_everything_once_in_both_directions(
            items in proptest::collection::btree_map(1_u8.., any::<bool>(), 0..60),
            limit in 1_usize..10,
        ) {
            let mut list = numbers(items.clone());
            let mut expected: Vec<u8> = items.iter().filter(|(_, shown)| **shown).map(|(n, _)| *n).collect();

            let mut upwards = Vec::new();
            let mut start = Start::After(Cursor::BOTTOM);
            loop {
                let page = read(&mut list, limit, start, Cursor::TOP);
                if page.items.is_empty() { break }
                prop_assert!(page.items.len() <= limit);
                upwards.extend(page.items.into_iter().rev());
                start = Start::After(page.prev.unwrap());
            }
            prop_assert_eq!(&upwards, &expected);

            let mut downwards = Vec::new();
            let mut start = Start::Newest;
            loop {
                let page = read(&mut list, limit, start, Cursor::TOP);
                let full = page.items.len() == limit;
                downwards.extend(page.items);
                let Some(next) = page.next else { break };
                prop_assert!(full, "only the last page may be short");
                start = Start::Before(next);
            }
            expected.reverse();
            prop_assert_eq!(&downwards, &expected);
        }
    }
}
