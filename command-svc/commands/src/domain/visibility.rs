//! Who may see a post. Only they may like it, reply to it, or repost it.
//!
//! What a list shows is decided by query-svc, by the same rules (`query-svc/src/shown.rs`).

use model::events::{Post, User};
use model::ids::UserId;
use model::values::Visibility;

/// Whether the result of [`may_see`] depends on whether the viewer follows the author.
pub fn depends_on_follow(viewer: UserId, post: &Post) -> bool {
    post.visibility == Visibility::Followers && post.author != viewer && !post.mentions(viewer)
}

/// `follows` says whether the viewer follows the author now. It matters only if [`depends_on_follow`] is true.
pub fn may_see(viewer: UserId, post: &Post, author: &User, follows: bool) -> bool {
    let admitted = || match post.visibility {
        Visibility::Public | Visibility::Unlisted => true,
        Visibility::Followers => follows || post.mentions(viewer),
        Visibility::Mentioned => post.mentions(viewer),
    };
    !post.deleted && !author.deleted && (post.author == viewer || admitted())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::domain::example::{post, text, user, user_id};
    use crate::domain::post::{Text, Written};

    /// A post by 2, which mentions 3.
    fn mentioning(visibility: Visibility) -> Post {
        let users = HashMap::from([("user3".to_owned(), user_id(3))]);
        let written = Written {
            text: Text::of(text("Hi @user3")).resolved(&users),
            warning: None,
            language: None,
        };
        Post {
            visibility,
            content: Some(written.into()),
            ..post(9, 2)
        }
    }

    #[test]
    fn each_visibility_admits_its_viewers() {
        use Visibility::{Followers, Mentioned, Public, Unlisted};
        // A stranger, a follower, somebody mentioned, somebody mentioned who follows, the author.
        let viewers = [(1, false), (1, true), (3, false), (3, true), (2, false)];
        for (visibility, expected) in [
            (Public, [true, true, true, true, true]),
            (Unlisted, [true, true, true, true, true]),
            (Followers, [false, true, true, true, true]),
            (Mentioned, [false, false, true, true, true]),
        ] {
            let post = mentioning(visibility);
            let seen = viewers.map(|(viewer, follows)| may_see(user_id(viewer), &post, &user(2), follows));
            assert_eq!(seen, expected, "{visibility:?}");
        }
    }

    #[test]
    fn a_follow_is_looked_up_only_where_it_decides() {
        let depends = |viewer, visibility| depends_on_follow(user_id(viewer), &mentioning(visibility));
        assert!(depends(1, Visibility::Followers));
        assert!(!depends(2, Visibility::Followers) && !depends(3, Visibility::Followers));
        for visibility in [Visibility::Public, Visibility::Unlisted, Visibility::Mentioned] {
            assert!(!depends(1, visibility), "{visibility:?}");
        }
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
