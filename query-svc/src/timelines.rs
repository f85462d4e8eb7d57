//! Lists of posts: how pages of them are found.

mod authors;
mod home;
mod posts;

pub(crate) use self::home::{Home, HomeSettings};
pub(crate) use self::posts::{Posts, Which};
