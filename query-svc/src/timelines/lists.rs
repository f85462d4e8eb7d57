//! The timeline of a list: every post and repost by its members, and every public post with one of its tags.
//!
//! Both are found when a page is read, so a list needs no entries, and a user whom its owner does not follow can be in it.

use std::sync::Arc;

use model::clock::SharedClock;
use model::ids::{ListId, UserId};
use model::values::FilterContext;

use super::authors::Authors;
use super::tags::with_tags;
use crate::cursor::Cursor;
use crate::documents::ListSources;
use crate::filters::Filtering;
use crate::handled::Appearance;
use crate::paging::{Listing, Part};
use crate::read_model::{ReadError, ReadModel};
use crate::shown::{AuthorFilter, Candidate, ShownPost};
use views::End;

/// The posts of a list that its owner may see, newest first.
#[derive(Debug)]
pub(crate) struct ListPosts<'a> {
    read_model: &'a ReadModel,
    list: ListId,
    owner: UserId,
    clock: &'a SharedClock,
    /// What is in the list. It is read with the first candidates: what is read before the page begins may be older than what the page
    /// takes for known.
    sources: Option<(Arc<ListSources>, Authors)>,
}

impl<'a> ListPosts<'a> {
    pub(crate) fn new(read_model: &'a ReadModel, list: ListId, owner: UserId, clock: &'a SharedClock) -> Self {
        Self {
            read_model,
            list,
            owner,
            clock,
            sources: None,
        }
    }

    async fn between(
        &mut self,
        between: (Cursor, Cursor),
        count: usize,
        end: End,
    ) -> Result<Part<Candidate>, ReadError> {
        let read_model = self.read_model;
        let densities = read_model.documents.as_ref().map(|documents| &documents.densities);
        let (sources, authors) = match &mut self.sources {
            Some(known) => known,
            unknown => {
                let sources = read_model.list_sources(self.list).await?;
                let density = densities.and_then(|densities| densities.get(&self.list));
                let authors = Authors::looked_for(sources.members.clone()).with_density(density);
                unknown.insert((sources, authors))
            }
        };
        let now = self.clock.now();
        let by_members = authors.part(read_model, between, count, end, now).await?;
        if let (Some(densities), Some(density)) = (densities, authors.density()) {
            densities.insert(self.list, density);
        }
        with_tags(read_model, &sources.tags, by_members, between, count, end).await
    }
}

impl Listing for ListPosts<'_> {
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
        let nothing = ListSources::default();
        let sources = self.sources.as_ref().map_or(&nothing, |(sources, _)| sources.as_ref());
        self.read_model
            .show(
                candidates,
                Some(self.owner),
                AuthorFilter::List(sources),
                Filtering::In(FilterContext::Lists),
            )
            .await
    }
}
