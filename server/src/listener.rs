//! The HTTP listener: time limits of connections, and a limit on their number.
//!
//! A connection is idle, receives the head of a request, or handles a request. Idle connections and slow heads end after
//! a time limit. At the limit on connections, the one that has been idle longest is closed for a new one, so slow or
//! idle clients cannot lock out others.

use crate::descriptors::Shares;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

/// Timeout for open requests at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause after an error of `accept`, e.g. without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The response to a connection over the limit.
const OVERLOADED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Limits of the connections of clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of open connections.
    pub connections: usize,
    /// Time that a connection may be idle. Longer than the 60 s for which most proxies keep connections.
    pub idle: Duration,
    /// Time from the first byte of a request to the end of its head.
    pub head: Duration,
    /// Time from the end of the head to the end of the request's body.
    pub body: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Shares::of_process().connections,
            idle: Duration::from_secs(75),
            head: Duration::from_secs(20),
            body: Duration::from_secs(60),
        }
    }
}

/// Serves `router` until `cancel`, then waits for open requests, at most `SHUTDOWN_TIMEOUT`.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, cancel: &CancellationToken) {
    let server = Arc::new(Server { router, limits, open: Mutex::default(), next_id: AtomicU64::new(0) });
    let tasks = TaskTracker::new();
    let mut upkeep = tokio::time::interval((limits.idle.min(limits.head) / 4).max(Duration::from_millis(10)));
    upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            _ = upkeep.tick() => server.close_overdue(),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => server.accept(&tasks, stream, peer, cancel),
                Err(error) => server.on_accept_error(&error).await,
            },
        }
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await.is_err() {
        tracing::warn!("some requests did not end within {SHUTDOWN_TIMEOUT:?}");
    }
}

/// What a connection does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    ReceivingHead,
    /// A request is handled, or its response is sent.
    Handling,
}

/// The phase of a connection, with the time of its begin.
struct Activity {
    state: Mutex<(Phase, Instant)>,
    /// Ends the connection.
    close: CancellationToken,
}

impl Activity {
    fn new() -> Self {
        Self { state: Mutex::new((Phase::Idle, Instant::now())), close: CancellationToken::new() }
    }

    fn enter(&self, phase: Phase) {
        *self.state.lock() = (phase, Instant::now());
    }

    /// Records received bytes: the first ones after a pause begin the head of a request.
    fn on_bytes(&self) {
        let mut state = self.state.lock();
        if state.0 == Phase::Idle {
            *state = (Phase::ReceivingHead, Instant::now());
        }
    }

    /// Whether the connection has exceeded a time limit.
    fn is_overdue(&self, limits: &Limits) -> bool {
        let (phase, since) = *self.state.lock();
        match phase {
            Phase::Idle => since.elapsed() > limits.idle,
            Phase::ReceivingHead => since.elapsed() > limits.head,
            Phase::Handling => false,
        }
    }

    /// The time since which the connection handles no request.
    fn unused_since(&self) -> Option<Instant> {
        let (phase, since) = *self.state.lock();
        (phase != Phase::Handling).then_some(since)
    }
}

struct Server {
    router: Router,
    limits: Limits,
    open: Mutex<HashMap<u64, Arc<Activity>>>,
    next_id: AtomicU64,
}

