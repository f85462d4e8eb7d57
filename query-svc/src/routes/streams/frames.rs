//! The messages of a WebSocket (RFC 6455).
//!
//! This is not `actix-ws`, because that collects a frame of any length before it refuses it, and queues dozens of messages for a reader
//! who does not read. The frames themselves are read and written by `actix-http`, as there.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use actix_http::ws::{CloseCode, CloseReason, OpCode, Parser, handshake_response};
use actix_web::body::{BodyStream, MessageBody};
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

/// The longest payload of a ping, a pong or a close.
const LONGEST_CONTROL: u64 = 125;

/// A whole message of the peer.
#[derive(Debug)]
pub(crate) enum Message {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
}

/// Why there are no more messages.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The connection is gone.
    Gone,
    /// It is to be closed, with this reason if there is one.
    Close(Option<CloseReason>),
}

impl Ending {
    pub(crate) fn because(code: CloseCode, reason: &'static str) -> Self {
        Self::Close(Some(CloseReason::from((code, reason))))
    }
}

/// Begins a WebSocket, of a request that `verify_handshake` has checked. The answer goes to the client. A message has at most `limit` bytes.
pub(crate) fn open(request: &HttpRequest, payload: Payload, limit: usize) -> (HttpResponse, Incoming, Outgoing) {
    // One chunk waits. What is before it is in the socket.
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let last = Rc::new(Cell::new(None));
    let outgoing = Outgoing {
        sender,
        last: last.clone(),
    };
    let chunks = stream::poll_fn(move |context| {
        let chunk = receiver.poll_recv(context);
        chunk.map(|chunk| chunk.or_else(|| last.take()).map(Ok::<_, Infallible>))
    });
    let response = handshake_response(request.head())
        .message_body(BodyStream::new(chunks).boxed())
        .unwrap_or_else(|error| error.into());
    let incoming = Incoming {
        payload,
        unread: BytesMut::new(),
        begun: None,
        limit,
    };
    (response.into(), incoming, outgoing)
}

/// A message of which the last frame has not come.
#[derive(Debug)]
struct Begun {
    is_text: bool,
    bytes: BytesMut,
    /// So many of the bytes are whole characters.
    checked: usize,
}

/// What the peer sends.
pub(crate) struct Incoming {
    payload: Payload,
    unread: BytesMut,
    begun: Option<Begun>,
    limit: usize,
}

impl Incoming {
    /// The next message. A call that is given up loses nothing.
    ///
    /// # Errors
    ///
    /// There is no other message.
    pub(crate) async fn next(&mut self) -> Result<Message, Ending> {
        loop {
            while let Some((is_last, code, payload)) = self.frame()? {
                if let Some(message) = self.take(is_last, code, payload)? {
                    return Ok(message);
                }
            }
            match self.payload.next().await {
                Some(Ok(chunk)) if self.unread.is_empty() => self.unread = BytesMut::from(chunk),
                Some(Ok(chunk)) => self.unread.extend_from_slice(&chunk),
                Some(Err(_)) | None => return Err(Ending::Gone),
            }
        }
    }

    /// The next frame, if it is there.
    fn frame(&mut self) -> Result<Option<(bool, OpCode, BytesMut)>, Ending> {
        if let Some(length) = declared_length(&self.unread) {
            let is_control = self.unread[0] & 0x08 != 0;
            if is_control && length > LONGEST_CONTROL {
                return Err(Ending::because(CloseCode::Protocol, "a control frame is too long"));
            }
            let begun = self.begun.as_ref().map_or(0, |begun| begun.bytes.len());
            let room = self.limit - begun;
            if !is_control && usize::try_from(length).map_or(true, |length| length > room) {
                return Err(too_long());
            }
        }
        let frame = Parser::parse(&mut self.unread, true, self.limit.max(LONGEST_CONTROL as usize))
            .map_err(|_| Ending::because(CloseCode::Protocol, "a frame can't be read"))?;
        if self.unread.is_empty() {
            // Most connections are silent most of the time.
            self.unread = BytesMut::new();
        }
        Ok(frame.map(|(is_last, code, payload)| (is_last, code, payload.unwrap_or_default())))
    }

