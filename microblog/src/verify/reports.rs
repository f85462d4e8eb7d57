//! Compares the reports that a moderator is served with what the oracle says.

use model::api;
use model::events::StreamId;
use model::ids::ReportId;
use model::values::ReportState;

use super::check::{Checker, Difference, Findings};
use super::compare::{Comparison, Fault};
use super::history::Dependency;
use super::served::ReadError;

impl Checker<'_> {
    /// Checks what one of the moderators reads, if there is one.
    pub(super) async fn reports(&self) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        let Some(moderator) = self.oracle.moderator() else {
            return Ok(findings);
        };
        let eyes = self.eyes(Some(moderator), "")?;
        let role = Dependency::Stream(StreamId::role(self.oracle.user(moderator).0));
        for (state, place, path) in [
            (ReportState::Open, "open reports", "/v1/reports?state=open"),
            (ReportState::Resolved, "resolved reports", "/v1/reports?state=resolved"),
        ] {
            let expected = self.oracle.reports(state, moderator);
            let mut comparison = Comparison::new(expected.into_iter().map(|id| (id, id)));
            let mut faults: Vec<Fault<ReportId>> = Vec::new();
            let pages = self
                .reader(&eyes)
                .each::<api::Page<api::Report>>(path, |served| {
                    findings.items += 1;
                    faults.extend(comparison.served(served.id, served.id).faults);
                })
                .await;
            match pages {
                Ok(pages) => {
                    findings.pages += pages;
                    faults.extend(comparison.end());
                }
                Err(ReadError::Call(error)) => return Err(error.into()),
                Err(error) => findings.differences.push(Difference {
                    place: place.to_owned(),
                    what: error.to_string(),
                    depends_on: vec![role.clone()],
                }),
            }
            findings.differences.extend(faults.into_iter().map(|fault| {
                let (how, report) = fault.words();
                Difference {
                    place: place.to_owned(),
                    what: format!("{how}: report {report}"),
                    depends_on: vec![role.clone(), Dependency::Stream(StreamId::report(report))],
                }
            }));
        }
        Ok(findings)
    }
}
