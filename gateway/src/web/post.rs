//! How a post looks.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use model::api::{Author, Post, Quote, QuoteState};
use model::values::Visibility;

use super::api::Api;
use super::layout::encoded;
use super::words::WORDS;

/// A list of posts, and the way to older ones.
pub(super) fn posts(api: &Api, posts: &[Post], older: Option<String>, empty: &str) -> Markup {
    html! {
        @if posts.is_empty() && older.is_none() {
            p.empty { (empty) }
        }
        div.posts {
            @for post in posts { (shown(api, post, false)) }
        }
        @if let Some(older) = older {
            p.older { a href=(older) rel="next" { (WORDS.older) } }
        }
    }
}

/// One post. `alone`: the page is about it.
pub(super) fn shown(api: &Api, post: &Post, alone: bool) -> Markup {
    let words = &*WORDS;
    let (post, reposted_by) = match &post.repost_of {
        Some(original) => (original.as_ref(), Some(&post.author)),
        None => (post, None),
    };
    html! {
        article.post.alone[alone] id={ "p-" (post.id) } {
            @if let Some(by) = reposted_by {
                p.note { (words.reposted_by) " " a href={ "/@" (by.handle) } { bdi { (name(by)) } } }
            }
            @if post.pinned { p.note { (words.pinned) } }
            header {
                (author(&post.author))
                " "
                a.time href={ "/posts/" (post.id) } { (time(post.created_at)) }
                @if let Some(at) = post.edited_at { span.note { " · " (words.edited) " " (time(at)) } }
                @if let Some(note) = visibility(post.visibility) { span.note { " · " (note) } }
                @if post.hidden { span.note { " · " (words.hidden) } }
            }
            @if let Some(parent) = post.in_reply_to.filter(|_| !alone) {
                p.note { a href={ "/posts/" (parent) } { (words.reply_to) } }
            }
            (body(post))
            @if let Some(quote) = &post.quote { (quoted(quote)) }
            footer { (deeds(api, post)) }
        }
    }
}

/// The text, or what warns of it.
fn body(post: &Post) -> Markup {
    let words = &*WORDS;
    let phrases = post.filtered.iter().flat_map(|it| &it.phrases);
    let warnings: Vec<&str> = post.warning.iter().chain(phrases).map(String::as_str).collect();
    let text = html! {
        // The reader's language is not the text's, so the browser finds out in which direction it runs.
        p.text dir="auto" lang=[post.language.as_deref()] { (text(post)) }
    };
    html! {
        @if warnings.is_empty() {
            (text)
        } @else {
            details.warned {
                summary { bdi { (warnings.join(", ")) } " · " (words.show_anyway) }
                (text)
            }
        }
    }
}

/// The text with its links. Positions count Unicode scalar values.
fn text(post: &Post) -> Markup {
    let entities = &post.entities;
    let tags = entities
        .hashtags
        .iter()
        .map(|it| (it.start, it.end, format!("/tags/{}", encoded(&it.tag)), false));
    // A name that nobody had is no link.
    let mentions = entities.mentions.iter().filter(|it| it.user.is_some());
    let mentions = mentions.map(|it| (it.start, it.end, format!("/@{}", it.handle), false));
    let links = entities.links.iter().map(|it| (it.start, it.end, it.url.clone(), true));
    let mut spans: Vec<(u32, u32, String, bool)> = tags.chain(mentions).chain(links).collect();
    spans.sort_unstable();
    let characters: Vec<char> = post.text.chars().collect();
    let part = |from: u32, to: u32| -> String {
        let (from, to) = (from as usize, (to as usize).min(characters.len()));
        characters.get(from..to).unwrap_or_default().iter().collect()
    };
    let mut at = 0;
    html! {
        @for (start, end, to, outside) in &spans {
            // Only what begins with these is an address of the web. `javascript:` is not.
            @if *start >= at && (!outside || to.starts_with("https://") || to.starts_with("http://")) {
                (part(at, *start))
                @if *outside {
                    a href=(to) rel="nofollow noopener noreferrer ugc" { (part(*start, *end)) }
                } @else {
                    a href=(to) { (part(*start, *end)) }
                }
                ({ at = *end; "" })
            }
        }
        (part(at, u32::MAX))
    }
}

fn quoted(quote: &Quote) -> Markup {
    let words = &*WORDS;
    html! {
        blockquote.quote {
            @match (&quote.post, quote.state) {
                (Some(post), _) => {
                    header { (author(&post.author)) " " a.time href={ "/posts/" (post.id) } { (time(post.created_at)) } }
                    (body(post))
                }
                (None, QuoteState::Detached) => p.note { (words.detached) },
                (None, _) => p.note { (words.unavailable) },
            }
        }
    }
}

/// What a reader can do with a post. Each is a form, so that it works without JavaScript.
fn deeds(api: &Api, post: &Post) -> Markup {
    let words = &*WORDS;
    let counts = post.counts.unwrap_or_default();
    let viewer = post.viewer.unwrap_or_default();
    let logged_in = api.viewer();
    let own = logged_in.as_deref() == Some(post.author.handle.as_str());
    let deed = |deed: &str, label: &str, done: bool, count: Option<u64>| {
        html! {
            form method="post" action={ "/posts/" (post.id) "/" (deed) } {
                (api.form_token())
                input type="hidden" name="back" value=(back_to(api, post));
                @if done { input type="hidden" name="undo" value="yes"; }
                button.deed.done[done] aria-pressed=(done) { (label) @if let Some(count) = count { " " span.count { (count) } } }
            }
        }
    };
    html! {
        @if logged_in.is_some() {
            a.deed href={ "/posts?in_reply_to=" (post.id) } { (words.reply) " " span.count { (counts.replies) } }
            (deed("repost", if viewer.reposted { &words.reposted } else { &words.repost }, viewer.reposted, Some(counts.reposts)))
            (deed("like", if viewer.liked { &words.liked } else { &words.like }, viewer.liked, Some(counts.likes)))
            (deed("bookmark", &words.bookmark, false, None))
            @if own {
                form method="post" action={ "/posts/" (post.id) "/delete" } {
                    (api.form_token())
                    button.deed { (words.delete) }
                }
            }
        } @else {
            span.note { (counts.replies) " " (words.replies) " · " (counts.reposts) " " (words.reposts) " · " (counts.likes) " " (words.likes) }
        }
    }
}

/// Where a reader was, and at which post.
fn back_to(api: &Api, post: &Post) -> String {
    let page = api.path.split('#').next().unwrap_or("/");
    format!("{page}#p-{}", post.id)
}

pub(super) fn author(author: &Author) -> Markup {
    html! {
        a.author href={ "/@" (author.handle) } {
            // A name that runs from right to left must not turn what is after it.
            bdi { strong { (name(author)) } } " " span.handle { "@" (author.handle) }
        }
    }
}

pub(super) fn name(author: &Author) -> &str {
    author
        .display_name
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or(&author.handle)
}

fn visibility(visibility: Visibility) -> Option<&'static str> {
    let words = &*WORDS;
    match visibility {
        Visibility::Public => None,
        Visibility::Unlisted => Some(&words.unlisted),
        Visibility::Followers => Some(&words.followers_only),
        Visibility::Mentioned => Some(&words.mentioned_only),
    }
}

pub(super) fn time(at: DateTime<Utc>) -> Markup {
    html! {
        time datetime=(at.to_rfc3339()) { (at.format("%-d %b %Y, %H:%M UTC")) }
    }
}
