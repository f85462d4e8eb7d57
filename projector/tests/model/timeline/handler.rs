//! How a batch of one author's events is handled: `ViewProjection::handle`.

use super::{Audience, CROWD, Event, FAN_OUT_LIMIT, Id, Lane, Mutation, POSTS, Set, State, WINDOW, bit, members};

/// Gives the events of one audience to the handler: for the owner of the lease, or a former one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Runner {
    /// The next event.
    pub(super) next: u8,
    pub(super) work: Option<Work>,
}

impl Runner {
    /// Every event up to here is handled: a checkpoint may say so.
    pub(super) fn finished(&self) -> u8 {
        self.next - self.work.map_or(0, |work| work.in_order)
    }
}

/// A batch after its rows were committed: `Distribution::distribute_of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Work {
    /// The events, by their places in the lane.
    pub(super) batch: Set,
    /// How many of them come in order.
    pub(super) in_order: u8,
    /// Posts to fan out. None if the audience is large.
    posts: Set,
    then: Then,
    pub(super) step: Step,
}

/// What is done for new followers. The transaction decided it: `Reach`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Then {
    Nothing,
    Tell,
    Cross,
    Backfill,
}

/// The next step. Each is one query or one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// No such step in the code: [`Mutation::UnfollowDeletesEntries`].
    DeleteEntries,
    /// `FanOut` calls `Relations::all_followers`.
    ListFollowers,
    /// `FanOut` calls `HomeTimelines::idle_among`.
    AskIdle,
    /// `FanOut` calls `HomeTimelines::insert`.
    Insert,
    /// `Distribution::distribute_of` calls `HomeTimelines::tell_large`.
    Tell,
    /// `Distribution::cross` calls `Profiles::begin_crossing`. `listed`: only in a mutation.
    BeginCrossing {
        listed: Option<bool>,
    },
    /// `Distribution::cross` calls `Relations::all_followers`. `flagged`: the flag is committed.
    ListAll {
        flagged: bool,
    },
    /// `Distribution::cross` calls `HomeTimelines::tell_large`. `large`: a mutation has taken the last step first.
    TellListed {
        large: bool,
    },
    /// `Distribution::cross` calls `Profiles::finish_crossing`. `listed`: a mutation tells the listed followers after that.
    FinishCrossing {
        listed: bool,
    },
    /// `Distribution::backfill` calls `Posts::newest_heads`.
    ReadHeads,
    /// `Distribution::backfill` calls `HomeTimelines::headers`.
    ReadHeader {
        heads: Set,
    },
    /// `Distribution::backfill` calls `HomeTimelines::raise_floors`; `copies` remain to be inserted.
    RaiseFloor {
        floor: Id,
        copies: Set,
    },
    /// `Distribution::backfill` calls `HomeTimelines::insert`. `floor`: what a mutation raises after that.
    Copy {
        copies: Set,
        floor: Option<Id>,
    },
    Done,
}

impl Lane {
    fn last_of(&self, one: Event, other: Event) -> Option<Event> {
        self.log.into_iter().rev().find(|&event| event == one || event == other)
    }

    /// Whether the owner follows, by the last answer to a client.
    pub(super) fn owner_should_follow(&self) -> bool {
        self.last_of(Event::Follow, Event::Unfollow) == Some(Event::Follow)
    }

    pub(super) fn crowd_should_follow(&self) -> bool {
        self.last_of(Event::CrowdFollows, Event::CrowdLeaves) == Some(Event::CrowdFollows)
    }

    fn written_by(&self, version: u8) -> Event {
        match version {
            0 => Event::Nothing,
            version => self.log[usize::from(version) - 1],
        }
    }

    /// Whether the row says that the owner follows.
    pub(super) fn owner_follows(&self) -> bool {
        self.written_by(self.follow) == Event::Follow
    }

    pub(super) fn followers(&self) -> u8 {
        let crowd = self.written_by(self.crowd) == Event::CrowdFollows;
        u8::from(self.owner_follows()) + if crowd { CROWD } else { 0 }
    }

    pub(super) fn runner(&self, stale: bool) -> Option<&Runner> {
        if stale {
            self.stale.as_ref()
        } else {
            Some(&self.current)
        }
    }

