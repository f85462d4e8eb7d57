//! What holds in every state, and what must happen in some.

use stateright::Property;

use super::stream::{Phase, Step, Stream};
use super::{Deed, Live, Position, State, bit};

pub(super) const NOTHING_IS_LOST: &str =
    "at rest, a connected client has received what it should have since its first cursor";
pub(super) const NOTHING_AGAIN: &str =
    "nothing comes that the client's cursor covers, and nothing live that the replay has sent";
pub(super) const NOTHING_DENIED: &str =
    "nothing comes that its author denied before, and nothing live that the original's author denied before";

pub(super) fn always() -> Vec<Property<Live>> {
    vec![
        Property::always(NOTHING_IS_LOST, |live, state: &State| {
            !state.is_at_rest(live)
                || state
                    .posts()
                    .all(|post| state.has(post) || !state.should_have_come(post))
        }),
        Property::always(NOTHING_AGAIN, |_, state: &State| !state.doubled),
        Property::always(NOTHING_DENIED, |_, state: &State| !state.leaked),
    ]
}

impl State {
    fn posts(&self) -> impl Iterator<Item = Position> {
        (1..=self.now()).filter(|&position| self.id(position).is_some())
    }

    fn has(&self, post: Position) -> bool {
        self.client.received & bit(post) != 0
    }

    /// Nobody has anything left to do, and the client is connected.
    fn is_at_rest(&self, live: &Live) -> bool {
        let is_idle = |stream: &Stream| {
            let heard = self.processes[stream.process].has_heard_all();
            let at_rest = |step: &Step| *step == Step::Idle;
            heard && stream.is_following() && self.steps(live.mutation).iter().all(at_rest)
        };
        self.all_is_handled(live.authors) && self.client.stream.as_ref().is_some_and(is_idle)
    }

    /// The reader has followed the author since before, and nobody denies the reader.
    fn should_have_come(&self, post: Position) -> bool {
        let (author, now) = (self.event(post).author, self.now());
        let (origin, _) = self.origin(post);
        let followed = (post..=now).all(|then| self.follows(author, then));
        let denied = self.denies(author, now) || self.denies(origin, now);
        let known = self.client.first.is_some_and(|first| self.covers(&first, post));
        followed && !denied && !known
    }
}

/// Something that must happen in some state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    AllHaveCome,
    RepostHasCome,
    CutWhileReplaying,
    Overlap,
    SecondLook,
    BehindTheCursor,
    Denied,
}

impl Scene {
    pub(super) fn property(self) -> Property<Live> {
        match self {
            Scene::AllHaveCome => seen("all posts have come", |live, state| {
                let written = live.bounds.posts.iter().sum::<u8>() + live.bounds.reposts;
                let all = state.posts().count() == usize::from(written);
                state.is_at_rest(live) && all && state.posts().all(|post| state.has(post))
            }),
            Scene::RepostHasCome => seen("a repost has come", |live, state| {
                let is_repost = |&post: &Position| matches!(state.event(post).deed, Deed::Repost { .. });
                state.is_at_rest(live) && state.posts().filter(is_repost).any(|post| state.has(post))
            }),
            Scene::CutWhileReplaying => seen("a stream is cut while it replays", |_, state| {
                let stream = state.client.stream.as_ref();
                stream.is_some_and(|stream| stream.cut && matches!(stream.phase, Phase::Replaying(_)))
            }),
            Scene::Overlap => seen("a replay has sent what its cursor does not cover", |_, state| {
                let phase = state.client.stream.as_ref().map(|stream| stream.phase);
                phase.is_some_and(|phase| matches!(phase, Phase::Following { overlap, .. } if overlap != 0))
            }),
            Scene::SecondLook => seen("a second look is due", |live, state| {
                state.client.stream.is_some() && state.steps(live.mutation).contains(&Step::LookAgain)
            }),
            Scene::BehindTheCursor => seen("a process is behind the client's cursor", |_, state| {
                let stream = state.client.stream.as_ref();
                let handled = stream.map(|stream| state.processes[stream.process].handled);
                let cursor = state.client.cursor.map(|cursor| cursor.handled);
                let mut both = handled.into_iter().flatten().zip(cursor.into_iter().flatten());
                both.any(|(handled, known)| handled < known)
            }),
            Scene::Denied => seen("a post is denied and has not come", |live, state| {
                let is_denied = |post: Position| state.denies(state.origin(post).0, state.now()) && !state.has(post);
                state.is_at_rest(live) && state.posts().any(is_denied)
            }),
        }
    }
}

fn seen(name: &'static str, condition: fn(&Live, &State) -> bool) -> Property<Live> {
    Property::sometimes(name, condition)
}
