//! The requests of each check.

use super::Check;
use crate::event::{EventBody, EventType};
use crate::id::{DeliveryId, EventId, ReservationId, WebhookId};
use crate::payload::PayloadFormat;
use crate::sample::{Sample, sample_subject};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use ulid::Ulid;

/// An event type that no release of Berth sends.
pub const UNKNOWN_EVENT: &str = "reservation.certified";
/// Size of a large body in bytes. Bodies of the API have at most 256 KiB, and most of it can be configuration.
const LARGE_BODY: usize = 200 * 1024;
/// Age of the timestamp of a recorded request. Receivers tolerate a clock skew of 5 minutes.
const RECORDED: TimeDelta = TimeDelta::hours(1);
/// Age of an event whose last retry arrives late.
const LATE: TimeDelta = TimeDelta::hours(6);

/// The signatures of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    /// Those of the webhook.
    Valid,
    /// Those of another secret.
    OtherSecret,
    /// None.
    Absent,
    /// The prefixes without a signature.
    Empty,
    /// The first characters of the valid ones.
    Shortened,
    /// The valid ones of this body.
    OfBody(String),
    /// After a rotation: the current secret is the webhook's, and another one also signs.
    WithPrevious,
    /// After a rotation: another secret is the current one, and the webhook's also signs.
    AsPrevious,
}

/// A request of a check.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The request in words.
    pub sent: String,
    /// The event that selects the path, and the effect of the response.
    pub event_type: EventType,
    /// The value of `X-Webhook-Event` if it is not `event_type`.
    pub event_name: Option<&'static str>,
    /// The event.
    pub event_id: EventId,
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// 1, 2, 3, …
    pub attempt: u32,
    /// The body.
    pub body: String,
    /// The signatures.
    pub signing: Signing,
    /// Age of the request: `webhook-timestamp` is this much before the present.
    pub age: TimeDelta,
    /// Whether the API key or token is replaced by a wrong one.
    pub wrong_credentials: bool,
    /// Whether it is sent while the request before it is in flight.
    pub overlaps: bool,
}

/// What the requests of a run share.
pub struct Planner<'a> {
    /// The webhook of the bodies.
    pub webhook_id: WebhookId,
    /// User and resource of the bodies.
    pub sample: &'a Sample,
    /// The format of the bodies.
    pub format: PayloadFormat,
    /// The base URL of Berth, without a trailing slash.
    pub public_url: &'a str,
    /// The status URL of a reservation.
    pub status_url: &'a (dyn Fn(&ReservationId, WebhookId) -> String + Send + Sync),
    /// Returns a new ULID.
    pub new_ulid: &'a mut (dyn FnMut() -> Ulid + Send + Sync),
    /// The present.
    pub now: DateTime<Utc>,
    /// Reservations that are created and not yet released.
    pub open: BTreeSet<String>,
    /// The reservation of the first checks.
    pub main: Option<String>,
    /// The request of [`Check::Created`].
    pub first: Option<Step>,
}

