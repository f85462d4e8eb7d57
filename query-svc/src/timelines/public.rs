//! The public timeline: everybody's public posts and replies, without reposts.

use shared::ids::{PostId, UserId};

use super::authored::range;
use crate::cursor::Cursor;
use crate::paging::Listing;
use crate::reading::{ReadError, Reading};
use crate::shown::{Candidate, List, ShownPost};
use crate::views::{End, Range};

/// Public posts and replies of all users.
#[derive(Debug)]
pub(crate) struct Public<'a> {
    pub(crate) reading: &'a Reading,
    pub(crate) viewer: Option<UserId>,
}

impl Public<'_> {
    async fn read(&self, range: Range<PostId>) -> Result<Vec<Candidate>, ReadError> {
        let posts = &self.reading.views.posts;
        let heads = self.reading.ask(posts.public_heads(range)).await?;
        Ok(heads.into_iter().map(Candidate::from).collect())
    }
}

impl Listing for Public<'_> {
    type Candidate = Candidate;
    type Item = ShownPost;

    fn place(candidate: &Candidate) -> Cursor {
        candidate.place()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Vec<Candidate>, ReadError> {
        self.read(range(Cursor::BOTTOM, below, count, End::Newest)).await
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Vec<Candidate>, ReadError> {
        let mut found = self.read(range(above, Cursor::TOP, count, End::Oldest)).await?;
        found.reverse();
        Ok(found)
    }

    async fn admit(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<ShownPost>>, ReadError> {
        self.reading.show(candidates, self.viewer, List::Any).await
    }
}
