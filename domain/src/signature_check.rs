//! The cause of a signature that does not fit (docs/contract.md §1, "Signatures").
//!
//! The check repeats the computation with the mistakes that developers make: another form of the body, of the secret or
//! of the signature. The mistake with which the signature fits is its cause.

use crate::event::EventBody;
use crate::header::Header;
use crate::problem::{Problem, Validator};
use crate::redacted_debug;
use crate::signature::{SECRET_PREFIX, mac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq as _;

/// Tolerated difference between `webhook-timestamp` and the present, in seconds (Standard Webhooks).
const TOLERANCE: i64 = 5 * 60;
/// Maximum number of headers that are checked.
const MAX_HEADERS: usize = 100;
/// Maximum number of previous secrets that are checked.
const MAX_PREVIOUS: usize = 10;
/// Maximum length of a secret in bytes, also of a mistyped one.
const MAX_SECRET: usize = 1_000;

const BODY_HEADER: &str = "X-Webhook-Signature";
const STANDARD_HEADER: &str = "webhook-signature";
const ID_HEADER: &str = "webhook-id";
const TIMESTAMP_HEADER: &str = "webhook-timestamp";
const BODY_PREFIX: &str = "sha256=";
const STANDARD_PREFIX: &str = "v1,";

/// Body of `POST /api/v1/tools/signature-check`: a request as the receiver got it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignatureCheckInput {
    /// The exact text of the request's body.
    pub body: String,
    /// The headers of the request, at most 100.
    pub headers: Vec<Header>,
    /// The signing secret of the webhook, as the receiver has it. It is not stored.
    pub secret: String,
    /// Earlier secrets, at most 10.
    #[serde(default)]
    pub previous_secrets: Vec<String>,
}

redacted_debug!(SignatureCheckInput { body, headers } hides { secret, previous_secrets });

impl SignatureCheckInput {
    /// Checks the sizes of an input.
    ///
    /// # Errors
    /// [`crate::ProblemKind::Invalid`] naming the field.
    pub fn check(&self) -> Result<(), Problem> {
        let mut validator = Validator::new();
        if self.headers.len() > MAX_HEADERS {
            validator.error("headers", "Send at most 100 headers.");
        }
        if self.previous_secrets.len() > MAX_PREVIOUS {
            validator.error("previous_secrets", "Send at most 10 previous secrets.");
        }
        for (n, secret) in self.previous_secrets.iter().enumerate() {
            if secret.len() > MAX_SECRET {
                validator.error(format!("previous_secrets.{n}"), "A secret has at most 1000 bytes.");
            }
        }
        if self.secret.is_empty() {
            validator.error("secret", "Enter the signing secret of the webhook.");
        } else if self.secret.len() > MAX_SECRET {
            validator.error("secret", "A secret has at most 1000 bytes.");
        }
        validator.finish()
    }
}

/// The part of a request that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SignatureCause {
    /// Nothing: the signature is valid.
    None,
    /// No header contains a signature.
    HeaderMissing,
    /// The signature is in another header.
    WrongHeader,
    /// The value has no prefix (`sha256=` or `v1,`).
    PrefixMissing,
    /// The value has another prefix.
    PrefixWrong,
    /// The value is in base64 instead of hex.
    Base64InsteadOfHex,
    /// The value is in hex instead of base64.
    HexInsteadOfBase64,
    /// The value is the URL-safe form of base64, or has no padding.
    Base64Form,
    /// The value is shorter or longer than a signature.
    Length,
    /// The value contains other characters than a signature.
    Malformed,
    /// White space, a line break or a byte order mark was removed from the body, added to it or changed.
    BodyTrimmed,
    /// The body was parsed and serialised again.
    BodyReserialised,
    /// The body is in another encoding.
    BodyEncoding,
    /// The body belongs to another event than the headers.
    BodyOfAnotherEvent,
    /// The secret is another one, or a value in the body was changed.
    WrongSecret,
    /// The signature was made with a previous secret.
    PreviousSecret,
    /// The secret has white space, a line break or quotation marks around it.
    SecretPadded,
    /// The secret lacks the prefix `whsec_`.
    SecretPrefix,
    /// The key is not the form of the secret that this header needs: text or decoded bytes.
    SecretForm,
    /// `webhook-id` is missing.
    IdMissing,
    /// Another id than `webhook-id` was signed, e.g. the delivery id.
    WrongId,
    /// `webhook-timestamp` is missing.
    TimestampMissing,
    /// `webhook-timestamp` is not a Unix time in seconds.
    TimestampFormat,
    /// `webhook-timestamp` is more than 5 minutes off.
    Clock,
}

