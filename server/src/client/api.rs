//! The HTTP client of commands that use the API of a server.

use super::Failure;
use domain::pagination::Page;
use domain::problem::FieldError;
use reqwest::{Method, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How a command reaches a server.
#[derive(clap::Args)]
pub struct ServerArgs {
    /// URL of the server, e.g. https://berth.example.com.
    #[arg(long, env = "BERTH_URL")]
    url: String,
    /// API token with the scope admin.
    #[arg(long, env = "BERTH_TOKEN", hide_env_values = true)]
    token: String,
}

/// A client of one server.
pub(super) struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// The part of a problem that is printed.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    errors: Vec<FieldError>,
}

/// An object with its entity tag.
pub(super) struct Tagged<T> {
    pub(super) value: T,
    pub(super) etag: String,
}

/// A request without a successful response.
#[derive(Debug)]
pub(super) enum CallError {
    /// No response arrived, e.g. during a restart of the server.
    Unreachable(String),
    /// The server refused the request.
    Refused {
        /// The status code.
        status: StatusCode,
        /// The delay that the server requests.
        retry_after: Option<Duration>,
        /// The reason.
        message: String,
    },
}

impl CallError {
    /// Whether the same request can succeed later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// The reason.
    pub(super) fn message(&self) -> &str {
        let (Self::Unreachable(message) | Self::Refused { message, .. }) = self;
        message
    }

    /// The delay that the server requests.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable(_) => None,
            Self::Refused { retry_after, .. } => *retry_after,
        }
    }
}

impl Api {
    pub(super) fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let base = args.url.trim_end_matches('/').to_owned();
        if !base.starts_with("https://") && !base.starts_with("http://") {
            return Err(Failure::usage("BERTH_URL must begin with https:// or http://."));
        }
        let http = delivery::tls_config().and_then(|tls| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .timeout(TIMEOUT)
                .build()
                .map_err(|error| error.to_string())
        });
        Ok(Self { http: http.map_err(Failure::new)?, base, token: args.token.clone() })
    }

    /// The URL of the server.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request. `path` is relative to `/api/v1`.
    ///
    /// # Errors
    /// When the server does not respond with 2xx.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        condition: Condition<'_>,
    ) -> Result<Response, Failure> {
        let url = format!("{}/api/v1{path}", self.base);
        let mut request = self.http.request(method.clone(), &url).bearer_auth(&self.token);
        match condition {
            Condition::None => {}
            Condition::IfMatch(etag) => request = request.header(header::IF_MATCH, etag),
            Condition::Once(key) => request = request.header("Idempotency-Key", key),
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| Failure::new(self.unreachable(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(failure(&method, &url, response).await)
    }

    /// Sends a JSON body and reads the response, within a time limit. `path` is relative to `/api/v1`.
    ///
    /// # Errors
    /// The kind of the failure, for a repetition.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let url = format!("{}/api/v1{path}", self.base);
        let request = self.http.request(method.clone(), &url).bearer_auth(&self.token).timeout(timeout).json(body);
        let response = request.send().await.map_err(|error| CallError::Unreachable(self.unreachable(&error)))?;
        let status = response.status();
        if !status.is_success() {
            let seconds =
                response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let message = failure(&method, &url, response).await.message;
            return Err(CallError::Refused { status, retry_after: seconds.map(Duration::from_secs), message });
        }
        response.json().await.map_err(|error| CallError::Unreachable(self.unreachable(&error)))
    }

    /// Why no response arrived.
    fn unreachable(&self, error: &reqwest::Error) -> String {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{} cannot be reached{cause}. Check BERTH_URL.", self.base)
    }

    /// Reads a list with all its pages.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.send(Method::GET, &format!("{path}?limit=200{cursor}"), NO_BODY, Condition::None).await?;
            let page: Page<T> = read(page).await?;
            items.extend(page.items);
            match page.next_cursor {
                None => return Ok(items),
                Some(next) => {
                    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                    cursor = format!("&cursor={next}");
                }
            }
        }
    }
}

/// The body of a request without one.
pub(super) const NO_BODY: Option<&()> = None;

/// The condition of a request.
pub(super) enum Condition<'a> {
    /// None.
    None,
    /// Only if the object has this entity tag.
    IfMatch(&'a str),
    /// Only once with this key.
    Once(&'a str),
}

/// Reads the body of a response.
///
/// # Errors
/// When it is not the expected JSON.
pub(super) async fn read<T: DeserializeOwned>(response: Response) -> Result<T, Failure> {
    let url = response.url().to_string();
    response.json().await.map_err(|_| Failure::new(format!("The response of {url} is not that of a Berth server.")))
}

/// Reads an object with its entity tag.
///
/// # Errors
/// As [`read`]; also if the server sends no entity tag.
pub(super) async fn read_tagged<T: DeserializeOwned>(response: Response) -> Result<Tagged<T>, Failure> {
    let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let etag =
        etag.ok_or_else(|| Failure::new("The server sends no ETag. Upgrade it to the release of this command."))?;
    Ok(Tagged { value: read(response).await?, etag })
}

async fn failure(method: &Method, url: &str, response: Response) -> Failure {
    let status = response.status();
    let problem = response.json::<Problem>().await.ok();
    let mut text = match (&problem, status) {
        (Some(problem), StatusCode::UNPROCESSABLE_ENTITY) if !problem.errors.is_empty() => String::new(),
        (Some(problem), _) => problem.detail.clone(),
        (None, _) => format!("{method} {url}: the server responded with {}.", status.as_u16()),
    };
    for error in problem.into_iter().flat_map(|problem| problem.errors) {
        text.push_str(&format!("\n  {}: {}", error.field, error.message));
    }
    Failure::new(text.trim_start().to_owned())
}
