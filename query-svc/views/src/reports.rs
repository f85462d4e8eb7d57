//! `reports`: what users have told the moderators.

use bson::{Bson, doc};
use event_log::position::Position;
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use model::events::State;
use model::ids::{PostId, ReportId, UserId};
use model::values::ReportState;
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::guarded::GuardedRows;
use super::range::Range;

pub const NAME: &str = "reports";

/// A report. Lists are ordered by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    #[serde(rename = "_id")]
    pub id: ReportId,
    pub reporter: UserId,
    pub user: UserId,
    pub posts: Vec<PostId>,
    pub comment: Option<String>,
    pub resolved_by: Option<UserId>,
    /// The position of the event of its row in the commit order. Unknown if a scan has found the event.
    #[serde(default)]
    pub position: Option<Position>,
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Reports {
    database: Database,
    reports: Collection<Report>,
}

impl Reports {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            reports: super::collection(database, name),
        }
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.reports.name()).await?;
        self.reports
            .create_indexes([
                super::index("resolved", doc! { "resolved": 1, "_id": -1 }, None),
                super::index("reporter", doc! { "reporter": 1, "_id": -1 }, None),
            ])
            .await?;
        Ok(())
    }

    pub async fn find(&self, report: ReportId) -> Result<Option<Report>, Error> {
        self.reports.find_one(doc! { "_id": report, "live": true }).await
    }

    /// Those in this state, newest first.
    pub async fn in_state(&self, state: ReportState, range: Range<ReportId>) -> Result<Vec<Report>, Error> {
        // A stub has neither value.
        let mut filter = doc! { "resolved": state == ReportState::Resolved };
        range.bound(&mut filter, "_id");
        let sort = doc! { "_id": range.direction() };
        let found = self.reports.find(filter).sort(sort).limit(i64::from(range.limit));
        Ok(range.newest_first(found.await?.try_collect().await?))
    }

    /// Those in which this reporter has said something, newest first.
    pub async fn with_words_of(&self, reporter: UserId, range: Range<ReportId>) -> Result<Vec<Report>, Error> {
        let mut filter = doc! { "reporter": reporter, "comment": { "$ne": null } };
        range.bound(&mut filter, "_id");
        let sort = doc! { "_id": range.direction() };
        let found = self.reports.find(filter).sort(sort).limit(i64::from(range.limit));
        Ok(range.newest_first(found.await?.try_collect().await?))
    }

    /// Applies the reports among these events to the rows.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let mut rows = GuardedRows::default();
        for delivery in batch {
            let State::Report(report) = delivery.event.state() else {
                continue;
            };
            let row = doc! {
                "reporter": report.reporter,
                "user": report.user,
                "posts": report.posts.iter().map(|&post| post.into()).collect::<Vec<Bson>>(),
                "comment": report.comment.as_deref(),
                "resolved": report.resolved_by.is_some(),
                "resolved_by": report.resolved_by,
            };
            rows.add(super::id_of(*report.id.as_bytes()), delivery, true, row);
        }
        rows.write(&self.database, self.reports.name()).await
    }
}
