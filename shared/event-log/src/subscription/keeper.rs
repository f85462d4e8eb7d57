//! Keeping leases: renewing one's own, taking those whose owner is gone, and a fair share of all.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

use mongodb::error::Error;

use super::candidates::Prepared;
use super::leases::{Claim, Lease, Leases, Owner, Stuck, Vacancies};
use super::settings::SubscriptionSettings;
use crate::mongo::Losses;
use model::ids::{PARTITIONS, Partition};

/// What changed since the last look.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) gained: Vec<Lease>,
    pub(super) lost: Vec<Partition>,
    /// There was something to take, whoever got it.
    pub(super) went_for_some: bool,
    /// The leases to prepare for being taken over, where they are others than before.
    pub(super) wanted: Option<Vec<Lease>>,
    /// Nothing is held any more, or nobody is there to take it over.
    pub(super) handed_over: bool,
    /// Of the leases that there have to be.
    pub(super) some_are_missing: bool,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.gained.is_empty() && self.lost.is_empty() && self.wanted.is_none()
    }
}

/// Watches the leases of a subscription for one process.
#[derive(Debug)]
pub(super) struct Keeper {
    leases: Leases,
    owner: Owner,
    settings: SubscriptionSettings,
    losses: Losses,
    /// The leases held, with their fencing numbers.
    held: BTreeMap<Partition, i64>,
    /// The leases that are being prepared.
    wanted: BTreeSet<Partition>,
    /// This process is about to end: it takes nothing any more.
    leaving: bool,
    /// It has met what it does not know, as a program that is about to be replaced: it takes nothing over to have a fair share, or what
    /// it gave back would soon come back.
    outdated: bool,
    /// The leases that wait for a newer program.
    waiting: usize,
    /// Since when each lease has looked the way it does.
    seen: HashMap<Partition, (i64, i64, Instant)>,
}

impl Keeper {
    pub(super) fn new(leases: Leases, owner: Owner, settings: SubscriptionSettings, losses: Losses) -> Self {
        Self {
            leases,
            owner,
            settings,
            losses,
            held: BTreeMap::new(),
            wanted: BTreeSet::new(),
            leaving: false,
            outdated: false,
            waiting: 0,
            seen: HashMap::new(),
        }
    }

    /// How many leases waited for a newer program at the last look.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Gives leases back that this program can't go on with, to whoever can. The next look finds them lost.
    pub(super) async fn give_back(&mut self, stuck: &[Stuck]) -> Result<(), Error> {
        for stuck in stuck {
            self.outdated = true;
            self.losses
                .until_lost(self.leases.give_back(&self.owner, stuck))
                .await?;
        }
        Ok(())
    }

    /// Tells the others that this process lives.
    pub(super) async fn renew(&self) -> Result<(), Error> {
        self.losses.until_lost(self.leases.renew(&self.owner)).await
    }

