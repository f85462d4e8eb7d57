//! Compares the filters that a user is served with what the oracle says.

use model::api;

use super::check::{Checker, Difference, Findings, stream_of};
use super::history::Dependency;
use super::oracle::UserIndex;
use super::served::ReadError;
use super::viewers::Eyes;

impl Checker<'_> {
    pub(super) async fn filters(&self, user: UserIndex, own: &Eyes, findings: &mut Findings) -> anyhow::Result<()> {
        let id = self.oracle.user(user).0;
        let expected = self.oracle.filters_of(user);
        let answer = self
            .reader(own)
            .get::<api::Page<api::Filter>>("/v1/filters".to_owned())
            .await;
        let what = match answer {
            Ok(served) => {
                findings.items += served.items.len() as u64;
                findings.pages += 1;
                if served.items == expected {
                    return Ok(());
                }
                let ids = |filters: &[api::Filter]| filters.iter().map(|it| it.id).collect::<Vec<_>>();
                // The phrases are nobody else's business, not even an operator's.
                format!(
                    "expected {:?}, served {:?}, or others with these ids",
                    ids(expected),
                    ids(&served.items)
                )
            }
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        findings.differences.push(Difference {
            place: format!("filters of {}", self.name_of(id)),
            what,
            depends_on: vec![Dependency::Filters(id), stream_of(id)],
        });
        Ok(())
    }
}