    fn runner_mut(&mut self, stale: bool) -> &mut Runner {
        match &mut self.stale {
            Some(runner) if stale => runner,
            _ => &mut self.current,
        }
    }
}

impl State {
    /// A batch of a lane begins, and its rows are committed in one transaction: `RowWriter::try_commit`.
    ///
    /// The transaction reads the author's profile at the time of its writes: follows, posts and the steps of crossing write it too. If all
    /// rows of a batch are newer, it only reads.
    pub(super) fn commit_rows(&mut self, author: usize, stale: bool, batch: Set, in_order: u8, mutation: Mutation) {
        let lane = &mut self.lanes[author];
        let (mut posts, mut follows, mut owner_follows, mut unfollows) = (0, false, false, false);
        for place in members(batch) {
            let (event, version) = (lane.log[place], u8::try_from(place).unwrap() + 1);
            let passed = match event {
                Event::Follow | Event::Unfollow => pass(&mut lane.follow, version),
                Event::CrowdFollows | Event::CrowdLeaves => pass(&mut lane.crowd, version),
                Event::Delete(post) => pass(&mut self.posts[usize::from(post)].version, 2),
                Event::Post(post) => {
                    let passed = pass(&mut self.posts[usize::from(post)].version, 1);
                    lane.posted |= passed;
                    passed
                }
                Event::Nothing => false,
            };
            if mutation == Mutation::RefusedGuardSkipsFanOut && !passed {
                continue;
            }
            match event {
                Event::Post(post) => posts |= bit(post),
                Event::Follow => (follows, owner_follows) = (true, true),
                Event::CrowdFollows => follows = true,
                Event::Unfollow => unfollows = true,
                Event::Delete(_) | Event::CrowdLeaves | Event::Nothing => {}
            }
        }
        let many = lane.followers() >= FAN_OUT_LIMIT;
        let then = match lane.audience {
            _ if !follows => Then::Nothing,
            Audience::Crossing => Then::Cross,
            Audience::Small if many => Then::Cross,
            // The crowd's own timelines are not modelled.
            _ if !owner_follows => Then::Nothing,
            Audience::Large => Then::Tell,
            Audience::Small if lane.posted => Then::Backfill,
            Audience::Small => Then::Nothing,
        };
        if lane.audience == Audience::Large {
            posts = 0;
        }
        let mut work = Work {
            batch,
            in_order,
            posts,
            then,
            step: Step::Done,
        };
        work.step = if unfollows && mutation == Mutation::UnfollowDeletesEntries {
            Step::DeleteEntries
        } else {
            work.after_rows(mutation)
        };
        self.go_on(author, stale, work);
    }

    fn go_on(&mut self, author: usize, stale: bool, work: Work) {
        let lane = &mut self.lanes[author];
        let is_done = work.step == Step::Done;
        if is_done {
            lane.handled |= work.batch;
        }
        lane.runner_mut(stale).work = (!is_done).then_some(work);
    }

    /// The next step of `Distribution::distribute_of`.
    pub(super) fn take_step(&mut self, author: usize, stale: bool, mutation: Mutation) {
        let Some(mut work) = self.lanes[author].runner(stale).and_then(|runner| runner.work) else {
            return;
        };
        work.step = self.step(author, &work, mutation);
        self.go_on(author, stale, work);
    }

