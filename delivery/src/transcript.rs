//! The record of an exchange: one text, as it stood on the wire, with what was found out about it in its last line. It is
//! written for each attempt and read when somebody looks, so that writing it must cost little.
//!
//! ```text
//! POST https://receiver.example/hook
//! content-type: application/json
//! webhook-id: evt_…
//!
//! HTTP/1.1 202
//! content-type: application/json
//!
//! {"status":"accepted"}
//! {"timings":{…},"diagnosis":{…},"truncated":false}
//! ```
//!
//! Where no response came, the text goes from the empty line after the request's headers to the last line. The body that
//! was sent is not in it: it is the delivery's. Neither names nor values of headers can hold line ends (RFC 9110 §5).

use chrono::{DateTime, Utc};
use domain::delivery::{Attempt, Diagnosis, Outcome, ReceivedResponse, SentRequest, Timings};
use domain::id::DeliveryId;
use domain::webhook::Header;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What was found out about an exchange.
#[derive(Serialize, Deserialize)]
struct Facts<'a> {
    timings: Timings,
    diagnosis: Cow<'a, Diagnosis>,
    truncated: bool,
}

/// An exchange's record as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript(String);

/// What a transcript says.
#[derive(Debug, Clone, PartialEq)]
struct Read {
    /// Without its body.
    request: SentRequest,
    response: Option<ReceivedResponse>,
    timings: Timings,
    diagnosis: Diagnosis,
}

/// A transcript that is being written.
pub(crate) struct Writer {
    text: String,
    truncated: bool,
}

impl Writer {
    /// Begins with the request's line.
    pub(crate) fn new(url: &str) -> Self {
        // The headers of an exchange and a short answer.
        let mut text = String::with_capacity(1_280);
        text.push_str("POST ");
        text.push_str(url);
        text.push('\n');
        Self { text, truncated: false }
    }

    /// A header, of the request before [`response`](Self::response) and of the response after it.
    pub(crate) fn header(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        self.text.push_str(": ");
        self.text.push_str(value);
        self.text.push('\n');
    }

    /// Begins the response; `version` has no spaces.
    pub(crate) fn response(&mut self, version: &str, status: u16) {
        use std::fmt::Write as _;
        self.text.push('\n');
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "{version} {status}");
    }

    /// The response's body, after its headers.
    pub(crate) fn body(&mut self, body: &str, truncated: bool) {
        self.text.push('\n');
        self.text.push_str(body);
        self.truncated = truncated;
    }

    /// Ends the text.
    pub(crate) fn finish(mut self, answered: bool, timings: Timings, diagnosis: &Diagnosis) -> Transcript {
        if !answered {
            self.text.push('\n');
        }
        end(self.text, &Facts { timings, diagnosis: Cow::Borrowed(diagnosis), truncated: self.truncated })
    }
}

fn end(mut text: String, facts: &Facts<'_>) -> Transcript {
    text.push('\n');
    let mut bytes = text.into_bytes();
    // Numbers and texts into memory: neither can fail, and a record without facts would be read as broken.
    let _ = serde_json::to_writer(&mut bytes, facts);
    Transcript(String::from_utf8(bytes).unwrap_or_default())
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Header> {
    lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| Header { name: name.into(), value: value.into() })
        .collect()
}

impl Transcript {
    /// A stored text; what is not a transcript is not [`shown`](Self::shown).
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text, to be stored.
    pub fn into_text(self) -> String {
        self.0
    }

