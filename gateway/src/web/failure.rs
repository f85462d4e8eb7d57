//! Why a page can't be shown, or a form not be obeyed.

use actix_web::http::StatusCode;
use serde::Deserialize;

#[derive(Debug)]
pub(super) enum Failure {
    /// The API has refused.
    Refused(Refusal),
    /// Only somebody who is logged in can see or do this.
    LoggedOut,
    /// The form is not one of ours.
    Foreign,
}

/// A problem, as the API describes it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Refusal {
    pub(super) status: u16,
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) detail: String,
    #[serde(default)]
    pub(super) errors: Vec<OfField>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct OfField {
    pub(super) field: String,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn of_status(status: StatusCode) -> Self {
        Self::Refused(Refusal {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            ..Refusal::default()
        })
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Failure::Refused(refusal) => {
                StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Failure::LoggedOut => StatusCode::UNAUTHORIZED,
            Failure::Foreign => StatusCode::FORBIDDEN,
        }
    }
}

impl Refusal {
    /// What to tell the visitor, a sentence for each mistake.
    pub(super) fn sentences(&self) -> Vec<String> {
        if self.errors.is_empty() {
            let sentence = if self.detail.is_empty() {
                &self.title
            } else {
                &self.detail
            };
            return vec![sentence.clone()];
        }
        let sentence = |it: &OfField| format!("{} {}", it.field, it.message);
        self.errors.iter().map(sentence).collect()
    }
}
