//! The pages that show what others have written.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Path, Query};
use maud::{Markup, html};
use model::api::{Page as ApiPage, Post, Relationship, Tag, User};
use serde::Deserialize;

use super::api::Api;
use super::deeds::composer;
use super::failure::Failure;
use super::layout::{Page, encoded};
use super::post::{posts, shown};
use super::words::WORDS;

const PAGE: usize = 30;

/// Which part of a list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Part {
    before: Option<String>,
}

impl Part {
    fn of(&self, path: &str) -> String {
        let before = self
            .before
            .as_deref()
            .map(|before| format!("&before={}", encoded(before)));
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{path}{separator}limit={PAGE}{}", before.unwrap_or_default())
    }
}

/// The page after this one.
fn older(here: &str, next: Option<&String>) -> Option<String> {
    next.map(|next| format!("{here}?before={}", encoded(next)))
}

#[derive(Debug, Deserialize)]
struct Thread {
    ancestors: Vec<Post>,
    post: Post,
    replies: Vec<Post>,
    next: Option<String>,
}

/// The home timeline of who is logged in, and otherwise what this is and what others write.
pub(super) async fn start(api: Api, part: Query<Part>) -> HttpResponse {
    let page = if api.viewer().is_some() {
        home(&api, &part).await
    } else {
        landing(&api, &part).await
    };
    api.show(page)
}

async fn home(api: &Api, part: &Part) -> Result<Page, Failure> {
    let page: ApiPage<Post> = api.get(&part.of("/v1/timelines/home")).await?;
    let words = &*WORDS;
    let empty = page.items.is_empty() && part.before.is_none();
    let body = html! {
        h1.hidden { (words.home) }
        @if part.before.is_none() { (composer(api, None, None)) }
        @if empty {
            section.card {
                p { (words.home_empty) }
                p { a.button href="/public" { (words.home_empty_hint) } }
            }
        } @else {
            (posts(api, &page.items, older("/", page.next.as_ref()), &words.nothing))
        }
    };
    Ok(Page::new(&words.home, body))
}

async fn landing(api: &Api, part: &Part) -> Result<Page, Failure> {
    let page: ApiPage<Post> = api.get(&part.of("/v1/timelines/public")).await?;
    let words = &*WORDS;
    let body = html! {
        @if part.before.is_none() {
            section.card.welcome {
                h1 { (words.hello) }
                p { (words.welcome) }
                @if api.jar.allows_login() {
                    p { a.button href="/signup" { (words.sign_up) } " " a href="/login" { (words.log_in) } }
                }
            }
        }
        h2 { (words.newest) }
        (posts(api, &page.items, older("/", page.next.as_ref()), &words.public_empty))
    };
    Ok(Page::new(&words.public, body))
}

pub(super) async fn public(api: Api, part: Query<Part>) -> HttpResponse {
    let words = &*WORDS;
    api.show(
        list(
            &api,
            &part,
            "/v1/timelines/public",
            "/public",
            &words.public_timeline,
            &words.public_empty,
        )
        .await,
    )
}

pub(super) async fn bookmarks(api: Api, part: Query<Part>) -> HttpResponse {
    let words = &*WORDS;
    let page = match api.viewer() {
        Some(_) => {
            list(
                &api,
                &part,
                "/v1/bookmarks",
                "/bookmarks",
                &words.bookmarks,
                &words.nothing,
            )
            .await
        }
        None => Err(Failure::LoggedOut),
    };
    api.show(page)
}

async fn list(api: &Api, part: &Part, source: &str, here: &str, title: &str, empty: &str) -> Result<Page, Failure> {
    let page: ApiPage<Post> = api.get(&part.of(source)).await?;
    let body = html! {
        h1 { (title) }
        (posts(api, &page.items, older(here, page.next.as_ref()), empty))
    };
    Ok(Page::new(title, body))
}

pub(super) async fn tag(api: Api, tag: Path<String>, part: Query<Part>) -> HttpResponse {
    api.show(of_tag(&api, &tag, &part).await)
}

async fn of_tag(api: &Api, tag: &str, part: &Part) -> Result<Page, Failure> {
    let tag = encoded(tag);
    let named: Tag = api.get(&format!("/v1/tags/{tag}")).await?;
    let here = format!("/tags/{tag}");
    let title = format!("#{}", named.name);
    list(
        api,
        part,
        &format!("/v1/timelines/tags/{tag}"),
        &here,
        &title,
        &WORDS.nothing,
    )
    .await
}

pub(super) async fn thread(api: Api, id: Path<String>, part: Query<Part>) -> HttpResponse {
    api.show(of_post(&api, &id, &part).await)
}