    /// Asks the others to take over what is held. Until they do, or cannot be waited for, it is worked on.
    pub(super) async fn leave(&mut self) -> Result<(), Error> {
        self.leaving = true;
        self.losses.until_lost(self.leases.offer(&self.owner)).await
    }

    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Looks at all leases, gives up what is another's, and takes what is due: of living owners only what is prepared.
    pub(super) async fn tend(&mut self, prepared: &Prepared, now: Instant) -> Result<Changes, Error> {
        let all = self.losses.until_lost(self.leases.all()).await?;
        let mut changes = Changes {
            some_are_missing: all.len() < usize::from(PARTITIONS),
            ..Changes::default()
        };
        let nobodys = all.iter().filter(|lease| lease.owner.is_none());
        self.waiting = nobodys.filter(|lease| lease.is_beyond_us()).count();
        self.held.retain(|&partition, &mut fence| {
            let still = all.iter().any(|lease| {
                lease.partition == partition
                    && lease.fence == fence
                    && lease.owner.as_deref() == Some(self.owner.as_str())
            });
            if !still {
                changes.lost.push(partition);
            }
            still
        });
        self.observe(&all, now);
        let (takeovers, mut claims): (Vec<Claim<'_>>, Vec<Claim<'_>>) = self
            .claims(&all, now)
            .into_iter()
            .partition(|claim| matches!(claim, Claim::TakeOver(_)));
        let is_prepared = |claim: &&Claim<'_>| prepared.contains(&claim.lease().partition);
        claims.extend(takeovers.iter().filter(is_prepared));
        changes.went_for_some = !claims.is_empty();
        match self.losses.until_lost(self.leases.take(&claims, &self.owner)).await {
            Ok(gained) => changes.gained = gained,
            // What was taken all the same is free to us at the next look. What was lost has to be let go of now.
            Err(error) => tracing::warn!(%error, "taking leases failed"),
        }
        let mut left_open = HashSet::new();
        for lease in &changes.gained {
            self.held.insert(lease.partition, lease.fence);
            let before = claims.iter().find_map(|claim| match claim {
                Claim::Take(before) if before.id == lease.id => Some(before),
                _ => None,
            });
            if let Some(before) = before
                && before.owner.as_deref() != Some(self.owner.as_str())
            {
                left_open.extend(before.session);
            }
        }
        // What was prepared and not got stays so until the next look: another may have it, or the command failed.
        let wanted = takeovers.iter().map(Claim::lease);
        let wanted: Vec<&Lease> = wanted
            .filter(|lease| !self.held.contains_key(&lease.partition))
            .collect();
        let partitions = wanted.iter().map(|lease| lease.partition).collect();
        if self.wanted != partitions {
            self.wanted = partitions;
            changes.wanted = Some(wanted.into_iter().cloned().collect());
        }
        changes.handed_over = self.held.is_empty() || !self.has_heirs(&all, now);
        for session in left_open {
            // Without it the server gives the transaction up in its own time.
            if let Err(error) = self.losses.until_lost(self.leases.end(session)).await {
                tracing::warn!(%session, %error, "ending the session of an owner that is gone failed");
            }
        }
        Ok(changes)
    }

    /// What there may be to take. A look that fails finds nothing; that the database does not answer is told when leases
    /// are renewed.
    pub(super) async fn vacant(&self) -> Vacancies {
        self.losses.until_lost(self.leases.vacant()).await.unwrap_or_default()
    }

    fn observe(&mut self, all: &[Lease], now: Instant) {
        for lease in all {
            let state = (lease.fence, lease.beat);
            let seen = self.seen.entry(lease.partition).or_insert((state.0, state.1, now));
            if (seen.0, seen.1) != state {
                *seen = (state.0, state.1, now);
            }
        }
    }

    /// Whether nobody works on the lease: released, never taken, or its owner shows no sign of life.
    fn is_free(&self, lease: &Lease, now: Instant) -> bool {
        match &lease.owner {
            None => true,
            // A lease of ours that we don't know of: taken, and the answer was lost.
            Some(owner) if owner == self.owner.as_str() => !self.held.contains_key(&lease.partition),
            Some(_) => self
                .seen
                .get(&lease.partition)
                .is_some_and(|&(_, _, since)| now.duration_since(since) >= self.settings.lease_duration),
        }
    }

    /// Whether there is another owner that lives and stays.
    fn has_heirs(&self, all: &[Lease], now: Instant) -> bool {
        let stays = |lease: &Lease| !self.is_free(lease, now) && !lease.is_offered();
        let another = |lease: &&Lease| lease.owner.as_deref() != Some(self.owner.as_str());
        all.iter().filter(another).any(stays)
    }

