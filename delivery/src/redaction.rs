//! Redaction of credentials in the record of an attempt, including those that a receiver echoes.

use crate::response::Received;
use crate::transcript::Writer;
use std::borrow::Cow;

/// The text that replaces a credential.
pub(crate) const REDACTED: &str = "••••";
/// Maximum length of a recorded response header in characters.
const MAX_HEADER: usize = 4_096;
/// Minimum length in bytes of a credential that is searched for in responses. A shorter one occurs in texts by chance.
const MIN_REDACTED_LEN: usize = 4;

/// Replaces echoed credentials in a text. Request inspectors, for example, echo every header.
pub(crate) fn redact<'a>(text: Cow<'a, str>, secrets: &[String]) -> Cow<'a, str> {
    secrets.iter().filter(|secret| secret.len() >= MIN_REDACTED_LEN).fold(text, |text, secret| {
        if text.contains(secret.as_str()) { Cow::Owned(text.replace(secret.as_str(), REDACTED)) } else { text }
    })
}

/// A receiver's bytes as storable text: lossy UTF-8, NUL replaced (PostgreSQL rejects it).
fn storable_text(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { text }
}

/// Records a response without credentials. Returns the redacted body if it contained a credential.
pub(crate) fn record_response(record: &mut Writer, received: &Received, secrets: &[String]) -> Option<String> {
    record.response(received.version, received.status);
    for (name, value) in &received.headers {
        // Header names arrive in lower case.
        let echoes = |secret: &String| {
            (MIN_REDACTED_LEN..=name.as_str().len()).contains(&secret.len())
                && name.as_str().contains(&secret.to_ascii_lowercase())
        };
        if secrets.iter().any(echoes) {
            record.header(REDACTED, REDACTED);
            continue;
        }
        // Cookies are the receiver's secrets.
        if *name == http::header::SET_COOKIE {
            record.header(name.as_str(), REDACTED);
            continue;
        }
        let value = redact(storable_text(value.as_bytes()), secrets);
        let end = if value.len() > MAX_HEADER { value.char_indices().nth(MAX_HEADER) } else { None };
        record.header(name.as_str(), end.map_or(&*value, |(end, _)| &value[..end]));
    }
    let plain = storable_text(&received.body);
    let body = redact(Cow::Borrowed(&*plain), secrets);
    record.body(&body, received.truncated);
    match body {
        Cow::Owned(body) => Some(body),
        Cow::Borrowed(_) => None,
    }
}
