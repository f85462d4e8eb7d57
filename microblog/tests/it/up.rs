//! `microblog up` and `microblog demo`, as a person at a terminal uses them.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

use local_mongodb::TestDatabase;

use crate::gateway::one_address_is_enough;

const PROGRAM: &str = env!("CARGO_BIN_EXE_microblog");
const WITHIN: Duration = Duration::from_secs(60);
const LAST_LINE: &str = "Ctrl-C stops everything";

/// A running `microblog up`.
pub(crate) struct Up {
    process: Child,
    output: BufReader<ChildStdout>,
    /// What it printed until it was up.
    welcome: String,
}

impl Up {
    /// Starts it with a database of its own.
    fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[])
    }

    /// Starts it with an existing database.
    pub(crate) fn start_on(database: &TestDatabase, data_dir: &Path, variables: &[(&str, &str)]) -> Self {
        let on = [
            ("MICROBLOG__MONGODB__URI", database.uri()),
            ("MICROBLOG__MONGODB__EVENTS_DATABASE", database.events_database()),
            ("MICROBLOG__MONGODB__VIEWS_DATABASE", database.views_database()),
        ];
        Self::start_with(data_dir, &[&on[..], variables].concat())
    }

    fn start_with(data_dir: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["up", "--data-dir"]).arg(data_dir).stdout(Stdio::piped());
        for service in ["GATEWAY", "COMMAND", "QUERY", "PROJECTOR"] {
            command.env(format!("MICROBLOG__{service}__LISTEN"), "127.0.0.1:0");
        }
        command
            .env_remove("MICROBLOG__MONGODB__URI")
            .envs(variables.iter().copied());
        let mut process = command.spawn().expect("microblog up");
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        let mut welcome = String::new();
        while !welcome.contains(LAST_LINE) {
            let read = output.read_line(&mut welcome).expect("its output");
            assert_ne!(read, 0, "it ended before it was up: {welcome}");
        }
        Self {
            process,
            output,
            welcome,
        }
    }

    /// The address that it printed on the line with this name.
    pub(crate) fn url(&self, name: &str) -> &str {
        let line = self
            .welcome
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .expect("such a line");
        line.split_whitespace().nth(1).expect("an address")
    }

    /// The session that it printed for pasting.
    fn session(&self) -> &str {
        let (_, rest) = self.welcome.split_once("follow and read:\n\n").expect("a session");
        rest.split_once("Fill it:").expect("an end of it").0
    }

    fn curl(&self, service: &str, path: &str) -> String {
        let output = shell(&format!("curl -s {}{path}", self.url(service)));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Sends a signal. Returns the exit code and the output since then.
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .expect("kill")
                .success()
        );
        let mut farewell = String::new();
        while self.output.read_line(&mut farewell).expect("its output") > 0 {}
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(status) = self.process.try_wait().expect("its status") {
                return (status.code(), farewell);
            }
            assert!(Instant::now() < deadline, "it does not end: {farewell}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // A failed test leaves no process running.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn shell(script: &str) -> Output {
    Command::new("sh").args(["-c", script]).output().expect("a shell")
}

#[tokio::test]
async fn the_printed_session_works_and_ctrl_c_ends_everything_with_exit_code_0() {
    let database = TestDatabase::new().await;
    let data = tempfile::tempdir().expect("a directory");
    let up = Up::start_on(&database, data.path(), &[]);

    // Pasting the session again does no harm: the users exist, and post the same text once more.
    for greetings in 1..=2 {
        let output = shell(up.session());
        let text = String::from_utf8(output.stdout).expect("text");
        let home: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}: {text}"));
        let items = home["items"].as_array().unwrap_or_else(|| panic!("a page: {text}"));
        assert_eq!(items.len(), greetings, "{text}");
        assert_eq!(items[0]["text"], "Hello, timeline!");
        assert_eq!(items[0]["author"]["handle"], "grace");
    }
    assert!(
        !data.path().join("mongodb").exists(),
        "a database was given: none is started"
    );

    // The same address as the gateway's, without a gateway in between.
    one_address_is_enough(up.url("open")).await;

    let (code, farewell) = up.stop("INT");
    assert_eq!(code, Some(0), "{farewell}");
    assert!(farewell.contains("Stopped."), "{farewell}");
}

