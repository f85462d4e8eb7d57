//! Connections, each from a different port.
//!
//! For two minutes, a node remembers to which pod it has sent a connection from a port. It sends every new connection from that port to the
//! same pod, even if the pod is long gone. The system reuses a port within seconds if a client does little but connect. So a client that
//! counts failures has to choose its ports itself.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

/// The connect time-out. A running pod accepts a connection at once. Two seconds allow for a lost packet.
const TO_CONNECT: Duration = Duration::from_secs(2);

/// The ports from which connections are made, one after the other.
#[derive(Debug)]
pub(super) struct Ports {
    turn: AtomicU16,
}

impl Ports {
    /// Above the privileged ports and below the ephemeral ones.
    const RANGE: Range<u16> = 10_000..30_000;
    /// Up to this many ports in a row may be in use by others.
    const ATTEMPTS: usize = 100;

    /// Begins at a random port, because nodes remember the ports of an earlier run.
    pub(super) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let anywhere = since.subsec_micros() % u32::from(Self::count());
        Self {
            turn: AtomicU16::new(u16::try_from(anywhere).unwrap_or(0)),
        }
    }

    fn count() -> u16 {
        Self::RANGE.end - Self::RANGE.start
    }

    fn next(&self) -> u16 {
        let next = |turn| Some((turn + 1) % Self::count());
        let turn = self.turn.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Self::RANGE.start + turn.unwrap_or(0)
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let mut in_use = io::Error::from(ErrorKind::AddrInUse);
        for _ in 0..Self::ATTEMPTS {
            let (socket, any) = match to {
                SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
                SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
            };
            let connected = match socket.bind(SocketAddr::new(any, self.next())) {
                Ok(()) => socket.connect(to).await,
                Err(error) => Err(error),
            };
            match connected {
                Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable) => {
                    in_use = error
                }
                other => return other,
            }
        }
        Err(in_use)
    }
}

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

/// A complete response with any status.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Connection {
    /// `authority`: host and port.
    pub(super) async fn to(authority: &str, ports: &Ports) -> Result<Self> {
        let address = lookup_host(authority).await?.next();
        let address = address.with_context(|| format!("{authority} has no address"))?;
        let stream = timeout(TO_CONNECT, ports.connect(address))
            .await
            .context("the connection was not accepted in time")??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The task ends with the sender. The sender reports its errors.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Returns the request if the connection was closed before any of the request was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Result<Response>, Request<Full<Bytes>>> {
        if self.sender.ready().await.is_err() {
            return Err(request);
        }
        let response = match self.sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut failed) => {
                return match failed.take_message() {
                    Some(request) => Err(request),
                    None => Ok(Err(failed.into_error().into())),
                };
            }
        };
        let (head, body) = response.into_parts();
        Ok(match body.collect().await {
            Ok(body) => Ok(Response {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            }),
            Err(error) => Err(error.into()),
        })
    }

    /// Whether it can carry another request.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn no_port_comes_twice_and_one_in_use_is_passed_over() {
        let ports = Ports::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let to = listener.local_addr().expect("it has an address");
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(ports.connect(to).await.expect("somebody listens"));
        }
        // The ports start from the beginning, so all of them are in use now.
        let first = streams[0].local_addr().expect("an address").port();
        ports.turn.store(first - Ports::RANGE.start, Ordering::Relaxed);
        streams.push(ports.connect(to).await.expect("the next free one"));
        let mut used: Vec<u16> = streams
            .iter()
            .map(|stream| stream.local_addr().expect("an address").port())
            .collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 21);
        assert!(used.iter().all(|port| Ports::RANGE.contains(port)));
    }
}
