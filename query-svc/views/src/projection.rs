//! The handler that keeps the views: rows in one transaction, then home timelines outside it.

use crate::Timelines;
use async_trait::async_trait;
use event_log::subscription::{Delivery, Handler, HandlerError};
use model::clock::SharedClock;

use super::Views;
use super::distribution::Distribution;
use super::metrics::ViewMetrics;
use super::row_writer::{Committed, GROUP, RowWriter};

/// Makes events into the views of one generation. One of them in a process, for all its partitions.
///
/// Invariant: home timelines are written after the rows are committed, and whatever the rows' guards said. A
/// guard that refuses says that somebody has written the row, not that somebody has finished what follows from it.
#[derive(Debug)]
pub struct ViewProjection {
    views: Views,
    rows: RowWriter,
    distribution: Distribution,
}

impl ViewProjection {
    pub fn new(views: Views, timelines: Timelines, clock: SharedClock, metrics: ViewMetrics) -> Self {
        Self {
            rows: RowWriter::new(views.clone(), metrics.clone()),
            distribution: Distribution::new(views.clone(), timelines, clock, metrics),
            views,
        }
    }

    /// Works events of any audiences into the rows, and leaves home timelines alone: a rebuild fills them later,
    /// see [`super::Filling`].
    pub async fn apply_rows_only(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        for chunk in batch.chunks(GROUP) {
            self.commit_rows(chunk).await?;
        }
        Ok(())
    }

    async fn commit_rows(&self, chunk: &[Delivery]) -> Result<Committed, HandlerError> {
        self.views.bookmarks.apply(chunk).await?;
        Ok(self.rows.commit(chunk).await?)
    }

    /// Marks owners idle who have not read for as long as the configuration says; answers how many.
    ///
    /// For a process to call now and then, a daily pass is enough. They get no entries until their next visit.
    pub async fn mark_idle_owners(&self) -> Result<u64, HandlerError> {
        Ok(self.distribution.mark_idle_owners().await?)
    }
}

#[async_trait]
impl Handler for ViewProjection {
    async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        // What a transaction has seen says what follows from its own events, and of no others.
        for chunk in batch.chunks(GROUP) {
            let committed = self.commit_rows(chunk).await?;
            self.distribution.distribute(chunk, &committed).await?;
        }
        Ok(())
    }

    async fn prepare(&self) -> Result<(), mongodb::error::Error> {
        self.views.ensure().await
    }

    async fn session(&self) -> Result<Option<bson::Uuid>, mongodb::error::Error> {
        self.rows.session().await.map(Some)
    }
}
