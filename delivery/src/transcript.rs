//! The transcript of an exchange: one text in wire format, with timings and diagnosis as JSON in the last line. The
//! format is cheap to write, because every attempt writes a transcript and few are read.
//!
//! ```text
//! POST https://receiver.example/hook
//! Content-Type: application/json
//! webhook-id: evt_…
//!
//! HTTP/1.1 202
//! content-type: application/json
//!
//! {"status":"accepted"}
//! {"timings":{…},"diagnosis":{…},"truncated":false}
//! ```
//!
//! Without a response, the last line follows the empty line after the request's headers. The request body is stored
//! with the delivery, not here; that of a token request is in the last line. Header names and values cannot contain
//! line breaks (RFC 9110 §5).

use crate::header_case::write_documented;
use crate::recorded_signatures::{is_signature, shorten_signatures};
use chrono::{DateTime, Utc};
use domain::delivery::{Attempt, Diagnosis, DiagnosisCode, Outcome, ReceivedResponse, SentRequest, Timings};
use domain::header::Header;
use domain::id::DeliveryId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The last line: timings and diagnosis.
#[derive(Serialize, Deserialize)]
struct Footer<'a> {
    timings: Timings,
    diagnosis: Cow<'a, Diagnosis>,
    truncated: bool,
    /// Whether the request was not sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unsent: bool,
    /// The body of a token request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_request_body: Option<Cow<'a, str>>,
    /// Why the body of the response could not be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decode_error: Option<Cow<'a, str>>,
}

/// The transcript of an exchange as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript(String);

/// A parsed transcript.
#[derive(Debug, Clone, PartialEq)]
struct Parsed {
    /// The request; its body is empty unless it is a token request.
    request: SentRequest,
    response: Option<ReceivedResponse>,
    timings: Timings,
    diagnosis: Diagnosis,
}

/// Writes a transcript.
pub(crate) struct Writer {
    text: String,
    truncated: bool,
    token_request_body: Option<String>,
    decode_error: Option<String>,
}

impl Writer {
    /// Starts a transcript with the request line.
    pub(crate) fn new(url: &str) -> Self {
        // Enough for the headers of an exchange and a short response.
        let mut text = String::with_capacity(1_280);
        text.push_str("POST ");
        text.push_str(url);
        text.push('\n');
        Self { text, truncated: false, token_request_body: None, decode_error: None }
    }

    /// Starts the transcript of a token request, with its redacted body.
    pub(crate) fn token_request(url: &str, body: String) -> Self {
        Self { token_request_body: Some(body), ..Self::new(url) }
    }

    /// Writes a header of Berth, named as documented.
    pub(crate) fn documented_header(&mut self, name: &str, value: &str) {
        write_documented(&mut self.text, name);
        self.value(value);
    }

    /// Writes a header: of the request before [`response`](Self::response), of the response after it.
    pub(crate) fn header(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        self.value(value);
    }

    fn value(&mut self, value: &str) {
        self.text.push_str(": ");
        self.text.push_str(value);
        self.text.push('\n');
    }

    /// Writes the status line; `version` contains no spaces.
    pub(crate) fn response(&mut self, version: &str, status: u16) {
        use std::fmt::Write as _;
        self.text.push('\n');
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "{version} {status}");
    }

    /// Writes the response's body, after its headers.
    pub(crate) fn body(&mut self, body: &str, truncated: bool) {
        self.text.push('\n');
        self.text.push_str(body);
        self.truncated = truncated;
    }

    /// States why the body could not be decoded.
    pub(crate) fn decode_error(&mut self, error: Option<&str>) {
        self.decode_error = error.map(str::to_owned);
    }

    /// Finishes the transcript. `sent` is false if the request was not sent.
    pub(crate) fn finish(
        mut self,
        sent: bool,
        has_response: bool,
        timings: Timings,
        diagnosis: &Diagnosis,
    ) -> Transcript {
        if !has_response {
            self.text.push('\n');
        }
        let footer = Footer {
            timings,
            diagnosis: Cow::Borrowed(diagnosis),
            truncated: self.truncated,
            unsent: !sent,
            token_request_body: self.token_request_body.map(Cow::Owned),
            decode_error: self.decode_error.map(Cow::Owned),
        };
        end(self.text, &footer)
    }
}

