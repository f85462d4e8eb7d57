//! A report to the moderators: made, and resolved by one of them.

use model::events::{Event, Report};
use model::ids::{PostId, ReportId, UserId};
use model::values::ReportComment;

#[derive(Debug, Clone)]
pub enum Command {
    Make {
        id: ReportId,
        reporter: UserId,
        user: UserId,
        posts: Vec<PostId>,
        comment: ReportComment,
    },
    Resolve {
        by: UserId,
    },
    /// The reporter is deleted, so what the reporter has said is removed.
    Redact,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the report exists already")]
    AlreadyMade,
    #[error("there is no such report")]
    Missing,
}

pub fn evolve(event: Event) -> Option<Report> {
    match event {
        Event::UserReported(report) | Event::ReportResolved(report) => Some(report),
        _ => None,
    }
}

/// Whether the reporter may see the posts, and whether somebody may resolve it, is decided before.
pub fn decide(state: Option<&Report>, command: Command) -> Result<Option<Event>, Refusal> {
    match (state, command) {
        (
            None,
            Command::Make {
                id,
                reporter,
                user,
                posts,
                comment,
            },
        ) => Ok(Some(Event::UserReported(Report {
            id,
            reporter,
            user,
            posts,
            comment: Some(comment.into_string()).filter(|comment| !comment.is_empty()),
            resolved_by: None,
        }))),
        (Some(_), Command::Make { .. }) => Err(Refusal::AlreadyMade),
        (None, _) => Err(Refusal::Missing),
        (Some(report), Command::Resolve { by }) => Ok(report.resolved_by.is_none().then(|| {
            Event::ReportResolved(Report {
                resolved_by: Some(by),
                ..report.clone()
            })
        })),
        (Some(report), Command::Redact) => Ok(report.comment.is_some().then(|| {
            let redacted = Report {
                comment: None,
                ..report.clone()
            };
            match redacted.resolved_by {
                Some(_) => Event::ReportResolved(redacted),
                None => Event::UserReported(redacted),
            }
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::{post_id, user_id};

    fn report(comment: Option<&str>, resolved_by: Option<u8>) -> Report {
        Report {
            id: ReportId::from_bytes([5; 16]),
            reporter: user_id(1),
            user: user_id(2),
            posts: vec![post_id(9)],
            comment: comment.map(str::to_owned),
            resolved_by: resolved_by.map(user_id),
        }
    }

    fn make(comment: &str) -> Command {
        Command::Make {
            id: ReportId::from_bytes([5; 16]),
            reporter: user_id(1),
            user: user_id(2),
            posts: vec![post_id(9)],
            comment: ReportComment::parse(comment).unwrap(),
        }
    }

    #[test]
    fn given_none_when_made_then_made_with_or_without_a_comment() {
        let made = |comment| Ok(Some(Event::UserReported(report(comment, None))));
        assert_eq!(decide(None, make("Spam.")), made(Some("Spam.")));
        assert_eq!(decide(None, make("")), made(None));
        assert_eq!(decide(Some(&report(None, None)), make("")), Err(Refusal::AlreadyMade));
    }

    #[test]
    fn given_an_open_report_when_resolved_then_it_stays_resolved_by_the_first() {
        let resolved = report(Some("Spam."), Some(3));
        let event = decide(Some(&report(Some("Spam."), None)), Command::Resolve { by: user_id(3) });
        assert_eq!(event, Ok(Some(Event::ReportResolved(resolved.clone()))));
        assert_eq!(decide(Some(&resolved), Command::Resolve { by: user_id(4) }), Ok(None));
    }

    #[test]
    fn given_a_comment_when_the_reporter_is_deleted_then_only_the_comment_goes() {
        let redacted = |resolved_by| decide(Some(&report(Some("Spam."), resolved_by)), Command::Redact);
        assert_eq!(redacted(None), Ok(Some(Event::UserReported(report(None, None)))));
        assert_eq!(
            redacted(Some(3)),
            Ok(Some(Event::ReportResolved(report(None, Some(3)))))
        );
        assert_eq!(decide(Some(&report(None, Some(3))), Command::Redact), Ok(None));
    }

    #[test]
    fn given_none_when_anything_but_made_then_missing() {
        for command in [Command::Resolve { by: user_id(3) }, Command::Redact] {
            assert_eq!(decide(None, command), Err(Refusal::Missing));
        }
    }
}
