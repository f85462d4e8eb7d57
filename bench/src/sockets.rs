//! Live streams as a client holds them, as cheap as possible: they share the processors with what is measured.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::population::Person;
use crate::stack::Stack;

/// More than two heartbeats.
pub(crate) const HEARD_WITHIN: Duration = Duration::from_secs(60);
const OPENED_AT_ONCE: usize = 16;
/// More than one event, and small enough for thousands of sockets.
const READ_AT_ONCE: usize = 8 * 1_024;

/// One connection with Server-Sent Events.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    buffer: Box<[u8]>,
    events: Events,
}

impl Socket {
    /// Opens the home stream of each of them, and waits until all of them are live.
    pub(crate) async fn open_all(stack: &Stack, readers: &[Person]) -> Result<Vec<Self>> {
        stream::iter(readers)
            .map(|reader| Self::open(&stack.query.address, &reader.token))
            .buffered(OPENED_AT_ONCE)
            .try_collect()
            .await
    }

    async fn open(address: &str, token: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request =
            format!("GET /v1/streams/home HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut socket = Self {
            stream,
            buffer: vec![0; READ_AT_ONCE].into(),
            events: Events::default(),
        };
        socket.until(|event| kind(event) == Some(b"resumed".as_slice())).await?;
        Ok(socket)
    }

    /// Reads once, and hands over each event that is complete now.
    pub(crate) async fn read(&mut self, heard: impl FnMut(&[u8])) -> Result<()> {
        let bytes = self.stream.read(&mut self.buffer).await?;
        ensure!(bytes > 0, "query-svc closed a stream");
        self.events.feed(&self.buffer[..bytes], heard)
    }

    /// Reads until there is such an event.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Result<()> {
        let search = async {
            let mut found = false;
            while !found {
                self.read(|event| found |= wanted(event)).await?;
            }
            Ok(())
        };
        let searched = timeout(HEARD_WITHIN, search).await;
        searched.context("a socket has not heard what it waits for")?
    }
}

/// What is between `event: ` and the end of the line. A heartbeat has none.
pub(crate) fn kind(event: &[u8]) -> Option<&[u8]> {
    event
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"event: "))
}

/// The id of a post that has come. It is the first field of the data.
pub(crate) fn post_of(event: &[u8]) -> Option<&[u8]> {
    const ID: usize = 36;
    if kind(event) != Some(b"post") {
        return None;
    }
    let data = event
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"data: {\"id\":\""))?;
    data.get(..ID)
}

/// Takes an answer of HTTP/1.1 apart: its head, its chunks, and the events, which don't care about chunks.
#[derive(Debug, Default)]
struct Events {
    is_open: bool,
    /// How much of a chunk is still to come.
    left: usize,
    /// The digits of the next size that have come.
    size: Option<usize>,
    /// The head, or the beginning of an event.
    text: Vec<u8>,
    /// How much of it has no end of an event.
    searched: usize,
}

impl Events {
    fn feed(&mut self, mut bytes: &[u8], mut heard: impl FnMut(&[u8])) -> Result<()> {
        while let Some((&byte, after)) = bytes.split_first() {
            if !self.is_open {
                self.head(byte)?;
                bytes = after;
            } else if self.left == 0 {
                self.size(byte)?;
                bytes = after;
            } else {
                let (now, after) = bytes.split_at(self.left.min(bytes.len()));
                self.text.extend_from_slice(now);
                self.left -= now.len();
                bytes = after;
            }
        }
        if self.is_open {
            self.hand_over(&mut heard);
        }
        Ok(())
    }

    fn head(&mut self, byte: u8) -> Result<()> {
        self.text.push(byte);
        if self.text.ends_with(b"\r\n\r\n") {
            let head = std::str::from_utf8(&self.text)?;
            ensure!(head.starts_with("HTTP/1.1 200"), "a stream was answered {head}");
            self.text.clear();
            self.is_open = true;
        }
        Ok(())
    }

    /// A line with a size, or the end of the chunk before it.
    fn size(&mut self, byte: u8) -> Result<()> {
        match byte {
            b'\r' => {}
            b'\n' => match self.size.take() {
                Some(0) => bail!("a stream ended: {}", String::from_utf8_lossy(&self.text)),
                Some(size) => self.left = size,
                None => {}
            },
            digit => {
                let digit = char::from(digit).to_digit(16).context("the size of a chunk")?;
                self.size = Some(self.size.unwrap_or_default() * 16 + usize::try_from(digit)?);
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, heard: &mut impl FnMut(&[u8])) {
        let mut begin = 0;
        while let Some(end) = self.text[self.searched..].windows(2).position(|two| two == b"\n\n") {
            let end = self.searched + end;
            heard(&self.text[begin..end]);
            begin = end + 2;
            self.searched = begin;
        }
        self.text.drain(..begin);
        // The last byte may be the first half of the end.
        self.searched = self.text.len().saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_wherever_the_bytes_are_cut() {
        let id = "0196f3c0-0000-7000-8000-000000000001";
        let post = format!("id: 1\nevent: post\ndata: {{\"id\":\"{id}\"}}\n\n");
        let content = format!("retry: 9\n\n:\n\n{post}id: 2\n\n");
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for chunk in content.as_bytes().chunks(23) {
            answer.extend(format!("{:X}\r\n", chunk.len()).bytes());
            answer.extend(chunk.iter().chain(b"\r\n"));
        }
        for cut in 1..answer.len() {
            let (mut events, mut heard) = (Events::default(), Vec::new());
            for part in answer.chunks(cut) {
                events.feed(part, |event| heard.push(event.to_vec())).unwrap();
            }
            assert_eq!(heard.len(), 4, "in parts of {cut}");
            assert_eq!(kind(&heard[1]), None);
            assert_eq!(post_of(&heard[2]), Some(id.as_bytes()));
            assert!(events.feed(b"0\r\n\r\n", |_| ()).is_err());
        }
        assert!(Events::default().feed(b"HTTP/1.1 503 No\r\n\r\n", |_| ()).is_err());
    }
}
