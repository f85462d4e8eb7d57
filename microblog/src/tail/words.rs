//! Events of a stream in words, one line each.

use std::collections::VecDeque;

use anyhow::Context as _;
use chrono::{DateTime, Local, Utc};
use console::{Term, truncate_str};
use model::api::{Notification, Post, PostCounts};
use model::ids::PostId;
use model::values::NotificationKind;
use serde::Deserialize;
use serde_json::Value;

use super::Topic;

/// Of so many posts it is remembered what they said. What happens to older ones is not told.
const REMEMBERED: usize = 500;

/// What was printed, and how wide a line may be.
pub(super) struct Words {
    width: Option<usize>,
    /// The post that is watched with the answers to it.
    watched: Option<PostId>,
    shown: VecDeque<(PostId, String)>,
}

#[derive(Deserialize)]
struct OfPost {
    id: PostId,
    counts: Option<PostCounts>,
}

impl Words {
    pub(super) fn new(topic: &Topic) -> Self {
        let size = Term::stdout().size_checked();
        Self {
            width: size.map(|(_, columns)| usize::from(columns)),
            watched: match topic {
                Topic::Post(id) => Some(*id),
                _ => None,
            },
            shown: VecDeque::new(),
        }
    }

    /// None if there is nothing to tell: it is about a post that was not shown, or about the stream itself.
    pub(super) fn line(&mut self, event: &str, data: Value) -> anyhow::Result<Option<String>> {
        let said = self
            .said(event, data)
            .with_context(|| format!("an event `{event}` can't be read"))?;
        Ok(said.map(|(at, said)| {
            let at = at.with_timezone(&Local).format("%H:%M:%S");
            // A control character could do anything to the terminal.
            let line = format!("{at} {said}").replace(char::is_control, " ");
            match self.width {
                Some(width) => truncate_str(&line, width, "…").into_owned(),
                None => line,
            }
        }))
    }

    fn said(&mut self, event: &str, data: Value) -> serde_json::Result<Option<(DateTime<Utc>, String)>> {
        Ok(match event {
            "post" => {
                let post: Post = serde_json::from_value(data)?;
                let said = said(&post);
                self.remember(post.id, &said);
                Some((post.created_at, said))
            }
            "edit" => {
                let post: Post = serde_json::from_value(data)?;
                let now = said(&post);
                self.remember(post.id, &now);
                Some((post.edited_at.unwrap_or(post.created_at), format!("edited: {now}")))
            }
            "delete" => {
                let OfPost { id, .. } = serde_json::from_value(data)?;
                self.known(id).map(|said| (Utc::now(), format!("deleted: {said}")))
            }
            "counts" => {
                let OfPost { id, counts } = serde_json::from_value(data)?;
                let counts = counts.unwrap_or_default();
                let told = [
                    (counts.likes, "like", "likes"),
                    (counts.reposts, "repost", "reposts"),
                    (counts.replies, "reply", "replies"),
                    (counts.quotes, "quote", "quotes"),
                ]
                .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
                .join(", ");
                self.known(id).map(|said| (Utc::now(), format!("{told}: {said}")))
            }
            "notification" => {
                let it: Notification = serde_json::from_value(data)?;
                Some((it.at, notified(&it)))
            }
            // `resumed`, `reset`, and what a later release may add.
            _ => None,
        })
    }

    fn remember(&mut self, post: PostId, said: &str) {
        self.shown.retain(|(shown, _)| *shown != post);
        if self.shown.len() == REMEMBERED {
            self.shown.pop_front();
        }
        self.shown.push_back((post, said.to_owned()));
    }

    fn known(&self, post: PostId) -> Option<&str> {
        let shown = self.shown.iter().rev().find(|(shown, _)| *shown == post);
        let watched = || (self.watched == Some(post)).then_some("the post itself");
        shown.map(|(_, said)| said.as_str()).or_else(watched)
    }
}

fn said(post: &Post) -> String {
    match &post.repost_of {
        Some(original) => format!("@{} reposted {}", post.author.handle, said(original)),
        None => format!("@{}: {}", post.author.handle, text(post)),
    }
}

