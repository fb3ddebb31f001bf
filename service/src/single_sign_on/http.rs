//! HTTP requests to identity providers.

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use std::pin::Pin;
use std::time::Duration;

/// Time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a response in bytes. Key sets and tokens of real providers have less than 100 KB.
const MAX_BODY: usize = 1024 * 1024;

/// The reason why a request failed, for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The connection or the exchange failed.
    #[error("{}", full_text(.0))]
    Exchange(#[from] reqwest::Error),
    /// The response is too large.
    #[error("the response has more than {MAX_BODY} bytes")]
    TooLarge,
    /// The provider named an address without TLS.
    #[error("{0} is not an https:// address")]
    NotHttps(String),
    /// The response cannot be represented.
    #[error(transparent)]
    Invalid(#[from] openidconnect::http::Error),
}

/// An error with its causes: the first one says only that the request failed.
fn full_text(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The client of one provider.
#[derive(Clone)]
pub(super) struct HttpClient {
    http: reqwest::Client,
    /// Whether addresses without TLS are permitted.
    allows_http: bool,
}

/// Creates the client of all providers. It follows no redirects, because a provider could redirect a request to an internal
/// address.
///
/// # Errors
/// A sentence for the operator when TLS cannot be configured.
pub(super) fn client() -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(delivery::tls_config()?)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("Berth/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())
}

impl HttpClient {
    /// A client that permits addresses without TLS only if `allows_http`.
    pub(super) fn new(http: reqwest::Client, allows_http: bool) -> Self {
        Self { http, allows_http }
    }

    /// Sends a request. Errors do not contain its body, which has secrets.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !self.allows_http && request.uri().scheme_str() != Some("https") {
            return Err(HttpError::NotHttps(request.uri().to_string()));
        }
        let mut received = self.http.execute(reqwest::Request::try_from(request)?).await?;
        let mut response = openidconnect::http::Response::builder().status(received.status());
        if let Some(headers) = response.headers_mut() {
            std::mem::swap(headers, received.headers_mut());
        }
        let mut body = Vec::new();
        while let Some(chunk) = received.chunk().await? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(HttpError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(response.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for HttpClient {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
