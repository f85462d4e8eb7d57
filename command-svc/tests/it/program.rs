//! The program as it is started from a shell.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use local_mongodb::TestDatabase;
use serde_json::Value;
use shared::auth::generate_signing_key_pem;

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
        "mongodb://ada:***@db",
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

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_it_is_told_to() {
    let database = TestDatabase::new().await;
    for signal in ["TERM", "INT"] {
        let mut command = configured(database.uri());
        command.env("MICROBLOG__MONGODB__EVENTS_DATABASE", database.events_database());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find_map(|line| line["address"].as_str().map(str::to_owned))
            .unwrap();
        // Somebody has to read it, or the program could wait for its own log.
        let rest = std::thread::spawn(move || log.map(Result::unwrap).collect::<Vec<_>>());
        let ready = reqwest::get(format!("http://{address}/readyz")).await.unwrap();
        assert!(ready.status().is_success());

        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(ended(&mut child), "SIG{signal} was not enough");
        let log = rest.join().unwrap().join("\n");
        assert!(log.contains("draining") && log.contains("stopped"), "{log}");
    }
}

/// Whether it ends well, before long.
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
