//! The program, started as from a shell.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use local_mongodb::TestDatabase;
use serde_json::Value;
use service::auth::generate_signing_key_pem;

const SECRET: &str = "a secret of the tests, long enough";

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_command-svc"));
    command.env_clear();
    command
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn configured(uri: &str) -> Command {
    let mut command = program();
    command
        .env("MICROBLOG__MONGODB__URI", uri)
        .env("MICROBLOG__AUTH__SIGNING_KEY", generate_signing_key_pem())
        .env("MICROBLOG__AUTH__REFRESH_SECRET", SECRET)
        .env("MICROBLOG__COMMAND__LISTEN", "127.0.0.1:0")
        .env("MICROBLOG__SHUTDOWN__DRAIN_DELAY", "0s");
    command
}

#[test]
fn it_shows_its_configuration_without_secrets() {
    let output = run(configured("mongodb://ada:hunter2@db").arg("--print-config"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for expected in [
        "listen = \"127.0.0.1:0\"",
        "deadline = \"4s 500ms\"",
        "refresh_secret = \"***\"",
        "mongodb://***@db",
    ] {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
    for secret in [SECRET, "hunter2", "PRIVATE KEY"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_wrong_value_stops_the_start_with_its_name() {
    let output = run(configured("mongodb://db").env("MICROBLOG__COMMAND__DEADLINE", "soon"));
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(
        said.contains("command.deadline") && said.contains("MICROBLOG__COMMAND__DEADLINE"),
        "{said}"
    );

    let output = run(&mut program());
    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("MICROBLOG__MONGODB__URI"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn it_shows_the_description_of_its_api() {
    let output = run(program().arg("--openapi"));
    assert!(output.status.success());
    let description: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(description, serde_json::to_value(command_svc::openapi()).unwrap());
}

/// The running program, which listens.
struct Running {
    child: Child,
    url: String,
    /// What it logs afterwards. A thread must read it, because otherwise the program would block when the pipe is full.
    log: JoinHandle<String>,
}

impl Running {
    fn start(database: &TestDatabase) -> Self {
        Self::start_at(database.uri(), database, |_| ())
    }

    /// With another address of the database. `told` gets each line that the program logs before it listens.
    fn start_at(uri: &str, database: &TestDatabase, told: impl Fn(&Value)) -> Self {
        let mut command = configured(uri);
        command.env("MICROBLOG__MONGODB__EVENTS_DATABASE", database.events_database());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .inspect(told)
            .find_map(|line| line["address"].as_str().map(str::to_owned))
            .unwrap();
        let log = std::thread::spawn(move || lines.map(Result::unwrap).collect::<Vec<_>>().join("\n"));
        let url = format!("http://{address}");
        Self { child, url, log }
    }

    /// Sends it the signal, and returns what it logged.
    fn stop(mut self, signal: &str) -> String {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(ended(&mut self.child), "SIG{signal} was not enough");
        self.log.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_it_is_told_to() {
    let database = TestDatabase::new().await;
    for signal in ["TERM", "INT"] {
        let program = Running::start(&database);
        let ready = reqwest::get(format!("{}/readyz", program.url)).await.unwrap();
        assert!(ready.status().is_success());
        let log = program.stop(signal);
        assert!(log.contains("draining") && log.contains("stopped"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_database_that_is_started_later() {
    let database = TestDatabase::new().await;
    let behind = database
        .uri()
        .trim_start_matches("mongodb://")
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    let way = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("mongodb://{}/?directConnection=true", way.local_addr().unwrap());
    let is_there = Arc::new(AtomicBool::new(false));
    let there = is_there.clone();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = way.accept().await.unwrap();
            if there.load(Ordering::Acquire) {
                let mut server = tokio::net::TcpStream::connect(&behind).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
            }
        }
    });
    let program = tokio::task::spawn_blocking(move || {
        let program = Running::start_at(&uri, &database, |line| {
            if line["message"] == "not started yet" {
                is_there.store(true, Ordering::Release);
            }
        });
        // Otherwise the database was there from the beginning.
        assert!(is_there.load(Ordering::Acquire));
        (program, database)
    });
    let (program, _database) = program.await.unwrap();
    let ready = reqwest::get(format!("{}/readyz", program.url)).await.unwrap();
    assert!(ready.status().is_success());
    program.stop("TERM");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_in_the_event() {
    let database = TestDatabase::new().await;
    let program = Running::start(&database);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let registration = serde_json::json!({
        "handle": "ada", "email": "ada@example.org", "password": "correct horse battery",
    });
    let registered = reqwest::Client::new()
        .post(format!("{}/v1/users", program.url))
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .json(&registration)
        .send()
        .await
        .unwrap();
    assert_eq!(registered.status(), reqwest::StatusCode::CREATED);
    let client = database.client().await;
    let events = client
        .database(database.events_database())
        .collection::<bson::Document>("events");
    let event = events.find_one(bson::doc! {}).await.unwrap().unwrap();
    let traceparent = event.get_str("traceparent").unwrap();
    assert!(traceparent.starts_with(&format!("00-{trace}-")), "{traceparent}");
    program.stop("TERM");
}

/// Whether it ends successfully and soon.
fn ended(child: &mut Child) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    false
}
