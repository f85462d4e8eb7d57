//! What somebody who is logged in can do: write, like, repost, bookmark, delete, follow. Each is a form, and goes back to where it was sent.

use actix_web::HttpResponse;
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Path, Query};
use maud::{Markup, html};
use model::api::{Post, User};
use model::values::Visibility;
use serde::Deserialize;
use serde_json::json;

use super::api::Api;
use super::failure::{Failure, Refusal};
use super::form::Posted;
use super::layout::{Page, encoded, mistakes};
use super::post::shown;
use super::words::WORDS;

/// What is about to be written.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Draft {
    #[serde(default)]
    text: String,
    #[serde(default)]
    warning: String,
    #[serde(default)]
    visibility: Visibility,
    in_reply_to: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Deed {
    #[serde(default)]
    undo: String,
    #[serde(default)]
    back: String,
}

impl Deed {
    fn method(&self) -> Method {
        if self.undo.is_empty() {
            Method::PUT
        } else {
            Method::DELETE
        }
    }
}

/// The form for a post. With a draft, it has been refused.
pub(super) fn composer(api: &Api, reply_to: Option<&Post>, refused: Option<(&Draft, &Refusal)>) -> Markup {
    let words = &*WORDS;
    let draft = refused.map(|(draft, _)| draft.clone()).unwrap_or_default();
    let parent = draft.in_reply_to.clone().or(reply_to.map(|post| post.id.to_string()));
    let begun = match reply_to {
        Some(post) if draft.text.is_empty() && api.viewer().as_deref() != Some(&post.author.handle) => {
            format!("@{} ", post.author.handle)
        }
        _ => draft.text.clone(),
    };
    let option = |value: Visibility, name: &str, label: &str| {
        html! { option value=(name) selected[draft.visibility == value] { (label) } }
    };
    html! {
        form.card.composer method="post" action="/posts" {
            (api.form_token())
            (mistakes(refused.map(|(_, refusal)| refusal)))
            @if let Some(parent) = &parent { input type="hidden" name="in_reply_to" value=(parent); }
            label for="text" { @if parent.is_some() { (words.reply) } @else { (words.compose) } }
            textarea #text name="text" rows="3" required dir="auto" placeholder=(words.compose_hint) { (begun) }
            div.row {
                label { (words.warning_label) " " input name="warning" value=(draft.warning) maxlength="200"; }
                label {
                    (words.visibility) " "
                    select name="visibility" {
                        (option(Visibility::Public, "public", &words.visibility_public))
                        (option(Visibility::Unlisted, "unlisted", &words.visibility_unlisted))
                        (option(Visibility::Followers, "followers", &words.visibility_followers))
                        (option(Visibility::Mentioned, "mentioned", &words.visibility_mentioned))
                    }
                }
                button.button { (words.publish) }
            }
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ReplyTo {
    in_reply_to: Option<String>,
}

/// A page for one post or answer.
pub(super) async fn compose(api: Api, to: Query<ReplyTo>) -> HttpResponse {
    api.show(compose_page(&api, to.in_reply_to.as_deref(), None).await)
}

async fn compose_page(api: &Api, to: Option<&str>, refused: Option<(&Draft, &Refusal)>) -> Result<Page, Failure> {
    if api.viewer().is_none() {
        return Err(Failure::LoggedOut);
    }
    let parent: Option<Post> = match to {
        Some(id) => Some(api.get(&format!("/v1/posts/{}", encoded(id))).await?),
        None => None,
    };
    let body = html! {
        @if let Some(parent) = &parent { (shown(api, parent, false)) }
        (composer(api, parent.as_ref(), refused))
    };
    let status = refused.map_or(StatusCode::OK, |_| StatusCode::UNPROCESSABLE_ENTITY);
    Ok(Page {
        status,
        ..Page::new(&WORDS.compose, body)
    })
}

pub(super) async fn write(api: Api, form: Posted) -> HttpResponse {
    let draft: Draft = match logged_in(&api).and_then(|()| form.fields(&api)) {
        Ok(draft) => draft,
        Err(failure) => return api.go_on(Err(failure)),
    };
    let mut post = json!({ "text": draft.text, "visibility": draft.visibility });
    if !draft.warning.trim().is_empty() {
        post["warning"] = draft.warning.as_str().into();
    }
    if let Some(parent) = &draft.in_reply_to {
        post["in_reply_to"] = parent.as_str().into();
    }
    match api.command(Method::POST, "/v1/posts", Some(post)).await {
        Ok(post) => api.go_on(Ok(match draft.in_reply_to {
            Some(parent) => format!(
                "/posts/{}#p-{}",
                encoded(&parent),
                post["id"].as_str().unwrap_or_default()
            ),
            None => "/".to_owned(),
        })),
        // What was written is not lost.
        Err(Failure::Refused(refusal)) if refusal.status < 500 => {
            api.show(compose_page(&api, draft.in_reply_to.as_deref(), Some((&draft, &refusal))).await)
        }
        Err(failure) => api.go_on(Err(failure)),
    }
}

pub(super) async fn react(api: Api, of: Path<(String, String)>, form: Posted) -> HttpResponse {
    let (id, deed) = of.into_inner();
    let done = async {
        logged_in(&api)?;
        let fields: Deed = form.fields(&api)?;
        let path = format!("/v1/posts/{}/{deed}", encoded(&id));
        api.command(fields.method(), &path, None).await?;
        Ok(back(&fields.back))
    };
    api.go_on(done.await)
}

pub(super) async fn delete(api: Api, id: Path<String>, form: Posted) -> HttpResponse {
    let done = async {
        logged_in(&api)?;
        let _: Deed = form.fields(&api)?;
        api.command(Method::DELETE, &format!("/v1/posts/{}", encoded(&id)), None)
            .await?;
        Ok("/".to_owned())
    };
    api.go_on(done.await)
}

pub(super) async fn follow(api: Api, handle: Path<String>, form: Posted) -> HttpResponse {
    let done = async {
        logged_in(&api)?;
        let fields: Deed = form.fields(&api)?;
        let user: User = api.get(&format!("/v1/users/@{}", encoded(&handle))).await?;
        api.command(fields.method(), &format!("/v1/users/{}/follow", user.id), None)
            .await?;
        Ok(format!("/@{}", user.handle))
    };
    api.go_on(done.await)
}

fn logged_in(api: &Api) -> Result<(), Failure> {
    api.viewer().map(drop).ok_or(Failure::LoggedOut)
}

/// A page of ours to go back to. Anything else would lead a visitor to another site.
pub(super) fn back(to: &str) -> String {
    let ours = to.starts_with('/') && !to.starts_with("//") && !to.contains(['\\', '\r', '\n', '\t']);
    if ours { to.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for ours in ["/", "/posts/1#p-2", "/public?before=a%2Fb"] {
            assert_eq!(back(ours), ours);
        }
        for other in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
        ] {
            assert_eq!(back(other), "/", "{other}");
        }
    }
}
