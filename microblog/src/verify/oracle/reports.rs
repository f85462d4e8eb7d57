//! Reports, and who reads them.

use std::collections::HashMap;

use model::events::{Report, UserRole};
use model::ids::{ReportId, UserId};
use model::values::ReportState;

use super::UserIndex;

/// The state of all reports and roles.
#[derive(Debug, Default)]
pub(super) struct ReportFacts {
    /// The version, the state, and about whom.
    reports: HashMap<ReportId, (i64, ReportState, UserId)>,
    roles: HashMap<UserIndex, (i64, bool)>,
}

impl ReportFacts {
    pub(super) fn apply(&mut self, version: i64, report: &Report) {
        let facts = (version, ReportState::of(report.resolved_by), report.user);
        let known = self.reports.entry(report.id).or_insert(facts);
        if known.0 < version {
            *known = facts;
        }
    }

    pub(super) fn apply_role(&mut self, user: UserIndex, version: i64, role: &UserRole) {
        let facts = (version, role.role.is_some());
        let known = self.roles.entry(user).or_insert(facts);
        if known.0 < version {
            *known = facts;
        }
    }

    /// Those in this state that a moderator reads, newest first. Nobody reads those about themselves.
    pub(super) fn in_state(&self, state: ReportState, moderator: UserId) -> Vec<ReportId> {
        let reports = self.reports.iter();
        let reports = reports.filter(|(_, (_, it, about))| *it == state && *about != moderator);
        let mut ids: Vec<ReportId> = reports.map(|(&id, _)| id).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids
    }

    /// All who have a role.
    pub(super) fn moderators(&self) -> impl Iterator<Item = UserIndex> {
        let roles = self.roles.iter().filter(|(_, (_, has))| *has);
        roles.map(|(&user, _)| user)
    }
}
