//! `microblog demo`: a dozen made-up people, so that the timelines of a fresh installation are not empty.
//!
//! Everything goes through the public API, like the requests of any client. Every post carries an `Idempotency-Key`, so that loading twice
//! gives the same community.

mod client;
mod community;

use std::{collections::HashMap, process::ExitCode};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::{
    api_client::Call,
    terminal::{Endpoints, say},
};
use client::Api;
use community::{FOLLOWS, LIKES, LISTS, PEOPLE, POSTS, REPOSTS, TAGS};

/// Load a small made-up community
///
/// Twelve people with profiles. They follow each other and some tags, make lists, post, reply, like and repost. Loading them again changes nothing. Each person's
/// password is `demo-HANDLE-password`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Identifies a person who is logged in.
struct Session {
    id: String,
    token: String,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let api = Api::new(arguments.endpoints)?;
    say(&format!("Loading the demo community into {} …", api.command_url()))?;
    let sessions = register_and_log_in(&api).await?;
    let session = |handle: &str| {
        sessions
            .get(handle)
            .with_context(|| format!("{handle} is not in the community"))
    };

    for (follower, followees) in FOLLOWS {
        for followee in followees.split_whitespace() {
            let path = format!("/v1/users/{}/follow", session(followee)?.id);
            api.command(Call::put(path).bearer(&session(follower)?.token)).await?;
        }
    }
    for (follower, tags) in TAGS {
        for tag in tags.split_whitespace() {
            let path = format!("/v1/tags/{tag}/follow");
            api.command(Call::put(path).bearer(&session(follower)?.token)).await?;
        }
    }
    for (owner, title, members, tag) in LISTS {
        let token = &session(owner)?.token;
        let key = format!("demo-list-{title}").replace(' ', "-");
        let call = Call::post("/v1/lists", json!({ "title": title }));
        let list = text(&api.command(call.bearer(token).idempotency_key(&key)).await?, "id")?;
        for member in members.split_whitespace() {
            let path = format!("/v1/lists/{list}/members/{}", session(member)?.id);
            api.command(Call::put(path).bearer(token)).await?;
        }
        let path = format!("/v1/lists/{list}/tags/{tag}");
        api.command(Call::put(path).bearer(token)).await?;
    }
    let mut posts = Vec::with_capacity(POSTS.len());
    for (index, post) in POSTS.iter().enumerate() {
        let mut body = json!({ "text": post.text, "visibility": post.visibility });
        for (field, value) in [("warning", post.warning), ("language", post.language)] {
            if let Some(value) = value {
                body[field] = json!(value);
            }
        }
        if let Some(to) = post.reply_to {
            body["in_reply_to"] = posts
                .get(to)
                .cloned()
                .map(Value::String)
                .context("a reply comes after its post")?;
        }
        let key = format!("demo-post-{index}");
        let call = Call::post("/v1/posts", body)
            .bearer(&session(post.author)?.token)
            .idempotency_key(&key);
        let answer = api.command(call).await?;
        posts.push(text(&answer, "id")?);
    }
    for (likers, post) in LIKES {
        for liker in likers.split_whitespace() {
            let call = Call::put(format!("/v1/posts/{}/like", posts[*post]));
            api.command(call.bearer(&session(liker)?.token)).await?;
        }
    }
    for (reposter, post) in REPOSTS {
        let call = Call::put(format!("/v1/posts/{}/repost", posts[*post]));
        api.command(call.bearer(&session(reposter)?.token)).await?;
    }

    show_home(&api, "ada", &session("ada")?.token).await?;
    say(&format!(
        "\n{} people, {} posts. Log in as any of them, as in:\n  curl -s {}/v1/sessions -H 'content-type: application/json' \
         -d '{{\"handle\":\"ada\",\"password\":\"{}\"}}'\n\nThe public timeline:\n  curl -s {}/v1/timelines/public",
        PEOPLE.len(),
        POSTS.len(),
        api.command_url(),
        password("ada"),
        api.query_url(),
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn register_and_log_in(api: &Api) -> anyhow::Result<HashMap<&'static str, Session>> {
    let mut sessions = HashMap::new();
    for person in PEOPLE {
        let handle = person.handle;
        let password = password(handle);
        let registration = json!({
            "handle": handle,
            "email": format!("{handle}@demo.example"),
            "password": password,
            "display_name": person.display_name,
        });
        // The handle may be taken. If an earlier run has taken it, the login works. If somebody else has, the login fails.
        api.register(registration).await?;
        let answer = api
            .command(Call::post(
                "/v1/sessions",
                json!({ "handle": handle, "password": password }),
            ))
            .await
            .with_context(|| format!("cannot log in as @{handle}; does someone else have this handle?"))?;
        let token = text(&answer, "access_token")?;
        let fields: Vec<Value> = person
            .fields
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        let profile = Call::patch("/v1/users/me", json!({ "bio": person.bio, "fields": fields }));
        let me = api.command(profile.bearer(&token)).await?;
        sessions.insert(
            handle,
            Session {
                id: text(&me, "id")?,
                token,
            },
        );
    }
    Ok(sessions)
}

async fn show_home(api: &Api, handle: &str, token: &str) -> anyhow::Result<()> {
    let page = api.query(Call::get("/v1/timelines/home?limit=5").bearer(token)).await?;
    let Some(items) = page["items"].as_array().filter(|items| !items.is_empty()) else {
        bail!("the home timeline of @{handle} is empty: {page}");
    };
    say(&format!("\nThe top of @{handle}'s home timeline:"))?;
    for item in items {
        let by = item["author"]["handle"].as_str().unwrap_or_default();
        let original = &item["repost_of"];
        let line = match original["author"]["handle"].as_str() {
            Some(author) => format!(
                "@{by} reposted @{author}: {}",
                original["text"].as_str().unwrap_or_default()
            ),
            None => format!("@{by}: {}", item["text"].as_str().unwrap_or_default()),
        };
        say(&format!("  {}", line.replace('\n', " ")))?;
    }
    Ok(())
}

fn password(handle: &str) -> String {
    format!("demo-{handle}-password")
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    answer[field]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("an answer without {field}: {answer}"))
}
