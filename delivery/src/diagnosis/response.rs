//! Diagnoses of responses, by status code and by the error text of known frameworks.

use super::{diagnosis, wrapped};
use crate::response::Received;
use crate::{Auth, DeliveryRequest};
use domain::delivery::{Diagnosis, DiagnosisCode as Code};
use http::HeaderMap;

/// Diagnoses a response.
pub(crate) fn of_response(request: &DeliveryRequest, received: &Received) -> Diagnosis {
    let Received { status, headers, body, .. } = received;
    let status = *status;
    match status {
        200..300 if received.truncated => {
            return diagnosis(
                Code::ResponseTooLarge,
                format!(
                    "The receiver responded with {status}, but the body is larger than 64 KiB, so the attempt failed."
                ),
                "Respond with a short JSON body, and send details as status updates.",
            );
        }
        200..300 => return diagnosis(Code::Ok, format!("The receiver responded with {status}."), ""),
        _ => {}
    }
    let quoted = error_text(body).map(|text| format!(" Response: “{text}”.")).unwrap_or_default();
    match status {
        300..400 => of_redirect(status, headers),
        400 | 403 | 495 | 496 if names_client_certificate(body) => client_certificate_rejected(
            status,
            request.target.tls.as_ref().is_some_and(|tls| tls.features().has_certificate),
        ),
        _ if rejects_signature(status, body) => signature_rejected(status, &quoted),
        401 | 403 => credentials_rejected(&request.target.auth, &status.to_string(), &quoted),
        400 | 422 if error_text(body).is_some_and(|text| wrapped::names_unsupported_type(&text)) => {
            wrapped::unsupported_type(request, &status.to_string())
        }
        400..500 => of_client_error(request, status, headers, &quoted),
        500 => wrapped::of_wrapped_error(request, body).unwrap_or_else(|| of_server_error(status, body, &quoted)),
        501..600 => of_server_error(status, body, &quoted),
        _ => unexpected_status(status, &quoted),
    }
}

/// Whether the page of nginx states that the client certificate is missing or invalid. nginx completes the handshake first.
fn names_client_certificate(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(4_096)]);
    text.contains("No required SSL certificate was sent") || text.contains("The SSL certificate error")
}

fn client_certificate_rejected(status: u16, has_certificate: bool) -> Diagnosis {
    if has_certificate {
        return diagnosis(
            Code::CredentialsRefused,
            format!("The proxy of the receiver responded with {status}: it does not accept the client certificate."),
            "Check that ssl_client_certificate of nginx has the authority that issued the certificate, and that the certificate has not expired. The error log of nginx has the reason.",
        );
    }
    diagnosis(
        Code::CredentialsRefused,
        format!(
            "The proxy of the receiver responded with {status}: it requires a client certificate (mutual TLS), and the webhook has none."
        ),
        "Enter a client certificate and its private key in the TLS settings of the webhook.",
    )
}

fn of_redirect(status: u16, headers: &HeaderMap) -> Diagnosis {
    let location: String = headers
        .get(http::header::LOCATION)
        .map(|v| String::from_utf8_lossy(v.as_bytes()).chars().take(500).collect())
        .unwrap_or_default();
    diagnosis(
        Code::Redirected,
        if location.is_empty() {
            format!("The receiver responded with {status}, a redirect.")
        } else {
            format!("The receiver responded with {status}, a redirect to {location}.")
        },
        "Berth does not follow redirects, for security. Register the final URL (check http/https and a trailing slash).",
    )
}

/// Whether the receiver rejected the signature. Some FastAPI receivers wrap their own 401 into a 500 that contains its
/// text.
fn rejects_signature(status: u16, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(4_096)]).to_lowercase();
    let mentions_signature = text.contains("signature");
    match status {
        401 | 403 => mentions_signature,
        500 => text.contains("invalid webhook signature") || (text.contains("401") && mentions_signature),
        _ => false,
    }
}

fn signature_rejected(status: u16, quoted: &str) -> Diagnosis {
    diagnosis(
        Code::SignatureRefused,
        format!("The receiver responded with {status}: it did not accept the signature.{quoted}"),
        "Compare the webhook's secret with the one your service uses (WEBHOOK_SECRET). Verify the raw body bytes, before any JSON parsing.",
    )
}

/// Diagnoses rejected credentials; `status` describes the response.
pub(super) fn credentials_rejected(auth: &Auth, status: &str, quoted: &str) -> Diagnosis {
    diagnosis(
        Code::CredentialsRefused,
        format!("The receiver responded with {status}: it did not accept the credentials.{quoted}"),
        match auth {
            Auth::None => {
                "The webhook sends a signature but no API key or token. Choose the authentication method that your service expects."
            }
            Auth::ApiKey { .. } => {
                "Check the API key and its header. If your service verifies the signature, compare the secrets too."
            }
            Auth::Oauth2 { .. } => {
                "A renewed token does not help: your service rejected it too, or the token endpoint returned the same one. Check scope and audience, and the tokens that your service accepts."
            }
        },
    )
}