impl SignatureCause {
    /// The wire name, e.g. `body_trimmed`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The cause in one sentence.
    pub fn message(self) -> &'static str {
        match self {
            Self::None => "The signature is valid.",
            Self::HeaderMissing => "The request has no signature.",
            Self::WrongHeader => "The signature is in another header.",
            Self::PrefixMissing => "The signature has no prefix.",
            Self::PrefixWrong => "The signature has another prefix.",
            Self::Base64InsteadOfHex => "The signature is in base64 instead of hex.",
            Self::HexInsteadOfBase64 => "The signature is in hex instead of base64.",
            Self::Base64Form => "The signature is in another form of base64.",
            Self::Length => "The signature is incomplete or too long.",
            Self::Malformed => "The header does not contain a signature.",
            Self::BodyTrimmed => "White space at an end of the body, its line breaks or its byte order mark differ.",
            Self::BodyReserialised => "The body was parsed and serialised again.",
            Self::BodyEncoding => "The body is in another encoding than the one that was signed.",
            Self::BodyOfAnotherEvent => "The body belongs to another event than the headers.",
            Self::WrongSecret => "The signature was made with another secret, or a value in the body was changed.",
            Self::PreviousSecret => "The signature was made with a previous secret.",
            Self::SecretPadded => "The secret has white space or quotation marks around it.",
            Self::SecretPrefix => "The secret lacks its prefix whsec_.",
            Self::SecretForm => "The key of the signature is another form of the secret.",
            Self::IdMissing => "The header webhook-id is missing.",
            Self::WrongId => "Another id than webhook-id was signed.",
            Self::TimestampMissing => "The header webhook-timestamp is missing.",
            Self::TimestampFormat => "webhook-timestamp is not a Unix time in seconds.",
            Self::Clock => "webhook-timestamp is more than 5 minutes off.",
        }
    }

    /// What to change, in one sentence; `""` for a valid signature.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::None => "",
            Self::HeaderMissing => "Pass on X-Webhook-Signature and webhook-signature; a proxy may have removed them.",
            Self::WrongHeader => {
                "X-Webhook-Signature contains sha256= and hex, webhook-signature contains v1, and base64; do not use others."
            }
            Self::PrefixMissing => {
                "Write sha256= before the hex of X-Webhook-Signature, and v1, before the base64 of webhook-signature."
            }
            Self::PrefixWrong => {
                "Use the prefix sha256= for X-Webhook-Signature, in lower case, and v1, for webhook-signature."
            }
            Self::Base64InsteadOfHex => "Encode X-Webhook-Signature in hex, e.g. with hexdigest() or digest(\"hex\").",
            Self::HexInsteadOfBase64 => "Encode webhook-signature in base64, e.g. with digest(\"base64\").",
            Self::Base64Form => "Use standard base64 with + and /, and with = at the end.",
            Self::Length => "Copy the whole header; HMAC-SHA256 has 64 hex digits or 44 characters of base64.",
            Self::Malformed => {
                "Send sha256= with 64 hex digits in X-Webhook-Signature, or v1, with base64 in webhook-signature."
            }
            Self::BodyTrimmed => {
                "Use the bytes of the body as they arrive: no trim(), no other line breaks, no text editor."
            }
            Self::BodyReserialised => "Verify the raw body before you parse it; a serialised object has other bytes.",
            Self::BodyEncoding => "Verify the bytes of the body before you decode them; the body is UTF-8.",
            Self::BodyOfAnotherEvent => "Use the body and the headers of one request.",
            Self::WrongSecret => {
                "Compare the secret with the webhook's (its page shows the last characters), or rotate it and use the new one."
            }
            Self::PreviousSecret => "Replace the previous secret by the current one before its overlap ends.",
            Self::SecretPadded => {
                "Remove line breaks, spaces and quotation marks from the secret, e.g. in your .env file."
            }
            Self::SecretPrefix => "Use the whole secret as Berth showed it, with whsec_.",
            Self::SecretForm => {
                "The key of X-Webhook-Signature is the text of the secret with its prefix; that of webhook-signature is the decoded base64 after whsec_."
            }
            Self::IdMissing => "Pass on webhook-id; it is part of the text that webhook-signature signs.",
            Self::WrongId => "Sign and verify webhook-id, which is the event id, and not the delivery id.",
            Self::TimestampMissing => "Pass on webhook-timestamp; it is part of the text that webhook-signature signs.",
            Self::TimestampFormat => "Use whole seconds since 1970, without milliseconds and not as a date.",
            Self::Clock => "Set the clock with NTP; if it is right, the request was recorded and is sent again.",
        }
    }
}

