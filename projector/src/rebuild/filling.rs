//! Fills home timelines from rows.

use model::ids::UserId;
use tokio_util::sync::CancellationToken;
use views::generation::{Building, Term};
use views::{Filling, Views};

use super::{RebuildError, Rebuilder};

impl Rebuilder {
    pub(super) async fn fill(
        &self,
        term: &Term,
        building: &mut Building,
        views: &Views,
        stop: &CancellationToken,
    ) -> Result<(), RebuildError> {
        // The generation that is read knows who has read lately. It stays until this one takes its place.
        let active = self.generations.ensure_first().await?.active;
        let previous = Some(Views::new(&self.views, active));
        let filling = Filling::new(views.clone(), previous, self.timelines.clone(), self.clock.clone());
        let limit = u32::try_from(self.config.batch).unwrap_or(u32::MAX);
        loop {
            let after = building.cursor.map(|last| UserId::from_uuid(last.into()));
            let filled = filling.fill(after, limit).await?;
            building.scanned += i64::try_from(filled.owners).unwrap_or(i64::MAX);
            let Some(next) = filled.next else { return Ok(()) };
            building.cursor = Some(next.as_uuid().into());
            self.note(term, building).await?;
            if stop.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
        }
    }
}
