//! Tests of lists in which nothing arrives late. The module `late` tests the others.

mod late;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;

/// The places of a list. A place is shown if its second field is true.
#[derive(Debug, Clone)]
struct Numbers {
    ascending: Vec<(u8, bool)>,
    steps: usize,
}

fn cursor(n: u128) -> Cursor {
    Cursor::from_bytes(n.to_be_bytes())
}

impl Numbers {
    fn part(&mut self, found: impl Iterator<Item = (u8, bool)>, count: usize) -> Part<(u8, bool)> {
        self.steps += 1;
        Part::of(found.take(count).collect(), count, Self::place)
    }
}

impl Listing for Numbers {
    type Candidate = (u8, bool);
    type Item = u8;

    fn place(&(n, _): &(u8, bool)) -> Cursor {
        cursor(n.into())
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<(u8, bool)>, ReadError> {
        let all = self.ascending.clone().into_iter().rev();
        Ok(self.part(all.filter(|n| Self::place(n) < below), count))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<(u8, bool)>, ReadError> {
        let all = self.ascending.clone().into_iter();
        Ok(self.part(all.filter(|n| Self::place(n) > above), count))
    }

    async fn appearances(&mut self, candidates: &[(u8, bool)]) -> Result<Vec<Option<Appearance>>, ReadError> {
        Ok(vec![None; candidates.len()])
    }

    async fn admit(&mut self, candidates: &[(u8, bool)]) -> Result<Vec<Option<u8>>, ReadError> {
        Ok(candidates.iter().map(|&(n, shown)| shown.then_some(n)).collect())
    }
}

fn read(list: &mut Numbers, limit: usize, start: Start) -> Page<u8> {
    read_within(Budget::PAGE, list, limit, start)
}

fn read_within(budget: Budget, list: &mut Numbers, limit: usize, start: Start) -> Page<u8> {
    page_within(budget, list, PageRequest { limit, start }, &Arrival::InOrder)
        .now_or_never()
        .unwrap()
        .unwrap()
}

fn after(n: u128) -> Start {
    Start::After(Since::settled(cursor(n)))
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
    let page = read(&mut list, 3, Start::Newest);
    assert_eq!(
        (page.items, page.next, list.steps),
        (vec![10, 9, 8], Some(cursor(8)), 1)
    );
    let page = read(&mut list, 3, Start::Before(cursor(4)));
    assert_eq!((page.items, page.next), (vec![3, 2, 1], None));
}

#[test]
fn what_is_left_out_does_not_make_a_page_short() {
    let mut list = numbers((1..=200).map(|n| (n, n <= 3)));
    let page = read(&mut list, 2, Start::Newest);
    assert_eq!((page.items, page.next), (vec![3, 2], Some(cursor(2))));
    assert!(list.steps < 10, "{} steps", list.steps);
}

#[test]
fn a_page_that_has_looked_at_enough_is_short_and_goes_on_where_it_stopped() {
    let budget = Budget {
        decided: 50,
        ..Budget::PAGE
    };
    let mut list = numbers((1..=200).map(|n| (n, n == 120 || n == 160)));
    let page = read_within(budget, &mut list, 2, Start::Newest);
    assert_eq!((page.items, page.next), (vec![160], Some(cursor(151))));
    let page = read_within(budget, &mut list, 2, Start::Before(cursor(151)));
    assert_eq!((page.items, page.next), (vec![120], Some(cursor(101))));
    let page = read_within(budget, &mut list, 2, Start::Before(cursor(101)));
    assert_eq!((page.items, page.next), (vec![], Some(cursor(51))));
    let page = read_within(budget, &mut list, 2, after(0));
    assert_eq!((page.items, page.prev), (vec![], Some(Since::settled(cursor(50)))));
}

#[test]
fn after_gives_the_oldest_of_what_is_newer_newest_first() {
    let mut list = numbers((1..=10).map(|n| (n, n != 5)));
    let page = read(&mut list, 3, after(3));
    assert_eq!(
        (page.items, page.next, page.prev),
        (vec![7, 6, 4], Some(cursor(4)), Some(Since::settled(cursor(7))))
    );
}

#[test]
fn an_empty_page_leads_back_to_where_it_is() {
    let at = |n: u128| Some(Since::settled(cursor(n)));
    let mut list = numbers([(5, true)]);
    let page = read(&mut list, 3, Start::Before(cursor(5)));
    assert_eq!((page.items, page.next, page.prev), (vec![], None, at(4)));
    let page = read(&mut list, 3, after(5));
    assert_eq!((page.items, page.next, page.prev), (vec![], Some(cursor(6)), at(5)));
}

proptest! {
    #[test]
    fn pages_hold_everything_once_in_both_directions(
        items in proptest::collection::btree_map(1_u8.., any::<bool>(), 0..60),
        limit in 1_usize..10,
        decided in 1_usize..20,
        parts in 1_usize..4,
    ) {
        let budget = Budget { decided, read: decided + limit, parts };
        let mut list = numbers(items.clone());
        let mut expected: Vec<u8> = items.iter().filter(|(_, shown)| **shown).map(|(n, _)| *n).collect();

        let mut upwards = Vec::new();
        let mut since = Since::settled(Cursor::BOTTOM);
        loop {
            let page = read_within(budget, &mut list, limit, Start::After(since.clone()));
            prop_assert!(page.items.len() <= limit);
            upwards.extend(page.items.into_iter().rev());
            let goes_on = page.prev.unwrap();
            if goes_on == since { break }
            since = goes_on;
        }
        prop_assert_eq!(&upwards, &expected);

        let mut downwards = Vec::new();
        let mut start = Start::Newest;
        loop {
            let page = read_within(budget, &mut list, limit, start.clone());
            prop_assert!(page.items.len() <= limit);
            downwards.extend(page.items);
            let Some(next) = page.next else { break };
            prop_assert_ne!(&start, &Start::Before(next), "it goes on");
            start = Start::Before(next);
        }
        expected.reverse();
        prop_assert_eq!(&downwards, &expected);
    }
}