/// The result of a check of one header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckedHeader {
    /// The header's name.
    pub header: String,
    /// Whether it is valid.
    pub valid: bool,
    /// The part that is wrong; `none` if it is valid.
    pub cause: SignatureCause,
    /// The cause in one sentence.
    pub message: String,
    /// What to change, in one sentence; `""` if it is valid.
    pub remedy: String,
}

impl CheckedHeader {
    fn new(header: &str, cause: SignatureCause) -> Self {
        Self {
            header: header.to_owned(),
            valid: cause == SignatureCause::None,
            cause,
            message: cause.message().to_owned(),
            remedy: cause.remedy().to_owned(),
        }
    }

    fn detail(mut self, detail: &str) -> Self {
        self.message = format!("{} {detail}", self.message);
        self
    }
}

/// The result of a check of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignatureReport {
    /// Whether a receiver should accept the request: it has a signature, and all checked headers are valid.
    pub valid: bool,
    /// The checked headers: the signatures, and `webhook-timestamp`.
    pub headers: Vec<CheckedHeader>,
}

impl SignatureReport {
    /// The first part that is wrong.
    pub fn cause(&self) -> SignatureCause {
        self.headers.iter().find(|header| !header.valid).map_or(SignatureCause::None, |header| header.cause)
    }
}

/// Checks the signatures of a request at `now`. `secret` and `previous` are the secrets as the receiver has them.
pub fn check_signature(
    body: &[u8],
    headers: &[Header],
    secret: &str,
    previous: &[String],
    now: DateTime<Utc>,
) -> SignatureReport {
    let request = Request { body, headers, secret, previous };
    let mut checked: Vec<CheckedHeader> =
        [request.check_body_header(), request.check_standard_header(now)].into_iter().flatten().collect();
    if checked.is_empty() {
        checked.push(request.find_other_header());
    }
    checked.extend(request.check_timestamp(now));
    SignatureReport { valid: checked.iter().all(|header| header.valid), headers: checked }
}

struct Request<'a> {
    body: &'a [u8],
    headers: &'a [Header],
    secret: &'a str,
    previous: &'a [String],
}

/// A decoded signature and the mistake in its form.
struct Decoded {
    mac: Vec<u8>,
    cause: SignatureCause,
}