    /// The attempt that it records, without the request's body; `None` when it is no transcript.
    pub fn to_attempt(
        &self,
        delivery_id: DeliveryId,
        attempt: u32,
        started_at: DateTime<Utc>,
        outcome: Outcome,
        status_code: Option<u16>,
    ) -> Option<Attempt> {
        let Read { request, response, timings, diagnosis } = self.read()?;
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
        })
    }

    fn read(&self) -> Option<Read> {
        let (exchange, facts) = self.0.rsplit_once('\n')?;
        let facts: Facts<'_> = serde_json::from_str(facts).ok()?;
        let (request, rest) = exchange.split_once("\n\n")?;
        let mut lines = request.split('\n');
        let (method, url) = lines.next()?.split_once(' ')?;
        let request =
            SentRequest { method: method.into(), url: url.into(), headers: headers(lines), body: String::new() };
        let response = match rest.split_once("\n\n") {
            None => None,
            Some((head, body)) => {
                let mut lines = head.split('\n');
                Some(ReceivedResponse {
                    version: lines.next()?.split(' ').next()?.into(),
                    headers: headers(lines),
                    body: body.into(),
                    truncated: facts.truncated,
                })
            }
        };
        Some(Read { request, response, timings: facts.timings, diagnosis: facts.diagnosis.into_owned() })
    }

    /// The same exchange with another diagnosis and without its response.
    pub fn without_response(&self, diagnosis: &Diagnosis) -> Self {
        let timings = self.read().map(|read| read.timings).unwrap_or_default();
        let request = self.0.split_once("\n\n").map_or("", |(request, _)| request);
        end(format!("{request}\n\n"), &Facts { timings, diagnosis: Cow::Borrowed(diagnosis), truncated: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::delivery::DiagnosisCode;
    use proptest::prelude::*;

    fn diagnosis(message: &str) -> Diagnosis {
        Diagnosis { code: DiagnosisCode::ServerError, message: message.into(), hint: "Look\ninto \"it\".".into() }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            sent in proptest::collection::vec(("[a-z-]{1,12}", "[ -~\t]{0,40}"), 0..5),
            answer in proptest::option::of((
                proptest::collection::vec(("[a-z-]{1,12}", "[ -~\téü␀]{0,40}"), 0..5),
                "(?s).{0,60}",
                any::<bool>(),
            )),
            message in "(?s).{0,40}",
            micros in 0_u32..100_000_000,
        ) {
            // As they are measured: in whole microseconds.
            let ms = |micros: u32| f64::from(micros) / 1_000.0;
            let timings = Timings { total_ms: ms(micros), first_byte_ms: Some(ms(micros / 3)), ..Timings::default() };
            let mut writer = Writer::new("https://a.example/b?c=d");
            for (name, value) in &sent {
                writer.header(name, value);
            }
            if let Some((headers, body, truncated)) = &answer {
                writer.response("HTTP/1.1", 503);
                for (name, value) in headers {
                    writer.header(name, value);
                }
                writer.body(body, *truncated);
            }
            let transcript = writer.finish(answer.is_some(), timings, &diagnosis(&message));
            let read = transcript.read().unwrap();
            let pairs = |headers: &[Header]| {
                headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect::<Vec<_>>()
            };
            prop_assert_eq!((&*read.request.method, &*read.request.url), ("POST", "https://a.example/b?c=d"));
            prop_assert_eq!(pairs(&read.request.headers), sent.clone());
            prop_assert_eq!(&read.diagnosis, &diagnosis(&message));
            prop_assert_eq!(read.timings, timings);
            prop_assert_eq!(read.response.is_some(), answer.is_some());
            if let (Some(response), Some((headers, body, truncated))) = (read.response, answer) {
                prop_assert_eq!(pairs(&response.headers), headers);
                prop_assert_eq!((&*response.version, &response.body, response.truncated), ("HTTP/1.1", &body, truncated));
            }
            let forgotten = transcript.without_response(&diagnosis("gone")).read().unwrap();
            prop_assert_eq!(pairs(&forgotten.request.headers), sent);
            prop_assert!(forgotten.response.is_none());
            prop_assert_eq!(forgotten.diagnosis, diagnosis("gone"));
        }
    }

    #[test]
    fn what_is_no_transcript_is_not_read() {
        for text in ["", "{}", "POST", "POST x\n\n", "POST x\n\n\n{}", "{\"timings\":{}}"] {
            assert_eq!(Transcript::stored(text.into()).read(), None, "{text:?}");
        }
    }
}
