//! What users are told of.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody did that concerns the user who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// Somebody follows the user.
    Follow,
    /// Somebody asks to follow the user, and waits for an answer.
    Request,
    /// Somebody has accepted the user's request to follow them.
    Accepted,
    /// A post mentions the user.
    Mention,
    /// A post answers a post of the user.
    Reply,
    /// Somebody likes a post of the user.
    Like,
    /// Somebody has reposted a post of the user.
    Repost,
    /// A post quotes a post of the user.
    Quote,
    /// A post that the user has reposted says something else now.
    Edit,
}

/// The text names no kind of notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a list of kinds: follow, request, accepted, mention, reply, like, repost, quote, edit, with commas between them"
)]
pub struct InvalidKind;

impl NotificationKind {
    pub const ALL: [Self; 9] = [
        Self::Follow,
        Self::Request,
        Self::Accepted,
        Self::Mention,
        Self::Reply,
        Self::Like,
        Self::Repost,
        Self::Quote,
        Self::Edit,
    ];

    /// The name in JSON and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::Request => "request",
            Self::Accepted => "accepted",
            Self::Mention => "mention",
            Self::Reply => "reply",
            Self::Like => "like",
            Self::Repost => "repost",
            Self::Quote => "quote",
            Self::Edit => "edit",
        }
    }
}

impl FromStr for NotificationKind {
    type Err = InvalidKind;

    fn from_str(name: &str) -> Result<Self, InvalidKind> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.as_str() == name).ok_or(InvalidKind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name() {
        for kind in NotificationKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("Like".parse::<NotificationKind>(), Err(InvalidKind));
    }
}
