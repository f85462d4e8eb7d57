//! Commands on the posts that a user shows first: pin and unpin.

use model::ids::{PostId, UserId};

use super::execute::{Command, Plan};
use super::read::{Named, Reader, state_of};
use super::{CommandError, Refusal};
use crate::domain::pins;

#[derive(Debug)]
pub(super) struct Pin {
    pub(super) user: UserId,
    pub(super) post: PostId,
}

impl Command for Pin {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.live_actor(self.user).await?;
        match read.named(self.post).await? {
            Named::Repost(repost) if repost.user == self.user => return Err(Refusal::RepostHasNoText.into()),
            Named::Post(post) if post.state.author == self.user && !post.state.deleted => {}
            Named::Post(_) | Named::Repost(_) => {
                // 404 comes before 403: a caller who may not see a post learns nothing about it.
                read.seen_by(self.user, self.post).await?;
                return Err(Refusal::NotTheAuthor.into());
            }
        }
        let loaded = read.pins(self.user).await?;
        let (state, version) = state_of(loaded.as_ref());
        let mut gone = Vec::new();
        for &pinned in state.iter().flat_map(|pins| &pins.posts) {
            if read.post(pinned).await?.is_none_or(|post| post.state.deleted) {
                gone.push(pinned);
            }
        }
        let pin = pins::Command::Pin {
            user: self.user,
            post: self.post,
            gone: &gone,
        };
        Ok(Plan::of(pins::decide(state, pin)?, version, self.user.partition(), ()))
    }
}

#[derive(Debug)]
pub(super) struct Unpin {
    pub(super) user: UserId,
    pub(super) post: PostId,
}

impl Command for Unpin {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.unsuspended_actor(self.user).await?;
        let loaded = read.pins(self.user).await?;
        let (state, version) = state_of(loaded.as_ref());
        let event = pins::decide(state, pins::Command::Unpin(self.post))?;
        if event.is_none() {
            read.seen_by(self.user, self.post).await?;
        }
        Ok(Plan::of(event, version, self.user.partition(), ()))
    }
}
