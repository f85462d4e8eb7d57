//! The posts that a user has bookmarked, the last bookmark first.

use model::ids::UserId;
use views::{Bookmark, End, Range};

use crate::cursor::Cursor;
use crate::filters::Filtering;
use crate::handled::Appearance;
use crate::paging::{Listing, Part};
use crate::read_model::{ReadError, ReadModel};
use crate::shown::{AuthorFilter, Candidate, ShownPost};

/// The bookmarks of a user whose posts the user may still see.
#[derive(Debug)]
pub(crate) struct Bookmarks<'a> {
    pub(crate) read_model: &'a ReadModel,
    pub(crate) user: UserId,
}

impl Bookmarks<'_> {
    /// The post of each bookmark as a candidate. None if the post is gone, or has not arrived.
    async fn candidates(&self, bookmarks: &[Bookmark]) -> Result<Vec<Option<Candidate>>, ReadError> {
        let posts = self
            .read_model
            .posts(bookmarks.iter().map(|it| it.post).collect())
            .await?;
        let candidate = |it: &Bookmark| posts[&it.post].as_deref().map(Candidate::from);
        Ok(bookmarks.iter().map(candidate).collect())
    }
}

impl Listing for Bookmarks<'_> {
    type Candidate = Bookmark;
    type Item = ShownPost;

    fn place(bookmark: &Bookmark) -> Cursor {
        bookmark.order.into()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<Bookmark>, ReadError> {
        let range = Range {
            before: (below < Cursor::TOP).then(|| below.to_event()),
            after: None,
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Newest,
        };
        let bookmarks = self.read_model.views.bookmarks.of_user(self.user, range);
        Ok(Part::of(self.read_model.ask(bookmarks).await?, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<Bookmark>, ReadError> {
        let range = Range {
            before: None,
            after: (above > Cursor::BOTTOM).then(|| above.to_event()),
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Oldest,
        };
        let bookmarks = self.read_model.views.bookmarks.of_user(self.user, range);
        let mut found = self.read_model.ask(bookmarks).await?;
        found.reverse();
        Ok(Part::of(found, count, Self::place))
    }

    /// A bookmark is shown once its post has arrived too.
    async fn appearances(&mut self, bookmarks: &[Bookmark]) -> Result<Vec<Option<Appearance>>, ReadError> {
        let candidates = self.candidates(bookmarks).await?;
        let appearances = bookmarks.iter().zip(candidates).map(|(bookmark, candidate)| {
            let author = candidate.map_or(self.user, |candidate| candidate.author);
            bookmark.position.map(|position| Appearance {
                position,
                audiences: [self.user, author],
            })
        });
        Ok(appearances.collect())
    }

    async fn admit(&mut self, bookmarks: &[Bookmark]) -> Result<Vec<Option<ShownPost>>, ReadError> {
        let candidates = self.candidates(bookmarks).await?;
        let present: Vec<Candidate> = candidates.iter().flatten().copied().collect();
        let mut shown = self
            .read_model
            .show(&present, Some(self.user), AuthorFilter::Anybody, Filtering::Off)
            .await?
            .into_iter();
        Ok(candidates
            .iter()
            .map(|candidate| candidate.and_then(|_| shown.next().flatten()))
            .collect())
    }
}
