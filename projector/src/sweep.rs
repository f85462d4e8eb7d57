//! The deletion sweep: what belongs to deleted users is retracted by ordinary commands, so that counts come
//! right by the ordinary handlers.
//!
//! The tombstone hides all that is theirs at once. A subscription of its own ([`Deletions`]) notes each one as an
//! [`Item`]; one process at a time ([`Sweeper`]) works the items off. A pass finds follows by and of the user, likes,
//! reposts and posts in the active generation of the views, behind a barrier: it writes a mark, and waits until the
//! views have passed it. Because what is retracted leaves the views by itself, a pass that was cut off simply begins again. Once
//! nothing is left, a second look finds what commands wrote that had looked for the user just before the deletion. A
//! last pass, once no access token is left, finds what the user did with the last of them: a post needs no look at its author.

mod deletions;
mod items;
mod pass;
mod sweeper;

pub use self::deletions::Deletions;
pub use self::items::{Item, Items, Phase};
pub use self::sweeper::Sweeper;

/// The name of the subscription that notes deletions.
pub const SUBSCRIPTION: &str = "sweep";
