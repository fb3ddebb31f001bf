//! The headers of a request: signatures, event data, custom headers and credentials.

use crate::redaction::REDACTED;
use crate::transcript::Writer;
use crate::{Auth, DeliveryRequest};
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// The request's headers, for the wire and for the record.
pub(crate) struct Headers {
    pub(crate) wire: HeaderMap,
    pub(crate) record: Writer,
    /// Redacted credential headers for the record; a renewed token replaces the first one.
    pub(crate) redacted: Vec<(HeaderName, Cow<'static, str>)>,
    /// Credentials that a receiver may echo, to be redacted in the response.
    pub(crate) secrets: Vec<String>,
}

impl Headers {
    /// Adds a header; one with an invalid value is omitted (registration rejects it).
    fn add(&mut self, name: HeaderName, value: &str) {
        if let Ok(wire) = HeaderValue::from_str(value) {
            self.record.header(name.as_str(), value);
            self.wire.append(name, wire);
        }
    }

    /// Adds an ASCII header; avoids a copy of static and owned values.
    fn push(&mut self, name: HeaderName, wire: HeaderValue) {
        self.record.header(name.as_str(), wire.to_str().unwrap_or_default());
        self.wire.append(name, wire);
    }

    fn add_static(&mut self, name: HeaderName, value: &'static str) {
        self.push(name, HeaderValue::from_static(value));
    }

    fn add_owned(&mut self, name: HeaderName, value: String) {
        if let Ok(wire) = HeaderValue::try_from(value) {
            self.push(name, wire);
        }
    }

    /// Adds a credential: sensitive on the wire, redacted in the record. Replaces a header of the same name.
    pub(crate) fn add_secret(&mut self, name: HeaderName, value: &str) {
        if let Ok(mut wire) = HeaderValue::from_str(value) {
            wire.set_sensitive(true);
            let redacted =
                if value.starts_with("Bearer ") { format!("Bearer {REDACTED}").into() } else { REDACTED.into() };
            self.redacted.retain(|(known, _)| *known != name);
            self.redacted.push((name.clone(), redacted));
            self.secrets.push(value.strip_prefix("Bearer ").unwrap_or(value).to_owned());
            self.wire.insert(name, wire);
        }
    }
}

/// The headers of a request, except an OAuth token (docs/contract.md §1).
pub(crate) fn signed_headers(user_agent: &str, request: &DeliveryRequest, now: DateTime<Utc>) -> Headers {
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
    headers.add_static(http::header::CONTENT_TYPE, "application/json");
    headers.add(http::header::USER_AGENT, user_agent);
    if let Some(secret) = request.target.secrets.first() {
        headers.add_owned(SIGNATURE, domain::signature::sign_body(secret, &request.body));
    }
    headers.add_static(EVENT, request.event_type.as_str());
    headers.add(DELIVERY, request.delivery_id.as_str());
    headers.push(ATTEMPT, request.attempt.into());
    if request.test {
        headers.add_static(TEST, "true");
    }
    let timestamp = now.timestamp();
    headers.add(ID, request.event_id.as_str());
    headers.push(TIMESTAMP, timestamp.into());
    headers.add_owned(
        STANDARD,
        domain::signature::sign_standard(
            &request.target.secrets,
            &request.target.keys,
            request.event_id.as_str(),
            timestamp,
            &request.body,
        ),
    );
    // A credential replaces a custom header of the same name.
    let credential = match &request.target.auth {
        Auth::None => "",
        Auth::ApiKey { header, .. } => header,
        Auth::Oauth2 { .. } => http::header::AUTHORIZATION.as_str(),
    };
    for custom in request.target.headers.iter().filter(|custom| !custom.name.eq_ignore_ascii_case(credential)) {
        if let Ok(name) = HeaderName::from_bytes(custom.name.as_bytes()) {
            headers.add(name, &custom.value);
        }
    }
    if let Auth::ApiKey { header, key } = &request.target.auth
        && let Ok(name) = HeaderName::from_bytes(header.as_bytes())
    {
        headers.add_secret(name, key);
    }
    headers
}
