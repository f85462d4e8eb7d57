//! What belongs to a home timeline and to the timeline of a list, among what the viewer may see.

use std::collections::{BTreeSet, HashSet};

use model::ids::{ListId, UserId};
use model::tags::TagKey;
use model::values::Visibility;
use serde::Deserialize;
use utoipa::ToSchema;
use views::{Post, Profile, RelationId};

use super::{AuthorFilter, Candidate, Loaded, is_found_by, visibility_now};
use crate::documents::ListSources;
use crate::read_model::{ReadError, ReadModel};

/// Which replies by others a home timeline has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Replies {
    #[default]
    All,
    /// Only those to whom the owner follows, to the owner, and to their own author.
    Followed,
}

/// What a home timeline has besides what the owner and the followees post, and what it does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HomeRules {
    /// The tags that the owner follows now. Public posts with one of them belong to the timeline.
    pub(crate) tags: Vec<TagKey>,
    /// The owner has an exclusive list, or had one. So the lists are looked up.
    pub(crate) exclusive_lists: bool,
    pub(crate) replies: Replies,
}

impl ReadModel {
    /// Whom of the authors the viewer keeps out of the home timeline by exclusive lists, if the place is that timeline.
    pub(super) async fn kept_out(
        &self,
        place: AuthorFilter<'_>,
        viewer: Option<UserId>,
        candidates: &[Candidate],
    ) -> Result<HashSet<UserId>, ReadError> {
        let (
            AuthorFilter::Followed(HomeRules {
                exclusive_lists: true, ..
            }),
            Some(viewer),
        ) = (place, viewer)
        else {
            return Ok(HashSet::new());
        };
        let originals = candidates.iter().filter_map(|candidate| candidate.original);
        let authors = candidates.iter().map(|candidate| candidate.author);
        let authors = authors.chain(originals.map(|original| original.author));
        let authors: Vec<UserId> = authors.collect::<BTreeSet<UserId>>().into_iter().collect();
        let (exclusive, memberships): (HashSet<ListId>, _) = futures_util::try_join!(
            self.ask(self.views.lists.exclusive_of(viewer)),
            self.ask(self.views.list_members.memberships(viewer, &authors)),
        )?;
        let kept_out = memberships.into_iter().filter(|it| exclusive.contains(&it.list));
        // An owner may be in the own list. The own posts stay.
        Ok(kept_out.map(|it| it.user).filter(|&user| user != viewer).collect())
    }

    /// Loads whether the viewer follows whom these posts answer, if the place asks for that.
    pub(super) async fn load_answered(
        &self,
        loaded: &mut Loaded<'_>,
        candidates: &[Candidate],
    ) -> Result<(), ReadError> {
        let (
            AuthorFilter::Followed(HomeRules {
                replies: Replies::Followed,
                ..
            }),
            Some(viewer),
        ) = (loaded.authors, loaded.viewer)
        else {
            return Ok(());
        };
        let posts = candidates.iter().filter_map(|it| loaded.posts.get(&it.id)?.as_deref());
        let answered = posts
            .filter_map(|post| post.in_reply_to)
            .map(|answered| answered.author);
        let follows = answered.filter(|&author| author != viewer);
        let follows = follows.map(|author| RelationId::follow(viewer, author)).collect();
        let follows = self.relations(follows).await?;
        // What was read again is newer.
        for (id, held) in follows {
            loaded.relations.entry(id).or_insert(held);
        }
        Ok(())
    }
}

impl Loaded<'_> {
    /// Whether a post or repost that the viewer may see belongs to the place.
    pub(super) fn belongs(&self, candidate: &Candidate, post: &Post, author: &Profile) -> bool {
        match self.authors {
            AuthorFilter::Followed(rules) => self.belongs_home(rules, candidate, post, author),
            AuthorFilter::List(sources) => {
                sources.has_member(candidate.author) || is_found_by(&sources.tags, post, author)
            }
            AuthorFilter::Public => visibility_now(post, author) == Visibility::Public,
            AuthorFilter::Anybody => true,
        }
    }

    fn belongs_home(&self, rules: &HomeRules, candidate: &Candidate, post: &Post, author: &Profile) -> bool {
        if self.viewer == Some(candidate.author) {
            return true;
        }
        let found = self.follows(candidate.author) || is_found_by(&rules.tags, post, author);
        let writers = [
            Some(candidate.author),
            candidate.original.map(|original| original.author),
        ];
        let kept_out = writers.iter().flatten().any(|writer| self.kept_out.contains(writer));
        found && !kept_out && (rules.replies == Replies::All || self.answers_somebody_known(post))
    }

    /// A post that answers nobody, the viewer, its own author, or somebody whom the viewer follows.
    fn answers_somebody_known(&self, post: &Post) -> bool {
        post.in_reply_to.is_none_or(|answered| {
            answered.author == post.author || self.viewer == Some(answered.author) || self.follows(answered.author)
        })
    }
}

impl ListSources {
    fn has_member(&self, user: UserId) -> bool {
        self.members.binary_search(&user).is_ok()
    }
}
