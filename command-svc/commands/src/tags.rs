//! Commands on tags: follow and unfollow. A spelling of a tag stands for every other spelling of it.

use model::ids::UserId;
use model::tags::Tag;

use super::CommandError;
use super::execute::{Command, Plan};
use super::read::{Reader, state_of};
use crate::domain::tag;

/// Whether the user who gave the command follows a tag now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagStanding {
    /// As the user wrote it: in the follow, if there is one.
    pub name: String,
    pub following: bool,
}

#[derive(Debug)]
pub(super) struct SetTagFollow {
    pub(super) user: UserId,
    pub(super) tag: Tag,
    /// `Some`: follow, if the user then follows at most so many tags. `None`: unfollow.
    pub(super) following: Option<u32>,
}

impl Command for SetTagFollow {
    type Answer = TagStanding;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<TagStanding>, CommandError> {
        let (user, tag) = (self.user, &self.tag);
        if self.following.is_some() {
            read.live_actor(user).await?;
        } else {
            read.unsuspended_actor(user).await?;
        }
        let loaded = read.tag_follow(user, &tag.key()).await?;
        let (state, version) = state_of(loaded.as_ref());
        let command = match self.following {
            Some(_) => tag::Command::Follow { user, tag },
            None => tag::Command::Unfollow,
        };
        let event = tag::decide(state, command);
        if let (Some(max), Some(_)) = (self.following, &event) {
            read.follows_fewer_tags_than(user, max).await?;
        }
        let followed_already = state.filter(|_| event.is_none() && self.following.is_some());
        let answer = TagStanding {
            name: followed_already.map_or(tag.as_str(), |follow| &follow.tag).to_owned(),
            following: self.following.is_some(),
        };
        Ok(match event {
            Some(event) => Plan::append(event, version, answer),
            None => Plan::Nothing {
                partition: user.partition(),
                answer,
            },
        })
    }
}
