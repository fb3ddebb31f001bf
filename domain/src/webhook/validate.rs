//! Validation of webhook settings; the server and the form run the same code.

use super::credentials::{self, CustomHeader, StoredCredentials};
use super::{AuthInput, DeliveryMode, ProvisionTime, WebhookInput, tls};
use crate::endpoint::UrlPolicy;
use crate::event::EventType;
use crate::payload::PayloadFormat;
use crate::problem::{Problem, Validator};
use crate::signature::Secret;

/// Headers that custom headers must not override (docs/contract.md §1), in lower case.
pub const RESERVED_HEADERS: [&str; 17] = [
    "x-webhook-signature",
    "x-webhook-event",
    "x-webhook-delivery",
    "x-webhook-attempt",
    "x-webhook-test",
    "x-webhook-id",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "authorization",
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "user-agent",
    "te",
];

/// Checks the settings of a webhook that need no database. `stored` is the changed webhook, whose credentials empty ones
/// keep; `None` for a new one.
///
/// # Errors
/// [`crate::ProblemKind::Invalid`] naming every invalid field: `name`, `endpoint_url`, `events`, `auth.key`,
/// `delivery_paths.paths.<event>`, `headers.<n>.name`, `retry.waits`, `filter.fields`, `tls.client_key` …
pub fn check(input: &WebhookInput, policy: &UrlPolicy, stored: Option<StoredCredentials<'_>>) -> Result<(), Problem> {
    let mut validator = Validator::new();
    validator.check("name", crate::validation::name(&input.name));
    let is_local = input.delivery_mode == Some(DeliveryMode::Local);
    let checked_url = match is_local {
        true => crate::endpoint::check_local_url(&input.endpoint_url),
        false => crate::endpoint::check_url(&input.endpoint_url, policy),
    };
    let url = validator.check("endpoint_url", checked_url);
    if is_local {
        check_local(&mut validator, input);
    }
    if input.events.is_empty() {
        validator.error("events", "Select at least one event.");
    }
    let format = input.payload_format.unwrap_or_default();
    if !input.events.is_empty() && !input.events.iter().any(|event| format.sends(*event)) {
        validator
            .error("events", "This payload format has none of these events. Select created, cancelled or expired.");
    }
    if input.provision == Some(ProvisionTime::Start) && format.holds_until_start(EventType::ReservationCreated) {
        validator.error("provision", "The classic payload format sends EVENT_START at the start already. Use booking.");
    }
    check_auth(&mut validator, &input.auth, policy, format);
    match stored {
        Some(stored) => stored.check(input, &mut validator),
        None => credentials::check_new(input, &mut validator),
    }
    tls::check(input, stored.is_some_and(|stored| stored.has_client_key), is_local, &mut validator);
    let paths = input.delivery_paths.clone().unwrap_or_default();
    match paths.check() {
        Err(errors) => {
            for (event, message) in errors {
                validator.error(format!("delivery_paths.paths.{event}"), message);
            }
        }
        Ok(()) => {
            let too_long = |event: &EventType| paths.url(&input.endpoint_url, *event).len() > crate::endpoint::MAX_URL;
            if url.is_some() && input.events.iter().any(too_long) {
                validator.error(
                    "endpoint_url",
                    "The URL with its delivery path is longer than 2048 characters. Shorten it.",
                );
            }
        }
    }
    if let Some(secret) = &input.secret {
        validator.check("secret", check_new_secret(secret, policy));
    }
    check_headers(&mut validator, &input.headers, &input.auth, format);
    if let Some(retry) = &input.retry {
        validator.check("retry.waits", retry.check());
    }
    if input.max_in_flight.is_some_and(|n| !(1..=2_000).contains(&n)) {
        validator.error("max_in_flight", "Choose 1 to 2000 concurrent requests.");
    }
    if input.rate_limit.is_some_and(|n| !(1..=10_000).contains(&n)) {
        validator.error("rate_limit", "Choose 1 to 10000 requests per second, or leave the field empty for no limit.");
    }
    if let Some(filter) = &input.filter {
        filter.check(&mut validator);
    }
    validator.finish()
}

/// Checks a signing secret that an administrator enters. Production accepts no weak one; stored ones keep working.
///
/// # Errors
/// A message for the field `secret`.
pub fn check_new_secret(text: &str, policy: &UrlPolicy) -> Result<Secret, String> {
    let secret = Secret::parse(text)?;
    match secret.weakness() {
        Some(weakness) if !policy.allow_http => Err(weakness.into()),
        _ => Ok(secret),
    }
}

fn check_auth(validator: &mut Validator, auth: &AuthInput, policy: &UrlPolicy, format: PayloadFormat) {
    match auth {
        AuthInput::None => {}
        AuthInput::ApiKey { header, key } => {
            if let Err(message) = crate::validation::header_name(header) {
                validator.error("auth.header", message);
            } else {
                let lower = header.to_ascii_lowercase();
                let is_reserved = lower != "authorization" && RESERVED_HEADERS.contains(&lower.as_str());
                if is_reserved || format.reserves_header(&lower) {
                    validator
                        .error("auth.header", "Berth sets this header. Choose another one, for example X-API-Key.");
                }
            }
            validator.check("auth.key", crate::validation::header_value(key));
        }
        AuthInput::Oauth2 { token_url, client_id, client_secret, scope, audience } => {
            validator.check("auth.token_url", crate::endpoint::check_url(token_url, policy));
            if !crate::validation::is_visible(client_id) {
                validator.error("auth.client_id", "Enter the client id.");
            }
            validator.check("auth.client_id", crate::validation::text(client_id, 255));
            validator.check("auth.client_secret", crate::validation::text(client_secret, 1_000));
            validator.check("auth.scope", crate::validation::text(scope.as_deref().unwrap_or_default(), 1_000));
            validator.check("auth.audience", crate::validation::text(audience.as_deref().unwrap_or_default(), 1_000));
        }
    }
}

/// A listener receives complete requests, so a local webhook has no credentials besides its signing secret. The listener
/// adds those of its receiver itself.
fn check_local(validator: &mut Validator, input: &WebhookInput) {
    if input.auth != AuthInput::None {
        validator.error("auth", "A local webhook has no credentials. Add them with `berth listen --header`.");
    }
    for (n, _) in input.headers.iter().enumerate().filter(|(_, header)| header.is_secret()) {
        validator
            .error(format!("headers.{n}.value"), "A local webhook has no secret headers. Use `berth listen --header`.");
    }
}

fn check_headers(validator: &mut Validator, headers: &[CustomHeader], auth: &AuthInput, format: PayloadFormat) {
    if headers.len() > 20 {
        validator.error("headers", "Use at most 20 headers.");
    }
    let auth_header = match auth {
        AuthInput::ApiKey { header, .. } => header.to_ascii_lowercase(),
        _ => String::new(),
    };
    let mut seen: Vec<String> = Vec::new();
    for (n, header) in headers.iter().enumerate() {
        let lower = header.name.to_ascii_lowercase();
        if validator.check(format!("headers.{n}.name"), crate::validation::header_name(&header.name)).is_some() {
            if RESERVED_HEADERS.contains(&lower.as_str()) || lower == auth_header || format.reserves_header(&lower) {
                validator.error(format!("headers.{n}.name"), "Berth sets this header. Choose another name.");
            } else if seen.contains(&lower) {
                validator.error(format!("headers.{n}.name"), "This header appears twice. Remove one.");
            }
        }
        validator.check(format!("headers.{n}.value"), crate::validation::header_value(&header.value));
        seen.push(lower);
    }
}
