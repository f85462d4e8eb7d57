//! A proxy between service and database that loses replies.
//!
//! The proxy understands just enough of MongoDB's wire protocol to know the command of each message. It loses a reply after the database
//! has carried out the command: it closes the connection instead.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bson::Document;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

const OP_MSG: i32 = 2013;
const HEADER: usize = 16;

type Matches = Arc<dyn Fn(&Document) -> bool + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    losing: Option<Matches>,
    left: usize,
    lost: usize,
    stalled: bool,
    /// The commands that the service sent on the database's collections: verb and collection.
    asked: Vec<String>,
}

impl Proxy {
    /// `database`: a URI with one host and port.
    pub(crate) async fn start(database: &str) -> Self {
        let host = database
            .trim_start_matches("mongodb://")
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let state = proxy.state.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(&host).await else {
                    continue;
                };
                tokio::spawn(carry(client, server, state.clone()));
            }
        });
        proxy
    }

    pub(crate) fn uri(&self) -> String {
        format!("mongodb://{}/?directConnection=true", self.address)
    }

    /// Loses the next `times` replies to commands that match.
    pub(crate) fn lose(&self, times: usize, matches: impl Fn(&Document) -> bool + Send + Sync + 'static) {
        let mut state = self.state.lock().unwrap();
        *state = State {
            losing: Some(Arc::new(matches)),
            left: times,
            ..State::default()
        };
    }

    /// How many replies were lost since the last call of `lose`.
    pub(crate) fn lost(&self) -> usize {
        self.state.lock().unwrap().lost
    }

    /// The commands on the database's collections since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// While `stalled`, no reply arrives, and connections stay open.
    pub(crate) fn stall(&self, stalled: bool) {
        self.state.lock().unwrap().stalled = stalled;
    }
}

impl State {
    fn loses(&mut self, command: &Document) -> bool {
        if self.left == 0 || !self.losing.as_ref().is_some_and(|matches| matches(command)) {
            return false;
        }
        self.left -= 1;
        self.lost += 1;
        true
    }
}

/// The commands of one connection that have no reply yet, by message number.
type Asked = Arc<Mutex<HashMap<i32, Document>>>;

async fn carry(client: TcpStream, server: TcpStream, state: Arc<Mutex<State>>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = Asked::default();
    tokio::select! {
        () = forth(from_client, to_server, asked.clone(), state.clone()) => {}
        () = back(from_server, to_client, asked, state) => {}
    }
}

async fn forth(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: Asked, state: Arc<Mutex<State>>) {
    while let Some(message) = read(&mut from).await {
        if let Some(command) = command(&message) {
            if let Some((verb @ ("find" | "insert" | "update" | "delete"), collection)) = first(&command) {
                state.lock().unwrap().asked.push(format!("{verb} {collection}"));
            }
            asked.lock().unwrap().insert(number(&message, 4), command);
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: Asked, state: Arc<Mutex<State>>) {
    while let Some(message) = read(&mut from).await {
        let answered = asked.lock().unwrap().remove(&number(&message, 8));
        let stalled = {
            let mut state = state.lock().unwrap();
            if answered.is_some_and(|command| state.loses(&command)) {
                return;
            }
            state.stalled
        };
        if stalled {
            continue;
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

async fn read(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut message = vec![0; HEADER];
    from.read_exact(&mut message).await.ok()?;
    let length = usize::try_from(number(&message, 0)).ok()?;
    message.resize(length, 0);
    from.read_exact(&mut message[HEADER..]).await.ok()?;
    Some(message)
}

fn number(message: &[u8], at: usize) -> i32 {
    i32::from_le_bytes(message[at..at + 4].try_into().unwrap())
}

/// The body of a message: its section of kind 0, which the driver writes first.
fn command(message: &[u8]) -> Option<Document> {
    if number(message, 12) != OP_MSG || message.get(HEADER + 4) != Some(&0) {
        return None;
    }
    let body = &message[HEADER + 5..];
    let length = usize::try_from(number(body, 0)).ok()?;
    bson::deserialize_from_slice(&body[..length]).ok()
}

/// Matches an insert into a collection, outside of transactions.
pub(crate) fn plain_insert(collection: &'static str) -> impl Fn(&Document) -> bool {
    move |command| is(command, "insert", collection) && !command.contains_key("autocommit")
}

/// Whether a command has this verb and this collection.
pub(crate) fn is(command: &Document, verb: &str, collection: &str) -> bool {
    command.get_str(verb).is_ok_and(|named| named == collection)
}

fn first(command: &Document) -> Option<(&str, &str)> {
    let (verb, collection) = command.iter().next()?;
    Some((verb, collection.as_str()?))
}