    fn step(&mut self, author: usize, work: &Work, mutation: Mutation) -> Step {
        let (lane, home) = (&mut self.lanes[author], &mut self.home);
        match work.step {
            Step::DeleteEntries => {
                let by_author = |&post: &usize| usize::from(self.posts[post].author) == author;
                home.entries &= !(0..POSTS).filter(by_author).map(|post| 1 << post).sum::<Set>();
                work.after_rows(mutation)
            }
            Step::ListFollowers if lane.owner_follows() => Step::AskIdle,
            Step::AskIdle if !home.idle => Step::Insert,
            Step::ListFollowers | Step::AskIdle => work.after_fan_out(mutation),
            Step::Insert => {
                home.entries |= work.posts;
                work.after_fan_out(mutation)
            }
            Step::Tell => {
                home.large[author] = true;
                Step::Done
            }
            Step::BeginCrossing { listed } => {
                if lane.audience == Audience::Small {
                    lane.audience = Audience::Crossing;
                }
                match listed {
                    None => Step::ListAll { flagged: true },
                    Some(true) => Step::TellListed { large: false },
                    Some(false) => Step::FinishCrossing { listed: false },
                }
            }
            Step::ListAll { flagged } => {
                let listed = lane.owner_follows();
                match mutation {
                    _ if !flagged => Step::BeginCrossing { listed: Some(listed) },
                    Mutation::LargeBeforeFollowersAreTold => Step::FinishCrossing { listed },
                    _ if listed => Step::TellListed { large: false },
                    _ => Step::FinishCrossing { listed: false },
                }
            }
            Step::TellListed { large } => {
                home.large[author] = true;
                if large {
                    Step::Done
                } else {
                    Step::FinishCrossing { listed: false }
                }
            }
            Step::FinishCrossing { listed } => {
                if lane.audience == Audience::Crossing {
                    lane.audience = Audience::Large;
                }
                if listed {
                    Step::TellListed { large: true }
                } else {
                    Step::Done
                }
            }
            Step::ReadHeads => match self.newest_heads(author) {
                0 => Step::Done,
                heads => Step::ReadHeader { heads },
            },
            Step::ReadHeader { heads } => self.plan_copies(heads, mutation),
            Step::RaiseFloor { floor, copies } => {
                home.floor = home.floor.max(floor);
                if copies > 0 {
                    Step::Copy { copies, floor: None }
                } else {
                    Step::Done
                }
            }
            Step::Copy { copies, floor } => {
                home.entries |= copies;
                floor.map_or(Step::Done, |floor| Step::RaiseFloor { floor, copies: 0 })
            }
            Step::Done => Step::Done,
        }
    }

    /// `Posts::newest_heads`: live posts, one more than the window.
    fn newest_heads(&self, author: usize) -> Set {
        let live = |&post: &usize| usize::from(self.posts[post].author) == author && self.posts[post].is_live();
        let mut newest: Vec<usize> = (0..POSTS).filter(live).collect();
        newest.sort_unstable_by_key(|&post| std::cmp::Reverse(self.posts[post].id));
        newest.into_iter().take(WINDOW + 1).map(|post| 1 << post).sum()
    }

    /// What `Distribution::backfill` makes of the author's newest posts and the owner's header.
    fn plan_copies(&self, heads: Set, mutation: Mutation) -> Step {
        if self.home.idle {
            return Step::Done;
        }
        let mut floor = self.home.floor;
        let mut raised = None;
        if heads.count_ones() as usize > WINDOW {
            let left_out = members(heads).map(|post| self.posts[post].id).min().unwrap_or_default();
            if left_out > floor {
                floor = left_out;
                raised = Some(left_out);
            }
        }
        let above = members(heads).filter(|&post| self.posts[post].id > floor);
        let copies = above.map(|post| 1 << post).sum();
        match raised {
            Some(floor) if mutation == Mutation::FloorAfterCopies => Step::Copy {
                copies,
                floor: Some(floor),
            },
            Some(floor) => Step::RaiseFloor { floor, copies },
            None if copies > 0 => Step::Copy { copies, floor: None },
            None => Step::Done,
        }
    }
}

impl Work {
    fn after_rows(&self, mutation: Mutation) -> Step {
        match self.posts {
            0 => self.after_fan_out(mutation),
            _ => Step::ListFollowers,
        }
    }

    fn after_fan_out(&self, mutation: Mutation) -> Step {
        match self.then {
            Then::Nothing => Step::Done,
            Then::Tell => Step::Tell,
            Then::Cross if mutation == Mutation::FollowersListedBeforeTheFlag => Step::ListAll { flagged: false },
            Then::Cross => Step::BeginCrossing { listed: None },
            Then::Backfill => Step::ReadHeads,
        }
    }
}

/// The guard, "version is lower".
fn pass(version: &mut u8, of_event: u8) -> bool {
    let passes = *version < of_event;
    *version = (*version).max(of_event);
    passes
}
