//! Lists of posts that an index has in order: one user's posts, everybody's posts, and the replies to a post.

use std::sync::{MutexGuard, PoisonError};

use chrono::TimeDelta;
use model::ids::{PostId, UserId};
use model::values::FilterContext;

use super::authors::{Density, range};
use crate::cursor::Cursor;
use crate::documents::Held;
use crate::filters::Filtering;
use crate::handled::Appearance;
use crate::paging::{LONGER, Listing, Part, shortened};
use crate::read_model::{ReadError, ReadModel};
use crate::shown::{AuthorFilter, Candidate, ShownPost};
use views::{End, Range, RelationId};

/// Which posts are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The posts and reposts of one user.
    By(UserId),
    /// Public posts and replies of all users, without reposts.
    Public,
    /// Direct replies to a post.
    AnswersTo(PostId),
    /// Posts that quote a post.
    Quoting(PostId),
}

/// The posts that the viewer may see, newest first.
#[derive(Debug)]
pub(crate) struct Posts<'a> {
    read_model: &'a ReadModel,
    which: Which,
    viewer: Option<UserId>,
    /// Whether posts that not everybody may see are among the candidates. This is looked up with the first candidates: what is
    /// read before the page begins may be older than what the page takes for known.
    closed_too: Option<bool>,
    /// The length of the next range of the public timeline, once it was guessed.
    span: Option<TimeDelta>,
}

impl<'a> Posts<'a> {
    pub(crate) fn new(read_model: &'a ReadModel, which: Which, viewer: Option<UserId>) -> Self {
        Self {
            read_model,
            which,
            viewer,
            closed_too: None,
            span: None,
        }
    }

    /// How close together public posts are, as it was found before. Other lists are short enough to be asked as a whole.
    fn density(&self) -> Option<MutexGuard<'a, Option<Density>>> {
        let documents = self
            .read_model
            .documents
            .as_ref()
            .filter(|_| self.which == Which::Public);
        documents.map(|documents| documents.public_density.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A viewer who can see few of those posts, or none, is served by indexes that leave the others out.
    async fn closed_too(&mut self) -> Result<bool, ReadError> {
        if let Some(known) = self.closed_too {
            return Ok(known);
        }
        let closed_too = match (self.which, self.viewer) {
            (_, None) | (Which::Public, _) => false,
            (Which::By(author), Some(viewer)) if author != viewer => {
                let follow = RelationId::follow(viewer, author);
                self.read_model.relations(vec![follow]).await?[&follow] == Held::Yes
            }
            (Which::By(_) | Which::AnswersTo(_) | Which::Quoting(_), Some(_)) => true,
        };
        self.closed_too = Some(closed_too);
        Ok(closed_too)
    }

    /// Reads from either end of the range. The result is newest first.
    async fn read(&mut self, range: Range<PostId>) -> Result<Vec<Candidate>, ReadError> {
        let closed_too = self.closed_too().await?;
        let posts = &self.read_model.views.posts;
        let heads = match self.which {
            Which::By(author) if closed_too => self.read_model.ask(posts.heads_of_authors(&[author], range)).await?,
            Which::By(author) => {
                self.read_model
                    .ask(posts.heads_of_author_for(author, self.viewer, range))
                    .await?
            }
            Which::Public => self.read_model.ask(posts.public_heads(range)).await?,
            Which::AnswersTo(post) => {
                self.read_model
                    .ask(posts.heads_of_replies(post, closed_too, range))
                    .await?
            }
            Which::Quoting(post) => {
                self.read_model
                    .ask(posts.heads_of_quotes(post, closed_too, range))
                    .await?
            }
        };
        Ok(heads.into_iter().map(Candidate::from).collect())
    }
}

impl Listing for Posts<'_> {
    type Candidate = Candidate;
    type Item = ShownPost;

    fn place(candidate: &Candidate) -> Cursor {
        candidate.place()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<Candidate>, ReadError> {
        let now = self.read_model.clock.now();
        let from = below.to_post().time().min(now);
        let known = self.density().and_then(|density| *density);
        self.span = self.span.or_else(|| known.map(|density| density.span(from, count)));
        let (above, below, rest) = match self.span {
            Some(span) => shortened(Cursor::BOTTOM, below, span, End::Newest, now),
            None => (Cursor::BOTTOM, below, None),
        };
        let found = self.read(range(above, below, count, End::Newest)).await?;
        if let (Some(mut density), Some(found)) = (self.density(), Density::of(&found)) {
            *density = Some(found.after(*density));
        }
        let part = Part::of(found, count, Candidate::place);
        if part.more.is_some() {
            return Ok(part);
        }
        self.span = self.span.and_then(|span| span.checked_mul(LONGER));
        Ok(Part { more: rest, ..part })
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<Candidate>, ReadError> {
        let mut found = self.read(range(above, Cursor::TOP, count, End::Oldest)).await?;
        found.reverse();
        Ok(Part::of(found, count, Candidate::place))
    }

    async fn appearances(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<Appearance>>, ReadError> {
        Ok(candidates.iter().map(Candidate::appearance).collect())
    }

    async fn admit(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<ShownPost>>, ReadError> {
        let (authors, context) = match self.which {
            Which::Public => (AuthorFilter::Public, FilterContext::Public),
            Which::By(_) => (AuthorFilter::Anybody, FilterContext::Profile),
            Which::AnswersTo(_) | Which::Quoting(_) => (AuthorFilter::Anybody, FilterContext::Thread),
        };
        self.read_model
            .show(candidates, self.viewer, authors, Filtering::In(context))
            .await
    }
}
