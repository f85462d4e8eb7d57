//! Who may see a post. Only they may like it, reply to it, or repost it.
//!
//! What a list shows is decided by query-svc, by the same rules (`query-svc/src/shown.rs`).

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

/// The visibility that a post has now. While its author is protected, at most followers see it.
fn now(post: &Post, author: &User) -> Visibility {
    match author.protected {
        true => at_most_followers(post.visibility),
        false => post.visibility,
    }
}

fn at_most_followers(visibility: Visibility) -> Visibility {
    match visibility {
        Visibility::Public | Visibility::Unlisted | Visibility::Followers => Visibility::Followers,
        Visibility::Mentioned => Visibility::Mentioned,
    }
}

/// Whether somebody who sees the post may show it to others in a post of their own. Whoever reads that post sees the quoted one only if
/// they may see it anyway.
pub fn may_quote(user: UserId, post: &Post, author: &User) -> bool {
    author.id == user || now(post, author).is_open()
}

/// Whether the result of [`may_see`] depends on whether the viewer follows the author.
pub fn depends_on_follow(viewer: UserId, post: &Post, author: &User) -> bool {
    now(post, author) == Visibility::Followers && author.id != viewer && !post.mentions(viewer)
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
    let admitted = || match now(post, author) {
        Visibility::Public | Visibility::Unlisted => true,
        Visibility::Followers => relation.follows || post.mentions(viewer),
        Visibility::Mentioned => post.mentions(viewer),
    };
    let denied = || relation.blocked || post.is_hidden() || author.is_suspended();
    !post.deleted && !author.deleted && (author.id == viewer || !denied() && admitted())
}

/// Whether the result of [`may_see_repost`] depends on whether the viewer follows the reposter.
pub fn repost_depends_on_follow(viewer: UserId, reposter: &User) -> bool {
    reposter.protected && reposter.id != viewer
}

/// Whether a viewer may see that somebody has reposted. It says nothing about the original.
pub fn may_see_repost(viewer: UserId, reposter: &User, relation: Relation) -> bool {
    let denied = relation.blocked || reposter.is_suspended() && reposter.id != viewer;
    !reposter.deleted && !denied && (relation.follows || !repost_depends_on_follow(viewer, reposter))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::domain::example::{post, text, user, user_id};
    use crate::domain::post::{Text, Written};
    use Visibility::{Followers, Mentioned, Public, Unlisted};
    use model::events::Moderation;

    const ALL: [Visibility; 4] = [Public, Unlisted, Followers, Mentioned];

    fn guarded() -> User {
        User {
            protected: true,
            ..user(2)
        }
    }

    fn related(follows: bool) -> Relation {
        Relation {
            follows,
            blocked: false,
        }
    }

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
    fn each_visibility_admits_its_viewers_and_protection_admits_at_most_followers() {
        // A stranger, a follower, somebody mentioned, somebody mentioned who follows, the author.
        let viewers = [(1, false), (1, true), (3, false), (3, true), (2, false)];
        let (open, to_followers) = ([true; 5], [false, true, true, true, true]);
        for (visibility, expected, while_protected) in [
            (Public, open, to_followers),
            (Unlisted, open, to_followers),
            (Followers, to_followers, to_followers),
            (
                Mentioned,
                [false, false, true, true, true],
                [false, false, true, true, true],
            ),
        ] {
            let post = mentioning(visibility);
            for (author, expected) in [(user(2), expected), (guarded(), while_protected)] {
                let seen = viewers.map(|(viewer, follows)| may_see(user_id(viewer), &post, &author, related(follows)));
                assert_eq!(seen, expected, "{visibility:?}, protected: {}", author.protected);
            }
        }
    }

    #[test]
    fn a_follow_is_looked_up_only_where_it_decides() {
        for visibility in ALL {
            for author in [user(2), guarded()] {
                let post = mentioning(visibility);
                for viewer in [1, 2, 3] {
                    let seen = [false, true].map(|follows| may_see(user_id(viewer), &post, &author, related(follows)));
                    let depends = depends_on_follow(user_id(viewer), &post, &author);
                    assert_eq!(depends, seen[0] != seen[1], "{visibility:?} {viewer}");
                }
            }
        }
    }

    #[test]
    fn what_everybody_sees_may_be_quoted_and_by_its_author_everything() {
        for visibility in ALL {
            let (post, open) = (mentioning(visibility), visibility.is_open());
            let quoters = [(3, user(2)), (3, guarded()), (2, guarded())];
            let may = quoters.map(|(quoter, author)| may_quote(user_id(quoter), &post, &author));
            assert_eq!(may, [open, false, true], "{visibility:?}");
        }
    }

    #[test]
    fn a_block_hides_every_post() {
        for (visibility, follows) in ALL.into_iter().flat_map(|it| [(it, false), (it, true)]) {
            let relation = Relation { follows, blocked: true };
            for viewer in [1, 3] {
                assert!(!may_see(user_id(viewer), &mentioning(visibility), &user(2), relation));
            }
        }
    }

    #[test]
    fn what_a_moderator_hides_only_its_author_sees() {
        let act = |active| Some(Moderation { by: user_id(8), active });
        let viewers = [1, 2, 3].map(user_id);
        for visibility in ALL {
            let post = mentioning(visibility);
            let sight = |post: &Post, author: &User| viewers.map(|viewer| may_see(viewer, post, author, related(true)));
            let usual = sight(&post, &user(2));
            for (active, expected) in [(true, [false, true, false]), (false, usual)] {
                let hidden = Post {
                    hidden: act(active),
                    ..post.clone()
                };
                let suspended = User {
                    suspended: act(active),
                    ..user(2)
                };
                assert_eq!(sight(&hidden, &user(2)), expected, "{visibility:?}");
                assert_eq!(sight(&post, &suspended), expected, "{visibility:?}");
                let reposted = viewers.map(|viewer| may_see_repost(viewer, &suspended, related(true)));
                assert_eq!(reposted, [!active, true, !active]);
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
            (1, user(2), related(false), true),
            (1, user(2), blocked, false),
            (1, guarded(), related(false), false),
            (1, guarded(), related(true), true),
            (2, guarded(), related(false), true),
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
        assert!(!may_see(user_id(2), &deleted, &user(2), related(true)));
        let gone = User {
            deleted: true,
            ..user(2)
        };
        assert!(!may_see(user_id(1), &post(9, 2), &gone, related(true)));
    }

    #[test]
    fn a_protected_account_writes_to_its_followers_or_to_whom_it_mentions() {
        for (asked, protected, expected) in [
            (None, false, Ok(Public)),
            (None, true, Ok(Followers)),
            (Some(Public), true, Err(AuthorProtected)),
            (Some(Unlisted), true, Err(AuthorProtected)),
            (Some(Followers), true, Ok(Followers)),
            (Some(Mentioned), true, Ok(Mentioned)),
        ] {
            assert_eq!(of_new_post(asked, protected), expected, "{asked:?}");
        }
        for asked in ALL.map(Some).into_iter().chain([None]) {
            assert_eq!(of_new_post(asked, false), Ok(asked.unwrap_or_default()));
        }
    }
}
