//! The history of a post: all its texts, the current one first.

use model::entities::Entities;
use model::ids::PostId;
use serde::Serialize;
use utoipa::ToSchema;
use views::{End, PostVersion, Range};

use crate::cursor::Cursor;
use crate::handled::Appearance;
use crate::paging::{Listing, Part};
use crate::read_model::{ReadError, ReadModel};

/// What a post said from some time on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Version {
    /// 1 for the first text. Numbers may be skipped.
    version: i64,
    text: String,
    entities: Entities,
    warning: Option<String>,
    language: Option<String>,
    #[serde(serialize_with = "model::api::time")]
    at: chrono::DateTime<chrono::Utc>,
}

impl From<PostVersion> for Version {
    fn from(row: PostVersion) -> Self {
        Self {
            version: row.version,
            text: row.text,
            entities: row.entities,
            warning: row.warning,
            language: row.language,
            at: row.at,
        }
    }
}

/// The versions of a post. Their numbers are their places.
pub(crate) struct Versions<'a> {
    pub(crate) read_model: &'a ReadModel,
    pub(crate) post: PostId,
    /// The version that the viewer may see for certain. A later one may be denied by what the page does not know yet.
    pub(crate) newest: i64,
}

impl Versions<'_> {
    async fn read(&self, range: Range<i64>) -> Result<Vec<PostVersion>, ReadError> {
        let above = self.newest + 1;
        let range = Range {
            before: Some(range.before.map_or(above, |before| before.min(above))),
            ..range
        };
        self.read_model
            .ask(self.read_model.views.post_history.of_post(self.post, range))
            .await
    }
}

impl Listing for Versions<'_> {
    type Candidate = PostVersion;
    type Item = Version;

    fn place(version: &PostVersion) -> Cursor {
        Cursor::of_version(version.version)
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<PostVersion>, ReadError> {
        let found = self
            .read(Range {
                before: (below < Cursor::TOP).then(|| below.to_version()),
                after: None,
                limit: u32::try_from(count).unwrap_or(u32::MAX),
                end: End::Newest,
            })
            .await?;
        Ok(Part::of(found, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<PostVersion>, ReadError> {
        let mut found = self
            .read(Range {
                before: None,
                after: Some(above.to_version()),
                limit: u32::try_from(count).unwrap_or(u32::MAX),
                end: End::Oldest,
            })
            .await?;
        found.reverse();
        Ok(Part::of(found, count, Self::place))
    }

    /// Versions are numbers of one stream, so nothing arrives late below the newest.
    async fn appearances(&mut self, candidates: &[PostVersion]) -> Result<Vec<Option<Appearance>>, ReadError> {
        Ok(vec![None; candidates.len()])
    }

    async fn admit(&mut self, candidates: &[PostVersion]) -> Result<Vec<Option<Version>>, ReadError> {
        Ok(candidates.iter().cloned().map(|version| Some(version.into())).collect())
    }
}
