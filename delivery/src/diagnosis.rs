//! What an attempt's end means, in plain words with the remedy.

use crate::ssrf::{BlockedAddress, Unresolved};
use crate::{Auth, DeliveryRequest};
use domain::delivery::{Diagnosis, DiagnosisCode};
use http::HeaderMap;
use std::error::Error;
use std::time::Duration;

/// How far an exchange had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Fetching an OAuth token.
    Token,
    /// Resolving, connecting, TLS.
    Connecting,
    /// Sent, no response yet.
    Waiting,
    /// The response's body is coming.
    Reading,
}

impl Phase {
    pub(crate) fn of(number: u8) -> Self {
        [Self::Token, Self::Connecting, Self::Waiting, Self::Reading]
            .into_iter()
            .find(|p| *p as u8 == number)
            .unwrap_or(Self::Waiting)
    }
}

/// Why no response came.
pub(crate) enum Failure {
    /// The stored URL cannot be read.
    BadUrl,
    /// A client of its own could not be made.
    Client(String),
    /// The address may not be called.
    BlockedAddress(BlockedAddress),
    /// No token: the token endpoint said no.
    Token(String),
    /// No token: the token endpoint could not be reached.
    TokenTransport(reqwest::Error),
    /// The exchange broke.
    Transport(reqwest::Error),
    /// The time was over.
    TimedOut {
        /// How far it had come.
        phase: Phase,
        /// The limit.
        limit: Duration,
    },
}

/// What strangers say is quoted in messages: nothing in it may be refused by a database or move a terminal's cursor.
fn diagnosis(code: DiagnosisCode, message: impl Into<String>, hint: impl Into<String>) -> Diagnosis {
    let message: String = message.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Diagnosis { code, message, hint: hint.into() }
}

/// Looks for an error of type `T` anywhere in the chain, also inside `io::Error`s, whose `source` skips what they hold.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(found) = find::<T>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn host(url: &str) -> String {
    url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "the host".to_owned())
}

/// What a failure before the response's end means.
pub(crate) fn of_failure(failure: &Failure, url: &str) -> Diagnosis {
    match failure {
        Failure::BadUrl => diagnosis(
            DiagnosisCode::DnsFailed,
            "The endpoint URL cannot be read.",
            "Edit the webhook and correct the endpoint URL.",
        ),
        Failure::Client(sentence) => diagnosis(
            DiagnosisCode::TlsFailed,
            sentence.clone(),
            "Tell the operator of Berth; its log has the details.",
        ),
        Failure::BlockedAddress(refused) => of_blocked_address(refused),
        Failure::Token(sentence) => diagnosis(
            DiagnosisCode::TokenFailed,
            sentence.clone(),
            "Check the token URL, client id, client secret, scope and audience of the webhook's OAuth 2.0 settings.",
        ),
        Failure::TokenTransport(error) => {
            let cause = of_transport(error, "", "the token endpoint");
            if cause.code == DiagnosisCode::AddressNotAllowed {
                return cause;
            }
            diagnosis(
                DiagnosisCode::TokenFailed,
                format!("No OAuth token could be fetched: {}", lower_first(&cause.message)),
                "Check that the token URL is right and that its server is reachable from here.",
            )
        }
        Failure::Transport(error) => of_transport(error, url, &host(url)),
        Failure::TimedOut { phase, limit } => {
            let seconds = limit.as_secs_f64();
            let (what, hint) = match phase {
                Phase::Token => (
                    "The OAuth token endpoint did not answer",
                    "Check the token URL and its server; the request was not sent without a token.",
                ),
                Phase::Connecting => (
                    "No connection came about",
                    "Check that the service is running, that the host and port are right and that its firewall lets Berth in.",
                ),
                Phase::Waiting => (
                    "The request was sent, but no response came",
                    "Answer within the limit: accept the work with 202 at once, then report progress to status_url.",
                ),
                Phase::Reading => (
                    "The response began, but its body did not end",
                    "Send the whole response within the limit: answer briefly, do the work afterwards.",
                ),
            };
            diagnosis(DiagnosisCode::TimedOut, format!("{what} within {seconds} seconds."), hint)
        }
    }
}

fn of_blocked_address(refused: &BlockedAddress) -> Diagnosis {
    diagnosis(
        DiagnosisCode::AddressNotAllowed,
        format!("{} is a {} address, which Berth does not call.", refused.address, refused.kind),
        format!(
            "Use a public address. If this one is meant, the operator of Berth can allow its network, e.g. BERTH_ALLOW_NETWORKS={}/{}.",
            refused.address,
            if refused.address.is_ipv4() { 32 } else { 128 }
        ),
    )
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + letters.as_str())
}

