//! `microblog import` and `microblog verify`, as programs, against services with rate limits.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bson::{Document, doc};
use model::api::{List, Page, Post, Relationship, Tag, User};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::home::e2e;
use crate::processes::Killed;
use crate::stack::Stack;

/// A ring of users with a few chords, and posts by some of them and by others. The services refuse a few of these.
struct Files {
    directory: TempDir,
    follows: PathBuf,
    posts: PathBuf,
}

const RING: usize = 12;
const POSTS: usize = 60;

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut follows = String::from("# a ring\n");
        for n in 0..RING {
            follows.push_str(&format!("{n} {}\n{n} {}\n", (n + 1) % RING, (n + 5) % RING));
        }
        follows.push_str("3 3\n");
        let mut posts = String::from("author,text,created_at\n");
        for n in 0..POSTS {
            posts.push_str(&format!(
                "Author_{},\"post {n}, \"\"quoted\"\" &amp; on\ntwo lines\",2015-02-24\n",
                n % 4
            ));
        }
        posts.push_str(&format!(
            "author_1,{},2015-02-24\nauthor_1,   ,2015-02-24\n",
            "x".repeat(501)
        ));
        let paths = ["follows.txt", "posts.csv"].map(|name| directory.path().join(name));
        fs::write(&paths[0], follows).expect("the file of follows");
        fs::write(&paths[1], posts).expect("the file of posts");
        let [follows, posts] = paths;
        Self {
            directory,
            follows,
            posts,
        }
    }

    fn import(&self, stack: &Stack) -> Command {
        let mut command = stack.microblog();
        command
            .args(["import", "--concurrency", "8"])
            .arg("--follows")
            .arg(&self.follows)
            .arg("--posts")
            .arg(&self.posts);
        command.env("XDG_STATE_HOME", self.directory.path().join("state"));
        command
    }
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().expect("the program runs"))
        .await
        .expect("its output")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// How many items are finished according to the journal.
fn items_done(state: &Path) -> u64 {
    let Ok(mut files) = fs::read_dir(state.join("microblog/imports")) else {
        return 0;
    };
    let Some(Ok(file)) = files.next() else { return 0 };
    let lines = fs::read_to_string(file.path()).unwrap_or_default();
    let done = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["items"]["done"].as_u64();
    lines.lines().filter_map(done).max().unwrap_or(0)
}

