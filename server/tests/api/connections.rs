//! Slow and idle clients, and the limit on connections.

use crate::support::TestServer;
use reqwest::Method;
use server::listener::Limits;
use std::time::Duration;
use test_support::{DEADLINE, DatabaseKind, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server with these limits; a limit that a test does not concern is far away.
async fn start(adjust: impl FnOnce(&mut Limits)) -> TestServer {
    let far = Duration::from_secs(3_600);
    let mut limits = Limits { connections: 1_000, idle: far, head: far, body: far };
    adjust(&mut limits);
    TestServer::start_with(DatabaseKind::Sqlite, |config| config.listener = limits).await
}

/// Connects and sends some bytes.
async fn connect(t: &TestServer, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(t.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// Waits until the server closes a connection; returns what it sent before.
async fn closed(mut stream: TcpStream) -> String {
    let mut received = Vec::new();
    let reading = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut received)).await;
    // A reset ends a connection too.
    let _ = reading.expect("the server should close the connection");
    String::from_utf8(received).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_heads_are_closed() {
    let t = start(|limits| limits.head = Duration::from_millis(300)).await;
    let mut streams = Vec::new();
    for sent in ["G", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        for _ in 0..10 {
            streams.push(connect(&t, sent).await);
        }
    }
    for stream in streams {
        assert_eq!(closed(stream).await, "");
    }
    // The limit also holds for the second request of a connection.
    let mut second = connect(&t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut first_response = [0; 15];
    second.read_exact(&mut first_response).await.unwrap();
    assert_eq!(&first_response, b"HTTP/1.1 200 OK");
    second.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    assert!(closed(second).await.ends_with("ok\n"));
    t.anonymous.get("//healthz", 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed_and_live_feeds_are_not() {
    let t = start(|limits| limits.idle = Duration::from_millis(300)).await;
    let mut feed = t.alice.request(Method::GET, "/stream").send().await.unwrap();
    assert!(feed.chunk().await.unwrap().is_some());
    assert_eq!(closed(connect(&t, "").await).await, "");
    let used = connect(&t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(closed(used).await.ends_with("ok\n"));
    // The feed is older than both and still works.
    let resource = t.resource("node-1", "available").await;
    t.booking(&t.alice, resource, 1, 2).await;
    let mut received = String::new();
    while !received.contains("event: reservation") {
        received.push_str(&String::from_utf8_lossy(&feed.chunk().await.unwrap().expect("an open feed")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trickled_bodies_are_rejected() {
    let t = start(|limits| limits.body = Duration::from_millis(300)).await;
    let head = "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut streams = Vec::new();
    for body in
        ["Content-Length: 100\r\n\r\n{", "Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\n{"]
    {
        for _ in 0..10 {
            streams.push(connect(&t, &format!("{head}{body}")).await);
        }
    }
    for stream in streams {
        let response = closed(stream).await;
        assert!(response.starts_with("HTTP/1.1 4"), "{response}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_make_room_for_new_ones() {
    let t = start(|limits| limits.connections = 10).await;
    let mut idle = Vec::new();
    for n in 0..50 {
        idle.push(connect(&t, if n % 2 == 0 { "" } else { "GET / HTTP/1.1\r\n" }).await);
    }
    let used = connect(&t, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(closed(used).await.ends_with("ok\n"), "others are not locked out");
    // The oldest ones made room.
    for stream in idle.drain(..30) {
        assert_eq!(closed(stream).await, "");
    }
    t.anonymous.get("//healthz", 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_in_use_are_kept_at_the_limit() {
    let t = start(|limits| limits.connections = 3).await;
    let mut feeds = Vec::new();
    for _ in 0..3 {
        let client = t.alice.request(Method::GET, "/stream").send().await.unwrap();
        feeds.push(client);
    }
    for feed in &mut feeds {
        assert!(feed.chunk().await.unwrap().is_some());
    }
    let refused = closed(connect(&t, "").await).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("Retry-After: 5"), "{refused}");
    drop(feeds);
    eventually("room after the feeds have ended", async || {
        let stream = connect(&t, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        closed(stream).await.ends_with("ok\n").then_some(())
    })
    .await;
}