fn of_transport(error: &(dyn Error + 'static), _url: &str, host: &str) -> Diagnosis {
    if let Some(refused) = find::<BlockedAddress>(error) {
        return of_blocked_address(refused);
    }
    if let Some(unresolved) = find::<Unresolved>(error) {
        return diagnosis(
            DiagnosisCode::DnsFailed,
            format!("The name {} does not resolve to an address.", unresolved.name),
            "Check the host name for typing errors and that its DNS record exists and is public.",
        );
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return of_tls(tls, host);
    }
    if let Some(http) = find::<hyper::Error>(error)
        && (http.is_parse() || http.is_parse_status())
    {
        return diagnosis(
            DiagnosisCode::NotHttp,
            format!("What {host} sent is not an HTTP response."),
            "Check the port, and whether it should be https:// instead of http:// (or the other way round).",
        );
    }
    if let Some(io) = find::<std::io::Error>(error) {
        match io.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                return diagnosis(
                    DiagnosisCode::ConnectionRefused,
                    format!("{host} refused the connection: nothing listens on that port."),
                    "Start your service, and check the port in the endpoint URL. A service in a container must listen on 0.0.0.0 and publish its port.",
                );
            }
            std::io::ErrorKind::TimedOut => {
                return diagnosis(
                    DiagnosisCode::ConnectionFailed,
                    format!("The network gave up connecting to {host}."),
                    "Check that the host is up and that its firewall lets Berth in.",
                );
            }
            std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => {
                return diagnosis(
                    DiagnosisCode::ConnectionFailed,
                    format!("There is no route from here to {host}."),
                    "Check the address and the network between Berth and your service.",
                );
            }
            _ => {}
        }
    }
    diagnosis(
        DiagnosisCode::ConnectionFailed,
        format!("The connection to {host} broke before the response was complete."),
        "See your service's log for a crash or restart at this time, and check proxies and load balancers in between.",
    )
}

fn of_tls(error: &rustls::Error, host: &str) -> Diagnosis {
    use rustls::CertificateError as C;
    let certificate = |what: String, hint: &str| diagnosis(DiagnosisCode::CertificateInvalid, what, hint);
    match error {
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => certificate(
            format!("The certificate of {host} has expired."),
            "Renew the certificate and restart or reload your service.",
        ),
        rustls::Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => certificate(
            format!("The certificate of {host} is not valid yet."),
            "Check the certificate's dates and the clocks of both machines.",
        ),
        rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => certificate(
            format!("The certificate that {host} shows is for another name."),
            "Use the host name that the certificate was made for, or get one for this name.",
        ),
        rustls::Error::InvalidCertificate(C::UnknownIssuer) => certificate(
            format!("The certificate of {host} is of an authority that is not trusted here."),
            "Serve the whole chain with its intermediate certificates. A self-signed or internal authority must be installed on Berth's machine by the operator.",
        ),
        rustls::Error::InvalidCertificate(C::Revoked) => {
            certificate(format!("The certificate of {host} was revoked."), "Get a new certificate.")
        }
        rustls::Error::InvalidCertificate(_) => certificate(
            format!("The certificate of {host} is not valid."),
            "Check it with: openssl s_client -connect HOST:443 -servername HOST",
        ),
        rustls::Error::InvalidMessage(_) => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("{host} does not speak TLS on that port."),
            "Check the port, and whether the service speaks http:// only.",
        ),
        _ => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("TLS with {host} failed."),
            "Your service must offer TLS 1.2 or 1.3 with a common cipher suite.",
        ),
    }
}

/// What the receiver says of itself, for the message: FastAPI's `detail`, or `message` or `error`.
fn error_text(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    ["detail", "message", "error", "title"].iter().find_map(|name| {
        let text = match value.get(name)? {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => return None,
            other => other.to_string(),
        };
        let text: String = text.chars().take(200).collect();
        (!text.trim().is_empty()).then_some(text)
    })
}

