//! A user shows a post that everybody may see to their followers. Each repost has a new id. Not everybody may see the posts of a protected
//! account.

use chrono::{DateTime, Utc};
use model::events::{Event, Post, Repost};
use model::ids::{PostId, UserId};

#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    Repost {
        /// The id of the repost if this command makes one.
        id: PostId,
        user: UserId,
        post: &'a Post,
        /// The author of the post is protected.
        protected: bool,
        at: DateTime<Utc>,
    },
    Unrepost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("only public and unlisted posts can be reposted")]
pub struct NotPublic;

pub fn evolve(event: Event) -> Option<Repost> {
    match event {
        Event::PostReposted(repost) | Event::PostUnreposted(repost) => Some(repost),
        _ => None,
    }
}

pub fn decide(state: Option<&Repost>, command: Command<'_>) -> Result<Option<Event>, NotPublic> {
    let active = state.filter(|repost| repost.active);
    Ok(match (active, command) {
        (_, Command::Repost { post, .. }) if !post.visibility.is_open() => return Err(NotPublic),
        // The author's own followers are those who see the post anyway.
        (
            _,
            Command::Repost {
                user, post, protected, ..
            },
        ) if protected && user != post.author => return Err(NotPublic),
        (None, Command::Repost { id, user, post, at, .. }) => Some(Event::PostReposted(Repost {
            id,
            user,
            post: post.id,
            post_author: post.author,
            created_at: at,
            active: true,
        })),
        (Some(repost), Command::Unrepost) => Some(Event::PostUnreposted(Repost {
            active: false,
            ..*repost
        })),
        (Some(_), Command::Repost { .. }) | (None, Command::Unrepost) => None,
    })
}

#[cfg(test)]
mod tests {
    use model::values::Visibility;

    use super::*;
    use crate::domain::example::{post, post_id, time, user_id};

    fn reposted(id: u8, active: bool) -> Repost {
        Repost {
            id: post_id(id),
            user: user_id(1),
            post: post_id(9),
            post_author: user_id(2),
            created_at: time(1),
            active,
        }
    }

    fn repost(id: u8, post: &Post) -> Command<'_> {
        Command::Repost {
            id: post_id(id),
            user: user_id(1),
            post,
            protected: false,
            at: time(1),
        }
    }

    #[test]
    fn given_no_repost_when_reposting_then_there_is_one() {
        assert_eq!(
            decide(None, repost(3, &post(9, 2))),
            Ok(Some(Event::PostReposted(reposted(3, true))))
        );
    }

    #[test]
    fn given_a_retracted_repost_when_reposting_then_the_id_is_a_new_one() {
        let event = decide(Some(&reposted(3, false)), repost(4, &post(9, 2)));
        assert_eq!(event, Ok(Some(Event::PostReposted(reposted(4, true)))));
    }

    #[test]
    fn given_a_repost_when_retracted_then_it_keeps_its_id() {
        let event = decide(Some(&reposted(3, true)), Command::Unrepost);
        assert_eq!(event, Ok(Some(Event::PostUnreposted(reposted(3, false)))));
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        assert_eq!(decide(Some(&reposted(3, true)), repost(4, &post(9, 2))), Ok(None));
        assert_eq!(decide(Some(&reposted(3, false)), Command::Unrepost), Ok(None));
        assert_eq!(decide(None, Command::Unrepost), Ok(None));
    }

    #[test]
    fn given_a_protected_author_when_reposting_then_refused_except_to_the_author() {
        let post = post(9, 2);
        let by = |user| Command::Repost {
            id: post_id(3),
            user: user_id(user),
            post: &post,
            protected: true,
            at: time(1),
        };
        assert_eq!(decide(None, by(1)), Err(NotPublic));
        assert!(decide(None, by(2)).is_ok_and(|event| event.is_some()));
    }

    #[test]
    fn given_a_post_for_some_when_reposting_then_refused_even_to_its_author() {
        let decided = |visibility| {
            let post = Post {
                visibility,
                ..post(9, 1)
            };
            decide(None, repost(3, &post)).map(|event| event.is_some())
        };
        for closed in [Visibility::Followers, Visibility::Mentioned] {
            assert_eq!(decided(closed), Err(NotPublic));
        }
        assert_eq!(decided(Visibility::Unlisted), Ok(true));
    }
}
