//! Commands on what people do with posts: like, repost, bookmark, and their opposites.
//!
//! If the state is already as requested, the answer is the same, and no event is written. Users can take back their own reaction even if
//! they can't see the post any more because they no longer follow its author, or because of a block.

use chrono::{DateTime, Utc};
use model::events::Post;
use model::ids::{PostId, UserId};

use super::execute::{Command, Plan};
use super::read::{Named, Reader, Seen, Versioned, state_of};
use super::{CommandError, Refusal};
use crate::domain::{bookmark, like, repost};

#[derive(Debug)]
pub(super) struct Like {
    pub(super) user: UserId,
    pub(super) post: PostId,
}

impl Command for Like {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.live_actor(self.user).await?;
        let post = read.seen_by(self.user, self.post).await?.post.state;
        let loaded = read.like(self.user, post.id).await?;
        let (state, version) = state_of(loaded.as_ref());
        let like = like::Command::Like {
            user: self.user,
            post: post.id,
            post_author: post.author,
        };
        Ok(Plan::of(
            like::decide(state, like),
            version,
            post.author.partition(),
            (),
        ))
    }
}

#[derive(Debug)]
pub(super) struct Unlike {
    pub(super) user: UserId,
    pub(super) post: PostId,
}

impl Command for Unlike {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.unsuspended_actor(self.user).await?;
        let post = original(&mut read, self.post).await?;
        let loaded = read.like(self.user, post.state.id).await?;
        let (state, version) = state_of(loaded.as_ref());
        let event = like::decide(state, like::Command::Unlike);
        check_seen_unless(event.is_some(), &mut read, self.user, &post).await?;
        Ok(Plan::of(event, version, post.state.author.partition(), ()))
    }
}

#[derive(Debug)]
pub(super) struct MakeRepost {
    pub(super) user: UserId,
    pub(super) post: PostId,
    pub(super) now: DateTime<Utc>,
}

impl Command for MakeRepost {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.live_actor(self.user).await?;
        let Seen { post, author } = read.seen_by(self.user, self.post).await?;
        let post = post.state;
        let loaded = read.repost(self.user, post.id).await?;
        let (state, version) = state_of(loaded.as_ref());
        let id = PostId::new(self.now);
        let repost = repost::Command::Repost {
            id,
            user: self.user,
            post: &post,
            protected: author.protected,
            at: id.time(),
        };
        Ok(Plan::of(
            repost::decide(state, repost)?,
            version,
            self.user.partition(),
            (),
        ))
    }
}

#[derive(Debug)]
pub(super) struct Unrepost {
    pub(super) user: UserId,
    pub(super) post: PostId,
}

impl Command for Unrepost {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.unsuspended_actor(self.user).await?;
        let post = original(&mut read, self.post).await?;
        let loaded = read.repost(self.user, post.state.id).await?;
        let (state, version) = state_of(loaded.as_ref());
        let event = repost::decide(state, repost::Command::Unrepost)?;
        check_seen_unless(event.is_some(), &mut read, self.user, &post).await?;
        Ok(Plan::of(event, version, self.user.partition(), ()))
    }
}

#[derive(Debug)]
pub(super) struct Bookmark {
    pub(super) user: UserId,
    pub(super) post: PostId,
}

impl Command for Bookmark {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.live_actor(self.user).await?;
        let (user, post) = (self.user, read.seen_by(self.user, self.post).await?.post.state.id);
        let loaded = read.bookmark(user, post).await?;
        let (state, version) = state_of(loaded.as_ref());
        let event = bookmark::decide(state, bookmark::Command::Bookmark { user, post });
        Ok(Plan::of(event, version, user.partition(), ()))
    }
}

#[derive(Debug)]
pub(super) struct Unbookmark {
    pub(super) user: UserId,
    pub(super) post: PostId,
}

impl Command for Unbookmark {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.unsuspended_actor(self.user).await?;
        let post = original(&mut read, self.post).await?;
        let loaded = read.bookmark(self.user, post.state.id).await?;
        let (state, version) = state_of(loaded.as_ref());
        let event = bookmark::decide(state, bookmark::Command::Unbookmark);
        check_seen_unless(event.is_some(), &mut read, self.user, &post).await?;
        Ok(Plan::of(event, version, self.user.partition(), ()))
    }
}

/// The post that an id means, even if it can't be seen. Deleted posts are not found.
async fn original(read: &mut Reader<'_>, id: PostId) -> Result<Versioned<Post>, CommandError> {
    let post = match read.named(id).await? {
        Named::Post(post) => Some(*post),
        Named::Repost(repost) => read.post(repost.post).await?,
    };
    match post {
        Some(post) if !post.state.deleted => Ok(post),
        _ => Err(Refusal::NoSuchPost.into()),
    }
}

async fn check_seen_unless(
    own: bool,
    read: &mut Reader<'_>,
    viewer: UserId,
    post: &Versioned<Post>,
) -> Result<(), CommandError> {
    if !own {
        read.check_seen_by(viewer, post.clone()).await?;
    }
    Ok(())
}