impl Planner<'_> {
    /// The request of a valid event, after the events that it presupposes. There is at least one.
    pub fn valid_event(&mut self, event: EventType) -> Vec<Step> {
        match event {
            EventType::ReservationCreated => self.steps(Check::Created),
            EventType::ReservationUpdated => self.steps(Check::Updated),
            EventType::ReservationCancelled => self.steps(Check::Cancelled),
            EventType::ReservationExpired => self.steps(Check::Expired),
            EventType::AccessRequested => self.steps(Check::AccessRequested),
            EventType::ReservationStarted | EventType::ReservationEnding => {
                let subject = self.main_subject();
                vec![self.event(event, &subject)]
            }
        }
    }

    /// The requests of a check; none for a check that judges the answers of earlier ones, and for [`Check::Health`].
    pub fn steps(&mut self, check: Check) -> Vec<Step> {
        use EventType::{
            AccessRequested, ReservationCancelled, ReservationCreated, ReservationExpired, ReservationUpdated,
        };
        match check {
            Check::Response | Check::ResponseTime | Check::Health => Vec::new(),
            Check::Created => {
                let subject = self.main_subject();
                let step = self.event(ReservationCreated, &subject);
                self.first = Some(step.clone());
                vec![step]
            }
            Check::Updated => {
                let subject = self.main_subject();
                vec![self.event(ReservationUpdated, &subject)]
            }
            Check::Cancelled => {
                let subject = self.main_subject();
                vec![self.event(ReservationCancelled, &subject)]
            }
            Check::Expired => {
                let subject = self.new_subject();
                vec![self.event(ReservationCreated, &subject), self.event(ReservationExpired, &subject)]
            }
            Check::AccessRequested => {
                let subject = self.new_subject();
                vec![self.event(AccessRequested, &subject)]
            }
            Check::Duplicate => self.duplicates(),
            Check::LateRetry => {
                let (subject, now) = (self.new_subject(), self.now);
                self.now = now - LATE;
                let step = self.event(ReservationCreated, &subject);
                self.now = now;
                vec![Step { sent: format!("{}, 6 hours after the event, as attempt 4", step.sent), attempt: 4, ..step }]
            }
            Check::WrongSignature => vec![self.signed(Signing::OtherSecret, "signed with another secret")],
            Check::MissingSignature => vec![self.signed(Signing::Absent, "without signatures")],
            Check::ShortenedSignature => vec![
                self.signed(Signing::Empty, "with empty signatures"),
                self.signed(Signing::Shortened, "with the first 8 characters of the signatures"),
            ],
            Check::ChangedBody => self.changed_body().into_iter().collect(),
            Check::OldTimestamp => {
                let step = self.signed(Signing::Valid, "with a webhook-timestamp of 1 hour ago");
                vec![Step { age: RECORDED, ..step }]
            }
            Check::Credentials => {
                let step = self.signed(Signing::Valid, "with wrong credentials");
                vec![Step { wrong_credentials: true, ..step }]
            }
            Check::RawBody => vec![self.changed("with white space in the body", spaced)],
            Check::NonAscii => {
                vec![self.with_fields("with a title in several scripts", &[("title", json!("Größe ✓ 予約 🚀"))])]
            }
            Check::EmptyFields => {
                let empty = [("title", json!("")), ("user_ssh_key", json!(""))];
                vec![self.with_fields("with an empty title and SSH key", &empty)]
            }
            Check::UnknownFields => {
                let unknown = [("x_certification", json!({"later": [1, null]}))];
                vec![self.with_fields("with an unknown field", &unknown)]
            }
            Check::UnknownEvent => {
                let step = self.with_fields("", &[("event_type", json!(UNKNOWN_EVENT))]);
                let sent = format!("an event of the unknown type {UNKNOWN_EVENT}");
                vec![Step { sent, event_name: Some(UNKNOWN_EVENT), ..step }]
            }
            Check::LargeBody => vec![self.changed("with a body of 200 KiB, padded with spaces", |body| {
                let padding = " ".repeat(LARGE_BODY.saturating_sub(body.len()));
                body.replacen('{', &format!("{{{padding}"), 1)
            })],
            Check::UpdateFirst => {
                let subject = self.new_subject();
                let created = self.event(ReservationCreated, &subject);
                vec![self.event(ReservationUpdated, &subject), created]
            }
            Check::CancelUnknown => {
                let subject = self.new_subject();
                vec![self.event(ReservationCancelled, &subject)]
            }
            Check::CancelWhileProvisioning => {
                let subject = self.new_subject();
                let created = self.event(ReservationCreated, &subject);
                let cancelled = self.event(ReservationCancelled, &subject);
                vec![
                    created,
                    Step { sent: format!("{}, at the same time", cancelled.sent), overlaps: true, ..cancelled },
                ]
            }
            Check::RotationNew => vec![self.signed(Signing::WithPrevious, "signed with its secret and a previous one")],
            Check::RotationOld => vec![self.signed(Signing::AsPrevious, "signed with a newer secret and its own")],
        }
    }

    /// The requests that release the reservations which the checks have created.
    pub fn clean_up(&mut self) -> Vec<Step> {
        let open = std::mem::take(&mut self.open);
        open.iter().map(|subject| self.event(EventType::ReservationCancelled, subject)).collect()
    }

    fn new_subject(&mut self) -> String {
        sample_subject((self.new_ulid)())
    }

    fn main_subject(&mut self) -> String {
        match self.main.clone() {
            Some(subject) => subject,
            None => self.main.insert(sample_subject((self.new_ulid)())).clone(),
        }
    }

    /// A valid event.
    fn event(&mut self, event_type: EventType, subject: &str) -> Step {
        if event_type.releases() {
            self.open.remove(subject);
        } else if event_type.provisions() {
            self.open.insert(subject.to_owned());
        }
        let event_id = EventId::from_ulid((self.new_ulid)());
        let event: EventBody = self
            .sample
            .event(event_type, event_id.clone(), subject.to_owned(), self.now)
            .for_webhook(self.webhook_id, self.status_url);
        Step {
            sent: event_type.as_str().to_owned(),
            event_type,
            event_name: None,
            event_id,
            delivery_id: DeliveryId::from_ulid((self.new_ulid)()),
            attempt: 1,
            // A body contains only texts, numbers and objects with text keys, so it can be serialised.
            body: self.format.body(&event, self.public_url).unwrap_or_default(),
            signing: Signing::Valid,
            age: TimeDelta::zero(),
            wrong_credentials: false,
            overlaps: false,
        }
    }

    /// A new `reservation.created` with these signatures.
    fn signed(&mut self, signing: Signing, how: &str) -> Step {
        let step = self.changed(how, str::to_owned);
        Step { signing, ..step }
    }

    /// A new `reservation.created` with a changed body.
    fn changed(&mut self, how: &str, change: impl FnOnce(&str) -> String) -> Step {
        let subject = self.new_subject();
        let step = self.event(EventType::ReservationCreated, &subject);
        Step { sent: format!("{}, {how}", step.sent), body: change(&step.body), ..step }
    }

    /// A new `reservation.created` with other fields.
    fn with_fields(&mut self, how: &str, fields: &[(&str, Value)]) -> Step {
        self.changed(how, |body| set_fields(body, fields))
    }

    fn duplicates(&mut self) -> Vec<Step> {
        let subject = self.new_subject();
        let first = self.event(EventType::ReservationCreated, &subject);
        let repeated = Step { sent: "the same delivery again, as attempt 2".into(), attempt: 2, ..first.clone() };
        let redelivered = Step {
            sent: "the same event again, as a redelivery".into(),
            delivery_id: DeliveryId::from_ulid((self.new_ulid)()),
            ..first.clone()
        };
        vec![first, repeated, redelivered]
    }

    /// The first event again, for another user, with the signatures of the original body. A receiver that looks for known
    /// events before it verifies the signature accepts it.
    fn changed_body(&mut self) -> Option<Step> {
        let first = self.first.clone()?;
        self.open.extend(self.main.clone());
        Some(Step {
            sent: "the first event again, with another user and the original signature".into(),
            body: set_fields(&first.body, &[("user_id", json!("mallory"))]),
            signing: Signing::OfBody(first.body.clone()),
            attempt: 2,
            ..first
        })
    }
}