async fn of_post(api: &Api, id: &str, part: &Part) -> Result<Page, Failure> {
    let source = format!("/v1/posts/{}/thread", encoded(id));
    let thread: Thread = api.get(&part.of(&source)).await?;
    let words = &*WORDS;
    let body = html! {
        h1.hidden { (words.thread) }
        @for post in &thread.ancestors { (shown(api, post, false)) }
        (shown(api, &thread.post, true))
        @if api.viewer().is_some() { (composer(api, Some(&thread.post), None)) }
        h2 { (words.replies) }
        (posts(api, &thread.replies, older(&format!("/posts/{}", thread.post.id), thread.next.as_ref()), &words.nobody))
    };
    let by = super::post::name(&thread.post.author);
    Ok(Page::new(format!("{by}: {}", beginning(&thread.post.text)), body))
}

/// As much of a text as a title shows.
fn beginning(text: &str) -> String {
    text.chars().take(60).collect()
}

pub(super) async fn profile(api: Api, handle: Path<String>, part: Query<Part>) -> HttpResponse {
    api.show(of_user(&api, &handle, &part).await)
}

async fn of_user(api: &Api, handle: &str, part: &Part) -> Result<Page, Failure> {
    let user: User = api.get(&format!("/v1/users/@{}", encoded(handle))).await?;
    let stands = relationship(api, &user).await?;
    let page: Result<ApiPage<Post>, _> = api.get(&part.of(&format!("/v1/users/{}/posts", user.id))).await;
    // A visitor may see a profile, and none of the posts.
    let (items, next) = match page {
        Ok(page) => (page.items, page.next),
        Err(failure) if failure.status() == StatusCode::NOT_FOUND => (Vec::new(), None),
        Err(failure) => return Err(failure),
    };
    let here = format!("/@{}", user.handle);
    let body = html! {
        (about(api, &user, stands))
        (posts(api, &items, older(&here, next.as_ref()), &WORDS.nothing))
    };
    Ok(Page::new(format!("{} (@{})", user.display_name, user.handle), body))
}

/// How the visitor stands to a user. None for a visitor without an account, and for oneself.
async fn relationship(api: &Api, user: &User) -> Result<Option<Relationship>, Failure> {
    match api.viewer() {
        Some(viewer) if viewer != user.handle => {
            let all: ApiPage<Relationship> = api.get(&format!("/v1/relationships?id={}", user.id)).await?;
            Ok(all.items.first().copied())
        }
        _ => Ok(None),
    }
}

fn about(api: &Api, user: &User, stands: Option<Relationship>) -> Markup {
    let words = &*WORDS;
    let counts = user.counts.unwrap_or_default();
    html! {
        section.card.profile {
            h1 { bdi { (user.display_name) } " " span.handle { "@" (user.handle) } }
            @if user.protected { p.note { (words.protected) } }
            @if user.suspended { p.note { (words.suspended) } }
            @if !user.bio.is_empty() { p.text dir="auto" { (user.bio) } }
            @if !user.fields.is_empty() {
                dl {
                    @for field in &user.fields { dt dir="auto" { (field.name) } dd dir="auto" { (field.value) } }
                }
            }
            p.counts {
                strong { (counts.posts) } " " (words.posts) " · "
                a href={ "/@" (user.handle) "/following" } { strong { (counts.following) } " " (words.following) } " · "
                a href={ "/@" (user.handle) "/followers" } { strong { (counts.followers) } " " (words.followers) }
            }
            @if let Some(stands) = stands {
                @if stands.followed_by { p.note { (words.follows_you) } }
                form method="post" action={ "/@" (user.handle) "/follow" } {
                    (api.form_token())
                    @if stands.following || stands.requested { input type="hidden" name="undo" value="yes"; }
                    button.button {
                        @if stands.following { (words.unfollow) } @else if stands.requested { (words.requested) } @else { (words.follow) }
                    }
                }
            }
        }
    }
}

pub(super) async fn people(api: Api, of: Path<(String, String)>, part: Query<Part>) -> HttpResponse {
    let (handle, kind) = of.into_inner();
    api.show(people_of(&api, &handle, &kind, &part).await)
}

async fn people_of(api: &Api, handle: &str, kind: &str, part: &Part) -> Result<Page, Failure> {
    let user: User = api.get(&format!("/v1/users/@{}", encoded(handle))).await?;
    let page: ApiPage<User> = api.get(&part.of(&format!("/v1/users/{}/{kind}", user.id))).await?;
    let words = &*WORDS;
    let what = if kind == "followers" {
        &words.followers
    } else {
        &words.following
    };
    let here = format!("/@{}/{kind}", user.handle);
    let title = format!("@{} · {what}", user.handle);
    let body = html! {
        h1 { a href={ "/@" (user.handle) } { "@" (user.handle) } " · " (what) }
        @if page.items.is_empty() { p.empty { (words.no_account) } }
        ul.people {
            @for user in &page.items {
                li.card {
                    a.author href={ "/@" (user.handle) } { bdi { strong { (user.display_name) } } " " span.handle { "@" (user.handle) } }
                    @if !user.bio.is_empty() { p.text dir="auto" { (user.bio) } }
                }
            }
        }
        @if let Some(older) = older(&here, page.next.as_ref()) { p.older { a href=(older) rel="next" { (words.older) } } }
    };
    Ok(Page::new(title, body))
}
