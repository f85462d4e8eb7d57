//! What holds in every state, and what must happen in some.

use stateright::Property;

use super::{FOLLOWEE, Protocol, Relation, State};

pub(super) const SETTLED: &str =
    "at rest, nothing is left between users who block each other, that an open account was asked, or of a deleted user";
pub(super) const ENDS_WHAT_IT_NAMES: &str = "at rest, nothing is left that a block has named";
pub(super) const ENDS_NOTHING_LATER: &str = "a block does not end a follow that came after it was taken back";
pub(super) const ACCEPTS_NOTHING_LATER: &str = "what a protected account was asked is not accepted without it";

pub(super) fn always() -> Vec<Property<Protocol>> {
    vec![
        Property::always(SETTLED, |_, state: &State| {
            let relation = state.follow.relation;
            let none = relation == Relation::None;
            !state.is_at_rest()
                || ((none || !state.is_blocked())
                    && (relation != Relation::Requested || state.protected)
                    && (!state.deleted.contains(&true) || (none && !state.is_blocked())))
        }),
        Property::always(ENDS_WHAT_IT_NAMES, |_, state: &State| {
            let none = state.follow.relation == Relation::None;
            !state.is_at_rest() || none || state.follow.version > state.named
        }),
        Property::always(ENDS_NOTHING_LATER, |_, state: &State| !state.ended_wrongly),
        Property::always(ACCEPTS_NOTHING_LATER, |_, state: &State| !state.accepted_wrongly),
    ]
}

impl State {
    /// Nobody has anything to do.
    fn is_at_rest(&self) -> bool {
        let idle = self.commands.iter().all(Option::is_none) && self.workers.iter().all(Option::is_none);
        idle && self.items.iter().all(Option::is_none)
    }
}

/// Something that must happen in some state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    FollowingAtRest,
    FollowedInSpiteOfABlock,
    AskedAnOpenAccount,
    FollowedAfterABlock,
    RequestedAtRest,
    DeletedWhileAsking,
    TwoAtWorkOnOneItem,
}

impl Scene {
    pub(super) fn property(self) -> Property<Protocol> {
        match self {
            Scene::FollowingAtRest => seen("somebody follows at rest", |_, state| {
                state.is_at_rest() && state.follow.relation == Relation::Following
            }),
            Scene::FollowedInSpiteOfABlock => seen("somebody follows in spite of a block", |_, state| {
                let after = state.follow.version > state.named;
                state.is_blocked() && after && state.follow.relation == Relation::Following
            }),
            Scene::AskedAnOpenAccount => seen("an open account is asked", |_, state| {
                !state.protected && state.follow.relation == Relation::Requested
            }),
            Scene::FollowedAfterABlock => seen("somebody follows after a block was taken back", |_, state| {
                let blocked = state.named > 0 && !state.is_blocked() && state.is_at_rest();
                blocked && state.follow.relation == Relation::Following
            }),
            Scene::RequestedAtRest => seen("a request waits at rest", |_, state| {
                state.is_at_rest() && state.follow.relation == Relation::Requested
            }),
            Scene::DeletedWhileAsking => seen("a deleted account is asked", |_, state| {
                state.deleted[FOLLOWEE] && state.follow.relation == Relation::Requested
            }),
            Scene::TwoAtWorkOnOneItem => seen("two processes work on one item", |_, state| {
                let [one, other] = &state.workers;
                one.is_some() && one.map(|work| work.item()) == other.map(|work| work.item())
            }),
        }
    }
}

fn seen(name: &'static str, condition: fn(&Protocol, &State) -> bool) -> Property<Protocol> {
    Property::sometimes(name, condition)
}