/// The body with other values of some fields. A structured CloudEvent has them in `data`.
fn set_fields(body: &str, fields: &[(&str, Value)]) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    let is_cloud_event = value.get("specversion").is_some();
    let target = if is_cloud_event { value.get_mut("data") } else { Some(&mut value) };
    let Some(Value::Object(object)) = target else { return body.to_owned() };
    for (name, value) in fields {
        object.insert((*name).to_owned(), value.clone());
    }
    value.to_string()
}

/// The same JSON in another form: indented, and with a line break at the end. Re-serialised or trimmed, it has other bytes.
fn spaced(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ReservationBody;

    fn run(checks: &[Check]) -> (Vec<Step>, BTreeSet<String>) {
        let mut random = 0_u128;
        let mut new_ulid = || {
            random += 1;
            Ulid::from_parts(1, random)
        };
        let sample = Sample::default();
        let mut planner = Planner {
            webhook_id: 7,
            sample: &sample,
            format: PayloadFormat::default(),
            public_url: "https://berth.example",
            status_url: &|id, webhook| format!("https://berth.example/{id}/{webhook}"),
            new_ulid: &mut new_ulid,
            now: DateTime::UNIX_EPOCH,
            open: BTreeSet::new(),
            main: None,
            first: None,
        };
        let mut steps = Vec::new();
        for check in checks {
            steps.extend(planner.steps(*check));
        }
        let open = planner.open.clone();
        let cleaned = planner.clean_up();
        assert_eq!(cleaned.len(), open.len());
        assert!(planner.open.is_empty());
        (steps, open)
    }

    #[test]
    fn every_body_is_a_test_event_of_its_webhook() {
        let (steps, _) = run(Check::ALL);
        for step in &steps {
            let body: Value = serde_json::from_str(&step.body).unwrap();
            assert_eq!((&body["test"], &body["webhook_id"]), (&json!(true), &json!(7)), "{}", step.sent);
            assert_eq!(body["event_id"], step.event_id.as_str(), "{}", step.sent);
            let named = step.event_name.unwrap_or(step.event_type.as_str());
            assert_eq!(body["event_type"], named, "{}", step.sent);
        }
    }

    #[test]
    fn every_created_reservation_is_released_at_the_end() {
        let (_, open) = run(&[Check::Created, Check::Updated, Check::Cancelled, Check::Expired, Check::CancelUnknown]);
        assert!(open.is_empty());
        let (_, open) = run(&[Check::Created, Check::RawBody, Check::UpdateFirst]);
        assert_eq!(open.len(), 3);
    }

    #[test]
    fn duplicates_have_the_same_event_and_body() {
        let (steps, _) = run(&[Check::Duplicate]);
        assert!(steps.iter().all(|step| step.event_id == steps[0].event_id && step.body == steps[0].body));
        assert_eq!(steps[1].delivery_id, steps[0].delivery_id);
        assert_ne!(steps[2].delivery_id, steps[0].delivery_id);
    }

    #[test]
    fn changed_forms_of_a_body_are_the_same_event() {
        for check in [Check::RawBody, Check::LargeBody] {
            let (steps, _) = run(&[check]);
            let body: ReservationBody = serde_json::from_str(&steps[0].body).unwrap();
            assert_ne!(serde_json::to_string(&body).unwrap(), steps[0].body);
        }
        let (steps, _) = run(&[Check::LargeBody]);
        assert_eq!(steps[0].body.len(), LARGE_BODY);
    }
}