impl Request<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|header| header.name.trim().eq_ignore_ascii_case(name))
            .map(|header| header.value.trim())
    }

    fn check_body_header(&self) -> Option<CheckedHeader> {
        let value = self.header(BODY_HEADER)?;
        if value.starts_with(STANDARD_PREFIX) {
            return Some(CheckedHeader::new(BODY_HEADER, SignatureCause::WrongHeader));
        }
        let cause = match decode_body_signature(value) {
            Err(cause) => cause,
            Ok(decoded) => self.cause(&decoded, text_key, |body, key| mac(key, &[body])),
        };
        Some(CheckedHeader::new(BODY_HEADER, cause))
    }

    fn check_standard_header(&self, now: DateTime<Utc>) -> Option<CheckedHeader> {
        let value = self.header(STANDARD_HEADER)?;
        let new = |cause| Some(CheckedHeader::new(STANDARD_HEADER, cause));
        if value.starts_with(BODY_PREFIX) {
            return new(SignatureCause::WrongHeader);
        }
        let Some(id) = self.header(ID_HEADER) else { return new(SignatureCause::IdMissing) };
        let Some(timestamp) = self.header(TIMESTAMP_HEADER) else { return new(SignatureCause::TimestampMissing) };
        let sign = |id: &str, timestamp: &str, body: &[u8], key: &[u8]| {
            mac(key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body])
        };
        let mut first_cause = None;
        for entry in value.split_whitespace().filter(|entry| !entry.starts_with("v1a,")) {
            let cause = match decode_standard_signature(entry) {
                Err(cause) => cause,
                Ok(decoded) => match self.cause(&decoded, decoded_key, |body, key| sign(id, timestamp, body, key)) {
                    SignatureCause::WrongSecret | SignatureCause::BodyOfAnotherEvent => {
                        self.cause_of_parts(&decoded, id, timestamp, now, sign)
                    }
                    cause => cause,
                },
            };
            // During a rotation one signature of several fits.
            if cause == SignatureCause::None {
                return new(cause);
            }
            first_cause.get_or_insert(cause);
        }
        // A webhook may have only `v1a` signatures, which need the public key.
        new(first_cause.unwrap_or(SignatureCause::Malformed))
    }

    /// The mistake with which `sign` returns the signature.
    fn cause(
        &self,
        decoded: &Decoded,
        form: fn(&str) -> Vec<u8>,
        sign: impl Fn(&[u8], &[u8]) -> [u8; 32],
    ) -> SignatureCause {
        let fits = |body: &[u8], key: &[u8]| is_same(&sign(body, key), &decoded.mac);
        let key = form(self.secret);
        if fits(self.body, &key) {
            return decoded.cause;
        }
        if decoded.cause != SignatureCause::None {
            return decoded.cause;
        }
        if self.previous.iter().any(|secret| fits(self.body, &form(secret))) {
            return SignatureCause::PreviousSecret;
        }
        if let Some((cause, _)) = secret_mistakes(self.secret).into_iter().find(|(_, key)| fits(self.body, key)) {
            return cause;
        }
        let keys = || std::iter::once(self.secret).chain(self.previous.iter().map(String::as_str)).map(form);
        let found = body_mistakes(self.body).into_iter().find(|(_, body)| keys().any(|key| fits(body, &key)));
        found.map_or_else(|| self.unexplained(), |(cause, _)| cause)
    }

    /// The mistake in the id or the timestamp that was signed.
    fn cause_of_parts(
        &self,
        decoded: &Decoded,
        id: &str,
        timestamp: &str,
        now: DateTime<Utc>,
        sign: impl Fn(&str, &str, &[u8], &[u8]) -> [u8; 32],
    ) -> SignatureCause {
        let key = decoded_key(self.secret);
        let fits = |id: &str, timestamp: &str| is_same(&sign(id, timestamp, self.body, &key), &decoded.mac);
        let delivery = self.header("x-webhook-delivery").unwrap_or_default();
        if fits(delivery, timestamp) || fits("", timestamp) {
            return SignatureCause::WrongId;
        }
        let other_form = match timestamp_seconds(timestamp) {
            Some(seconds) => seconds.to_string(),
            None => now.timestamp().to_string(),
        };
        if other_form != timestamp && fits(id, &other_form) {
            return SignatureCause::TimestampFormat;
        }
        self.unexplained()
    }

    /// The cause of a signature that no mistake explains.
    fn unexplained(&self) -> SignatureCause {
        let body: Value = serde_json::from_slice(self.body).unwrap_or_default();
        let other_event =
            body["event_id"].as_str().zip(self.header(ID_HEADER)).is_some_and(|(event, header)| event != header);
        if other_event {
            return SignatureCause::BodyOfAnotherEvent;
        }
        // A decoder writes it for bytes that are not UTF-8; the original bytes are lost.
        if String::from_utf8_lossy(self.body).contains('\u{FFFD}') {
            return SignatureCause::BodyEncoding;
        }
        SignatureCause::WrongSecret
    }

    /// The cause if neither signature header exists.
    fn find_other_header(&self) -> CheckedHeader {
        let fits = |header: &&Header| {
            let value = header.value.trim();
            let own = mac(&text_key(self.secret), &[self.body]);
            decode_body_signature(value).is_ok_and(|decoded| is_same(&own, &decoded.mac))
        };
        let named = |header: &&Header| header.name.to_ascii_lowercase().contains("signature");
        match self.headers.iter().find(fits).or_else(|| self.headers.iter().find(named)) {
            Some(header) => CheckedHeader::new(BODY_HEADER, SignatureCause::WrongHeader)
                .detail(&format!("The request has {} instead.", header.name.trim())),
            None => CheckedHeader::new(BODY_HEADER, SignatureCause::HeaderMissing),
        }
    }

    fn check_timestamp(&self, now: DateTime<Utc>) -> Option<CheckedHeader> {
        let value = self.header(TIMESTAMP_HEADER)?;
        let Ok(seconds) = value.parse::<i64>() else {
            return Some(CheckedHeader::new(TIMESTAMP_HEADER, SignatureCause::TimestampFormat));
        };
        let difference = now.timestamp().saturating_sub(seconds);
        if difference.saturating_abs() <= TOLERANCE {
            return Some(CheckedHeader::new(TIMESTAMP_HEADER, SignatureCause::None));
        }
        // A time in milliseconds is thousands of years ahead.
        if timestamp_seconds(value) != Some(seconds) {
            return Some(CheckedHeader::new(TIMESTAMP_HEADER, SignatureCause::TimestampFormat));
        }
        let direction = if difference > 0 { "in the past" } else { "in the future" };
        let detail = format!("It is {} s {direction}.", difference.saturating_abs());
        Some(CheckedHeader::new(TIMESTAMP_HEADER, SignatureCause::Clock).detail(&detail))
    }
}

