//! What a filter does, and where.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kinds of lists in which a filter looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterContext {
    Home,
    /// The timelines of lists.
    Lists,
    /// The timelines of tags.
    Tags,
    Public,
    /// A single post, and what is above and below it.
    Thread,
    /// The posts of one user.
    Profile,
    Notifications,
    Search,
}

/// What happens to a post in which a filter finds a phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterAction {
    /// It is left out.
    Hide,
    /// It is shown, and names the filter.
    Warn,
}