#[tokio::test]
async fn the_demo_fills_the_timelines_and_may_be_loaded_again() {
    let database = TestDatabase::new().await;
    let data = tempfile::tempdir().expect("a directory");
    let up = Up::start_on(
        &database,
        data.path(),
        &[
            // The default limits are meant for people. Other tests check that the client obeys them.
            ("MICROBLOG__RATE_LIMIT__ENABLED", "false"),
        ],
    );
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let demo = Command::new(PROGRAM)
            .args([
                "demo",
                "--command-url",
                up.url("writes"),
                "--query-url",
                up.url("reads"),
            ])
            .output()
            .expect("microblog demo");
        assert!(demo.status.success(), "{demo:?}");
        assert!(
            String::from_utf8_lossy(&demo.stdout).contains("The top of @ada's home timeline"),
            "{demo:?}"
        );
        let public: serde_json::Value =
            serde_json::from_str(&up.curl("reads", "/v1/timelines/public?limit=100")).expect("a page");
        sizes.push(public["items"].as_array().expect("its items").len());
    }
    assert!(sizes[0] > 20, "{sizes:?}");
    assert_eq!(sizes[0], sizes[1], "loading it again adds nothing");
    assert_eq!(up.stop("TERM").0, Some(0));
}

#[tokio::test]
async fn its_own_database_and_keys_survive_a_restart() {
    let data = tempfile::tempdir().expect("a directory");
    let up = Up::start(data.path());
    let output = shell(&format!("{}\necho \"token=$GRACE\"", up.session()));
    let text = String::from_utf8(output.stdout).expect("text");
    let token = text
        .lines()
        .find_map(|line| line.strip_prefix("token="))
        .expect("a token")
        .to_owned();
    assert_eq!(up.stop("TERM").0, Some(0));

    let up = Up::start(data.path());
    let database = up.url("database").to_owned();
    assert!(up.curl("reads", "/v1/users/@grace/posts").contains("Hello, timeline!"));
    // The token is from before the restart. It is still valid, because the signing key is the same.
    let path = up.url("writes");
    let post = format!(
        "curl -s -o /dev/null -w '%{{http_code}}' {path}/v1/posts -H 'Content-Type: application/json' \
         -H 'Authorization: Bearer {token}' -d '{{\"text\":\"Still here\"}}'"
    );
    assert_eq!(String::from_utf8_lossy(&shell(&post).stdout), "201");

    // Two databases would damage each other's files.
    let second = Command::new(PROGRAM)
        .args(["up", "--data-dir"])
        .arg(data.path())
        .output()
        .expect("microblog up");
    assert_eq!(second.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("another `microblog up`"),
        "{second:?}"
    );

    assert_eq!(up.stop("INT").0, Some(0));
    let port: u16 = database
        .split([':', '/'])
        .find_map(|part| part.parse().ok())
        .expect("a port");
    assert!(local_mongodb::is_free(port), "the database is gone too");
}

#[test]
fn a_wrong_value_is_named_before_anything_is_started() {
    let data = tempfile::tempdir().expect("a directory");
    let refused = Command::new(PROGRAM)
        .args(["up", "--data-dir"])
        .arg(data.path())
        .env_remove("MICROBLOG__MONGODB__URI")
        .env("MICROBLOG__TIMELINES__WINDOW", "many")
        .output()
        .expect("microblog up");
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("MICROBLOG__TIMELINES__WINDOW"),
        "{refused:?}"
    );
    assert!(!data.path().join("mongodb").exists());
}
