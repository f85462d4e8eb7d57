//! Start, stop, kill, restart, and what is left when the process that started a server ends.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::StreamExt as _;
use local_mongodb::{Options, Server, is_free};
use mongodb::{Client, options::ClientOptions};

async fn client(server: &Server) -> Client {
    let mut options = ClientOptions::parse(server.uri()).await.expect("a valid URI");
    options.server_selection_timeout = Some(Duration::from_secs(5));
    Client::with_options(options).expect("a client")
}

async fn insert(server: &Server, id: i32) {
    let notes = client(server)
        .await
        .database("lifecycle")
        .collection::<Document>("notes");
    notes.insert_one(doc! { "_id": id }).await.expect("an insert");
}

async fn ids(server: &Server) -> Vec<i32> {
    let notes = client(server)
        .await
        .database("lifecycle")
        .collection::<Document>("notes");
    let found = notes.find(doc! {}).sort(doc! { "_id": 1 }).await.expect("a query");
    found
        .map(|note| note.expect("a note").get_i32("_id").expect("its id"))
        .collect()
        .await
}

/// The only right way to wait: for a condition, with a deadline.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 30 seconds: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_running(pid: u32) -> bool {
    let asked = Command::new("kill")
        .args(["-0", &pid.to_string()])
        .stderr(Stdio::null())
        .status();
    asked.expect("kill").success()
}

#[tokio::test]
async fn data_survive_a_stop_a_kill_and_a_new_server_on_the_same_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(Options::new(directory.path())).await.expect("a server");
    let uri = server.uri();
    insert(&server, 1).await;

    server.stop().await.expect("a stop");
    assert_eq!(server.pid(), None);
    server.restart().await.expect("a restart after a stop");
    assert_eq!(server.uri(), uri);
    assert_eq!(ids(&server).await, [1]);

    // Acknowledged just before the crash, so it must exist afterwards.
    insert(&server, 2).await;
    server.kill().await.expect("a kill");
    server.restart().await.expect("a restart after a kill");
    assert_eq!(ids(&server).await, [1, 2]);

    server.restart().await.expect("a restart of a running server");
    server.stop().await.expect("a stop");
    drop(server);
    let server = Server::start(Options::new(directory.path()))
        .await
        .expect("a second server");
    assert_eq!(ids(&server).await, [1, 2]);
}

#[tokio::test]
async fn transactions_change_streams_and_causal_sessions_work_over_its_uri() {
    let server = Server::start_ephemeral().await.expect("a server");
    let client = client(&server).await;
    let database = client.database("features");
    let notes = database.collection::<Document>("notes");
    database.create_collection("notes").await.expect("a collection");
    let mut changes = database.watch().await.expect("a change stream");

    let mut session = client
        .start_session()
        .causal_consistency(true)
        .await
        .expect("a session");
    session.start_transaction().await.expect("a transaction");
    notes
        .insert_one(doc! { "_id": 1 })
        .session(&mut session)
        .await
        .expect("an insert in it");
    session.abort_transaction().await.expect("an abort");
    session.start_transaction().await.expect("a second transaction");
    notes
        .insert_one(doc! { "_id": 2 })
        .session(&mut session)
        .await
        .expect("an insert in that");
    session.commit_transaction().await.expect("a commit");

    assert!(session.operation_time().is_some());
    let change = changes.next().await.expect("a change").expect("no error");
    assert_eq!(change.document_key, Some(doc! { "_id": 2 }));
}

#[tokio::test]
async fn dropping_an_ephemeral_server_ends_its_process_and_deletes_its_data() {
    let server = Server::start_ephemeral().await.expect("a server");
    let (pid, files) = (server.pid().expect("it runs"), server.files());
    assert!(is_running(pid) && files.exists());
    drop(server);
    eventually("the process ends and the data go", || {
        !is_running(pid) && !files.exists()
    })
    .await;
}

#[tokio::test]
async fn a_stopped_ephemeral_server_leaves_nothing_either() {
    let mut server = Server::start_ephemeral().await.expect("a server");
    let files = server.files();
    server.stop().await.expect("a stop");
    assert!(files.exists(), "a restart would need them");
    drop(server);
    assert!(!files.exists());
}

#[tokio::test]
async fn a_server_does_not_outlive_a_parent_that_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut parent = Command::new(env!("CARGO_BIN_EXE_with-mongodb"))
        // The command ends when its standard input closes. We hold the other end, so that the command is not left behind either.
        .args(["--", "sh", "-c", "echo \"$MICROBLOG_TEST_MONGODB_URI\"; read -r _"])
        .env("TMPDIR", directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a parent");
    let mut line = String::new();
    BufReader::new(parent.stdout.take().expect("its output"))
        .read_line(&mut line)
        .expect("a line");
    let port = line
        .split([':', '/'])
        .find_map(|part| part.parse().ok())
        .expect("the port of its server");
    let remains = || std::fs::read_dir(directory.path()).expect("the directory").count();
    assert!(!is_free(port) && remains() == 1, "{line}");

    parent.kill().expect("a SIGKILL");
    parent.wait().expect("the parent's end");
    eventually("the server ends and its data go", || is_free(port) && remains() == 0).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        port: Some(port),
        ..Options::new(directory.path())
    };
    let error = Server::start(options).await.expect_err("the port is taken").to_string();
    assert!(error.contains("in use"), "{error}");
}

#[tokio::test]
async fn a_server_that_listens_there_already_is_not_taken_for_the_one_that_was_started() {
    let other = Server::start_ephemeral().await.expect("a server");
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        port: Some(other.port()),
        ..Options::new(directory.path())
    };
    let error = Server::start(options).await.expect_err("the port is taken").to_string();
    assert!(error.contains("in use"), "{error}");
}
