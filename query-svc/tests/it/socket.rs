//! A client of `GET /v1/streams`.

use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use serde_json::Value;
use service::auth::SCOPE_USER;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::event_reader::told;
use crate::service::{Caller, Service, TIMEOUT};

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Service {
    /// A request for a WebSocket. The caller has a session that lives.
    pub(crate) async fn websocket(&self, query: &str, caller: Caller) -> Request {
        let url = format!("{}/v1/streams{query}", self.url.replace("http:", "ws:"));
        let mut request = url.into_client_request().unwrap();
        if let Caller::User(user) = caller {
            let session = self.begin_session(user).await;
            let bearer = format!("Bearer {}", self.token_of(user, SCOPE_USER, session));
            request.headers_mut().insert("authorization", bearer.parse().unwrap());
        }
        request
    }

    pub(crate) async fn socket(&self, caller: Caller) -> Socket {
        Socket::open(self.websocket("", caller).await).await.unwrap()
    }
}

impl Socket {
    /// An answer that is no WebSocket is an error.
    pub(crate) async fn open(request: Request) -> Result<Self, StatusCode> {
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(StatusCode::from_u16(response.status().as_u16()).unwrap()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    pub(crate) async fn say(&mut self, command: &Value) {
        self.send(Message::text(command.to_string())).await;
    }

    /// Writes past the protocol.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    /// Everything up to the end of the connection, without a word.
    pub(crate) async fn listen(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let read = self.0.get_mut().read_to_end(&mut all);
        timeout(TIMEOUT, read).await.expect("the end in time").unwrap();
        all
    }

    pub(crate) async fn message(&mut self) -> Message {
        timeout(TIMEOUT, self.0.next())
            .await
            .expect("a message in time")
            .expect("the connection goes on")
            .unwrap()
    }

    /// The next event or error. What says that only a cursor has moved is left out.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.message().await {
                let value: Value = serde_json::from_str(&text).unwrap();
                if value["event"].is_string() || value["error"].is_object() {
                    return value;
                }
            }
        }
    }

    /// The stream and the kind of the next event, with the text of its post.
    pub(crate) async fn told(&mut self) -> String {
        let next = self.next().await;
        let stream = next["stream"].as_str().unwrap();
        let what = next["event"].as_str().unwrap_or_else(|| panic!("no event: {next}"));
        format!("{stream} {}", told(what, &next["data"]))
    }

    /// What several streams tell has no order.
    pub(crate) async fn tells_all(&mut self, expected: &[&str]) {
        let mut told = Vec::new();
        for _ in expected {
            told.push(self.told().await);
        }
        told.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(told, expected);
    }

    /// The status of an error, with the field that it names.
    pub(crate) async fn refused(&mut self) -> (u64, String, Value) {
        let next = self.next().await;
        let error = &next["error"];
        let field = error["errors"][0]["field"].as_str().unwrap_or_default();
        (
            error["status"].as_u64().unwrap_or_else(|| panic!("no error: {next}")),
            field.to_owned(),
            next["stream"].clone(),
        )
    }

    /// Code and reason of the close.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.message().await {
                Message::Close(Some(close)) => return (close.code.into(), close.reason.to_string()),
                Message::Close(None) => panic!("no code"),
                _ => {}
            }
        }
    }
}
