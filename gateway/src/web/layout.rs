//! What all pages have in common: the frame, the navigation, the headers, and what is shown instead of a page.

use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE};
use actix_web::{HttpResponse, HttpResponseBuilder};
use maud::{DOCTYPE, Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::STYLE;
use super::api::Api;
use super::cookies::keep_seen;
use super::failure::{Failure, Refusal};
use super::words::WORDS;

pub(super) const STYLE_PATH: &str = "/assets/style.css";

/// Nothing of another site runs or is loaded, and no other site can put a page of ours into its own.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

static STYLE_ADDRESS: LazyLock<String> = LazyLock::new(|| {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    STYLE.hash(&mut hasher);
    format!("{STYLE_PATH}?v={:x}", hasher.finish())
});

/// A page without its frame.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) title: String,
    pub(super) body: Markup,
    /// What the form of this page has been refused for.
    pub(super) status: StatusCode,
}

impl Page {
    pub(super) fn new(title: impl Into<String>, body: Markup) -> Self {
        Self {
            title: title.into(),
            body,
            status: StatusCode::OK,
        }
    }
}

impl Api {
    /// Answers with a page, or with what is shown instead.
    pub(super) fn show(&self, page: Result<Page, Failure>) -> HttpResponse {
        match page {
            Ok(page) => self.framed(&page),
            Err(Failure::LoggedOut) => self.go(&format!("/login?next={}", encoded(&self.path))),
            Err(failure) => self.framed(&instead(&failure)),
        }
    }

    /// Goes to another page once a form was obeyed.
    pub(super) fn go_on(&self, to: Result<String, Failure>) -> HttpResponse {
        match to {
            Ok(to) => self.go(&to),
            Err(Failure::LoggedOut) => self.go("/login"),
            Err(failure) => self.show(Err(failure)),
        }
    }

    fn go(&self, to: &str) -> HttpResponse {
        let mut answer = HttpResponse::SeeOther();
        self.set_cookies(&mut answer);
        answer
            .insert_header((LOCATION, to))
            .insert_header((CACHE_CONTROL, "no-store"))
            .finish()
    }

    fn framed(&self, page: &Page) -> HttpResponse {
        let mut answer = HttpResponse::build(page.status);
        self.set_cookies(&mut answer);
        if page.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.insert_header((RETRY_AFTER, "1"));
        }
        answer
            .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
            // A page is for one visitor, and the back button must not show it after the logout.
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header(("content-security-policy", POLICY))
            .insert_header(("referrer-policy", "same-origin"))
            .insert_header(("x-content-type-options", "nosniff"))
            .body(self.frame(page).into_string())
    }

    fn set_cookies(&self, answer: &mut HttpResponseBuilder) {
        if self.changed.get()
            && let Some(cookie) = self.jar.keep(self.session().as_ref(), self.secure)
        {
            answer.append_header((SET_COOKIE, cookie));
        }
        if let Some(token) = self.seen.borrow().as_deref() {
            answer.append_header((SET_COOKIE, keep_seen(token, self.secure)));
        }
    }

    fn frame(&self, page: &Page) -> Markup {
        let words = &*WORDS;
        html! {
            (DOCTYPE)
            html lang=(words.language) dir="ltr" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (page.title) " · Microblog" }
                    link rel="stylesheet" href=(*STYLE_ADDRESS);
                }
                body {
                    a.skip href="#content" { (words.skip) }
                    header.bar { (self.navigation()) }
                    main #content { (page.body) }
                }
            }
        }
    }

    fn navigation(&self) -> Markup {
        let words = &*WORDS;
        let viewer = self.viewer();
        html! {
            a.name href="/" { "Microblog" }
            nav {
                @if let Some(handle) = &viewer {
                    a href="/" { (words.home) }
                    a href="/public" { (words.public) }
                    a href="/bookmarks" { (words.bookmarks) }
                    a href={ "/@" (handle) } { "@" (handle) }
                    form method="post" action="/logout" {
                        (self.form_token())
                        button.plain { (words.log_out) }
                    }
                } @else {
                    a href="/public" { (words.public) }
                    @if self.jar.allows_login() {
                        a href="/login" { (words.log_in) }
                        a.button href="/signup" { (words.sign_up) }
                    }
                }
            }
        }
    }

    /// The field that every form of somebody who is logged in needs.
    pub(super) fn form_token(&self) -> Markup {
        let token = self.session().as_ref().map(|session| session.form_token.clone());
        html! {
            @if let Some(token) = token {
                input type="hidden" name="form_token" value=(token);
            }
        }
    }
}

/// The page that is shown where another can't be.
fn instead(failure: &Failure) -> Page {
    let words = &*WORDS;
    let status = failure.status();
    let (title, sentences) = match failure {
        Failure::Foreign => (&words.refused_title, vec![words.foreign.clone()]),
        // An address that names nothing is as wrong as one whose post is gone.
        Failure::Refused(_) if matches!(status.as_u16(), 400 | 404) => {
            (&words.missing_title, vec![words.missing.clone()])
        }
        Failure::Refused(refusal) if status.is_client_error() => (&words.refused_title, refusal.sentences()),
        Failure::Refused(_) | Failure::LoggedOut => (&words.away_title, vec![words.away.clone()]),
    };
    let body = html! {
        section.card {
            h1 { (title) }
            @for sentence in sentences { p { (sentence) } }
            p { a href="/" { (words.back) } }
        }
    };
    let status = if status == StatusCode::BAD_REQUEST {
        StatusCode::NOT_FOUND
    } else {
        status
    };
    Page {
        status,
        ..Page::new(title.clone(), body)
    }
}

/// What a form was refused for.
pub(super) fn mistakes(refusal: Option<&Refusal>) -> Markup {
    html! {
        @if let Some(refusal) = refusal {
            ul.mistakes role="alert" {
                @for sentence in refusal.sentences() { li { (sentence) } }
            }
        }
    }
}

/// Ids and handles stay as they are.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A text as part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}
