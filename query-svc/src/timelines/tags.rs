//! Posts with tags: the timeline of a tag, and what followed tags add to a home timeline.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt};
use model::ids::UserId;
use model::tags::{Tag, TagKey};
use model::values::FilterContext;

use super::authors::{in_direction, merged, range};
use crate::cursor::Cursor;
use crate::filters::Filtering;
use crate::handled::Appearance;
use crate::paging::{Listing, Part};
use crate::read_model::{ReadError, ReadModel};
use crate::shown::{AuthorFilter, Candidate, ShownPost};
use views::End;

/// How many tags of one page are asked for at a time, so that one reader does not take all connections.
const AT_ONCE: usize = 4;
/// The most rows that all tags of one step read together, if each may read [`LEAST_OF_A_TAG`]. A page's budget counts what is left after
/// the merge, so that somebody who follows a hundred tags would cost a hundred times as much.
const ROWS_AT_ONCE: usize = 5_000;
const LEAST_OF_A_TAG: usize = 50;

/// The public posts with any of these tags, between two places, from one end on. Each tag is one range of the view, without end.
async fn with_any_of(
    read_model: &ReadModel,
    tags: &[TagKey],
    (above, below): (Cursor, Cursor),
    count: usize,
    end: End,
) -> Result<Part<Candidate>, ReadError> {
    // A short part says where it ends, and the merge ends there too.
    let each = count.min((ROWS_AT_ONCE / tags.len().max(1)).max(LEAST_OF_A_TAG));
    let range = range(above, below, each, end);
    // Collect first. A lazy map that is held across an await is `Send` for one lifetime only, and pages are read in a task.
    let questions: Vec<_> = tags
        .iter()
        .map(|tag| read_model.ask(read_model.views.tagged.of_tag(tag, range)))
        .collect();
    let found: Vec<_> = futures_util::stream::iter(questions)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let parts = found.into_iter().map(|posts| {
        let candidates = posts.into_iter().map(Candidate::from).collect();
        in_direction(candidates, each, end)
    });
    Ok(merged(parts.collect(), count, end))
}

/// Adds the public posts with any of these tags to a part of a list, between the same two places.
pub(super) async fn with_tags(
    read_model: &ReadModel,
    tags: &[TagKey],
    part: Part<Candidate>,
    (above, below): (Cursor, Cursor),
    count: usize,
    end: End,
) -> Result<Part<Candidate>, ReadError> {
    if tags.is_empty() {
        return Ok(part);
    }
    // The part ends the step, so nothing behind its end is of use.
    let between = match (part.more, end) {
        (Some(more), End::Newest) => (above.max(more.below()), below),
        (Some(more), End::Oldest) => (above, below.min(more.above())),
        (None, _) => (above, below),
    };
    let tagged = with_any_of(read_model, tags, between, count, end).await?;
    Ok(merged(vec![part, tagged], count, end))
}

/// Which tags a post must have to be in the timeline of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagFilter {
    /// One of these.
    any: Vec<TagKey>,
    all: Vec<TagKey>,
    none: Vec<TagKey>,
}

impl TagFilter {
    /// The tag itself counts among `any`.
    pub(crate) fn new(tag: &Tag, any: &[Tag], all: &[Tag], none: &[Tag]) -> Self {
        let any: BTreeSet<TagKey> = any.iter().chain([tag]).map(Tag::key).collect();
        Self {
            any: any.into_iter().collect(),
            all: all.iter().map(Tag::key).collect(),
            none: none.iter().map(Tag::key).collect(),
        }
    }

    /// A post in the timeline has one of these.
    pub(crate) fn any(&self) -> &[TagKey] {
        &self.any
    }

    pub(crate) fn admits(&self, tags: &[TagKey]) -> bool {
        self.any.iter().any(|tag| tags.contains(tag))
            && self.all.iter().all(|tag| tags.contains(tag))
            && !self.none.iter().any(|tag| tags.contains(tag))
    }
}

/// The public posts with some tags that the viewer may see, newest first.
#[derive(Debug)]
pub(crate) struct Tagged<'a> {
    pub(crate) read_model: &'a ReadModel,
    pub(crate) filter: TagFilter,
    pub(crate) viewer: Option<UserId>,
}

impl Tagged<'_> {
    async fn between(&self, places: (Cursor, Cursor), count: usize, end: End) -> Result<Part<Candidate>, ReadError> {
        with_any_of(self.read_model, &self.filter.any, places, count, end).await
    }
}

impl Listing for Tagged<'_> {
    type Candidate = Candidate;
    type Item = ShownPost;

    fn place(candidate: &Candidate) -> Cursor {
        candidate.place()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<Candidate>, ReadError> {
        self.between((Cursor::BOTTOM, below), count, End::Newest).await
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<Candidate>, ReadError> {
        self.between((above, Cursor::TOP), count, End::Oldest).await
    }

    async fn appearances(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<Appearance>>, ReadError> {
        self.read_model.appearances_of(candidates).await
    }

    async fn admit(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<ShownPost>>, ReadError> {
        let shown = self
            .read_model
            .show(
                candidates,
                self.viewer,
                AuthorFilter::Public,
                Filtering::In(FilterContext::Tags),
            )
            .await?;
        // An edit may have taken a tag away, and the filter wants more than one.
        let has_tags = |shown: &ShownPost| self.filter.admits(&shown.post.tags);
        Ok(shown.into_iter().map(|shown| shown.filter(has_tags)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(names: &[&str]) -> Vec<Tag> {
        names.iter().map(|name| Tag::parse(name).unwrap()).collect()
    }

    #[test]
    fn a_filter_wants_one_tag_all_others_and_none_of_the_rest() {
        let rust = Tag::parse("Rust").unwrap();
        let filter =
            |any: &[&str], all: &[&str], none: &[&str]| TagFilter::new(&rust, &tags(any), &tags(all), &tags(none));
        for (filter, post, admitted) in [
            (filter(&[], &[], &[]), &["rust"][..], true),
            (filter(&[], &[], &[]), &["go", "rust"], true),
            (filter(&[], &[], &[]), &["go"], false),
            (filter(&[], &[], &[]), &[], false),
            (filter(&["Go", "RUST"], &[], &[]), &["go"], true),
            (filter(&["go"], &["web"], &[]), &["go"], false),
            (filter(&["go"], &["web", "async"], &[]), &["go", "WEB", "async"], true),
            (filter(&[], &["web"], &[]), &["web"], false),
            (filter(&["go"], &[], &["web"]), &["rust", "web"], false),
            (filter(&["go"], &[], &["web"]), &["rust", "go"], true),
            (filter(&[], &[], &["rust"]), &["rust"], false),
        ] {
            let tags: Vec<TagKey> = post.iter().copied().map(TagKey::of).collect();
            assert_eq!(filter.admits(&tags), admitted, "{filter:?} {post:?}");
        }
    }
}
