//! The deletion sweep: retracts what belongs to deleted users by ordinary commands, so that the ordinary handlers correct the counts.
//!
//! The tombstone hides everything of the user at once. A subscription ([`crate::noting`]) notes each deleted user as an [`Item`]. One
//! process at a time ([`Sweeper`]) works on the items. A pass finds follows, blocks and mutes by and of the user, likes, reposts, bookmarks,
//! followed tags, lists, filters, posts, and what the user told moderators, in the active generation of the views, behind a barrier: it writes a mark, and waits until the views have passed
//! it. Requests to follow come from the event store. Retracted rows leave the views by themselves, so that an interrupted pass simply begins
//! again. When nothing is left, a second look finds the writes of commands that read the user just before the deletion. A last pass, when no
//! access token is left, finds what the user did with the last tokens: a new post is written even if its author is deleted.

mod items;
mod pass;
mod sweeper;

pub use self::items::{Item, Items, Phase};
pub use self::sweeper::Sweeper;
