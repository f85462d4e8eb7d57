use std::time::Duration;

use super::super::leases::{Needs, SHAPE, Stamp};
use super::super::settings::SubscriptionSettings;
use super::*;
use model::events::{Event, SCHEMA};

fn holdings() -> Holdings {
    Holdings::new(Owner::random(None), SubscriptionSettings::default().lease_duration, 1)
}

fn leases(owner_of: impl Fn(u8) -> Option<String>) -> Vec<Lease> {
    Partition::all()
        .map(|partition| Lease {
            id: format!("views/{partition:02}"),
            subscription: "views".to_owned(),
            partition,
            owner: owner_of(partition.number()),
            session: None,
            offered_by: None,
            fence: 1,
            beat: 1,
            position: Position::ORIGIN,
            needs: None,
            stamp: None,
        })
        .collect()
}

fn count(acquisitions: &[Acquisition<'_>]) -> (usize, usize) {
    let taken = acquisitions
        .iter()
        .filter(|it| matches!(it, Acquisition::Take(_)))
        .count();
    (taken, acquisitions.len() - taken)
}

#[test]
fn the_first_process_takes_all() {
    let holdings = holdings();
    assert_eq!(
        count(&holdings.acquisitions(&leases(|_| None), Instant::now())),
        (64, 0)
    );
}

#[test]
fn the_second_takes_half_from_the_first() {
    let mut holdings = holdings();
    let now = Instant::now();
    let all = leases(|_| Some("other".to_owned()));
    holdings.observe(&all, now);
    assert_eq!(count(&holdings.acquisitions(&all, now)), (0, 32));
}

#[test]
fn an_owner_with_a_fair_share_keeps_it() {
    let mut holdings = holdings();
    let now = Instant::now();
    let all = leases(|n| Some(["a", "b", "c"][usize::from(n) % 3].to_owned()));
    holdings.observe(&all, now);
    let (taken, stolen) = count(&holdings.acquisitions(&all, now));
    // 64 leases and four owners: sixteen each. Owners of 22 give up six.
    assert_eq!((taken, stolen), (0, 16));
    holdings.held = Partition::all().take(16).map(|partition| (partition, 1)).collect();
    assert_eq!(count(&holdings.acquisitions(&all, now)), (0, 0));
}

#[test]
fn processes_that_look_at_the_same_moment_choose_different_leases() {
    let mut both = [holdings(), holdings()];
    let names = both.each_ref().map(|holdings| holdings.owner.as_str().to_owned());
    let all = leases(|number| match number {
        0..22 => Some(names[0].clone()),
        22..42 => Some(names[1].clone()),
        _ => None,
    });
    let now = Instant::now();
    let mut chosen = Vec::new();
    for (holdings, range) in both.iter_mut().zip([0..22, 22..42]) {
        holdings.held = Partition::all()
            .skip(range.start)
            .take(range.len())
            .map(|it| (it, 1))
            .collect();
        holdings.observe(&all, now);
        let acquisitions = holdings.acquisitions(&all, now);
        assert_eq!(count(&acquisitions), (32 - range.len(), 0));
        chosen.extend(acquisitions.iter().map(|it| it.lease().partition));
    }
    chosen.sort_unstable();
    chosen.dedup();
    assert_eq!(chosen.len(), 22, "each free lease is acquired by one process");
}

#[test]
fn an_offered_lease_is_taken_over_as_a_free_one_is_taken() {
    let mut holdings = holdings();
    let now = Instant::now();
    let mut all = leases(|number| Some(if number < 32 { "leaves" } else { "stays" }.to_owned()));
    for lease in &mut all[..32] {
        lease.offered_by.clone_from(&lease.owner);
    }
    holdings.observe(&all, now);
    assert_eq!(count(&holdings.acquisitions(&all, now)), (0, 32));
    assert!(
        holdings
            .acquisitions(&all, now)
            .iter()
            .all(|it| it.lease().is_offered())
    );
    // An offer is void once the lease has another owner.
    all[0].owner = Some("stays".to_owned());
    assert!(!all[0].is_offered());
    // A process that leaves takes nothing, and waits for those that stay.
    holdings.leaving = true;
    assert_eq!(count(&holdings.acquisitions(&all, now)), (0, 0));
    assert!(holdings.have_successor(&all, now));
    assert!(!holdings.have_successor(&all[1..32], now));
    let later = now + holdings.lease_duration;
    assert!(!holdings.have_successor(&all, later), "nobody shows a sign of life");
}

/// Whatever its share is, because nobody else may be there. A process that can't go on with some leases takes over no others.
#[test]
fn a_lease_that_was_given_back_is_taken_by_a_process_that_knows_its_next_event() {
    let mut holdings = holdings();
    let now = Instant::now();
    let mut all = leases(|number| (number > 1).then(|| ["a", "b"][usize::from(number) % 2].to_owned()));
    let needs = |schema| {
        Some(Needs {
            event_type: "post.created".to_owned(),
            schema,
            fence: 1,
        })
    };
    (all[0].needs, all[1].needs) = (needs(SCHEMA), needs(SCHEMA + 1));
    holdings.observe(&all, now);
    holdings.held = Partition::all().skip(2).take(32).map(|it| (it, 1)).collect();
    let acquisitions = holdings.acquisitions(&all, now);
    assert_eq!(count(&acquisitions), (1, 0));
    assert_eq!(acquisitions[0].lease().id, all[0].id);
    holdings.held.clear();
    assert!(count(&holdings.acquisitions(&all, now)).1 > 0);
    holdings.outdated = true;
    assert_eq!(count(&holdings.acquisitions(&all, now)), (1, 0));
}

#[test]
fn a_lease_is_left_to_processes_that_write_as_much_as_its_former_owners() {
    let mut holdings = holdings();
    let now = Instant::now();
    let mut all = leases(|_| None);
    for (lease, shape) in all.iter_mut().zip([holdings.shape, holdings.shape + 1]) {
        let fence = lease.fence;
        lease.stamp = Some(Stamp { shape, fence });
        lease.needs = Some(Needs {
            event_type: SHAPE.to_owned(),
            schema: shape,
            fence,
        });
    }
    holdings.observe(&all, now);
    let taken = holdings.acquisitions(&all, now);
    assert!(taken.iter().all(|it| it.lease().id != all[1].id));
    assert_eq!(count(&taken), (63, 0));
    // It is no reason to take more than a fair share.
    assert!(all[0].needed().is_none());
    // Nor does it take such a lease from a living owner.
    for lease in &mut all {
        lease.owner = Some("another".to_owned());
    }
    holdings.observe(&all, now);
    let taken = holdings.acquisitions(&all, now);
    assert_eq!(count(&taken), (0, 32));
    assert!(taken.iter().all(|it| it.lease().id != all[1].id));
    // An owner that does not know stamps raises the fence alone.
    all[0].fence += 1;
    assert_eq!(all[0].shape(), 0);
    // A program that does not know shapes finds that it does not know the next event.
    assert!(!Event::knows(SHAPE, 0));
}

/// The answer to the command that took it was lost.
#[test]
fn a_lease_of_ours_that_we_do_not_know_of_is_taken_first() {
    let holdings = holdings();
    let mut all = leases(|number| (number < 32).then(|| "other".to_owned()));
    all[63].owner = Some(holdings.owner.as_str().to_owned());
    let acquisitions = holdings.acquisitions(&all, Instant::now());
    assert_eq!(acquisitions[0].lease().id, all[63].id);
}

#[test]
fn a_silent_owner_loses_its_leases_after_their_duration() {
    let mut holdings = holdings();
    let start = Instant::now();
    let all = leases(|_| Some("dead".to_owned()));
    holdings.observe(&all, start);
    let later = start + holdings.lease_duration;
    assert_eq!(
        count(&holdings.acquisitions(&all, later - Duration::from_millis(1))).0,
        0
    );
    assert_eq!(count(&holdings.acquisitions(&all, later)), (64, 0));
}
