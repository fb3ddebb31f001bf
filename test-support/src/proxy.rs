//! A TCP proxy whose connections break.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]

use crate::eventually;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A TCP proxy on loopback that a test can cut, and whose connections can be lost silently.
pub struct TcpProxy {
    /// Its port, which [`TcpProxy::restore`] keeps.
    pub port: u16,
    server: String,
    /// The number of calls of [`TcpProxy::lose_connections`].
    losses: watch::Sender<u32>,
    open: Option<JoinHandle<()>>,
}

impl TcpProxy {
    /// Starts a proxy in front of `server` (`host:port`).
    pub async fn open(server: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut proxy = Self { port, server: server.into(), losses: watch::Sender::new(0), open: None };
        proxy.forward(listener);
        proxy
    }

    fn forward(&mut self, listener: TcpListener) {
        let (server, losses) = (self.server.clone(), self.losses.clone());
        self.open = Some(tokio::spawn(async move {
            // The connections end with this task.
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(forward_connection(client, server.clone(), losses.subscribe()));
            }
        }));
    }

    /// Forwards nothing more over the connections that are open, and does not close them: a firewall that drops an idle flow.
    /// Later connections work.
    pub fn lose_connections(&self) {
        self.losses.send_modify(|losses| *losses += 1);
    }

    /// Closes all connections and refuses new ones.
    pub async fn cut(&mut self) {
        let Some(open) = self.open.take() else { return };
        open.abort();
        let _ = open.await;
    }

    /// Accepts connections again after [`TcpProxy::cut`].
    pub async fn restore(&mut self) {
        let listener = eventually("the port", async || TcpListener::bind(("127.0.0.1", self.port)).await.ok()).await;
        self.forward(listener);
    }
}

async fn forward_connection(mut client: TcpStream, server: String, mut losses: watch::Receiver<u32>) {
    let mut upstream = TcpStream::connect(server).await.unwrap();
    let _ = client.set_nodelay(true);
    let _ = upstream.set_nodelay(true);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {}
        // Both sockets stay open.
        _ = losses.changed() => std::future::pending().await,
    }
}
