//! Compression of responses that are created for a request. Files of the page are compressed at build time.

use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::convert::Infallible;
use std::task::{Context, Poll};
use tower::{Layer, Service};
use tower_http::compression::predicate::{And, NotForContentType, Predicate as _, SizeAbove};
use tower_http::compression::{Compression, CompressionLayer};

/// Minimum size in bytes of a response that is compressed.
const COMPRESS_ABOVE: u16 = 1_024;

/// The live feed is never compressed, because compression buffers events.
type Compressible = And<And<SizeAbove, NotForContentType>, NotForContentType>;

/// Compresses responses, if the client accepts it.
#[derive(Clone, Copy)]
pub struct CompressAccepted;

impl<S> Layer<S> for CompressAccepted {
    type Service = CompressAcceptedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let compressible = SizeAbove::new(COMPRESS_ABOVE)
            .and(NotForContentType::new("text/event-stream"))
            .and(NotForContentType::new("application/wasm"));
        let layer = CompressionLayer::new().br(true).gzip(true).compress_when(compressible);
        CompressAcceptedService(layer.layer(inner))
    }
}

/// The service of [`CompressAccepted`].
///
/// Most clients of the API do not accept compression. Their responses keep the small body type: that of a compressed response has the
/// state of the compressors, 6 KB that are moved several times.
#[derive(Clone)]
pub struct CompressAcceptedService<S>(Compression<S, Compressible>);

impl<S> Service<Request> for CompressAcceptedService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.get_mut().poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if request.headers().contains_key(header::ACCEPT_ENCODING) {
            self.0.call(request).map(|response| response.map(IntoResponse::into_response)).boxed()
        } else {
            self.0.get_mut().call(request).boxed()
        }
    }
}
