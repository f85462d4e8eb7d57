//! What a moderator asks.

use model::api;
use model::ids::{ReportId, UserId};
use model::values::ReportState;

use super::Queries;
use crate::paging::{Page, PageRequest};
use crate::read_model::{InUse, ReadError, ReadModel};
use crate::reports::{self, NotAModerator, Reports, ShownReport};

impl Queries {
    pub(crate) async fn reports(
        &self,
        read_model: &InUse,
        state: ReportState,
        viewer: UserId,
        page: PageRequest,
    ) -> Result<Result<Page<api::Report>, NotAModerator>, ReadError> {
        if !read_model.moderates(viewer).await? {
            return Ok(Err(NotAModerator));
        }
        let mut reports = Reports {
            read_model,
            state,
            viewer,
        };
        self.page(read_model, &mut reports, page).await.map(Ok)
    }

    pub(crate) async fn report(
        &self,
        read_model: &ReadModel,
        id: ReportId,
        viewer: UserId,
    ) -> Result<Result<Option<ShownReport>, NotAModerator>, ReadError> {
        if !read_model.moderates(viewer).await? {
            return Ok(Err(NotAModerator));
        }
        let report = read_model.ask(read_model.views.reports.find(id)).await?;
        let Some(report) = report.filter(|report| reports::is_for(report, viewer)) else {
            return Ok(Ok(None));
        };
        let reported = read_model.show_reported(&report).await?.into_iter().flatten();
        Ok(Ok(Some(ShownReport {
            report: reports::shown(&report),
            reported: reported.collect(),
        })))
    }
}
