//! A user blocks another, or takes the block back.

use model::events::{Block, EndedFollows, Event};
use model::ids::UserId;

#[derive(Debug, Clone, Copy)]
pub enum Command {
    Block {
        blocker: UserId,
        blocked: UserId,
        ends: EndedFollows,
    },
    Unblock,
}

pub fn evolve(event: Event) -> Option<Block> {
    match event {
        Event::UserBlocked(block) | Event::UserUnblocked(block) => Some(block),
        _ => None,
    }
}

/// Nothing is refused here.
pub fn decide(state: Option<&Block>, command: Command) -> Option<Event> {
    match (state.filter(|block| block.active), command) {
        (None, Command::Block { blocker, blocked, ends }) => Some(Event::UserBlocked(Block {
            blocker,
            blocked,
            active: true,
            ends,
        })),
        (Some(block), Command::Unblock) => Some(Event::UserUnblocked(Block {
            active: false,
            ..*block
        })),
        (Some(_), Command::Block { .. }) | (None, Command::Unblock) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::user_id;

    fn block(active: bool, ends: [i64; 2]) -> Block {
        Block {
            blocker: user_id(1),
            blocked: user_id(2),
            active,
            ends: EndedFollows {
                by_blocker: ends[0],
                by_blocked: ends[1],
            },
        }
    }

    fn to_block(ends: [i64; 2]) -> Command {
        let Block {
            blocker, blocked, ends, ..
        } = block(true, ends);
        Command::Block { blocker, blocked, ends }
    }

    #[test]
    fn given_none_or_a_former_one_when_blocking_then_it_names_the_follows_of_now() {
        let blocked = Some(Event::UserBlocked(block(true, [3, 1])));
        assert_eq!(decide(None, to_block([3, 1])), blocked);
        assert_eq!(decide(Some(&block(false, [1, 0])), to_block([3, 1])), blocked);
    }

    #[test]
    fn given_a_block_when_unblocking_then_unblocked() {
        let unblocked = Some(Event::UserUnblocked(block(false, [3, 1])));
        assert_eq!(decide(Some(&block(true, [3, 1])), Command::Unblock), unblocked);
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        // The follows that it names are those of the first time.
        assert_eq!(decide(Some(&block(true, [3, 1])), to_block([5, 1])), None);
        assert_eq!(decide(Some(&block(false, [3, 1])), Command::Unblock), None);
        assert_eq!(decide(None, Command::Unblock), None);
    }
}
