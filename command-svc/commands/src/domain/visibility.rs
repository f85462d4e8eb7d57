//! Who may see a post. Only they may like it, reply to it, or repost it.

use model::events::{Post, User};
use model::ids::UserId;
use model::values::Visibility;

/// Whether the result of [`may_see`] depends on whether the viewer follows the author.
pub fn depends_on_follow(viewer: UserId, post: &Post) -> bool {
    post.visibility == Visibility::Followers && post.author != viewer
}

/// `follows` says whether the viewer follows the author now. It matters only if [`depends_on_follow`] is true.
pub fn may_see(viewer: UserId, post: &Post, author: &User, follows: bool) -> bool {
    !post.deleted && !author.deleted && (follows || !depends_on_follow(viewer, post))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::{post, user, user_id};

    #[test]
    fn everybody_sees_a_public_post() {
        assert!(may_see(user_id(1), &post(9, 2), &user(2), false));
    }

    #[test]
    fn only_followers_and_the_author_see_a_post_for_followers() {
        let post = Post {
            visibility: Visibility::Followers,
            ..post(9, 2)
        };
        assert!(!may_see(user_id(1), &post, &user(2), false));
        assert!(may_see(user_id(1), &post, &user(2), true));
        assert!(may_see(user_id(2), &post, &user(2), false));
    }

    #[test]
    fn nobody_sees_what_was_deleted_or_whose_author_was() {
        assert!(!may_see(
            user_id(2),
            &Post {
                deleted: true,
                ..post(9, 2)
            },
            &user(2),
            true
        ));
        assert!(!may_see(
            user_id(1),
            &post(9, 2),
            &User {
                deleted: true,
                ..user(2)
            },
            true
        ));
    }
}