e2e! {
    async fn an_import_with_limits_on_goes_on_after_a_kill_and_everything_is_there_once() {
        let stack = Stack::start_with(&[
            ("rate_limit.enabled", "true"),
            ("rate_limit.register.burst", "5"), ("rate_limit.register.per_minute", "300"),
            ("rate_limit.login.burst", "5"), ("rate_limit.login.per_minute", "300"),
            ("rate_limit.write.burst", "2"), ("rate_limit.write.per_minute", "120"),
        ]).await;
        let files = Files::new();
        let state = files.directory.path().join("state");
        let mut first = Killed(files.import(&stack).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        // The output must be read. Otherwise a full pipe would block the program.
        let said = BufReader::new(first.0.stderr.take().unwrap());
        let talking = std::thread::spawn(move || said.lines().map_while(Result::ok).count());
        crate::stack::eventually("the first run is in the middle", || async { (items_done(&state) > 10).then_some(()) }).await;
        first.kill();
        talking.join().unwrap();
        let reached = items_done(&state);
        assert!(reached < (4 * RING + 2 + POSTS + 2) as u64, "the first run was over before it could be killed");

        let output = run(files.import(&stack)).await;
        let said = text(&output);
        // Two invalid posts, and a user who would follow itself, in both directions.
        assert_eq!(output.status.code(), Some(3), "{said}");
        for expected in [
            "edges: 2 columns, blanks, no header, the first is from \"0\" to \"1\", 1 comment left out",
            "posts: 3 columns, comma, author is \"author\", text is \"text\"",
            "had been registered before", "slow down", "@user_3 follows @user_3", "line",
        ] {
            assert!(said.contains(expected), "{expected:?} is not in: {said}");
        }
        stack.see_everything().await;
        let posts: Vec<Post> = stack.list("/v1/timelines/public", None, 100).await;
        let mut texts: Vec<&str> = posts.iter().map(|post| post.text.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!((posts.len(), texts.len()), (POSTS, POSTS), "every post once");
        assert!(texts.contains(&"post 7, \"quoted\" &amp; on\ntwo lines"), "{texts:?}");
        // Every second row is written by the users of the ring, in turn.
        let by_ring = posts.iter().filter(|post| post.author.handle.starts_with("user_")).count();
        assert_eq!(by_ring, POSTS / 2);
        let followers: Vec<User> = stack.list("/v1/users/@user_0/followers", None, 100).await;
        let mut handles: Vec<&str> = followers.iter().map(|user| user.handle.as_str()).collect();
        handles.sort_unstable();
        assert_eq!(handles, ["user_1", "user_11", "user_5", "user_7"]);

        let again = run(files.import(&stack)).await;
        assert_eq!(again.status.code(), Some(3), "{}", text(&again));
        stack.see_everything().await;
        let count: User = stack.read("/v1/users/@user_0", None).await;
        assert_eq!(count.counts.unwrap().following, 4);

        let mut verify = stack.microblog();
        verify.arg("verify");
        let verified = run(verify).await;
        let said = text(&verified);
        assert!(verified.status.success() && said.contains("0 differences"), "{said}");
        stack.assert_verified().await;
    }
}

#[test]
fn a_dry_run_says_what_the_files_are_taken_for_and_touches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (edges, state) = (directory.path().join("edges"), directory.path().join("state"));
    let run = |content: &[u8]| {
        fs::write(&edges, content).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_microblog"));
        command.args([
            "import",
            "--dry-run",
            "--directed",
            "--command-url",
            "http://127.0.0.1:9",
        ]);
        command.arg("--follows").arg(&edges).env("XDG_STATE_HOME", &state);
        command.output().unwrap()
    };
    let output = run(b"x1,x2\n17,user_17\n17,18\n");
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("edges: 2 columns, comma, header \"x1,x2\" left out"),
        "{said}"
    );
    assert!(said.contains("3 users, 2 follows"), "{said}");
    let output = run(b"a b\nZo\xeb b\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("line 2: is not UTF-8"), "{}", text(&output));
    assert!(!state.exists());
}

e2e! {
    async fn a_state_of_another_store_is_not_believed() {
        let files = Files::new();
        let first = Stack::start().await;
        assert_eq!(run(files.import(&first)).await.status.code(), Some(3));
        // The same address with another store, as if somebody had emptied the database.
        let second = Stack::start().await;
        let mut import = files.import(&second);
        let state = fs::read_dir(files.directory.path().join("state/microblog/imports")).unwrap().next().unwrap().unwrap();
        let rewritten = fs::read_to_string(state.path())
            .unwrap()
            .replace(&format!("{}/", first.command.url), &format!("{}/", second.command.url));
        let moved = files.directory.path().join("moved.jsonl");
        fs::write(&moved, rewritten).unwrap();
        import.arg("--state").arg(&moved);
        let output = run(import).await;
        let said = text(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("another store"), "{said}");
        second.see_everything().await;
        second.assert_verified().await;
        let posts: Vec<Post> = second.list("/v1/timelines/public", None, 100).await;
        assert_eq!(posts.len(), POSTS);
    }
}

e2e! {
    async fn a_user_brings_along_an_export_of_mastodon() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        let post = stack.post(&bob, "worth keeping").await.id;
        stack.see_everything().await;
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let import = || {
            let mut command = stack.microblog();
            command.args(["import", "--user", "@ann", "--domain", "old.example"]);
            for (option, name, content) in [
                ("--following", "following_accounts.csv", &b"Account address,Show boosts,Notify on new posts,Languages\nbob@old.example,true,false,\neve@old.example,true,false,\nbob@other.example,true,false,\n"[..]),
                ("--blocks", "blocked_accounts.csv", b"eve@old.example\nnobody@old.example\n\"eve@old.example\nZo\xeb@old.example\n"),
                ("--mutes", "muted_accounts.csv", b"Account address,Hide notifications\nbob@old.example,false\n"),
                ("--lists", "lists.csv", b"\"Friends, close\",bob@old.example\nBy hand,bob@old.example\n"),
                ("--bookmarks", "bookmarks.csv", format!("https://old.example/v1/posts/{post}\nhttps://old.example/@bob/1234\n").as_bytes()),
                ("--followed-tags", "followed_tags.csv", "#hashtag\n#Rust\n東京\n".as_bytes()),
            ] {
                command.arg(option).arg(file(name, content));
            }
            command.env("MICROBLOG_PASSWORD", Stack::password_of(&ann));
            command
        };
        let by_hand: List = stack.command(Method::POST, "/v1/lists", Some(&ann), Some(json!({ "title": "By hand" }))).await;
        stack.see_everything().await;
        let mut made = Vec::new();
        // What was sent before is sent again, and changes nothing. Only the list that was deleted is made again.
        for deleted in [false, true, false] {
            if deleted {
                let path = format!("/v1/lists/{}", made[0]);
                assert!(stack.send_command(Method::DELETE, &path, Some(&ann), None).await.status().is_success());
                stack.see_everything().await;
            }
            let output = run(import()).await;
            let said = text(&output);
            assert_eq!(output.status.code(), Some(3), "{said}");
            for expected in [
                "not an account of old.example", "following_accounts.csv line 4", "nobody here has the handle", "a post of another server",
                "a quote is opened and never closed", "blocked_accounts.csv line 4",
            ] {
                assert!(said.contains(expected), "{expected:?} is not in: {said}");
            }
            stack.see_everything().await;
            let lists: Page<List> = stack.read("/v1/lists", Some(&ann)).await;
            let [brought, kept] = &lists.items[..] else { panic!("{lists:?}") };
            assert_eq!((brought.title.as_str(), kept), ("Friends, close", &by_hand));
            made.push(brought.id);
            for list in &lists.items {
                let members: Page<User> = stack.read(&format!("/v1/lists/{}/members", list.id), Some(&ann)).await;
                assert_eq!(members.items.iter().map(|user| user.id).collect::<Vec<_>>(), [bob.id]);
            }
        }
        assert!(made[0] != made[1] && made[1] == made[2], "{made:?}");
        stack.see_everything().await;
        let relationships: Page<Relationship> = stack.read(&format!("/v1/relationships?id={}&id={}", bob.id, eve.id), Some(&ann)).await;
        let [with_bob, with_eve] = relationships.items[..] else { panic!("{relationships:?}") };
        assert!(with_bob.following && with_bob.muting && with_eve.blocking && !with_eve.following);
        let kept: Page<Post> = stack.read("/v1/bookmarks", Some(&ann)).await;
        assert_eq!(kept.items.iter().map(|post| post.id).collect::<Vec<_>>(), [post]);
        let tags: Page<Tag> = stack.read("/v1/tags/followed", Some(&ann)).await;
        assert_eq!(tags.items.iter().map(|tag| tag.name.as_str()).collect::<Vec<_>>(), ["東京", "Rust"]);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn an_import_that_takes_longer_than_its_token_goes_on_and_one_that_fails_says_what_it_has_done() {
        let stack = Stack::start_with(&[
            ("auth.access_token_ttl", "2s"), ("auth.leeway", "0s"),
            ("rate_limit.enabled", "true"),
            ("rate_limit.write.burst", "1"), ("rate_limit.write.per_minute", "60"),
            ("rate_limit.refresh.burst", "100"), ("rate_limit.refresh.per_minute", "600"),
        ]).await;
        let people = stack.people(["ann", "bob", "eve", "dan", "ida"]).await;
        stack.see_everything().await;
        let directory = tempfile::tempdir().unwrap();
        let following = directory.path().join("following_accounts.csv");
        fs::write(&following, "bob\neve\ndan\nida\n").unwrap();
        let import = || {
            let mut command = stack.microblog();
            command.args(["import", "--user", "ann", "--following"]).arg(&following);
            command.env("MICROBLOG_PASSWORD", Stack::password_of(&people[0]));
            command
        };
        let output = run(import()).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));

        let mut import = import();
        import.arg("--bookmarks").arg(directory.path().join("missing.csv"));
        let output = run(import).await;
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let follows = said.lines().find(|line| line.contains("follows"));
        assert!(follows.is_some_and(|row| row.contains('4')), "{said}");
        assert!(said.contains("missing.csv: No such file") && said.contains("not complete"), "{said}");
        // Both runs have logged out.
        let sessions = stack.databases().await.events.collection::<Document>("sessions");
        let open = doc! { "user": people[0].id };
        assert_eq!(sessions.count_documents(open).await.unwrap(), 1);
    }
}
