//! Errors that a receiver's own error handler turned into a 500. FastAPI receivers with `except Exception` do this: the
//! response contains `Internal server error: 400: Unsupported resource type: vm`.

use super::diagnosis;
use super::response::{credentials_rejected, error_text};
use crate::DeliveryRequest;
use domain::delivery::{Diagnosis, DiagnosisCode as Code};

/// Maximum length of a plain error text in bytes.
const MAX_PLAIN: usize = 1_000;

/// Diagnoses a 500 that contains the receiver's own reason.
pub(super) fn of_wrapped_error(request: &DeliveryRequest, body: &[u8]) -> Option<Diagnosis> {
    let text = error_text(body).or_else(|| plain_text(body))?;
    if let Some((status, reason)) = wrapped_status(&text) {
        if names_unsupported_type(reason) {
            return Some(unsupported_type(request, &format!("500, which contains its own error {status}")));
        }
        let quoted = format!(" Response: “{reason}”.");
        return Some(match status {
            401 | 403 => credentials_rejected(
                &request.target.auth,
                &format!("500, which contains its own error {status}"),
                &quoted,
            ),
            400 | 415 | 422 => body_rejected(&format!("500, which contains its own error {status}"), &quoted),
            _ => diagnosis(
                Code::ClientError,
                format!("The receiver responded with 500, which contains its own error {status}.{quoted}"),
                UNWRAP,
            ),
        });
    }
    if names_unsupported_type(&text) {
        return Some(unsupported_type(request, "500"));
    }
    // Pydantic: `1 validation error for ReservationPayload`.
    text.contains("validation error")
        .then(|| body_rejected("500, a validation error", &format!(" Response: “{text}”.")))
}

/// The remedy at the receiver.
const UNWRAP: &str = "See your service's log at this time. Let its error handler pass HTTPException on, so that Berth receives the status itself.";

fn body_rejected(status: &str, quoted: &str) -> Diagnosis {
    diagnosis(
        Code::BodyRefused,
        format!("The receiver responded with {status}: it did not accept the body.{quoted}"),
        "Compare what your service expects with the request shown here, and accept unknown fields. Let its error handler pass HTTPException on, so that Berth receives the status itself.",
    )
}

/// Whether an error text says that the receiver does not support the resource type.
pub(super) fn names_unsupported_type(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("resource type") && (text.contains("unsupported") || text.contains("not support"))
}

/// Diagnoses a receiver that does not support the resource type; `status` describes its response.
pub(super) fn unsupported_type(request: &DeliveryRequest, status: &str) -> Diagnosis {
    let event: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let resource_type = event.get("resource_type").and_then(serde_json::Value::as_str).unwrap_or_default();
    diagnosis(
        Code::BodyRefused,
        format!("The receiver does not support the resource type “{resource_type}”. It responded with {status}."),
        "Limit the webhook to a resource type that your service supports, or add this type to your service.",
    )
}

/// The status and reason of a wrapped error 4xx: `400: reason`, at the start or after a colon and a space.
fn wrapped_status(text: &str) -> Option<(u16, &str)> {
    let mut rest = text;
    loop {
        let (head, tail) = rest.split_once(": ")?;
        if head.len() == 3
            && let Ok(status @ 400..=451) = head.parse()
        {
            return Some((status, tail));
        }
        rest = tail;
    }
}

/// A short body that is neither JSON nor HTML.
fn plain_text(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body.get(..body.len().min(MAX_PLAIN))?).ok()?.trim();
    (!text.is_empty() && !text.starts_with(['<', '{', '['])).then(|| text.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_status_is_found_behind_any_prefix() {
        for (text, expected) in [
            ("Internal server error: 400: Unsupported resource type: vm", Some((400, "Unsupported resource type: vm"))),
            ("500: Internal server error: 422: bad", Some((422, "bad"))),
            ("404: no such cluster", Some((404, "no such cluster"))),
            ("Internal server error: ", None),
            ("took 450 ms: too slow", None),
            ("Cannot connect to host cluster:443: timed out", None),
            ("Internal server error: 400: ", Some((400, ""))),
            ("1 validation error for ReservationPayload", None),
        ] {
            assert_eq!(wrapped_status(text), expected, "{text}");
        }
    }
}
