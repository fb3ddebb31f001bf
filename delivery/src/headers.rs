//! The headers of a request: signatures, event data, custom headers and credentials.

use crate::recorded_signatures::{shorten_signatures, signatures};
use crate::redaction::REDACTED;
use crate::transcript::Writer;
use crate::{Auth, DeliveryRequest, HeaderChange};
use chrono::{DateTime, Utc};
use domain::payload::PayloadFormat;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// The value of `Accept-Encoding`: a body without encoding is the easiest to produce and to read.
pub(crate) const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// The request's headers, for the wire and for the record.
pub(crate) struct Headers {
    pub(crate) wire: HeaderMap,
    pub(crate) record: Writer,
    /// Redacted credential headers for the record; a renewed token replaces the first one.
    pub(crate) redacted: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// Credentials that a receiver may echo, to be redacted in the response.
    pub(crate) secrets: Vec<String>,
}

/// The value of a header after changes; `None` if it is removed.
fn changed<'a>(changes: &'a [HeaderChange], name: &HeaderName, value: &'a str) -> Option<&'a str> {
    match changes.iter().find(|change| change.name() == name.as_str()) {
        None => Some(value),
        Some(HeaderChange::Remove(_)) => None,
        Some(HeaderChange::Set(_, value)) => Some(value),
    }
}

impl Headers {
    /// Adds a header; one with an invalid value is omitted (registration rejects it).
    fn add(&mut self, name: HeaderName, value: &str) {
        if let Ok(wire) = HeaderValue::from_str(value) {
            self.record.documented_header(name.as_str(), value);
            self.wire.append(name, wire);
        }
    }

    /// Adds an ASCII header; avoids a copy of static and owned values.
    fn push(&mut self, name: HeaderName, wire: HeaderValue) {
        self.record.documented_header(name.as_str(), wire.to_str().unwrap_or_default());
        self.wire.append(name, wire);
    }

    fn add_static(&mut self, name: HeaderName, value: &'static str) {
        self.push(name, HeaderValue::from_static(value));
    }

    /// Adds signatures: shortened in the record, and redacted where a receiver echoes them.
    fn add_signatures(&mut self, name: HeaderName, value: &str) {
        if let Ok(wire) = HeaderValue::from_str(value) {
            self.record.documented_header(name.as_str(), &shorten_signatures(value));
            self.secrets.extend(signatures(value));
            self.wire.append(name, wire);
        }
    }

    /// Adds the headers by which the payload format describes the event.
    fn add_event_attributes(&mut self, request: &DeliveryRequest) {
        let DeliveryRequest { target, event_type, event_id, body, .. } = request;
        for header in request.format.headers(&target.public_url, *event_type, event_id, body) {
            if let Ok(name) = HeaderName::from_bytes(header.name.as_bytes()) {
                self.add(name, &header.value);
            }
        }
    }

    /// Adds a custom header, named as entered.
    fn add_custom(&mut self, name: &str, value: &str) {
        if let Ok(wire_name) = HeaderName::from_bytes(name.as_bytes())
            && let Ok(wire) = HeaderValue::from_str(value)
        {
            self.record.header(name, value);
            self.wire.append(wire_name, wire);
        }
    }

    /// Adds a credential: sensitive on the wire, redacted in the record. Replaces a header of the same name.
    fn add_secret(&mut self, name: Cow<'static, str>, value: &str) {
        if let Ok(wire_name) = HeaderName::from_bytes(name.as_bytes())
            && let Ok(mut wire) = HeaderValue::from_str(value)
        {
            wire.set_sensitive(true);
            let redacted =
                if value.starts_with("Bearer ") { format!("Bearer {REDACTED}").into() } else { REDACTED.into() };
            self.redacted.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
            self.redacted.push((name, redacted));
            self.secrets.push(value.strip_prefix("Bearer ").unwrap_or(value).to_owned());
            self.wire.insert(wire_name, wire);
        }
    }

    /// Adds an OAuth token.
    pub(crate) fn add_token(&mut self, token: &str) {
        self.add_secret("Authorization".into(), &format!("Bearer {token}"));
    }
}

/// The headers of a request, except an OAuth token (docs/contract.md §1). `changes` apply to the headers of the contract.
pub(crate) fn signed_headers(
    user_agent: &HeaderValue,
    request: &DeliveryRequest,
    changes: &[HeaderChange],
    now: DateTime<Utc>,
) -> Headers {
    const SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");
    const EVENT: HeaderName = HeaderName::from_static("x-webhook-event");
    const DELIVERY: HeaderName = HeaderName::from_static("x-webhook-delivery");
    const ATTEMPT: HeaderName = HeaderName::from_static("x-webhook-attempt");
    const TEST: HeaderName = HeaderName::from_static("x-webhook-test");
    const ID: HeaderName = HeaderName::from_static("webhook-id");
    const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
    const STANDARD: HeaderName = HeaderName::from_static("webhook-signature");
    let mut headers = Headers {
        wire: HeaderMap::with_capacity(16),
        record: Writer::new(&request.url.text),
        redacted: Vec::new(),
        secrets: Vec::new(),
    };
    headers.add_static(http::header::CONTENT_TYPE, request.format.content_type());
    headers.push(http::header::USER_AGENT, user_agent.clone());
    let custom = &request.target.headers;
    for (name, value) in
        [(http::header::ACCEPT, HeaderValue::from_static("*/*")), (http::header::ACCEPT_ENCODING, IDENTITY)]
    {
        if !custom.iter().any(|header| name == header.name.as_str()) {
            headers.push(name, value);
        }
    }
    if let Some(secret) = request.target.secrets.first() {
        let signature = match request.format {
            PayloadFormat::Classic => domain::signature::sign_classic(secret, &request.body),
            _ => domain::signature::sign_body(secret, &request.body),
        };
        if let Some(signature) = changed(changes, &SIGNATURE, &signature) {
            headers.add_signatures(SIGNATURE, signature);
        }
    }
    match changed(changes, &EVENT, request.event_type.as_str()) {
        Some(event) if event != request.event_type.as_str() => headers.add(EVENT, event),
        Some(_) => headers.add_static(EVENT, request.event_type.as_str()),
        None => {}
    }
    headers.add(DELIVERY, request.delivery_id.as_str());
    headers.push(ATTEMPT, request.attempt.into());
    if request.test {
        headers.add_static(TEST, "true");
    }
    let timestamp = now.timestamp();
    headers.add(ID, request.event_id.as_str());
    headers.push(TIMESTAMP, timestamp.into());
    let standard = domain::signature::sign_standard(
        &request.target.secrets,
        &request.target.keys,
        request.event_id.as_str(),
        timestamp,
        &request.body,
    );
    if let Some(standard) = changed(changes, &STANDARD, &standard) {
        headers.add_signatures(STANDARD, standard);
    }
    headers.add_event_attributes(request);
    // A credential replaces a custom header of the same name.
    let credential = match &request.target.auth {
        Auth::None => "",
        Auth::ApiKey { header, .. } => header,
        Auth::Oauth2 { .. } => http::header::AUTHORIZATION.as_str(),
    };
    for header in custom.iter().filter(|header| !header.name.eq_ignore_ascii_case(credential)) {
        // A queued delivery can be older than a custom header that would repeat one of its attributes.
        if request.format.reserves_header(&header.name) {
            continue;
        }
        if header.is_secret() {
            headers.add_secret(header.name.clone().into(), &header.value);
        } else {
            headers.add_custom(&header.name, &header.value);
        }
    }
    if let Auth::ApiKey { header, key } = &request.target.auth {
        headers.add_secret(header.clone().into(), key);
    }
    headers
}