fn end(mut text: String, footer: &Footer<'_>) -> Transcript {
    text.push('\n');
    let mut bytes = text.into_bytes();
    // Serialising numbers and texts into memory cannot fail.
    let _ = serde_json::to_writer(&mut bytes, footer);
    Transcript(String::from_utf8(bytes).unwrap_or_default())
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Header> {
    lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| Header { name: name.into(), value: value.into() })
        .collect()
}

impl Transcript {
    /// A transcript from a stored text. If the text is not one, [`to_attempt`](Self::to_attempt) returns `None`.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text to store.
    pub fn into_text(self) -> String {
        self.0
    }

    /// The recorded attempt; `None` if this is not a transcript. The request's body is empty, unless it is a token
    /// request: the caller inserts that of the delivery.
    pub fn to_attempt(
        &self,
        delivery_id: DeliveryId,
        attempt: u32,
        started_at: DateTime<Utc>,
        outcome: Outcome,
        status_code: Option<u16>,
    ) -> Option<Attempt> {
        let Parsed { request, response, timings, diagnosis } = self.parse()?;
        Some(Attempt {
            delivery_id,
            attempt,
            started_at,
            outcome,
            status_code,
            duration_ms: timings.total_ms,
            timings,
            request,
            response,
            diagnosis,
            effect: None,
        })
    }

    fn parse(&self) -> Option<Parsed> {
        let (exchange, footer) = self.0.rsplit_once('\n')?;
        let footer: Footer<'_> = serde_json::from_str(footer).ok()?;
        let (request, rest) = exchange.split_once("\n\n")?;
        let mut lines = request.split('\n');
        let (method, url) = lines.next()?.split_once(' ')?;
        let mut sent = headers(lines);
        // Earlier releases recorded complete signatures.
        for header in sent.iter_mut().filter(|header| is_signature(&header.name)) {
            header.value = shorten_signatures(&header.value);
        }
        let request = SentRequest {
            method: method.into(),
            url: url.into(),
            headers: sent,
            body: footer.token_request_body.map(Cow::into_owned).unwrap_or_default(),
            sent: !footer.unsent,
        };
        let response = match rest.split_once("\n\n") {
            None => None,
            Some((head, body)) => {
                let mut lines = head.split('\n');
                Some(ReceivedResponse {
                    version: lines.next()?.split(' ').next()?.into(),
                    headers: headers(lines),
                    body: body.into(),
                    truncated: footer.truncated,
                    problem: footer.decode_error.map(Cow::into_owned),
                })
            }
        };
        Some(Parsed { request, response, timings: footer.timings, diagnosis: footer.diagnosis.into_owned() })
    }

    /// The same transcript without the response and without texts that can quote it. `message` explains the gap. A text
    /// that is no transcript becomes one without a request.
    pub fn without_received_texts(&self, message: &str) -> Self {
        let parsed = self.parse();
        let code = parsed.as_ref().map_or(DiagnosisCode::Unknown, |parsed| parsed.diagnosis.code);
        let diagnosis = Diagnosis { code, message: message.to_owned(), hint: String::new() };
        if parsed.is_some() {
            self.without_response(&diagnosis)
        } else {
            Self("POST \n\n".into()).without_response(&diagnosis)
        }
    }