    /// The leases to go for: those to be had up to a fair share, then those of owners with more than theirs.
    fn claims<'a>(&self, all: &'a [Lease], now: Instant) -> Vec<Claim<'a>> {
        if self.leaving {
            return Vec::new();
        }
        let mut by_owner: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
        let mut free = Vec::new();
        for lease in all {
            if self.is_free(lease, now) || lease.is_offered() {
                if !lease.is_beyond_us() {
                    free.push(lease);
                }
            } else if let Some(owner) = lease.owner.as_deref() {
                by_owner.entry(owner).or_default().push(lease);
            }
        }
        by_owner.remove(self.owner.as_str());
        let owners = by_owner.len() + 1;
        let most = all.len().div_ceil(owners);
        let least = all.len() / owners;
        // What others gave back because they can't go on is nobody else's share.
        let (needed, free): (Vec<&Lease>, Vec<&Lease>) = free.into_iter().partition(|lease| lease.needed().is_some());
        // Our own come first: we renew them without knowing, so that nobody else could ever take them.
        let (mut claimed, free): (Vec<&Lease>, Vec<&Lease>) = free
            .into_iter()
            .partition(|lease| lease.owner.as_deref() == Some(self.owner.as_str()));
        let share = most.saturating_sub(self.held.len());
        claimed.truncate(share);
        let share = share - claimed.len();
        // The others look at the same moment: each goes for what the owners whose names come before leave.
        let left_to_others: usize = by_owner
            .range(..self.owner.as_str())
            .map(|(_, held)| most.saturating_sub(held.len()))
            .sum();
        let first = left_to_others.min(free.len().saturating_sub(share));
        claimed.extend(free.into_iter().skip(first).take(share));
        claimed.extend(needed);
        let claim = |lease| match self.is_free(lease, now) {
            true => Claim::Take(lease),
            false => Claim::TakeOver(lease),
        };
        let mut claims: Vec<Claim<'a>> = claimed.into_iter().map(claim).collect();
        // Nobody else may be there to take what is left of a share: the next look takes it.
        let mut missing = match self.outdated {
            true => 0,
            false => least.saturating_sub(self.held.len() + claims.len()),
        };
        for leases in by_owner.values() {
            let spare = leases.len().saturating_sub(most).min(missing);
            claims.extend(leases.iter().take(spare).map(|lease| Claim::TakeOver(lease)));
            missing -= spare;
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mongodb::Client;

    use super::super::leases::Needs;
    use super::*;
    use crate::position::Position;
    use model::events::SCHEMA;

    async fn keeper() -> Keeper {
        // Nothing is sent: the claims are computed from what was read.
        crate::crypto::install_provider();
        let client = Client::with_uri_str("mongodb://127.0.0.1:1/?directConnection=true")
            .await
            .unwrap();
        Keeper::new(
            Leases::new(client.database("unused"), "views"),
            Owner::random(None),
            SubscriptionSettings::default(),
            Losses::default(),
        )
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
            })
            .collect()
    }

    fn count(claims: &[Claim<'_>]) -> (usize, usize) {
        let taken = claims.iter().filter(|claim| matches!(claim, Claim::Take(_))).count();
        (taken, claims.len() - taken)
    }

    #[tokio::test]
    async fn the_first_process_takes_all() {
        let keeper = keeper().await;
        assert_eq!(count(&keeper.claims(&leases(|_| None), Instant::now())), (64, 0));
    }

    #[tokio::test]
    async fn the_second_takes_half_from_the_first() {
        let mut keeper = keeper().await;
        let now = Instant::now();
        let all = leases(|_| Some("other".to_owned()));
        keeper.observe(&all, now);
        assert_eq!(count(&keeper.claims(&all, now)), (0, 32));
    }

    #[tokio::test]
    async fn nobody_steals_from_who_has_a_fair_share() {
        let mut keeper = keeper().await;
        let now = Instant::now();
        let all = leases(|n| Some(["a", "b", "c"][usize::from(n) % 3].to_owned()));
        keeper.observe(&all, now);
        let (taken, stolen) = count(&keeper.claims(&all, now));
        // 64 leases and four owners: sixteen each, and those of 22 give up six of them.
        assert_eq!((taken, stolen), (0, 16));
        keeper.held = Partition::all().take(16).map(|partition| (partition, 1)).collect();
        assert_eq!(count(&keeper.claims(&all, now)), (0, 0));
    }

    #[tokio::test]
    async fn those_who_look_at_the_same_moment_go_for_different_leases() {
        let mut keepers = [keeper().await, keeper().await];
        let names = keepers.each_ref().map(|keeper| keeper.owner.as_str().to_owned());
        let all = leases(|number| match number {
            0..22 => Some(names[0].clone()),
            22..42 => Some(names[1].clone()),
            _ => None,
        });
        let now = Instant::now();
        let mut claimed = Vec::new();
        for (keeper, held) in keepers.iter_mut().zip([0..22, 22..42]) {
            keeper.held = Partition::all()
                .skip(held.start)
                .take(held.len())
                .map(|it| (it, 1))
                .collect();
            keeper.observe(&all, now);
            let claims = keeper.claims(&all, now);
            assert_eq!(count(&claims), (32 - held.len(), 0));
            claimed.extend(claims.iter().map(|claim| claim.lease().partition));
        }
        claimed.sort_unstable();
        claimed.dedup();
        assert_eq!(claimed.len(), 22, "every free lease is gone for, by one");
    }

    #[tokio::test]
    async fn what_is_offered_is_taken_over_as_what_is_free_is_taken() {
        let mut keeper = keeper().await;
        let now = Instant::now();
        let mut all = leases(|number| Some(if number < 32 { "leaves" } else { "stays" }.to_owned()));
        for lease in &mut all[..32] {
            lease.offered_by.clone_from(&lease.owner);
        }
        keeper.observe(&all, now);
        assert_eq!(count(&keeper.claims(&all, now)), (0, 32));
        assert!(keeper.claims(&all, now).iter().all(|claim| claim.lease().is_offered()));
        // Whose offer it was has no say once the lease is another's.
        all[0].owner = Some("stays".to_owned());
        assert!(!all[0].is_offered());
        // Who leaves takes nothing, and waits for those who stay.
        keeper.leaving = true;
        assert_eq!(count(&keeper.claims(&all, now)), (0, 0));
        assert!(keeper.has_heirs(&all, now));
        assert!(!keeper.has_heirs(&all[1..32], now));
        let later = now + keeper.settings.lease_duration;
        assert!(!keeper.has_heirs(&all, later), "nobody shows a sign of life");
    }

    /// Whatever its share is: nobody else may be there. And who can't go on with some does not take over others.
    #[tokio::test]
    async fn what_was_given_back_is_taken_by_who_knows_what_comes_next() {
        let mut keeper = keeper().await;
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
        keeper.observe(&all, now);
        keeper.held = Partition::all().skip(2).take(32).map(|it| (it, 1)).collect();
        let claims = keeper.claims(&all, now);
        assert_eq!(count(&claims), (1, 0));
        assert_eq!(claims[0].lease().id, all[0].id);
        keeper.held.clear();
        assert!(count(&keeper.claims(&all, now)).1 > 0);
        keeper.outdated = true;
        assert_eq!(count(&keeper.claims(&all, now)), (1, 0));
    }

    /// The answer to the command that took it was lost.
    #[tokio::test]
    async fn a_lease_of_ours_that_we_do_not_know_of_is_taken_first() {
        let keeper = keeper().await;
        let mut all = leases(|number| (number < 32).then(|| "other".to_owned()));
        all[63].owner = Some(keeper.owner.as_str().to_owned());
        let claims = keeper.claims(&all, Instant::now());
        assert_eq!(claims[0].lease().id, all[63].id);
    }

    #[tokio::test]
    async fn a_silent_owner_loses_its_leases_after_their_duration() {
        let mut keeper = keeper().await;
        let start = Instant::now();
        let all = leases(|_| Some("dead".to_owned()));
        keeper.observe(&all, start);
        let later = start + keeper.settings.lease_duration;
        assert_eq!(count(&keeper.claims(&all, later - Duration::from_millis(1))).0, 0);
        assert_eq!(count(&keeper.claims(&all, later)), (64, 0));
    }
}
