//! Diagnoses of responses whose status line or headers cannot be parsed. They name the line that violates RFC 9112.

use super::diagnosis;
use crate::connection::{MAX_HEADERS, MAX_KEPT};
use domain::delivery::{Diagnosis, DiagnosisCode};
use std::borrow::Cow;

/// Maximum length of a quoted line in characters.
const MAX_QUOTE: usize = 100;

/// Diagnoses a response that cannot be parsed, from its first bytes.
pub(super) fn of_malformed(received: &[u8], host: &str) -> Diagnosis {
    let start = received.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(received.len());
    let received = &received[start..];
    if !received.starts_with(b"HTTP/") {
        return diagnosis(
            DiagnosisCode::NotHttp,
            format!("{host} did not send an HTTP response."),
            "Check the port, and whether the URL should start with https:// instead of http:// (or the reverse).",
        );
    }
    diagnosis(
        DiagnosisCode::NotHttp,
        format!("{host} sent a response that is not valid HTTP: {}.", error(received)),
        "Correct this in your service or its proxy. It has probably processed the event, and receives it again with the same webhook-id.",
    )
}

/// The violation of RFC 9112.
fn error(received: &[u8]) -> String {
    let mut lines = received.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let status_line = lines.next().unwrap_or_default();
    if !is_status_line(status_line) {
        return format!(
            "the status line “{}” must be HTTP/1.1, one space and a status of three digits",
            quote(status_line)
        );
    }
    let is_http_1_0 = status_line.starts_with(b"HTTP/1.0");
    let mut lengths: Vec<Cow<'_, str>> = Vec::new();
    let mut count = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        count += 1;
        let name_length = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (line[..name_length].trim_ascii(), line.get(name_length + 1..).unwrap_or_default());
        if line.iter().any(|byte| matches!(byte, b'\0' | b'\r')) {
            return format!("the header “{}” contains a NUL or a carriage return", quote(name));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths.extend(value.split(|byte| *byte == b',').map(|value| String::from_utf8_lossy(value.trim_ascii())));
        }
        if is_http_1_0 && name.eq_ignore_ascii_case(b"transfer-encoding") {
            return "the header “Transfer-Encoding” is not allowed in a response with HTTP/1.0".to_owned();
        }
    }
    if let Some(length) = lengths.iter().find(|length| length.parse::<u64>().is_err() || length.starts_with('+')) {
        return format!("the header “Content-Length: {}” is not a number", quote(length.as_bytes()));
    }
    if let Some(pair) = lengths.windows(2).find(|pair| pair[0] != pair[1]) {
        return format!("two headers “Content-Length” have different values, {} and {}", pair[0], pair[1]);
    }
    if count > MAX_HEADERS {
        return format!("it has more than {MAX_HEADERS} headers");
    }
    if received.len() >= MAX_KEPT {
        return format!("its headers are too large or more than {MAX_HEADERS}");
    }
    "its headers cannot be parsed".to_owned()
}

/// Whether this is a valid status line (RFC 9112 §4).
fn is_status_line(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 ")) else { return false };
    let (status, reason) = rest.split_at(rest.len().min(3));
    matches!(status, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'])
        && (reason.is_empty() || reason[0] == b' ')
        && !reason.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
}

fn quote(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().take(MAX_QUOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_line_is_named() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        for (received, expected) in [
            ("SSH-2.0-OpenSSH_9.2\r\n", "did not send an HTTP response"),
            ("", "did not send an HTTP response"),
            ("HTTP/1.1 OK\r\n\r\n", "status line “HTTP/1.1 OK”"),
            ("HTTP/2.0 200 OK\r\n\r\n", "status line “HTTP/2.0 200 OK”"),
            ("HTTP/1.1  200 OK\r\n\r\n", "one space"),
            ("HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: abc\r\n\r\n", "“Content-Length: abc” is not a number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", "“Content-Length: +5” is not a number"),
            ("HTTP/1.1 200 OK\ncontent-length: 5\nContent-Length: 6\n\n", "different values, 5 and 6"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", "different values, 5 and 6"),
            ("HTTP/1.1 200 OK\r\nX-Bad: a\0b\r\n\r\n", "“X-Bad” contains a NUL"),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "“Transfer-Encoding” is not allowed"),
            (many.as_str(), "more than 500 headers"),
        ] {
            let message = of_malformed(received.as_bytes(), "a.example").message;
            assert!(message.contains(expected), "{received:?}: {message}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_heads_never_panic(received: Vec<u8>, rest in "HTTP/1.[01] [0-9]{0,4}( [^\n]{0,9})?\r?\n(.{0,20}:.{0,20}\n){0,5}") {
            let _ = of_malformed(&received, "a.example");
            let _ = of_malformed(rest.as_bytes(), "a.example");
        }
    }
}
