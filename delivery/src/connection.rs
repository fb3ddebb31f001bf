//! A connection that records the bytes of the current response. The record decides whether a request may be sent again,
//! and names the cause when a response cannot be parsed.

use hyper_util::client::legacy::connect::{Connected, Connection as ClientConnection};
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Maximum number of headers of a response.
pub(crate) const MAX_HEADERS: usize = 500;
/// Maximum number of bytes of a response that are kept.
pub(crate) const MAX_KEPT: usize = 16 * 1_024;
/// Capacity of the record that a connection keeps for its next response.
const MAX_IDLE_CAPACITY: usize = 1_024;
/// The first bytes of every request.
const REQUEST_START: &[u8] = b"POST ";

/// The record of a connection.
#[derive(Debug, Default)]
pub(crate) struct ConnectionLog {
    used: AtomicBool,
    received: Mutex<Vec<u8>>,
}

impl ConnectionLog {
    /// Marks that a request used the connection. Returns whether an earlier request had used it.
    pub(crate) fn mark_used(&self) -> bool {
        self.used.swap(true, Ordering::Relaxed)
    }

    /// Whether a byte arrived since the current request was sent.
    pub(crate) fn has_response(&self) -> bool {
        !self.received.lock().is_empty()
    }

    /// The first bytes that arrived since the current request was sent, at most [`MAX_KEPT`].
    pub(crate) fn received(&self) -> Vec<u8> {
        self.received.lock().clone()
    }

    fn request_started(&self) {
        let mut received = self.received.lock();
        received.clear();
        received.shrink_to(MAX_IDLE_CAPACITY);
    }

    fn bytes_arrived(&self, bytes: &[u8]) {
        let mut received = self.received.lock();
        let left = MAX_KEPT - received.len();
        received.extend_from_slice(&bytes[..bytes.len().min(left)]);
    }
}

/// A TCP or TLS stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to a receiver or token endpoint.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    log: Arc<ConnectionLog>,
}

impl Connection {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), log: Arc::default() }
    }

    /// Clears the record when a request begins. A later part of a request is no new beginning: the response may arrive
    /// before the request was sent completely.
    fn note_write(&self, bytes: &[u8]) {
        if bytes.starts_with(REQUEST_START) {
            self.log.request_started();
        }
    }
}

impl Connection {
    /// The reason why a write failed. With TLS 1.3, a server that rejects the client certificate sends an alert after the client has
    /// finished the handshake, and closes the connection. The write of the request can fail before the alert is read.
    fn cause(&mut self, error: io::Error, cx: &mut Context<'_>) -> io::Error {
        if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            return error;
        }
        match Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut [0])) {
            Poll::Ready(Err(alert)) if alert.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => alert,
            _ => error,
        }
    }
}

impl ClientConnection for Connection {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.log.clone())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.log.bytes_arrived(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.note_write(bytes);
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(written.map_err(|error| self.cause(error, cx)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = parts.first() {
            self.note_write(first);
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts));
        Poll::Ready(written.map_err(|error| self.cause(error, cx)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| self.cause(error, cx)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