    /// The first value of a header of the response; `None` if there is none.
    pub fn response_header(&self, name: &str) -> Option<String> {
        let headers = self.parse()?.response?.headers;
        headers.into_iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// The same transcript with another diagnosis and without the response.
    pub fn without_response(&self, diagnosis: &Diagnosis) -> Self {
        let parsed = self.parse();
        let timings = parsed.as_ref().map(|parsed| parsed.timings).unwrap_or_default();
        let token_request_body = parsed.as_ref().map(|parsed| parsed.request.body.as_str());
        let footer = Footer {
            timings,
            diagnosis: Cow::Borrowed(diagnosis),
            truncated: false,
            unsent: parsed.as_ref().is_some_and(|parsed| !parsed.request.sent),
            token_request_body: token_request_body.filter(|body| !body.is_empty()).map(Cow::Borrowed),
            decode_error: None,
        };
        let request = self.0.split_once("\n\n").map_or("", |(request, _)| request);
        end(format!("{request}\n\n"), &footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn diagnosis(message: &str) -> Diagnosis {
        Diagnosis { code: DiagnosisCode::ServerError, message: message.into(), hint: "Look\ninto \"it\".".into() }
    }

    #[test]
    fn transcript_without_received_texts_keeps_request_timings_and_code() {
        let mut writer = Writer::new("https://receiver.example/hook");
        writer.documented_header("Content-Type", "application/json");
        let whole = writer.finish(true, false, Timings::default(), &diagnosis("500: no such user alice"));
        for transcript in [whole, Transcript::stored(r#"{"response":"alice"}"#.into())] {
            let was_readable = transcript.parse().is_some();
            let reduced = transcript.without_received_texts("Removed.");
            assert!(!reduced.0.contains("alice"), "{}", reduced.0);
            let parsed = reduced.parse().unwrap();
            assert_eq!((parsed.response, parsed.diagnosis.message.as_str()), (None, "Removed."));
            if was_readable {
                assert_eq!(parsed.request.url, "https://receiver.example/hook");
                assert_eq!(parsed.diagnosis.code, DiagnosisCode::ServerError);
            }
        }
    }

    proptest! {
        #[test]
        fn written_transcript_parses_back(
            sent in proptest::collection::vec(("[a-z-]{1,12}", "[ -~\t]{0,40}"), 0..5),
            response in proptest::option::of((
                proptest::collection::vec(("[a-z-]{1,12}", "[ -~\téü␀]{0,40}"), 0..5),
                "(?s).{0,60}",
                any::<bool>(),
            )),
            message in "(?s).{0,40}",
            micros in 0_u32..100_000_000,
            sent_at_all: bool,
            token_request_body in proptest::option::of("(?s).{1,40}"),
        ) {
            // Timings are measured in whole microseconds.
            let ms = |micros: u32| f64::from(micros) / 1_000.0;
            let timings = Timings { total_ms: ms(micros), first_byte_ms: Some(ms(micros / 3)), ..Timings::default() };
            let mut writer = match &token_request_body {
                Some(body) => Writer::token_request("https://a.example/b?c=d", body.clone()),
                None => Writer::new("https://a.example/b?c=d"),
            };
            for (name, value) in &sent {
                writer.header(name, value);
            }
            if let Some((headers, body, truncated)) = &response {
                writer.response("HTTP/1.1", 503);
                for (name, value) in headers {
                    writer.header(name, value);
                }
                writer.body(body, *truncated);
            }
            let transcript = writer.finish(sent_at_all, response.is_some(), timings, &diagnosis(&message));
            let read = transcript.parse().unwrap();
            let pairs = |headers: &[Header]| {
                headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect::<Vec<_>>()
            };
            prop_assert_eq!((&*read.request.method, &*read.request.url), ("POST", "https://a.example/b?c=d"));
            prop_assert_eq!(pairs(&read.request.headers), sent.clone());
            prop_assert_eq!(&read.request.body, &token_request_body.clone().unwrap_or_default());
            prop_assert_eq!(read.request.sent, sent_at_all);
            prop_assert_eq!(&read.diagnosis, &diagnosis(&message));
            prop_assert_eq!(read.timings, timings);
            prop_assert_eq!(read.response.is_some(), response.is_some());
            if let (Some(read), Some((headers, body, truncated))) = (read.response, response) {
                prop_assert_eq!(pairs(&read.headers), headers);
                prop_assert_eq!((&*read.version, &read.body, read.truncated), ("HTTP/1.1", &body, truncated));
            }
            let without_response = transcript.without_response(&diagnosis("gone")).parse().unwrap();
            prop_assert_eq!(pairs(&without_response.request.headers), sent);
            prop_assert_eq!(without_response.request.body, token_request_body.unwrap_or_default());
            prop_assert_eq!(without_response.request.sent, sent_at_all);
            prop_assert!(without_response.response.is_none());
            prop_assert_eq!(without_response.diagnosis, diagnosis("gone"));
        }
    }

    #[test]
    fn complete_signatures_of_earlier_releases_are_shortened() {
        let mut writer = Writer::new("https://a.example/");
        writer.header("X-Webhook-Signature", &format!("sha256={}", "a".repeat(64)));
        let transcript = writer.finish(true, false, Timings::default(), &diagnosis(""));
        assert_eq!(transcript.parse().unwrap().request.headers[0].value, "sha256=aaaaaaaaaaaa…");
    }

    #[test]
    fn invalid_transcripts_are_not_parsed() {
        for text in ["", "{}", "POST", "POST x\n\n", "POST x\n\n\n{}", "{\"timings\":{}}"] {
            assert_eq!(Transcript::stored(text.into()).parse(), None, "{text:?}");
        }
    }
}