impl Server {
    fn accept(self: &Arc<Self>, tasks: &TaskTracker, stream: TcpStream, peer: SocketAddr, cancel: &CancellationToken) {
        if self.open.lock().len() >= self.limits.connections && !self.close_longest_unused() {
            // The socket's buffer is empty, so the response fits without waiting.
            let _ = stream.try_write(OVERLOADED);
            tracing::warn!(limit = self.limits.connections, "a connection was rejected, because all others are in use");
            return;
        }
        set_options(&stream);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::new());
        self.open.lock().insert(id, activity.clone());
        let (server, cancel) = (self.clone(), cancel.clone());
        tasks.spawn(async move {
            let _open = OpenConnection { server: &server, id };
            server.run(stream, peer, activity, cancel).await;
        });
    }

    /// Handles the requests of one connection.
    async fn run(&self, stream: TcpStream, peer: SocketAddr, activity: Arc<Activity>, cancel: CancellationToken) {
        let requests = service_fn(|request: hyper::Request<Incoming>| {
            activity.enter(Phase::Handling);
            let in_use = InUse(activity.clone());
            let body_limit = self.limits.body;
            let mut router = self.router.clone();
            async move {
                let mut request = request.map(|body| Body::new(TimedBody::new(body, body_limit)));
                request.extensions_mut().insert(ConnectInfo(peer));
                let Ok(response) = router.call(request).await;
                Ok::<_, Infallible>(response.map(|body| UsedBody { body, _in_use: in_use }))
            }
        });
        let stream = WatchedStream { stream, activity: activity.clone() };
        let connection =
            http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), requests);
        let mut connection = pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            // No request is in flight.
            () = activity.close.cancelled() => return,
            () = cancel.cancelled() => {
                if activity.unused_since().is_some() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection broke");
        }
    }

    /// Closes connections that have exceeded a time limit.
    fn close_overdue(&self) {
        let open = self.open.lock();
        open.values().filter(|activity| activity.is_overdue(&self.limits)).for_each(|activity| activity.close.cancel());
    }

    /// Closes the connection that has handled no request for the longest time. Returns false if all handle one.
    fn close_longest_unused(&self) -> bool {
        let open = self.open.lock();
        let unused = open.values().filter(|activity| !activity.close.is_cancelled());
        let longest =
            unused.filter_map(|activity| Some((activity.unused_since()?, activity))).min_by_key(|(since, _)| *since);
        if let Some((_, activity)) = longest {
            activity.close.cancel();
        }
        longest.is_some()
    }

    async fn on_accept_error(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        // The client has gone already.
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return;
        }
        tracing::error!(%error, "a connection cannot be accepted");
        self.close_longest_unused();
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Removes a connection from the open ones when its task ends.
struct OpenConnection<'a> {
    server: &'a Server,
    id: u64,
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.server.open.lock().remove(&self.id);
    }
}

/// Detects dead and stalled clients: without keep-alive packets and a timeout for unacknowledged data, the system keeps
/// their connections for hours. Nagle's algorithm would delay small responses and live events.
fn set_options(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keep_alive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
    #[cfg(target_os = "linux")]
    let keep_alive = keep_alive.with_interval(Duration::from_secs(15)).with_retries(4);
    let set = stream.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keep_alive));
    #[cfg(target_os = "linux")]
    let set = set.and_then(|()| socket.set_tcp_user_timeout(Some(Duration::from_secs(60))));
    if let Err(error) = set {
        tracing::debug!(%error, "socket options are not available");
    }
}

/// Marks a connection as idle when it is dropped, at the end of a response.
struct InUse(Arc<Activity>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// A response's body, during which the connection is in use.
struct UsedBody {
    body: Body,
    _in_use: InUse,
}

impl HttpBody for UsedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request's body that must be complete within a time limit.
struct TimedBody {
    body: Incoming,
    /// Created when the body is first awaited.
    deadline: Option<Pin<Box<Sleep>>>,
    ends_at: Instant,
}

impl TimedBody {
    fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, deadline: None, ends_at: Instant::now() + limit }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let ends_at = self.ends_at;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(ends_at)));
        ready!(deadline.as_mut().poll(cx));
        let error = io::Error::new(io::ErrorKind::TimedOut, "the body of the request did not arrive in time");
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that reports received bytes.
struct WatchedStream {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for WatchedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > filled {
            self.activity.on_bytes();
        }
        result
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_without_progress_end_within_95_seconds() {
        let Limits { idle, head, body, connections } = Limits::default();
        let minute = Duration::from_secs(60);
        assert!(head < minute && body <= minute, "{head:?} {body:?}");
        assert!(idle > minute && idle < Duration::from_secs(95), "{idle:?}");
        assert!(connections > 0);
    }
}
