//! Local listeners (`berth listen`): the server hands over complete requests, a listener sends them to a receiver on its
//! machine, and the server records the reported result like that of its own request.

use crate::client::{Progress, post};
use crate::diagnosis;
use crate::exchange::{Clients, outcome_of_response};
use crate::header_case::write_documented;
use crate::headers::{Headers, signed_headers};
use crate::response::Received;
use crate::timing::{MARKS, Marks};
use crate::{AttemptOutcome, Auth, DeliveryRequest, Destination, Target};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::delivery::{Diagnosis, Timings};
use domain::header::Header;
use domain::webhook::CustomHeader;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The result of a forwarded request.
pub struct Forwarded {
    /// The durations of its steps.
    pub timings: Timings,
    /// The response, or the diagnosis of its absence.
    pub result: Result<ReceiverReply, Diagnosis>,
}

/// The response of a receiver to a forwarded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverReply {
    /// The status code.
    pub status_code: u16,
    /// The headers.
    pub headers: Vec<Header>,
    /// The decoded body, at most 64 KiB.
    pub body: Bytes,
    /// Whether the body is longer.
    pub truncated: bool,
    /// A sentence, if the body cannot be decoded.
    pub decode_error: Option<String>,
}

/// The headers of a request for a listener, named as they are sent. `now` is the time of the signatures.
pub(crate) fn hand_over(clients: &Clients, request: &DeliveryRequest, now: DateTime<Utc>) -> Vec<Header> {
    let sent = signed_headers(clients.user_agent(), request, &[], now);
    let custom = &request.target.headers;
    let name = |wire: &HeaderName| match custom.iter().find(|header| header.name.eq_ignore_ascii_case(wire.as_str())) {
        Some(header) => header.name.clone(),
        None => {
            let mut name = String::with_capacity(wire.as_str().len());
            write_documented(&mut name, wire.as_str());
            name
        }
    };
    // Registration accepts visible ASCII only.
    let header = |(wire, value): (&HeaderName, &HeaderValue)| {
        Some(Header { name: name(wire), value: value.to_str().ok()?.to_owned() })
    };
    sent.wire.iter().filter_map(header).collect()
}

/// The outcome of an attempt whose request a listener has sent. `now` is the time of the signatures.
pub(crate) fn reported(
    clients: &Clients,
    request: &DeliveryRequest,
    now: DateTime<Utc>,
    forwarded: Forwarded,
) -> AttemptOutcome {
    let Headers { record, secrets, .. } = signed_headers(clients.user_agent(), request, &[], now);
    let Forwarded { timings, result } = forwarded;
    match result {
        Ok(reply) => {
            let received = Received {
                status: reply.status_code,
                version: "HTTP/1.1",
                headers: header_map(reply.headers.iter()),
                body: reply.body,
                truncated: reply.truncated,
                decode_error: reply.decode_error,
            };
            outcome_of_response(request, received, None, (record, &secrets), timings, now)
        }
        Err(failure) => {
            let failure = diagnosis::diagnosis(failure.code, failure.message, failure.hint);
            let mut outcome = AttemptOutcome::without_response(request.attempt, now, timings, failure);
            outcome.transcript = record.finish(true, false, timings, &outcome.diagnosis);
            outcome
        }
    }
}

/// Sends a handed-over request to a receiver, within the time limit of an attempt.
pub(crate) async fn forward(clients: &Clients, url: &Destination, headers: &[Header], body: Bytes) -> Forwarded {
    let marks = Marks::start();
    let progress = Progress::new(marks.clone());
    let http = clients.http();
    let limit = http.timeout;
    let exchange = async {
        let uri = url.uri.as_ref().ok_or(diagnosis::Failure::InvalidUrl)?;
        // The names keep their letter case, which some receivers depend on.
        let names = Target {
            webhook_id: 0,
            auth: Auth::None,
            secrets: Vec::new(),
            keys: Vec::new(),
            headers: headers.iter().map(|header| CustomHeader::new(&header.name, "")).collect(),
            public_url: "".into(),
            tls: None,
        };
        let case = clients.cases().for_target(&names).await;
        let create = || post(uri.clone(), header_map(headers.iter()), case.clone(), body.clone());
        http.send(create(), create, &progress).await
    };
    let result = match tokio::time::timeout(limit, MARKS.scope(marks.clone(), exchange)).await {
        Ok(result) => result,
        Err(_) => Err(diagnosis::Failure::TimedOut { phase: progress.phase(), limit }),
    };
    let result = match result {
        Ok(received) => Ok(ReceiverReply {
            status_code: received.status,
            headers: received.headers.iter().map(|(name, value)| to_header(name, value)).collect(),
            body: received.body,
            truncated: received.truncated,
            decode_error: received.decode_error,
        }),
        Err(failure) => Err(diagnosis::of_failure(&failure, &url.text, http.tls)),
    };
    Forwarded { timings: marks.timings(), result }
}

fn to_header(name: &HeaderName, value: &HeaderValue) -> Header {
    Header { name: name.as_str().to_owned(), value: String::from_utf8_lossy(value.as_bytes()).into_owned() }
}

/// The headers as a map, without invalid ones.
fn header_map<'a>(headers: impl Iterator<Item = &'a Header>) -> HeaderMap {
    headers
        .filter_map(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(header.value.as_bytes()).ok()?))
        })
        .collect()
}
