//! Compares what a user is served as bookmarks with what the oracle says.

use std::collections::HashMap;

use model::api;
use model::events::StreamId;
use model::ids::{EventId, PostId};

use super::check::{Checker, Difference, Findings};
use super::compare::{Comparison, Fault};
use super::history::Dependency;
use super::oracle::UserIndex;
use super::served::ReadError;
use super::timeline::Entry;
use super::viewers::Eyes;

const PATH: &str = "/v1/bookmarks";

impl Checker<'_> {
    pub(super) async fn bookmarks(&self, user: UserIndex, own: &Eyes, findings: &mut Findings) -> anyhow::Result<()> {
        let order: HashMap<PostId, EventId> = self
            .oracle
            .bookmarks(&own.sight)
            .map(|(event, post)| (post, event))
            .collect();
        let mut comparison = Comparison::new(self.oracle.bookmarks(&own.sight));
        let mut faults = Vec::new();
        let pages = self
            .reader(own)
            .each::<api::Page<api::Post>>(PATH, |served| {
                findings.items += 1;
                match order.get(&served.id) {
                    Some(&event) => faults.extend(comparison.served(event, served.id).faults),
                    None => faults.push(Fault::Unexpected(served.id)),
                }
            })
            .await;
        let place = format!("bookmarks of {}", self.name_of(self.oracle.user(user).0));
        match pages {
            Ok(pages) => {
                findings.pages += pages;
                faults.extend(comparison.end());
            }
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => findings.differences.push(Difference {
                place: place.clone(),
                what: error.to_string(),
                depends_on: vec![Dependency::Stream(StreamId::user(self.oracle.user(user).0))],
            }),
        }
        findings.differences.extend(faults.into_iter().map(|fault| {
            let (how, post) = fault.words();
            let mut depends_on = vec![Dependency::Stream(StreamId::bookmark(self.oracle.user(user).0, post))];
            let entry = Entry {
                id: post,
                original: None,
            };
            match self.oracle.post(post).map(|facts| self.oracle.user(facts.author).0) {
                Some(author) => depends_on.extend(self.dependencies(Some(user), author, entry)),
                None => depends_on.push(Dependency::Stream(StreamId::post(post))),
            }
            Difference {
                place: place.clone(),
                what: format!("{how}: post {post}"),
                depends_on,
            }
        }));
        Ok(())
    }
}