/// What a response means.
pub(crate) fn of_response(
    job: &DeliveryRequest,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    truncated: bool,
) -> Diagnosis {
    use DiagnosisCode as Code;
    if (200..300).contains(&status) {
        if truncated {
            return diagnosis(
                Code::ResponseTooLarge,
                format!("The receiver answered {status}, but with more than 64 KiB, so the answer counts as failed."),
                "Answer with a short JSON body; send details as status updates.",
            );
        }
        return diagnosis(Code::Ok, format!("The receiver answered {status}."), "");
    }
    let quoted = error_text(body).map(|text| format!(" It says: “{text}”.")).unwrap_or_default();
    let lower = String::from_utf8_lossy(&body[..body.len().min(4_096)]).to_lowercase();
    let of_signature = lower.contains("signature");
    // The guide's receiver catches its own 401 and answers 500 with the text inside.
    let guide_401 =
        status == 500 && (lower.contains("invalid webhook signature") || (lower.contains("401") && of_signature));
    // So it does at least where it gets that far. With the versions that the guide pins, its handler of the refusal fails in
    // turn, and what comes is its framework's bare 500 or a reason that was left empty.
    let opaque_500 = status == 500
        && (lower.trim() == "internal server error"
            || error_text(body).is_some_and(|text| text.trim() == "Internal server error:"));
    let path = job.url.url.as_ref().map(|url| url.path().to_owned()).unwrap_or_default();
    match status {
        401 | 403 if of_signature => signature_refused(status, &quoted),
        _ if guide_401 => signature_refused(status, &quoted),
        _ if opaque_500 => diagnosis(
            Code::ServerError,
            format!("The receiver answered {status}: something failed inside it, and it does not say what."),
            "Compare the webhook's secret with the one your service uses (WEBHOOK_SECRET): a service made from the guide's example answers like this when the signature does not match, or when it does not know the resource type. Else look into its log at this time; the delivery id is in X-Webhook-Delivery.",
        ),
        401 | 403 => diagnosis(
            Code::CredentialsRefused,
            format!("The receiver answered {status}: it did not accept the credentials.{quoted}"),
            match &job.target.auth {
                Auth::None => {
                    "The webhook sends a signature but no API key or token. Choose the authentication method that your service expects."
                }
                Auth::ApiKey { .. } => {
                    "Check the API key and the header it is sent in. If your service verifies the signature, compare the secrets too."
                }
                Auth::Oauth2 { .. } => {
                    "The token was renewed once and refused again. Check scope and audience, and what your service accepts."
                }
            },
        ),
        404 => diagnosis(
            Code::NotFound,
            format!("The receiver answered 404: it has nothing at {path}.{quoted}"),
            "Compare the path with your service's routes. The webhook's delivery paths decide what is appended to the endpoint URL.",
        ),
        405 => diagnosis(
            Code::MethodNotAllowed,
            format!("The receiver answered 405: {path} does not take POST.{quoted}"),
            "Compare the path with your service's routes; Berth always sends POST. The delivery paths decide what is appended to the endpoint URL.",
        ),
        408 => diagnosis(
            Code::TimedOut,
            format!("The receiver answered 408: it gave up waiting.{quoted}"),
            "Look for a slow proxy or upstream of your service.",
        ),
        410 => diagnosis(
            Code::Gone,
            "The receiver answered 410 Gone: it asks for no more events.",
            "The webhook has been disabled. Resume it when the service is back; its events are kept.",
        ),
        400 | 415 | 422 => diagnosis(
            Code::BodyRefused,
            format!("The receiver answered {status}: it did not accept the body.{quoted}"),
            "Compare what your service expects with the request shown here; accept unknown fields. Check that it serves this resource type.",
        ),
        413 => diagnosis(
            Code::TooLargeForReceiver,
            format!("The receiver answered 413: the request of {} bytes is too large for it.{quoted}", job.body.len()),
            "Raise the body limit of your service or its proxy (for nginx: client_max_body_size).",
        ),
        429 => {
            let wait = headers.get(http::header::RETRY_AFTER).and_then(|v| v.to_str().ok());
            let asks = wait.map(|w| format!(" It asks to wait: Retry-After {w}.")).unwrap_or_default();
            diagnosis(
                Code::RateLimited,
                format!("The receiver answered 429: too many requests.{asks}{quoted}"),
                "Raise your service's rate limit for Berth, or set a lower rate limit in the webhook's settings.",
            )
        }
        300..400 => {
            let location: String = headers
                .get(http::header::LOCATION)
                .map(|v| String::from_utf8_lossy(v.as_bytes()).chars().take(500).collect())
                .unwrap_or_default();
            diagnosis(
                Code::Redirected,
                if location.is_empty() {
                    format!("The receiver answered {status}, a redirect.")
                } else {
                    format!("The receiver answered {status}, a redirect to {location}.")
                },
                "Redirects are never followed, for safety. Register the final URL (mind http/https and a trailing slash).",
            )
        }
        503 => diagnosis(
            Code::ServerError,
            format!("The receiver answered 503: it is not available now.{quoted}"),
            "Check that your service is up behind its proxy. Berth tries again by itself.",
        ),
        500..600 => diagnosis(
            Code::ServerError,
            format!("The receiver answered {status}: something failed inside it.{quoted}"),
            "Look into your service's log at this time; the delivery id is in X-Webhook-Delivery.",
        ),
        _ => diagnosis(
            Code::ClientError,
            format!("The receiver answered {status}.{quoted}"),
            "Any answer but 2xx counts as failed. Look into your service's log at this time.",
        ),
    }
}

fn signature_refused(status: u16, quoted: &str) -> Diagnosis {
    diagnosis(
        DiagnosisCode::SignatureRefused,
        format!("The receiver answered {status}: it did not accept the signature.{quoted}"),
        "Compare the webhook's secret with the one your service uses (WEBHOOK_SECRET). Sign the raw body bytes, before any JSON parsing.",
    )
}
