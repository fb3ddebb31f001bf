//! A valid signature is accepted, and each mistake has its cause.

use super::*;
use crate::sample::{Sample, sample_subject};
use crate::signature::{Secret, sign_body, sign_standard};
use proptest::prelude::*;

const NOW: i64 = 1_800_000_000;
const ID: &str = "evt_01k0000000000000000000000";
const DELIVERY: &str = "dlv_01k0000000000000000000000";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

/// A request of Berth, which a test changes.
#[derive(Clone)]
struct Sent {
    body: Vec<u8>,
    headers: Vec<Header>,
    secret: String,
    previous: Vec<String>,
}

impl Sent {
    fn new(secret: &Secret, body: &str) -> Self {
        let header = |name: &str, value: String| Header { name: name.into(), value };
        Self {
            body: body.as_bytes().to_vec(),
            headers: vec![
                header("x-webhook-signature", sign_body(secret, body.as_bytes())),
                header("Webhook-Id", ID.into()),
                header("X-Webhook-Delivery", DELIVERY.into()),
                header("webhook-timestamp", NOW.to_string()),
                header("webhook-signature", sign_standard(std::slice::from_ref(secret), &[], ID, NOW, body.as_bytes())),
            ],
            secret: secret.expose().to_owned(),
            previous: Vec::new(),
        }
    }

    fn report(&self) -> SignatureReport {
        check_signature(&self.body, &self.headers, &self.secret, &self.previous, now())
    }

    /// The causes of both signatures.
    fn causes(&self) -> Vec<SignatureCause> {
        let report = self.report();
        assert_eq!(report.valid, report.cause() == SignatureCause::None);
        report.headers.iter().filter(|header| header.header.contains("ignature")).map(|header| header.cause).collect()
    }

    fn with_body(&self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self.clone() }
    }

    fn set(&self, name: &str, change: impl FnOnce(&str) -> String) -> Self {
        let mut sent = self.clone();
        let header = sent.headers.iter_mut().find(|header| header.name.eq_ignore_ascii_case(name)).unwrap();
        header.value = change(&header.value);
        sent
    }

    fn without(&self, name: &str) -> Self {
        let mut sent = self.clone();
        sent.headers.retain(|header| !header.name.eq_ignore_ascii_case(name));
        sent
    }

    /// The cause of one signature.
    fn cause_of(&self, name: &str) -> SignatureCause {
        self.report().headers.iter().find(|header| header.header.eq_ignore_ascii_case(name)).unwrap().cause
    }
}

fn event(title: &str) -> String {
    let sample = Sample { resource_name: title.to_owned(), ..Sample::default() };
    let subject = sample_subject(ulid::Ulid::from_parts(1, 2));
    let event = sample.event(crate::event::EventType::ReservationUpdated, ID.into(), subject, now());
    serde_json::to_string(&event.for_webhook(3, |id, _| format!("https://berth.example/{id}"))).unwrap()
}

fn generated(random: [u8; 32]) -> Secret {
    Secret::generate(random)
}

const BOTH: usize = 2;

fn all(sent: &Sent, cause: SignatureCause) {
    assert_eq!(sent.causes(), [cause; BOTH]);
}

/// The object with its fields in alphabetical order.
fn sorted(body: &str) -> String {
    let fields: std::collections::BTreeMap<String, Value> = serde_json::from_str(body).unwrap();
    serde_json::to_string(&fields).unwrap()
}

