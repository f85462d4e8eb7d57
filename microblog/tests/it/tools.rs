//! The tools around the services: what they print, and that they find what is wrong.

use std::process::Stdio;

use model::api::Post;
use mongodb::bson::{Document, doc};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::time::timeout;

use crate::home::e2e;
use crate::stack::{DEADLINE, Person, Stack};

/// The help of a command at a terminal of 100 columns.
fn help(words: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_microblog"))
        .args(words)
        .arg("--help")
        .env("COLUMNS", "100")
        .env_remove("MICROBLOG_COMMAND_URL")
        .env_remove("MICROBLOG_QUERY_URL")
        .env_remove("MICROBLOG_DATA_DIR")
        .output()
        .expect("it runs");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_help_is_as_reviewed() {
    for (name, words) in [
        ("help", &[][..]),
        ("help-up", &["up"]),
        ("help-demo", &["demo"]),
        ("help-import", &["import"]),
        ("help-verify", &["verify"]),
        ("help-dead-letters", &["dead-letters"]),
        ("help-dead-letters-retry", &["dead-letters", "retry"]),
        ("help-rebuild", &["rebuild"]),
        ("help-reset-password", &["reset-password"]),
        ("help-invite", &["invite"]),
        ("help-role", &["role"]),
        ("help-smoke", &["smoke"]),
        ("help-tail", &["tail"]),
    ] {
        insta::assert_snapshot!(name, help(words));
    }
}

e2e! {
    /// An oracle that never finds a difference is useless. So this test damages the views in each way, and `verify` must report it.
    async fn verify_sees_what_is_wrong() {
        // What is in memory hides what is stored from two of the three readings.
        let stack = Stack::start_with(&[("cache.heads_max_mib", "0")]).await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.follow(&bob, &ann).await;
        let mut posts = Vec::new();
        for n in 0..5 {
            posts.push(stack.post(&ann, &format!("post {n}")).await);
        }
        stack.assert_verified().await;
        let databases = stack.databases().await;
        let collection = |name: &str| databases.views.collection::<Document>(name);

        let removed = collection("home_timelines_g1")
            .find_one_and_delete(doc! { "a": ann.id, "_id": entry(&bob.id, &posts[2]) })
            .await
            .unwrap();
        assert!(removed.is_some(), "the entry was there");
        let found = differences(&stack).await;
        let missing = format!("missing: post {} by @ann ({})", posts[2].id, ann.id);
        let home = format!("home timeline of @bob ({})", bob.id);
        let without_replies = format!("home timeline without replies of @bob ({})", bob.id);
        let places = [home.clone(), format!("{home}, polled upwards"), without_replies];
        assert_eq!(found, places.map(|place| format!("{place}: {missing}")));
        collection("home_timelines_g1").insert_one(removed.unwrap()).await.unwrap();
        assert_eq!(differences(&stack).await, Vec::<String>::new());

        let posts_view = collection("posts_g1");
        let change = |set: Document| posts_view.update_one(doc! { "_id": posts[1].id }, doc! { "$set": set });
        assert_eq!(change(doc! { "text": "damaged" }).await.unwrap().matched_count, 1);
        let found = differences(&stack).await;
        assert!(found.iter().all(|one| one.contains(&format!("wrong text of {}", posts[1].id))), "{found:?}");
        // In both home timelines, with replies and without; among the author's posts as the author, the follower and a visitor without an account see them; in the
        // public timeline with an account and without; and in the thread, for the same three viewers.
        assert_eq!(found.len(), 12, "{found:#?}");
        change(doc! { "text": "post 1", "counts.likes": 7_i64 }).await.unwrap();
        let found = differences(&stack).await;
        assert!(found.len() == 12 && found.iter().all(|one| one.contains("wrong counts")), "{found:#?}");
        change(doc! { "counts.likes": 0_i64 }).await.unwrap();

        let profiles = collection("profiles_g1");
        profiles.update_one(doc! { "_id": ann.id }, doc! { "$inc": { "counts.followers": 1_i64 } }).await.unwrap();
        let found = differences(&stack).await;
        assert!(found.len() == 1 && found[0].starts_with("profile of @ann"), "{found:?}");
        databases.close().await;
    }
}

e2e! {
    /// Damage that only other viewers see, or a leak to them. Each difference names its viewer.
    async fn verify_looks_with_the_eyes_of_others() {
        let stack = Stack::start().await;
        let [ann, bob, cat, dan] = stack.people(["ann", "bob", "cat", "dan"]).await;
        for follower in [&bob, &cat] {
            stack.follow(follower, &ann).await;
        }
        stack.unfollow(&cat, &ann).await;
        let post = stack.post(&ann, "for all").await;
        let body = json!({ "text": "among us", "visibility": "followers" });
        let secret: Post = stack.command(Method::POST, "/v1/posts", Some(&ann), Some(body)).await;
        let body = json!({ "text": "an answer", "in_reply_to": post.id });
        let answer: Post = stack.command(Method::POST, "/v1/posts", Some(&dan), Some(body)).await;
        let path = format!("/v1/posts/{}/like", post.id);
        stack.command::<serde::de::IgnoredAny>(Method::PUT, &path, Some(&dan), None).await;
        stack.assert_verified().await;
        let databases = stack.databases().await;
        let collection = |name: &str| databases.views.collection::<Document>(name);
        let told = async |words: &[&str]| {
            let found = differences(&stack).await;
            for words in words {
                assert!(found.iter().any(|one| one.contains(words)), "{words:?} is not in {found:#?}");
            }
        };

        // Shows a followers-only post to everybody.
        let posts = collection("posts_g1");
        let visibility = |to: &str| posts.update_one(doc! { "_id": secret.id }, doc! { "$set": { "visibility": to } });
        visibility("public").await.unwrap();
        let leaked = format!("unexpected: post {}", secret.id);
        told(&[
            &format!("posts of @ann ({}), seen by a visitor without an account: {leaked}", ann.id),
            &format!("seen by the former follower @cat ({}): {leaked}", cat.id),
            &format!("thread of post {} by @ann ({}), seen by a visitor without an account: nobody may see this", secret.id, ann.id),
            &format!("history of post {}", secret.id),
        ])
        .await;
        visibility("followers").await.unwrap();

        // Takes one user for another whom a post mentions, and forgets what it warns of.
        let body = json!({ "text": "@dan only", "visibility": "mentioned", "warning": "spoilers" });
        let whisper: Post = stack.command(Method::POST, "/v1/posts", Some(&ann), Some(body)).await;
        stack.assert_verified().await;
        let mentioned = |user: &Person| {
            let change = doc! { "entities.mentions.0.user": user.id, "mentioned": [user.id] };
            posts.update_one(doc! { "_id": whisper.id }, doc! { "$set": change })
        };
        mentioned(&cat).await.unwrap();
        told(&[
            &format!("seen by the mentioned user @dan ({}): missing: post {}", dan.id, whisper.id),
            &format!("seen by the former follower @cat ({}): unexpected: post {}", cat.id, whisper.id),
        ])
        .await;
        mentioned(&dan).await.unwrap();
        let warning = |to: &str| posts.update_one(doc! { "_id": whisper.id }, doc! { "$set": { "warning": to } });
        warning("nothing").await.unwrap();
        told(&[&format!("wrong warning of {}", whisper.id)]).await;
        warning("spoilers").await.unwrap();

        // Loses an unfollow.
        let follow = doc! { "viewer": cat.id, "kind": "follow", "live": false };
        let live = |filter: Document, live: bool| {
            let relations = collection("relations_g1");
            async move { relations.update_one(filter, doc! { "$set": { "live": live } }).await.unwrap().matched_count }
        };
        assert_eq!(live(follow, true).await, 1);
        told(&[&format!("seen by the former follower @cat ({}): {leaked}", cat.id)]).await;
        let follow = doc! { "viewer": cat.id, "kind": "follow", "live": true };
        assert_eq!(live(follow, false).await, 1);

        // Loses a like and a reply, and changes an earlier text.
        let like = doc! { "viewer": dan.id, "kind": "like", "live": true };
        assert_eq!(live(like, false).await, 1);
        told(&[&format!("likes of post {} by @ann ({}), seen by its author @ann ({}): missing: @dan", post.id, ann.id, ann.id)]).await;
        let like = doc! { "viewer": dan.id, "kind": "like", "live": false };
        assert_eq!(live(like, true).await, 1);
        let parent = posts.find_one(doc! { "_id": answer.id }).await.unwrap().unwrap();
        posts.update_one(doc! { "_id": answer.id }, doc! { "$unset": { "in_reply_to": "" } }).await.unwrap();
        told(&[
            &format!("missing: post {} by @dan", answer.id),
            &format!("expected ancestors: {}; served: nothing", post.id),
        ])
        .await;
        let parent = parent.get_document("in_reply_to").unwrap();
        posts.update_one(doc! { "_id": answer.id }, doc! { "$set": { "in_reply_to": parent } }).await.unwrap();
        let history = collection("post_history_g1");
        let said = |text: &str| history.update_one(doc! { "post": post.id }, doc! { "$set": { "text": text } });
        assert_eq!(said("never said").await.unwrap().matched_count, 1);
        told(&["served versions [1], expected versions [1]; versions, texts or times differ"]).await;
        said("for all").await.unwrap();
        stack.assert_verified().await;
        databases.close().await;
    }
}

e2e! {
    async fn tail_shows_a_stream_and_comes_back_when_its_session_is_over() {
        let stack = Stack::start().await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.follow(&bob, &ann).await;
        stack.post(&ann, "before").await;
        stack.see_everything().await;
        let from_the_start = "AAAAAAAAAAAAAAAAAAAAAA";
        let mut home = Tail::start(&stack, &["home", "--user", "@bob", "--after", from_the_start], Some(&bob));
        home.says("@ann: before").await;
        let post = stack.post(&ann, "live").await;
        home.says("@ann: live").await;
        stack.edit(&ann, post.id, "edited").await;
        home.says("edited: @ann: edited").await;

        let sessions = format!("{}/v1/sessions", stack.command.url);
        let http = reqwest::Client::new();
        let open: Value = http.get(&sessions).bearer_auth(&bob.token).send().await.unwrap().json().await.unwrap();
        let of_tail = open["items"].as_array().unwrap().iter().find(|session| session["current"] == false).unwrap();
        let ended = http.delete(format!("{sessions}/{}", of_tail["id"].as_str().unwrap())).bearer_auth(&bob.token);
        assert_eq!(ended.send().await.unwrap().status(), 204);
        home.complains("the stream has ended; coming back in ").await;
        stack.delete(&ann, post.id).await;
        stack.post(&ann, "missed").await;
        home.says("@ann: missed").await;
        assert_eq!(home.end().await, Some(0));

        let mut public = Tail::start(&stack, &["public", "--json", "--after", from_the_start], None);
        let mut told = Vec::new();
        for _ in 0..3 {
            let event: Value = serde_json::from_str(&public.line().await).unwrap();
            assert!(event["id"].is_string(), "{event}");
            told.push((event["event"].clone(), event["data"]["text"].clone()));
        }
        assert_eq!(told, [("post", "before"), ("post", "missed"), ("resumed", "")].map(|(event, text)| {
            (json!(event), if text.is_empty() { Value::Null } else { json!(text) })
        }));
        assert_eq!(public.end().await, Some(0));

        let (code, said) = run(&stack, &["tail"]).await;
        assert_eq!((code, said.as_str()), (Some(2), "microblog: only a user can watch this: give --user\n"));
        let (code, said) = run(&stack, &["tail", &format!("posts/{}", post.id)]).await;
        assert!(code == Some(2) && said.contains("404"), "{said}");
    }
}

/// `microblog tail` while it runs.
struct Tail {
    process: tokio::process::Child,
    out: Lines<BufReader<ChildStdout>>,
    complaints: Lines<BufReader<ChildStderr>>,
}

impl Tail {
    fn start(stack: &Stack, words: &[&str], user: Option<&Person>) -> Self {
        let mut command = stack.microblog();
        command
            .arg("tail")
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(user) = user {
            command.env("MICROBLOG_PASSWORD", Stack::password_of(user));
        }
        let mut process = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .expect("it runs");
        let out = process.stdout.take().expect("its output");
        let complaints = process.stderr.take().expect("its complaints");
        Self {
            process,
            out: BufReader::new(out).lines(),
            complaints: BufReader::new(complaints).lines(),
        }
    }

    async fn line(&mut self) -> String {
        let line = timeout(DEADLINE, self.out.next_line()).await.expect("a line in time");
        line.expect("it can be read").expect("it goes on")
    }

    /// The next line, without its time.
    async fn says(&mut self, expected: &str) {
        let line = self.line().await;
        let said = line.split_once(' ').map(|(_, said)| said);
        assert_eq!(said, Some(expected));
    }

    async fn complains(&mut self, expected: &str) {
        loop {
            let line = timeout(DEADLINE, self.complaints.next_line())
                .await
                .expect("a line in time");
            let line = line.expect("it can be read").expect("it goes on");
            if line.starts_with(expected) {
                return;
            }
            // The views of a new installation can't be read at once.
            assert!(line.starts_with("the service answered 503"), "{line}");
        }
    }

    /// Ctrl-C.
    async fn end(mut self) -> Option<i32> {
        let pid = self.process.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(Pid::from_raw).expect("it runs");
        kill_process(pid, Signal::INT).expect("it runs");
        let ended = timeout(DEADLINE, self.process.wait()).await;
        ended.expect("it ends in time").expect("it ended").code()
    }
}

e2e! {
    async fn smoke_tries_the_installation_and_leaves_nobody_behind() {
        let stack = Stack::start().await;
        let (code, said) = run(&stack, &["smoke"]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("removed both again: the installation works\n"), "{said}");
        let handle = said.split(['@', ' ', '\n']).find(|word| word.starts_with("smoke_author")).expect("a name");
        stack.see_everything().await;
        assert_eq!(stack.try_read(&format!("/v1/users/@{handle}"), None).await.0, 404);
    }
}

e2e! {
    async fn an_operator_invites_people_and_helps_who_forgot_the_password() {
        let stack = Stack::start_with(&[("command.registration", "invite")]).await;
        let post = async |path: &str, body: Value| {
            let request = reqwest::Client::new().post(format!("{}{path}", stack.command.url)).json(&body);
            request.send().await.expect("an answer").status().as_u16()
        };
        let mut registration = json!({ "handle": "ann", "email": "ann@example.org", "password": "forgotten soon" });
        assert_eq!(post("/v1/users", registration.clone()).await, 422);
        let (code, said) = run(&stack, &["invite"]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("It works once, for 7days.\n"), "{said}");
        registration["invite"] = json!(said.lines().next());
        assert_eq!(post("/v1/users", registration).await, 201);

        let (code, said) = run(&stack, &["reset-password", "@ann", "--good-for", "10m"]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("It works once, for 10m.\n"), "{said}");
        let reset = json!({ "code": said.lines().next(), "password": "remembered well" });
        assert_eq!(post("/v1/users/password-resets", reset).await, 204);
        let login = json!({ "handle": "ann", "password": "remembered well" });
        assert_eq!(post("/v1/sessions", login).await, 201);
        let (code, said) = run(&stack, &["reset-password", "nobody"]).await;
        assert_eq!((code, said.as_str()), (Some(2), "microblog: there is no user @nobody\n"));

        for (role, expected) in [
            ("moderator", "@ann is now a moderator.\n"),
            ("moderator", "@ann was already a moderator.\n"),
            ("admin", "@ann is now an admin.\n"),
            ("none", "@ann is now neither a moderator nor an admin.\n"),
        ] {
            assert_eq!(run(&stack, &["role", "@ann", role]).await, (Some(0), expected.to_owned()));
        }
        let (code, said) = run(&stack, &["role", "nobody", "admin"]).await;
        assert_eq!((code, said.as_str()), (Some(2), "microblog: there is no user @nobody\n"));
    }
}

e2e! {
    async fn a_dead_letter_is_listed_retried_and_discarded() {
        let mut stack = Stack::start_without_projector(&[("subscriptions.backoff", "10ms")]).await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.follow(&bob, &ann).await;
        let [repaired, lost, fine] = [
            stack.post(&ann, "repaired").await, stack.post(&ann, "lost").await, stack.post(&ann, "fine").await,
        ];
        // Two events that no program can read.
        let databases = stack.databases().await;
        let events = databases.events.collection::<Document>("events");
        let visible_to = |post: &Post, whom: &str| {
            let event = doc! { "stream": format!("post-{}", post.id) };
            events.update_one(event, doc! { "$set": { "data.visibility": whom } })
        };
        visible_to(&repaired, "martians").await.unwrap();
        visible_to(&lost, "martians").await.unwrap();
        stack.add_projector().await;
        stack.wait_until_ready().await;
        assert_eq!(stack.home_ids(&bob).await, [fine.id]);

        let (code, said) = run(&stack, &["dead-letters", "list"]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("post.created") && said.contains("malformed"), "{said}");
        assert!(!said.contains("repaired") && !said.contains("lost"), "a letter shows no text: {said}");
        let ids = letters(&stack, &[&repaired, &lost]).await;
        let (code, said) = run(&stack, &["verify"]).await;
        assert_eq!(code, Some(2), "unreadable events are an error: {said}");

        let (code, said) = run(&stack, &["dead-letters", "retry", &ids[0]]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("0 of 1 went through"), "{said}");
        visible_to(&repaired, "public").await.unwrap();
        let (code, said) = run(&stack, &["dead-letters", "retry", &ids[0]]).await;
        assert_eq!((code, said.as_str()), (Some(0), "1 of 1 went through.\n"));
        assert_eq!(stack.home_ids(&bob).await, [fine.id, repaired.id]);

        let (code, said) = run(&stack, &["dead-letters", "discard", "--all"]).await;
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = run(&stack, &["dead-letters", "list"]).await;
        assert_eq!((code, said.as_str()), (Some(0), "No dead letters.\n"));
        let (code, said) = run(&stack, &["verify"]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("0 differences") && said.contains("1 events are discarded"), "{said}");
        databases.close().await;
    }
}

/// The program's exit code and output.
async fn run(stack: &Stack, words: &[&str]) -> (Option<i32>, String) {
    let mut command = stack.microblog();
    command.args(words);
    let output = tokio::task::spawn_blocking(move || command.output().expect("it runs"))
        .await
        .expect("its output");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        said.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    (output.status.code(), said)
}

/// The ids of the events that created these posts, once they are dead letters.
async fn letters(stack: &Stack, posts: &[&Post]) -> Vec<String> {
    let databases = stack.databases().await;
    let letters = event_log::subscription::dead_letters::DeadLetters::new(&databases.views);
    let letters = letters.list().await.expect("the dead letters");
    databases.close().await;
    let event = |post: &&Post| {
        let stream = format!("post-{}", post.id);
        letters
            .iter()
            .find(|letter| letter.stream.as_str() == stream)
            .map(|letter| letter.event.to_string())
    };
    posts
        .iter()
        .map(|post| event(post).expect("there is a letter"))
        .collect()
}

fn entry(owner: &model::ids::UserId, post: &Post) -> mongodb::bson::Binary {
    let bytes = [owner.as_bytes().as_slice(), post.id.as_bytes()].concat();
    mongodb::bson::Binary {
        subtype: mongodb::bson::spec::BinarySubtype::Generic,
        bytes,
    }
}

async fn differences(stack: &Stack) -> Vec<String> {
    let reports = stack.verify().await;
    reports
        .iter()
        .flat_map(|report| &report.differences)
        .map(ToString::to_string)
        .collect()
}
