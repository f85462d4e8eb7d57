//! Compares the timelines of tags, and the tags that a user is shown to follow, with what the oracle says.

use model::api;
use model::events::StreamId;
use model::tags::TagKey;
use model::values::FilterContext;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::check::{Checker, Difference, Findings, PostList};
use super::history::Dependency;
use super::oracle::UserIndex;
use super::served::ReadError;
use super::viewers::Eyes;

impl Checker<'_> {
    /// Checks the timeline of a tag, with an account and without.
    pub(super) async fn tag_timeline(&self, tag: &TagKey) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        let path = format!(
            "/v1/timelines/tags/{}",
            utf8_percent_encode(tag.as_str(), NON_ALPHANUMERIC)
        );
        let nobody = self.eyes(None, "a visitor without an account")?;
        for eyes in std::iter::once(nobody).chain(self.anybody()?) {
            let list = PostList {
                place: eyes.see(format!("timeline of #{}", tag.as_str())),
                path: &path,
                eyes: &eyes,
                context: FilterContext::Tags,
                depends_on: Vec::new(),
                pinned: Vec::new(),
            };
            let expected = || self.oracle.tag_timeline(tag, &eyes.sight);
            self.posts::<api::Page<_>>(&list, expected(), &mut findings).await?;
            if eyes.sight.viewer.is_none() {
                self.posts_upwards::<api::Page<_>>(&list, expected(), &mut findings)
                    .await?;
            }
        }
        Ok(findings)
    }

    pub(super) async fn followed_tags(
        &self,
        user: UserIndex,
        own: &Eyes,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let id = self.oracle.user(user).0;
        let follows = self.oracle.followed_tags(user);
        let expected: Vec<&str> = follows.iter().map(|follow| follow.name.as_str()).collect();
        let mut served: Vec<String> = Vec::new();
        let pages = self
            .reader(own)
            .each::<api::Page<api::Tag>>("/v1/tags/followed", |tag| served.push(tag.name))
            .await;
        findings.items += served.len() as u64;
        let what = match pages {
            Ok(pages) => {
                findings.pages += pages;
                if served == expected {
                    return Ok(());
                }
                format!("expected {expected:?}, served {served:?}")
            }
            Err(ReadError::Call(error)) => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        let tags = follows.iter().map(|follow| follow.key.clone());
        let tags = tags.chain(served.iter().map(|name| TagKey::of(name)));
        let streams = tags.map(|tag| StreamId::tag(id, &tag)).chain([StreamId::user(id)]);
        findings.differences.push(Difference {
            place: format!("followed tags of {}", self.name_of(id)),
            what,
            depends_on: streams.map(Dependency::Stream).collect(),
        });
        Ok(())
    }
}