/// Diagnoses a 401 after which the token could not be renewed, because of `renewal`.
pub(crate) fn of_failed_renewal(response: &Diagnosis, renewal: &Diagnosis) -> Diagnosis {
    diagnosis(
        renewal.code,
        format!("{} The OAuth token could not be renewed. {}", response.message, renewal.message),
        renewal.hint.clone(),
    )
}

fn of_client_error(request: &DeliveryRequest, status: u16, headers: &HeaderMap, quoted: &str) -> Diagnosis {
    let path = request.url.uri.as_ref().map(http::Uri::path).unwrap_or_default();
    match status {
        404 => diagnosis(
            Code::NotFound,
            format!("The receiver responded with 404: {path} does not exist.{quoted}"),
            "Compare the path with your service's routes. The webhook's delivery paths are appended to the endpoint URL.",
        ),
        405 => diagnosis(
            Code::MethodNotAllowed,
            format!("The receiver responded with 405: {path} does not accept POST.{quoted}"),
            "Compare the path with your service's routes; Berth always sends POST. The webhook's delivery paths are appended to the endpoint URL.",
        ),
        408 => diagnosis(
            Code::TimedOut,
            format!("The receiver responded with 408: it timed out.{quoted}"),
            "Check your service's proxies and upstream services for delays.",
        ),
        410 => diagnosis(
            Code::Gone,
            "The receiver responded with 410 Gone: it rejects all further events.",
            if request.test {
                "The response to a test changes nothing. The same response to a real event disables the webhook."
            } else {
                "The webhook has been disabled. Resume it when the service is back; its events are kept."
            },
        ),
        400 | 415 | 422 => diagnosis(
            Code::BodyRefused,
            format!("The receiver responded with {status}: it did not accept the body.{quoted}"),
            "Compare what your service expects with the request shown here, and accept unknown fields. Check that it supports this resource type.",
        ),
        413 => diagnosis(
            Code::TooLargeForReceiver,
            format!(
                "The receiver responded with 413: the request of {} bytes is too large for it.{quoted}",
                request.body.len()
            ),
            "Raise the body limit of your service or its proxy (for nginx: client_max_body_size).",
        ),
        429 => {
            let delay = headers.get(http::header::RETRY_AFTER).and_then(|v| v.to_str().ok());
            let delay = delay.map(|value| format!(" Retry-After {value}.")).unwrap_or_default();
            diagnosis(
                Code::RateLimited,
                format!("The receiver responded with 429: too many requests.{delay}{quoted}"),
                "Raise your service's rate limit for Berth, or set a lower rate limit in the webhook's settings.",
            )
        }
        _ => unexpected_status(status, quoted),
    }
}

fn of_server_error(status: u16, body: &[u8], quoted: &str) -> Diagnosis {
    if status == 500 && is_opaque_500(body) {
        return diagnosis(
            Code::ServerError,
            format!("The receiver responded with {status}: internal error, no details given."),
            "Compare the webhook's secret with your service's WEBHOOK_SECRET, and check that it supports the resource type: some FastAPI services hide these errors. Otherwise see its log at this time; the delivery id is in X-Webhook-Delivery.",
        );
    }
    if status == 503 {
        return diagnosis(
            Code::ServerError,
            format!("The receiver responded with 503: it is not available now.{quoted}"),
            "Check that your service is running behind its proxy. Berth retries automatically.",
        );
    }
    diagnosis(
        Code::ServerError,
        format!("The receiver responded with {status}: internal error.{quoted}"),
        "See your service's log at this time; the delivery id is in X-Webhook-Delivery.",
    )
}

/// Whether a 500 contains no reason. In some FastAPI versions the receiver's error handler fails too: the response is
/// the framework's bare 500, or an empty reason.
fn is_opaque_500(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).trim().eq_ignore_ascii_case("internal server error")
        || error_text(body).is_some_and(|text| text.trim() == "Internal server error:")
}

fn unexpected_status(status: u16, quoted: &str) -> Diagnosis {
    diagnosis(
        Code::ClientError,
        format!("The receiver responded with {status}.{quoted}"),
        "Only 2xx counts as success. See your service's log at this time.",
    )
}

/// The receiver's own error text: FastAPI's `detail`, or `message`, `error` or `title`; at most 200 characters.
pub(crate) fn error_text(body: &[u8]) -> Option<String> {
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
