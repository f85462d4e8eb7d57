//! Signing up, logging in and logging out.

use actix_web::HttpResponse;
use actix_web::http::{Method, StatusCode};
use actix_web::web::Query;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::api::{Api, session_of};
use super::deeds::back;
use super::failure::{Failure, Refusal};
use super::form::Posted;
use super::layout::{Page, mistakes};
use super::words::WORDS;

/// Where somebody wanted to go who was not logged in.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Debug, Default, Deserialize)]
struct Login {
    handle: String,
    password: String,
    #[serde(default)]
    next: String,
}

#[derive(Debug, Default, Deserialize)]
struct SignUp {
    handle: String,
    email: String,
    password: String,
    #[serde(default)]
    display_name: String,
}

pub(super) async fn log_in_form(api: Api, next: Query<Next>) -> HttpResponse {
    let login = Login {
        next: next.into_inner().next,
        ..Login::default()
    };
    api.show(log_in_page(&api, &login, None))
}

fn log_in_page(api: &Api, login: &Login, refused: Option<&Refusal>) -> Result<Page, Failure> {
    let words = &*WORDS;
    can_log_in(api)?;
    let body = html! {
        form.card.account method="post" action="/login" {
            h1 { (words.log_in) }
            (api.form_token())
            (mistakes(refused))
            input type="hidden" name="next" value=(login.next);
            (field(&words.handle, "handle", "text", &login.handle, "username"))
            (field(&words.password, "password", "password", "", "current-password"))
            button.button { (words.log_in) }
            p { a href="/signup" { (words.account_new) } }
        }
    };
    Ok(refusable(Page::new(&words.log_in, body), refused))
}

pub(super) async fn log_in(api: Api, form: Posted) -> HttpResponse {
    let login: Login = match form.fields(&api) {
        Ok(login) => login,
        Err(failure) => return api.show(Err(failure)),
    };
    match begin_session(&api, &login.handle, &login.password).await {
        Ok(()) => api.go_on(Ok(back(&login.next))),
        Err(Failure::Refused(refusal)) if refusal.status < 500 => {
            let refusal = match refusal.status {
                401 => said(refusal, &WORDS.log_in_refused),
                429 => said(refusal, &WORDS.too_often),
                _ => refusal,
            };
            api.show(log_in_page(&api, &login, Some(&refusal)))
        }
        Err(failure) => api.show(Err(failure)),
    }
}

/// Whoever was logged in before in this browser is so no longer: the session that begins has another cookie and another form token.
async fn begin_session(api: &Api, handle: &str, password: &str) -> Result<(), Failure> {
    api.set_session(None);
    let handle = handle.trim().trim_start_matches('@').to_lowercase();
    let login = if handle.contains('@') {
        json!({ "email": handle, "password": password })
    } else {
        json!({ "handle": handle, "password": password })
    };
    let tokens = api
        .command(Method::POST, "/v1/sessions", Some(api.jar.prove(login)))
        .await?;
    let mut session = session_of(handle, Uuid::new_v4().to_string(), &tokens)?;
    api.set_session(Some(session.clone()));
    // An address was given, or the name in other letters.
    let me: model::api::User = api.get("/v1/users/me").await?;
    session.handle = me.handle;
    api.set_session(Some(session));
    Ok(())
}

pub(super) async fn sign_up_form(api: Api) -> HttpResponse {
    api.show(sign_up_page(&api, &SignUp::default(), None))
}

fn sign_up_page(api: &Api, new: &SignUp, refused: Option<&Refusal>) -> Result<Page, Failure> {
    let words = &*WORDS;
    can_log_in(api)?;
    let body = html! {
        form.card.account method="post" action="/signup" {
            h1 { (words.sign_up) }
            (api.form_token())
            (mistakes(refused))
            (field(&words.handle, "handle", "text", &new.handle, "username"))
            (field(&words.display_name, "display_name", "text", &new.display_name, "name"))
            (field(&words.email, "email", "email", &new.email, "email"))
            (field(&words.password, "password", "password", "", "new-password"))
            button.button { (words.sign_up) }
        }
    };
    Ok(refusable(Page::new(&words.sign_up, body), refused))
}

pub(super) async fn sign_up(api: Api, form: Posted) -> HttpResponse {
    let new: SignUp = match form.fields(&api) {
        Ok(new) => new,
        Err(failure) => return api.show(Err(failure)),
    };
    let done = async {
        let mut registration = json!({ "handle": new.handle, "email": new.email, "password": new.password });
        if !new.display_name.trim().is_empty() {
            registration["display_name"] = new.display_name.as_str().into();
        }
        api.command(Method::POST, "/v1/users", Some(registration)).await?;
        begin_session(&api, &new.handle, &new.password).await
    };
    match done.await {
        Ok(()) => api.go_on(Ok("/".to_owned())),
        Err(Failure::Refused(refusal)) if refusal.status < 500 => api.show(sign_up_page(&api, &new, Some(&refusal))),
        Err(failure) => api.show(Err(failure)),
    }
}

pub(super) async fn log_out(api: Api, form: Posted) -> HttpResponse {
    let ended = async {
        let _: Next = form.fields(&api)?;
        if api.viewer().is_some() {
            match api.command(Method::DELETE, "/v1/sessions/current", None).await {
                // It has ended already.
                Ok(_) | Err(Failure::LoggedOut) => {}
                Err(failure) => return Err(failure),
            }
        }
        api.set_session(None);
        Ok("/".to_owned())
    };
    api.go_on(ended.await)
}

fn can_log_in(api: &Api) -> Result<(), Failure> {
    if api.jar.allows_login() {
        Ok(())
    } else {
        Err(Failure::of_status(StatusCode::NOT_FOUND))
    }
}

fn field(label: &str, name: &str, kind: &str, value: &str, autocomplete: &str) -> Markup {
    let needed = name != "display_name";
    html! {
        label for=(name) { (label) }
        input id=(name) name=(name) type=(kind) value=(value) autocomplete=(autocomplete) required[needed] autocapitalize="none" spellcheck="false";
    }
}

fn said(refusal: Refusal, sentence: &str) -> Refusal {
    Refusal {
        detail: sentence.to_owned(),
        errors: Vec::new(),
        ..refusal
    }
}

fn refusable(page: Page, refused: Option<&Refusal>) -> Page {
    let status = refused.and_then(|refusal| StatusCode::from_u16(refusal.status).ok());
    Page {
        status: status.unwrap_or(page.status),
        ..page
    }
}
