//! What users have told the moderators, and who may read that.

use model::api;
use model::ids::{ReportId, UserId};
use model::values::ReportState;
use serde::Serialize;
use views::{End, Range, Report};

use crate::cursor::Cursor;
use crate::handled::Appearance;
use crate::paging::{Listing, Part};
use crate::read_model::{ReadError, ReadModel};
use crate::shown::ShownPost;

/// The viewer has no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAModerator;

impl ReadModel {
    /// A moderator who is deleted or suspended is one no more.
    pub(crate) async fn moderates(&self, viewer: UserId) -> Result<bool, ReadError> {
        let users = [viewer];
        let (role, profiles) = futures_util::try_join!(
            self.ask(self.views.roles.of(viewer)),
            self.ask(self.views.profiles.live_by_ids(&users)),
        )?;
        Ok(role.is_some() && profiles.iter().any(|profile| !profile.suspended))
    }
}

/// The reports in one state, the newest first.
#[derive(Debug)]
pub(crate) struct Reports<'a> {
    pub(crate) read_model: &'a ReadModel,
    pub(crate) state: ReportState,
    pub(crate) viewer: UserId,
}

/// A report, and what it is about.
#[derive(Debug, Serialize)]
pub(crate) struct ShownReport {
    #[serde(flatten)]
    pub(crate) report: api::Report,
    pub(crate) reported: Vec<ShownPost>,
}

/// Nobody is told who has reported them, whatever their role.
pub(crate) fn is_for(report: &Report, viewer: UserId) -> bool {
    report.user != viewer
}

pub(crate) fn shown(report: &Report) -> api::Report {
    api::Report {
        id: report.id,
        reporter: report.reporter,
        user: report.user,
        posts: report.posts.clone(),
        comment: report.comment.clone(),
        state: ReportState::of(report.resolved_by),
        resolved_by: report.resolved_by,
        created_at: report.id.time(),
    }
}

fn id(cursor: Cursor) -> ReportId {
    ReportId::from_bytes(cursor.to_bytes())
}

impl Listing for Reports<'_> {
    type Candidate = Report;
    type Item = api::Report;

    fn place(report: &Report) -> Cursor {
        Cursor::from_bytes(*report.id.as_bytes())
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<Report>, ReadError> {
        let range = Range {
            before: (below < Cursor::TOP).then(|| id(below)),
            after: None,
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Newest,
        };
        let reports = self.read_model.views.reports.in_state(self.state, range);
        Ok(Part::of(self.read_model.ask(reports).await?, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<Report>, ReadError> {
        let range = Range {
            before: None,
            after: (above > Cursor::BOTTOM).then(|| id(above)),
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Oldest,
        };
        let reports = self.read_model.views.reports.in_state(self.state, range);
        let mut found = self.read_model.ask(reports).await?;
        found.reverse();
        Ok(Part::of(found, count, Self::place))
    }

    async fn appearances(&mut self, reports: &[Report]) -> Result<Vec<Option<Appearance>>, ReadError> {
        let appearance = |report: &Report| {
            report.position.map(|position| Appearance {
                position,
                audiences: [report.user, report.user],
            })
        };
        Ok(reports.iter().map(appearance).collect())
    }

    async fn admit(&mut self, reports: &[Report]) -> Result<Vec<Option<api::Report>>, ReadError> {
        let visible = |report: &Report| is_for(report, self.viewer).then(|| shown(report));
        Ok(reports.iter().map(visible).collect())
    }
}
