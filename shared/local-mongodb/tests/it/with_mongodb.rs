//! The program that gives a whole test run one server.

use std::process::Command;

fn with_mongodb(command: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_with-mongodb"))
        .arg("--")
        .args(command)
        .output()
        .expect("the program runs")
}

#[test]
fn the_command_finds_the_servers_address_and_its_exit_code_is_passed_on() {
    let output = with_mongodb(&["sh", "-c", "echo \"$MICROBLOG_TEST_MONGODB_URI\"; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let uri = String::from_utf8(output.stdout).expect("text");
    let port = uri
        .trim()
        .strip_prefix("mongodb://127.0.0.1:")
        .and_then(|rest| rest.split_once('/'));
    let port: u16 = port.expect("a local URI").0.parse().expect("a port");
    // The server ends with its command, so its port is free again.
    assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
}

#[test]
fn without_a_command_it_says_how_it_is_used() {
    let output = Command::new(env!("CARGO_BIN_EXE_with-mongodb"))
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage"));
}

#[test]
fn a_command_that_a_signal_ended_is_reported_as_shells_do() {
    assert_eq!(
        with_mongodb(&["sh", "-c", "kill -s INT $$"]).status.code(),
        Some(128 + 2)
    );
}

#[test]
fn a_command_that_is_not_there_is_named() {
    let output = with_mongodb(&["no-such-command"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("no-such-command"),
        "{output:?}"
    );
}