/// The text, or what warns of it: who wants to see the text then goes to the post.
fn text(post: &Post) -> String {
    let found = post.filtered.iter().flat_map(|filter| &filter.phrases);
    let found: Vec<&str> = found.map(String::as_str).collect();
    match &post.warning {
        Some(warning) => format!("[warning: {warning}] {}", post.id),
        None if !found.is_empty() => format!("[filtered: {}] {}", found.join(", "), post.id),
        None => post.text.clone(),
    }
}

fn notified(it: &Notification) -> String {
    let did = match it.kind {
        NotificationKind::Follow => "follows you",
        NotificationKind::Request => "wants to follow you",
        NotificationKind::Accepted => "lets you follow",
        NotificationKind::Mention => "mentions you",
        NotificationKind::Reply => "answers you",
        NotificationKind::Like => "likes your post",
        NotificationKind::Repost => "reposted your post",
        NotificationKind::Quote => "quotes you",
        NotificationKind::Edit => "edited a post that you reposted",
    };
    match &it.post {
        Some(post) => format!("@{} {did}: {}", it.user.handle, text(post)),
        None => format!("@{} {did}", it.user.handle),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(width: Option<usize>) -> Words {
        Words {
            width,
            watched: None,
            shown: VecDeque::new(),
        }
    }

    fn post(text: &str) -> Value {
        json!({
            "id": "0199d2d7-8a10-7000-8000-000000000001",
            "author": { "id": "0199d2d7-8a10-7000-8000-000000000002", "handle": "ada" },
            "text": text,
            "entities": { "mentions": [], "hashtags": [], "links": [] },
            "warning": null, "language": null, "attachments": [], "in_reply_to": null, "repost_of": null, "quote": null,
            "visibility": "public", "created_at": "2026-03-01T12:00:00Z", "edited_at": null,
        })
    }

    /// Without the time, which is that of the place.
    fn told(words: &mut Words, event: &str, data: Value) -> Option<String> {
        let line = words.line(event, data).unwrap();
        line.map(|line| line.split_once(' ').unwrap().1.to_owned())
    }

    #[test]
    fn a_line_is_as_wide_as_the_terminal() {
        let line = words(Some(20))
            .line("post", post("The weather is fine."))
            .unwrap()
            .unwrap();
        assert!(line.ends_with("@ada: The …"), "{line}");
        let line = words(Some(20)).line("post", post("東京の天気")).unwrap().unwrap();
        assert!(line.ends_with("@ada: 東京…"), "{line}");
    }

    #[test]
    fn a_text_can_not_control_the_terminal() {
        let line = told(&mut words(None), "post", post("one\ntwo \u{1b}[2J\u{9b}31m"));
        assert_eq!(line.unwrap(), "@ada: one two  [2J 31m");
    }

    #[test]
    fn what_warns_of_a_text_stands_for_it() {
        let mut spider = post("A spider!");
        spider["warning"] = json!("spiders");
        let line = told(&mut words(None), "post", spider).unwrap();
        assert!(line.starts_with("@ada: [warning: spiders] 0199"), "{line}");
    }

    #[test]
    fn what_happens_to_a_post_is_told_if_it_was_shown() {
        let mut words = words(None);
        let id = post("")["id"].clone();
        let counts = json!({ "id": id, "counts": { "likes": 1, "reposts": 0, "replies": 2 } });
        assert_eq!(told(&mut words, "counts", counts.clone()), None);
        assert_eq!(told(&mut words, "delete", json!({ "id": id })), None);
        assert_eq!(told(&mut words, "post", post("first")).unwrap(), "@ada: first");
        assert_eq!(
            told(&mut words, "edit", post("second")).unwrap(),
            "edited: @ada: second"
        );
        let line = told(&mut words, "counts", counts).unwrap();
        assert_eq!(line, "1 like, 0 reposts, 2 replies, 0 quotes: @ada: second");
        assert_eq!(
            told(&mut words, "delete", json!({ "id": id })).unwrap(),
            "deleted: @ada: second"
        );
        assert_eq!(told(&mut words, "resumed", json!({})), None);
    }
}