/// Compares signatures in constant time.
fn is_same(own: &[u8; 32], other: &[u8]) -> bool {
    own.as_slice().ct_eq(other).into()
}

/// The Unix time in seconds of a timestamp in seconds, in milliseconds or as a date.
fn timestamp_seconds(text: &str) -> Option<i64> {
    /// The year 5138 in seconds: a larger number is in milliseconds.
    const MAX_SECONDS: i64 = 100_000_000_000;
    match text.parse::<i64>() {
        Ok(number) if number >= MAX_SECONDS => Some(number / 1_000),
        Ok(number) => Some(number),
        Err(_) => DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp()),
    }
}

/// The key of `X-Webhook-Signature`.
fn text_key(secret: &str) -> Vec<u8> {
    secret.as_bytes().to_vec()
}

/// The key of `webhook-signature`.
fn decoded_key(secret: &str) -> Vec<u8> {
    secret
        .strip_prefix(SECRET_PREFIX)
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .unwrap_or_else(|| secret.as_bytes().to_vec())
}

/// Keys that other forms of the secret result in.
fn secret_mistakes(secret: &str) -> Vec<(SignatureCause, Vec<u8>)> {
    let is_around = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
    let bare = secret.trim_matches(is_around);
    let mut keys = Vec::new();
    if bare != secret {
        keys.extend([text_key(bare), decoded_key(bare)].map(|key| (SignatureCause::SecretPadded, key)));
    }
    let with_prefix = format!("{SECRET_PREFIX}{secret}");
    if let Some(encoded) = secret.strip_prefix(SECRET_PREFIX) {
        keys.extend(
            [text_key(secret), decoded_key(secret), text_key(encoded)].map(|key| (SignatureCause::SecretForm, key)),
        );
    } else {
        keys.extend([text_key(&with_prefix), decoded_key(&with_prefix)].map(|key| (SignatureCause::SecretPrefix, key)));
    }
    keys
}

