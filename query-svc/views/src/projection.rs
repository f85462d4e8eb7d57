//! The handler that updates the views: first the rows in one transaction, then the home timelines outside it.

use crate::Timelines;
use async_trait::async_trait;
use event_log::subscription::{Delivery, Handler, HandlerError};
use model::clock::SharedClock;

use super::distribution::Distribution;
use super::edits::Edits;
use super::metrics::ViewMetrics;
use super::row_writer::{Committed, RowWriter, parts};
use super::{SHAPE, Views};

/// Writes the views of one generation from events. A process has one of them, for all its partitions.
///
/// Invariant: home timelines are written after the rows are committed, whatever the guards of the rows said. A refused guard says that
/// somebody has written the row. It does not say that somebody has finished what follows from the row.
#[derive(Debug)]
pub struct ViewProjection {
    views: Views,
    rows: RowWriter,
    distribution: Distribution,
    edits: Edits,
}

impl ViewProjection {
    pub fn new(views: Views, timelines: Timelines, clock: SharedClock, metrics: ViewMetrics) -> Self {
        Self {
            edits: Edits::new(views.clone()),
            rows: RowWriter::new(views.clone(), metrics.clone()),
            distribution: Distribution::new(views.clone(), timelines, clock, metrics),
            views,
        }
    }

    /// Applies events of any audiences to the rows, and does not touch what follows from rows: home timelines, and what is told of edits.
    /// A rebuild fills them later, see [`super::Filling`].
    pub async fn apply_rows_only(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        for chunk in parts(batch) {
            self.commit_rows(chunk).await?;
        }
        Ok(())
    }

    async fn commit_rows(&self, chunk: &[Delivery]) -> Result<Committed, HandlerError> {
        self.views.bookmarks.apply(chunk).await?;
        self.views.followed_tags.apply(chunk).await?;
        self.views.pins.apply(chunk).await?;
        self.views.lists.apply(chunk).await?;
        self.views.list_members.apply(chunk).await?;
        self.views.list_tags.apply(chunk).await?;
        self.views.filters.apply(chunk).await?;
        self.views.reports.apply(chunk).await?;
        self.views.roles.apply(chunk).await?;
        self.views.notifications.apply(chunk).await?;
        Ok(self.rows.commit(chunk).await?)
    }

    /// Marks owners as idle who have not read for the configured time. Returns how many.
    ///
    /// One process should call this from time to time; once a day is enough. Idle owners get no entries until their next visit.
    pub async fn mark_idle_owners(&self) -> Result<u64, HandlerError> {
        Ok(self.distribution.mark_idle_owners().await?)
    }
}

#[async_trait]
impl Handler for ViewProjection {
    async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        // What a transaction has read is valid for its own events only.
        for chunk in parts(batch) {
            let committed = self.commit_rows(chunk).await?;
            self.distribution.distribute(chunk, &committed).await?;
            self.edits.tell(chunk, &committed).await?;
        }
        Ok(())
    }

    async fn prepare(&self) -> Result<(), mongodb::error::Error> {
        self.views.ensure().await
    }

    fn shape(&self) -> i32 {
        SHAPE
    }

    async fn session(&self) -> Result<Option<bson::Uuid>, mongodb::error::Error> {
        self.rows.session().await.map(Some)
    }
}