/// The text with every character outside ASCII as `\uXXXX`, as Python writes it.
fn escaped(body: &str) -> String {
    let mut text = String::new();
    for c in body.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

proptest! {
    #[test]
    fn valid_signature_is_accepted(random: [u8; 32], text in "[a-zA-Z0-9 ]{8,40}", title: String, plain: bool) {
        let secret = if plain { Secret::parse(text.trim()).ok() } else { None };
        let sent = Sent::new(&secret.unwrap_or_else(|| generated(random)), &event(&title));
        prop_assert!(sent.report().valid, "{:?}", sent.report());
        prop_assert!(sent.set("x-webhook-signature", |value| value.to_uppercase().replace("SHA256", "sha256")).report().valid);
    }

    #[test]
    fn arbitrary_input_is_not_accepted(body: Vec<u8>, value: String, secret: String, name in "[a-z-]{1,20}") {
        for header in ["x-webhook-signature", "webhook-signature", &name] {
            let headers = [Header { name: header.into(), value: value.clone() }];
            prop_assert!(!check_signature(&body, &headers, &secret, &[], now()).valid);
        }
    }

    #[test]
    fn changed_white_space_is_named(random: [u8; 32], title: String) {
        let body = event(&title);
        let sent = Sent::new(&generated(random), &body);
        for changed in [format!("{body}\n"), format!(" {body}\r\n"), format!("\u{FEFF}{body}")] {
            all(&sent.with_body(changed), SignatureCause::BodyTrimmed);
        }
        for original in [format!("{body}\n"), format!("{{\n{}", &body[1..]), format!("\u{FEFF}{body}")] {
            let sent = Sent::new(&generated(random), &original);
            let received = original.trim_start_matches('\u{FEFF}').trim_end().replace('\n', "\r\n");
            all(&sent.with_body(received), SignatureCause::BodyTrimmed);
        }
    }

    #[test]
    fn serialised_body_is_named(random: [u8; 32], title: String) {
        let body = event(&format!("é{title}"));
        let sent = Sent::new(&generated(random), &body);
        let value: Value = serde_json::from_str(&body).unwrap();
        let sorted_value: Value = serde_json::from_str(&sorted(&body)).unwrap();
        for changed in [format!("{value:#}"), sorted(&body), escaped(&body), format!("{sorted_value:#}")] {
            all(&sent.with_body(changed), SignatureCause::BodyReserialised);
        }
    }

    #[test]
    fn encoding_of_the_body_is_named(random: [u8; 32], title in "[a-zà-ÿ]{0,20}") {
        let body = event(&format!("é{title}"));
        let sent = Sent::new(&generated(random), &body);
        let utf_16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let latin_1: Vec<u8> = body.chars().map(|c| u8::try_from(c).unwrap()).collect();
        let misread: String = body.bytes().map(char::from).collect();
        let quoted = Value::from(body.as_str()).to_string();
        for changed in [
            utf_16, latin_1, misread.into_bytes(), quoted.into_bytes(), STANDARD.encode(&body).into_bytes(),
            body.replace('é', "\u{FFFD}").into_bytes(),
        ] {
            all(&sent.with_body(changed), SignatureCause::BodyEncoding);
        }
    }

    #[test]
    fn mistakes_in_the_secret_are_named(random: [u8; 32], other: [u8; 32]) {
        prop_assume!(random != other);
        let secret = generated(random);
        let sent = Sent::new(&secret, &event("a"));
        let with = |secret: &str| Sent { secret: secret.to_owned(), ..sent.clone() };
        all(&with(generated(other).expose()), SignatureCause::WrongSecret);
        let previous = vec![generated([9; 32]).expose().to_owned(), secret.expose().to_owned()];
        all(&Sent { previous, ..with(generated(other).expose()) }, SignatureCause::PreviousSecret);
        for padded in [format!("{}\n", secret.expose()), format!("\"{}\"", secret.expose())] {
            all(&with(&padded), SignatureCause::SecretPadded);
        }
        all(&with(&secret.expose()["whsec_".len()..]), SignatureCause::SecretPrefix);
        // The sender uses the other form of the key.
        let hex_of = |key: &[u8]| format!("sha256={}", hex::encode(mac(key, &[&sent.body])));
        let changed = sent.set("x-webhook-signature", |_| hex_of(&decoded_key(secret.expose())));
        prop_assert_eq!(changed.cause_of("x-webhook-signature"), SignatureCause::SecretForm);
        let message = format!("{ID}.{NOW}.{}", String::from_utf8_lossy(&sent.body));
        let standard = format!("v1,{}", STANDARD.encode(mac(secret.expose().as_bytes(), &[message.as_bytes()])));
        let changed = sent.set("webhook-signature", |_| standard);
        prop_assert_eq!(changed.cause_of("webhook-signature"), SignatureCause::SecretForm);
    }

    #[test]
    fn form_of_the_signature_is_named(random: [u8; 32], cut in 1_usize..60) {
        use SignatureCause::{
            Base64Form, Base64InsteadOfHex, HexInsteadOfBase64, Length, Malformed, PrefixMissing, PrefixWrong, WrongHeader,
        };
        let sent = Sent::new(&generated(random), &event("a"));
        let bytes = |value: &str| hex::decode(&value[7..]).unwrap();
        let own = |change: &dyn Fn(&str) -> String| {
            sent.set("x-webhook-signature", change).cause_of("x-webhook-signature")
        };
        prop_assert_eq!(own(&|value| value[7..].to_owned()), PrefixMissing);
        for prefix in ["sha1", "SHA256", "v1", "hmac-sha256"] {
            prop_assert_eq!(own(&|value| format!("{prefix}={}", &value[7..])), PrefixWrong);
        }
        prop_assert_eq!(own(&|value| format!("sha256={}", STANDARD.encode(bytes(value)))), Base64InsteadOfHex);
        prop_assert_eq!(own(&|value| STANDARD.encode(bytes(value))), Base64InsteadOfHex);
        prop_assert_eq!(own(&|value| value[..value.len() - cut].to_owned()), Length);
        prop_assert_eq!(own(&|_| "sha256=".to_owned()), Length);
        prop_assert_eq!(own(&|_| "sha256=a signature".to_owned()), Malformed);
        prop_assert_eq!(own(&|_| "v1,abc".to_owned()), WrongHeader);
        let standard = |change: &dyn Fn(&str) -> String| {
            sent.set("webhook-signature", change).cause_of("webhook-signature")
        };
        prop_assert_eq!(standard(&|value| value[3..].to_owned()), PrefixMissing);
        prop_assert_eq!(standard(&|value| format!("v1={}", &value[3..])), PrefixWrong);
        prop_assert_eq!(standard(&|value| format!("v2,{}", &value[3..])), PrefixWrong);
        prop_assert_eq!(standard(&|value| format!("v1,{}", hex::encode(STANDARD.decode(&value[3..]).unwrap()))), HexInsteadOfBase64);
        prop_assert_eq!(standard(&|value| value.trim_end_matches('=').to_owned()), Base64Form);
        prop_assert_eq!(standard(&|value| value[..value.len() - cut.min(40) - 1].to_owned()), Length);
        prop_assert_eq!(standard(&|_| "v1,a/signature!".to_owned()), Malformed);
        prop_assert_eq!(standard(&|_| "sha256=00".to_owned()), WrongHeader);
    }

    #[test]
    fn clock_and_ids_are_named(random: [u8; 32], off in 301_i64..1_000_000, late: bool) {
        let secret = generated(random);
        let body = event("a");
        let sent = Sent::new(&secret, &body);
        let sign = |id: &str, timestamp: i64| sign_standard(std::slice::from_ref(&secret), &[], id, timestamp, body.as_bytes());
        let time = if late { NOW - off } else { NOW + off };
        let skewed = sent.set("webhook-timestamp", |_| time.to_string()).set("webhook-signature", |_| sign(ID, time));
        prop_assert_eq!(skewed.report().cause(), SignatureCause::Clock);
        for (text, seconds) in [((NOW * 1_000).to_string(), NOW), ("2027-01-15T08:00:00Z".to_owned(), NOW)] {
            let other = sent.set("webhook-timestamp", |_| text.clone()).set("webhook-signature", |_| sign(ID, seconds));
            prop_assert_eq!(other.cause_of("webhook-signature"), SignatureCause::TimestampFormat);
            prop_assert_eq!(other.cause_of("webhook-timestamp"), SignatureCause::TimestampFormat);
        }
        let delivery = sent.set("webhook-signature", |_| sign(DELIVERY, NOW));
        prop_assert_eq!(delivery.cause_of("webhook-signature"), SignatureCause::WrongId);
        prop_assert_eq!(sent.without("webhook-id").cause_of("webhook-signature"), SignatureCause::IdMissing);
        prop_assert_eq!(sent.without("webhook-timestamp").cause_of("webhook-signature"), SignatureCause::TimestampMissing);
        let other = sent.with_body(body.replace(ID, "evt_01k0000000000000000000009"));
        all(&other, SignatureCause::BodyOfAnotherEvent);
    }
}

#[test]
fn missing_and_misplaced_headers_are_named() {
    let sent = Sent::new(&generated([1; 32]), &event("a"));
    let bare = sent.without("x-webhook-signature").without("webhook-signature");
    assert_eq!(bare.report().cause(), SignatureCause::HeaderMissing);
    let own = sent.headers[0].value.clone();
    for (name, value) in
        [("X-Hub-Signature-256", own.as_str()), ("X-Auth", own.as_str()), ("X-Signature", "unreadable")]
    {
        let mut moved = bare.clone();
        moved.headers.push(Header { name: name.into(), value: value.into() });
        let report = moved.report();
        assert_eq!(report.cause(), SignatureCause::WrongHeader);
        assert!(report.headers[0].message.contains(name), "{report:?}");
    }
}

#[test]
fn one_of_several_signatures_is_enough() {
    let (own, other) = (generated([1; 32]), generated([2; 32]));
    let body = event("a");
    let both = sign_standard(&[other, own.clone()], &[], ID, NOW, body.as_bytes());
    let sent = Sent::new(&own, &body).set("webhook-signature", |_| format!("v1a,AAAA {both}"));
    assert!(sent.report().valid);
}

#[test]
fn every_cause_has_a_remedy_and_debug_output_has_no_secret() {
    let input = SignatureCheckInput {
        body: "{}".into(),
        headers: Vec::new(),
        secret: "hunter2-hunter2".into(),
        previous_secrets: vec!["hunter2-hunter3".into()],
    };
    assert!(!format!("{input:?}").contains("hunter2"));
    assert_eq!(input.check(), Ok(()));
    let invalid = SignatureCheckInput { secret: String::new(), previous_secrets: vec!["x".repeat(1_001)], ..input };
    let fields: Vec<String> = invalid.check().unwrap_err().errors.into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["previous_secrets.0", "secret"]);
}
