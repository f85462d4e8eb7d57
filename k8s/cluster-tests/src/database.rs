//! A database outside the cluster. It runs on this machine, so no node failure stops it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use local_mongodb::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::narration::say;

/// The database ends when this is dropped.
#[derive(Debug)]
pub(crate) struct OutsideDatabase {
    pub(crate) uri: String,
    door: JoinHandle<()>,
    _server: Server,
}

impl OutsideDatabase {
    /// Starts a database that pods reach at `address`, which is an address of this machine. The server itself listens only on the loopback
    /// interface.
    pub(crate) async fn start(address: IpAddr) -> Result<Self> {
        let server = Server::start_ephemeral().await?;
        let inside = SocketAddr::from(([127, 0, 0, 1], server.port()));
        let listener = TcpListener::bind((address, 0));
        let listener = listener.await.with_context(|| format!("HOST_ADDRESS={address}"))?;
        let uri = format!("mongodb://{}/?directConnection=true", listener.local_addr()?);
        say(format_args!(
            "started {} for the pods at {uri}",
            server.engine().description()
        ));
        Ok(Self {
            uri,
            door: tokio::spawn(forward(listener, inside)),
            _server: server,
        })
    }
}

impl Drop for OutsideDatabase {
    fn drop(&mut self) {
        self.door.abort();
    }
}

async fn forward(listener: TcpListener, inside: SocketAddr) {
    loop {
        // A failed connection does not matter here, because drivers connect again.
        if let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, inside));
        }
    }
}

async fn carry(mut client: TcpStream, inside: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(inside).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}