    /// What a frame says. None if the message goes on.
    fn take(&mut self, is_last: bool, code: OpCode, payload: BytesMut) -> Result<Option<Message>, Ending> {
        match (code, &mut self.begun) {
            (OpCode::Ping, _) if is_last => return Ok(Some(Message::Ping(payload.freeze()))),
            (OpCode::Pong, _) if is_last => return Ok(Some(Message::Pong)),
            (OpCode::Close, _) if is_last => return Err(closed(&payload)),
            (OpCode::Text | OpCode::Binary, begun @ None) => {
                *begun = Some(Begun {
                    is_text: code == OpCode::Text,
                    bytes: payload,
                    checked: 0,
                });
            }
            (OpCode::Continue, Some(begun)) => begun.bytes.extend_from_slice(&payload),
            _ => return Err(Ending::because(CloseCode::Protocol, "this frame can't come here")),
        }
        let Some(begun) = &mut self.begun else {
            return Ok(None);
        };
        if begun.is_text {
            begun.check(is_last)?;
        }
        if !is_last {
            return Ok(None);
        }
        let whole = self.begun.take().map(|begun| match begun.is_text {
            true => String::from_utf8(begun.bytes.into()).map(Message::Text),
            false => Ok(Message::Binary(begun.bytes.freeze())),
        });
        whole.transpose().map_err(|_| not_utf8())
    }
}

impl Begun {
    /// A frame may end within a character, and a message may not.
    fn check(&mut self, is_last: bool) -> Result<(), Ending> {
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if !is_last && error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(not_utf8()),
        }
        Ok(())
    }
}

/// The length of a frame of which the beginning is there.
fn declared_length(frame: &[u8]) -> Option<u64> {
    match frame.get(1)? & 0x7f {
        126 => Some(u64::from(u16::from_be_bytes(frame.get(2..4)?.try_into().ok()?))),
        127 => Some(u64::from_be_bytes(frame.get(2..10)?.try_into().ok()?)),
        short => Some(u64::from(short)),
    }
}

/// The peer has closed. It is answered with its own code.
fn closed(payload: &[u8]) -> Ending {
    if payload
        .get(2..)
        .is_some_and(|reason| std::str::from_utf8(reason).is_err())
    {
        return not_utf8();
    }
    match Parser::try_parse_close_payload(payload) {
        Ok(reason) => Ending::Close(reason.map(|reason| reason.code.into())),
        Err(_) => Ending::because(CloseCode::Protocol, "this is no code of a close"),
    }
}

fn not_utf8() -> Ending {
    Ending::because(CloseCode::Invalid, "this is not UTF-8")
}

fn too_long() -> Ending {
    Ending::because(CloseCode::Size, "the message is too long")
}

/// What goes to the peer.
pub(crate) struct Outgoing {
    sender: mpsc::Sender<Bytes>,
    /// Sent after all else, when the sender is dropped.
    last: Rc<Cell<Option<Bytes>>>,
}

impl Outgoing {
    /// Hands over frames. Ends when those before them are on their way.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub(crate) async fn send(&self, frames: Bytes) -> Result<(), Ending> {
        self.sender.send(frames).await.map_err(|_| Ending::Gone)
    }

    /// The end: what was handed over is sent, then the close, and then the connection ends.
    pub(crate) fn close(self, ending: Ending) {
        if let Ending::Close(reason) = ending {
            let mut frame = BytesMut::new();
            Parser::write_close(&mut frame, reason, false);
            self.last.set(Some(frame.freeze()));
        }
    }
}

/// A frame with a whole message.
pub(crate) fn write(frames: &mut BytesMut, code: OpCode, payload: &[u8]) {
    Parser::write_message(frames, payload, code, true, false);
}
