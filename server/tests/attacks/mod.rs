//! Attacks on a running server: password guessing, DNS rebinding, injection, cross-site requests, session fixation, forged
//! log-ins at identity providers, ways around the second factor, tampering with the audit log, and the permissions of every role. Slow clients are in
//! `connections.rs`; DNS rebinding of webhooks is in `delivery/src/tests.rs`.

mod audit;
mod guessing;
mod injection;
mod rebinding;
mod roles;
mod second_factor;
mod sessions;
mod single_sign_on;

use crate::support::TestServer;
use test_support::DEADLINE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends bytes that no HTTP client would send, and returns everything that the server responds until it closes the connection.
async fn send_raw(t: &TestServer, request: &str) -> String {
    let mut stream = TcpStream::connect(t.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    // A reset ends a connection too.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut received)).await.expect("a closed connection");
    String::from_utf8_lossy(&received).into_owned()
}

/// The status code of a raw response.
fn status_of(response: &str) -> u16 {
    response.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {response:?}"))
}
