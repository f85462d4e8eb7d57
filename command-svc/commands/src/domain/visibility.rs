//! Who may see a post. Only they may like it, reply to it, or repost it.

use model::events::{Post, User};
use model::ids::UserId;
use model::values::Visibility;

/// A protected account has asked for a post that others than its followers can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a protected account writes to its followers")]
pub struct AuthorProtected;

/// The visibility of a new post, from what its author has asked for.
pub fn of_new_post(asked: Option<Visibility>, protected: bool) -> Result<Visibility, AuthorProtected> {
    match (asked, protected) {
        (None, true) => Ok(Visibility::Followers),
        (Some(asked), true) if at_most_followers(asked) != asked => Err(AuthorProtected),
        (asked, _) => Ok(asked.unwrap_or_default()),
    }
}

/// Whether [`of_new_post`] depends on whether the author is protected.
pub fn depends_on_protection(asked: Option<Visibility>) -> bool {
    asked.is_none_or(|asked| at_most_followers(asked) != asked)
}

/// The visibility that a post has now. While its author is protected, at most followers see it.
fn now(post: &Post, author: &User) -> Visibility {
    match author.protected {
        true => at_most_followers(post.visibility),
        false => post.visibility,
    }
}

fn at_most_followers(visibility: Visibility) -> Visibility {
    match visibility {
        Visibility::Public | Visibility::Followers => Visibility::Followers,
    }
}

/// Whether the result of [`may_see`] depends on whether the viewer follows the author.
pub fn depends_on_follow(viewer: UserId, post: &Post, author: &User) -> bool {
    now(post, author) == Visibility::Followers && author.id != viewer
}

/// How a viewer and the author of a post are related now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Relation {
    /// The viewer follows the author. It matters only if [`depends_on_follow`] is true.
    pub follows: bool,
    /// One of the two blocks the other.
    pub blocked: bool,
}

pub fn may_see(viewer: UserId, post: &Post, author: &User, relation: Relation) -> bool {
    !post.deleted
        && !author.deleted
        && !relation.blocked
        && (relation.follows || !depends_on_follow(viewer, post, author))
}

/// Whether the result of [`may_see_repost`] depends on whether the viewer follows the reposter.
pub fn repost_depends_on_follow(viewer: UserId, reposter: &User) -> bool {
    reposter.protected && reposter.id != viewer
}

/// Whether a viewer may see that somebody has reposted. It says nothing about the original.
pub fn may_see_repost(viewer: UserId, reposter: &User, relation: Relation) -> bool {
    !reposter.deleted && !relation.blocked && (relation.follows || !repost_depends_on_follow(viewer, reposter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::{post, user, user_id};

    const STRANGER: Relation = Relation {
        follows: false,
        blocked: false,
    };
    const FOLLOWER: Relation = Relation {
        follows: true,
        blocked: false,
    };

    fn guarded() -> User {
        User {
            protected: true,
            ..user(2)
        }
    }

    fn to_followers() -> Post {
        Post {
            visibility: Visibility::Followers,
            ..post(9, 2)
        }
    }

    #[test]
    fn everybody_sees_a_public_post() {
        assert!(may_see(user_id(1), &post(9, 2), &user(2), STRANGER));
    }

    #[test]
    fn only_followers_and_the_author_see_a_post_for_followers() {
        assert!(!may_see(user_id(1), &to_followers(), &user(2), STRANGER));
        assert!(may_see(user_id(1), &to_followers(), &user(2), FOLLOWER));
        assert!(may_see(user_id(2), &to_followers(), &user(2), STRANGER));
    }

    #[test]
    fn only_followers_and_the_author_see_a_public_post_while_its_author_is_protected() {
        assert!(!may_see(user_id(1), &post(9, 2), &guarded(), STRANGER));
        assert!(may_see(user_id(1), &post(9, 2), &guarded(), FOLLOWER));
        assert!(may_see(user_id(2), &post(9, 2), &guarded(), STRANGER));
    }

    #[test]
    fn a_block_hides_every_post() {
        for follows in [false, true] {
            let relation = Relation { follows, blocked: true };
            for post in [post(9, 2), to_followers()] {
                assert!(!may_see(user_id(1), &post, &user(2), relation));
            }
        }
    }

    #[test]
    fn a_repost_is_hidden_by_a_block_and_by_the_protection_of_its_author() {
        let blocked = Relation {
            follows: true,
            blocked: true,
        };
        for (viewer, reposter, relation, expected) in [
            (1, user(2), STRANGER, true),
            (1, user(2), blocked, false),
            (1, guarded(), STRANGER, false),
            (1, guarded(), FOLLOWER, true),
            (2, guarded(), STRANGER, true),
        ] {
            assert_eq!(may_see_repost(user_id(viewer), &reposter, relation), expected);
        }
    }

    #[test]
    fn nobody_sees_what_was_deleted_or_whose_author_was() {
        let deleted = Post {
            deleted: true,
            ..post(9, 2)
        };
        assert!(!may_see(user_id(2), &deleted, &user(2), FOLLOWER));
        let gone = User {
            deleted: true,
            ..user(2)
        };
        assert!(!may_see(user_id(1), &post(9, 2), &gone, FOLLOWER));
    }

    #[test]
    fn a_protected_account_writes_to_its_followers() {
        let (public, followers) = (Visibility::Public, Visibility::Followers);
        for (asked, protected, expected) in [
            (None, false, Ok(public)),
            (None, true, Ok(followers)),
            (Some(public), false, Ok(public)),
            (Some(public), true, Err(AuthorProtected)),
            (Some(followers), false, Ok(followers)),
            (Some(followers), true, Ok(followers)),
        ] {
            assert_eq!(of_new_post(asked, protected), expected, "{asked:?}");
            let depends = of_new_post(asked, true) != of_new_post(asked, false);
            assert_eq!(depends_on_protection(asked), depends, "{asked:?}");
        }
    }
}
