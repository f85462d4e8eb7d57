//! Lists of posts: how pages of them are found.

mod authored;
mod home;
mod public;
mod replies;

pub(crate) use self::authored::Authored;
pub(crate) use self::home::{Home, HomeSettings};
pub(crate) use self::public::Public;
pub(crate) use self::replies::Replies;
