//! Lists of posts: how pages of them are found.

mod authors;
mod home;
mod lists;
mod posts;
mod tags;

pub(crate) use self::authors::Density;
pub(crate) use self::home::{Home, HomeSettings, home_rules};
pub(crate) use self::lists::ListPosts;
pub(crate) use self::posts::{Posts, Which};
pub(crate) use self::tags::{TagFilter, Tagged};