/// Bodies from which a developer may have made this one.
fn body_mistakes(body: &[u8]) -> Vec<(SignatureCause, Vec<u8>)> {
    use SignatureCause::{BodyEncoding, BodyReserialised, BodyTrimmed};
    const BOM: &[u8] = b"\xEF\xBB\xBF";
    let trimmed = body.trim_ascii();
    let mut forms: Vec<(SignatureCause, Vec<u8>)> = vec![
        (BodyTrimmed, trimmed.to_vec()),
        (BodyTrimmed, [body, b"\n"].concat()),
        (BodyTrimmed, [body, b"\r\n"].concat()),
        (BodyTrimmed, [trimmed, b"\n"].concat()),
        (BodyTrimmed, [BOM, body].concat()),
    ];
    forms.extend(body.strip_prefix(BOM).map(|body| (BodyTrimmed, body.to_vec())));
    if let Ok(text) = std::str::from_utf8(body) {
        let unix = text.replace("\r\n", "\n");
        forms.push((BodyTrimmed, unix.replace('\n', "\r\n").into_bytes()));
        forms.push((BodyTrimmed, unix.into_bytes()));
        // Bytes that were read as Latin-1 and written as UTF-8.
        let latin_1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
        forms.extend(latin_1.map(|bytes| (BodyEncoding, bytes)));
        if let Ok(Value::String(quoted)) = serde_json::from_str(text) {
            forms.push((BodyEncoding, quoted.into_bytes()));
        }
    }
    forms.extend(STANDARD.decode(trimmed).ok().map(|bytes| (BodyEncoding, bytes)));
    forms.extend(utf_16(body).map(|text| (BodyEncoding, text.into_bytes())));
    // Text in Latin-1 instead of UTF-8.
    forms.push((BodyEncoding, body.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes()));
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        forms.push((BodyReserialised, value.to_string().into_bytes()));
        forms.push((BodyReserialised, format!("{value:#}").into_bytes()));
    }
    // Restores the order of the fields.
    if let Ok(event) = serde_json::from_slice::<EventBody>(body) {
        forms.extend(serde_json::to_vec(&event).ok().map(|body| (BodyReserialised, body)));
    }
    forms
}

/// The text of a body in UTF-16, with or without byte order mark.
fn utf_16(body: &[u8]) -> Option<String> {
    let units = |read: fn([u8; 2]) -> u16| -> Option<String> {
        let (pairs, rest) = body.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| read(*pair)).collect();
        let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty())?;
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text).to_owned();
        text.starts_with('{').then_some(text)
    };
    units(u16::from_le_bytes).or_else(|| units(u16::from_be_bytes))
}

/// Decodes a value of `X-Webhook-Signature`.
///
/// # Errors
/// The cause if it is no signature in any form.
fn decode_body_signature(value: &str) -> Result<Decoded, SignatureCause> {
    let (prefix, encoded) = match value.split_once('=') {
        Some((prefix, rest)) if !rest.is_empty() && rest != "=" && prefix.len() <= 16 => (Some(prefix), rest),
        _ if value == BODY_PREFIX => return Err(SignatureCause::Length),
        _ => (None, value),
    };
    let cause = match prefix {
        None => SignatureCause::PrefixMissing,
        Some("sha256") => SignatureCause::None,
        Some(_) => SignatureCause::PrefixWrong,
    };
    if let Ok(mac) = hex::decode(encoded) {
        return match mac.len() {
            32 => Ok(Decoded { mac, cause }),
            _ => Err(SignatureCause::Length),
        };
    }
    if encoded.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(SignatureCause::Length);
    }
    match decode_any_base64(encoded) {
        Some(mac) => Ok(Decoded { mac, cause: SignatureCause::Base64InsteadOfHex }),
        None => Err(SignatureCause::Malformed),
    }
}

/// Decodes one signature of `webhook-signature`.
///
/// # Errors
/// The cause if it is no signature in any form.
fn decode_standard_signature(entry: &str) -> Result<Decoded, SignatureCause> {
    let (cause, encoded) = match entry.split_once(',') {
        Some(("v1", encoded)) => (SignatureCause::None, encoded),
        Some((_, encoded)) => (SignatureCause::PrefixWrong, encoded),
        None => match entry.strip_prefix("v1=") {
            Some(encoded) => (SignatureCause::PrefixWrong, encoded),
            None => (SignatureCause::PrefixMissing, entry),
        },
    };
    if let Some(mac) = hex::decode(encoded).ok().filter(|mac| mac.len() == 32) {
        return Ok(Decoded { mac, cause: SignatureCause::HexInsteadOfBase64 });
    }
    if let Some(mac) = STANDARD.decode(encoded).ok().filter(|mac| mac.len() == 32) {
        return Ok(Decoded { mac, cause });
    }
    match decode_any_base64(encoded) {
        Some(mac) => Ok(Decoded { mac, cause: SignatureCause::Base64Form }),
        None if encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte)) => {
            Err(SignatureCause::Length)
        }
        None => Err(SignatureCause::Malformed),
    }
}

/// The 32 bytes of a text in any form of base64.
fn decode_any_base64(text: &str) -> Option<Vec<u8>> {
    let forms = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
    forms.iter().find_map(|form| form.decode(text).ok().filter(|mac| mac.len() == 32))
}

#[cfg(test)]
mod tests;
