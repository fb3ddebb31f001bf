//! Certification of receivers with one planted bug each, and of a correct one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use chrono::{DateTime, Utc};
use common::sender;
use delivery::{Auth, Certification, Sources, Target, certify};
use domain::conformance::Check::{self, *};
use domain::conformance::Verdict::{Failed, Skipped, Warning};
use domain::conformance::{ConformanceReport, Verdict};
use domain::event::{EventType, ReservationBody};
use domain::id::{ReservationId, WebhookId};
use domain::payload::PayloadFormat;
use domain::routing::DeliveryPaths;
use domain::sample::Sample;
use domain::signature::{Secret, sign_body, sign_standard};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_support::{ReceivedRequest, Receiver, Response};
use ulid::Ulid;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const API_KEY: &str = "the-key-of-the-receiver";
const NOW: i64 = 1_800_000_000;
/// Time limit of a request. A response is slow after a third.
const TIMEOUT: Duration = Duration::from_secs(6);
/// Time in which the receiver provisions.
const BUSY: Duration = Duration::from_millis(150);

/// The bug of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    AcceptsMissingSignatures,
    AcceptsAnySignature,
    ReportsWrongSignaturesWith200,
    RejectsSignaturesWith500,
    FailsWithoutSignature,
    ComparesTheBeginning,
    LooksForKnownEventsFirst,
    IgnoresTheTimestamp,
    ChecksTheTimeOfTheEvent,
    IgnoresTheApiKey,
    SerialisesTheBody,
    ReadsLatin1,
    NeedsAnSshKey,
    RejectsUnknownFields,
    RejectsUnknownEvents,
    FailsOnUnknownEvents,
    ProvisionsUnknownEvents,
    LimitsTheBody,
    RejectsRepeatedEvents,
    ProvisionsRepeatedEvents,
    RejectsEarlyUpdates,
    RejectsLateCreations,
    RejectsUnknownCancellations,
    RejectsCancellationsWhileBusy,
    ComparesTheWholeHeader,
    ReadsTheFirstSignature,
    VerifiesTheBodySignatureOnly,
    SendsJsonAsText,
    SendsAnHtmlPage,
    SendsInvalidJson,
    SendsAnUnknownStatus,
    ReportsAFailure,
    IsSlow,
    HasNoPathForCancellations,
    Redirects,
    IsUnhealthy,
}

/// The bug, and the checks that must not pass.
const BUGS: [(Bug, &[(Check, Verdict)]); 37] = [
    (Bug::None, &[]),
    (Bug::AcceptsMissingSignatures, &[(MissingSignature, Failed)]),
    (Bug::AcceptsAnySignature, &[(WrongSignature, Failed)]),
    (Bug::ReportsWrongSignaturesWith200, &[(WrongSignature, Failed)]),
    (Bug::RejectsSignaturesWith500, &[(WrongSignature, Warning)]),
    (Bug::FailsWithoutSignature, &[(MissingSignature, Warning)]),
    (Bug::ComparesTheBeginning, &[(ShortenedSignature, Failed)]),
    (Bug::LooksForKnownEventsFirst, &[(ChangedBody, Failed)]),
    (Bug::IgnoresTheTimestamp, &[(OldTimestamp, Warning)]),
    (Bug::ChecksTheTimeOfTheEvent, &[(LateRetry, Failed)]),
    (Bug::IgnoresTheApiKey, &[(Credentials, Warning)]),
    (Bug::SerialisesTheBody, &[(RawBody, Failed)]),
    (Bug::ReadsLatin1, &[(NonAscii, Failed)]),
    (Bug::NeedsAnSshKey, &[(EmptyFields, Failed)]),
    (Bug::RejectsUnknownFields, &[(UnknownFields, Failed)]),
    (Bug::RejectsUnknownEvents, &[(UnknownEvent, Warning)]),
    (Bug::FailsOnUnknownEvents, &[(UnknownEvent, Failed)]),
    (Bug::ProvisionsUnknownEvents, &[(UnknownEvent, Warning)]),
    (Bug::LimitsTheBody, &[(LargeBody, Failed)]),
    (Bug::RejectsRepeatedEvents, &[(Duplicate, Failed)]),
    (Bug::ProvisionsRepeatedEvents, &[(Duplicate, Failed)]),
    (Bug::RejectsEarlyUpdates, &[(UpdateFirst, Warning)]),
    (Bug::RejectsLateCreations, &[(UpdateFirst, Failed)]),
    (Bug::RejectsUnknownCancellations, &[(CancelUnknown, Failed)]),
    (Bug::RejectsCancellationsWhileBusy, &[(CancelWhileProvisioning, Failed)]),
    (Bug::ComparesTheWholeHeader, &[(RotationNew, Failed)]),
    (Bug::ReadsTheFirstSignature, &[(RotationOld, Warning)]),
    (Bug::VerifiesTheBodySignatureOnly, &[(OldTimestamp, Warning), (RotationOld, Warning)]),
    (Bug::SendsJsonAsText, &[(Check::Response, Warning)]),
    (Bug::SendsAnHtmlPage, &[(Check::Response, Warning)]),
    (Bug::SendsInvalidJson, &[(Check::Response, Failed)]),
    (Bug::SendsAnUnknownStatus, &[(Check::Response, Failed)]),
    (Bug::ReportsAFailure, &[(Created, Failed)]),
    (Bug::IsSlow, &[(ResponseTime, Warning)]),
    (Bug::HasNoPathForCancellations, &[(Cancelled, Failed)]),
    (Bug::Redirects, &[(Created, Failed)]),
    (Bug::IsUnhealthy, &[(Health, Failed)]),
];

/// A receiver that conforms but for its bug.
struct Service {
    bug: Bug,
    secret: Secret,
    /// The responses to known events.
    known: BTreeMap<String, Value>,
    /// The known reservations, and the time at which each was created.
    reservations: BTreeMap<String, Instant>,
    provisioned: usize,
}

impl Service {
    fn new(bug: Bug) -> Self {
        let secret = Secret::parse(SECRET).unwrap();
        Self { bug, secret, known: BTreeMap::new(), reservations: BTreeMap::new(), provisioned: 0 }
    }

    fn respond(&mut self, got: &ReceivedRequest) -> Response {
        let has = |bug| self.bug == bug;
        if got.path == "/health" {
            return Response::status(if has(Bug::IsUnhealthy) { 503 } else { 200 });
        }
        if has(Bug::Redirects) {
            return Response::status(308).with_header("location", format!("{}/", got.path));
        }
        let releases = got.path == "/hook/reservation/cancel";
        if !["/hook/reservation", "/hook/access-request"].contains(&got.path.as_str()) && !releases
            || (releases && has(Bug::HasNoPathForCancellations))
        {
            return Response::status(404);
        }
        if has(Bug::LimitsTheBody) && got.raw.len() > 100 * 1024 {
            return Response::status(413);
        }
        if has(Bug::LooksForKnownEventsFirst)
            && let Some(response) = self.known.get(got.event_id())
        {
            return Response::json(200, response.clone());
        }
        if !has(Bug::IgnoresTheApiKey) && got.header("x-api-key") != API_KEY {
            return Response::json(401, json!({"detail": "Invalid API key"}));
        }
        if let Some(rejection) = self.reject_signature(got) {
            return rejection;
        }
        self.process(got, releases)
    }

    /// The response to an invalid signature.
    fn reject_signature(&self, got: &ReceivedRequest) -> Option<Response> {
        let has = |bug| self.bug == bug;
        let body = match self.bug {
            Bug::SerialisesTheBody => got.body.to_string().into_bytes(),
            Bug::ReadsLatin1 => got.raw.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes(),
            _ => got.raw.to_vec(),
        };
        let standard = got.header("webhook-signature");
        let is_missing = standard.is_empty();
        if is_missing && has(Bug::FailsWithoutSignature) {
            return Some(Response::status(500));
        }
        let timestamp: i64 = got.header("webhook-timestamp").parse().unwrap_or_default();
        let own = sign_standard(std::slice::from_ref(&self.secret), &[], got.event_id(), timestamp, &body);
        let mut entries = standard.split(' ').filter(|_| !is_missing);
        let fits = match self.bug {
            Bug::AcceptsMissingSignatures if is_missing => true,
            Bug::AcceptsAnySignature => !is_missing,
            Bug::ComparesTheBeginning => entries.any(|entry| own.starts_with(entry)),
            Bug::ComparesTheWholeHeader => standard == own,
            Bug::ReadsTheFirstSignature => entries.next() == Some(&own),
            Bug::VerifiesTheBodySignatureOnly => got.header("x-webhook-signature") == sign_body(&self.secret, &body),
            _ => entries.any(|entry| entry == own),
        };
        let is_old = (NOW - timestamp).abs() > 300;
        let ignores_time = has(Bug::IgnoresTheTimestamp) || has(Bug::VerifiesTheBodySignatureOnly);
        if fits && (!is_old || ignores_time) {
            return None;
        }
        Some(match self.bug {
            Bug::ReportsWrongSignaturesWith200 => {
                Response::json(200, json!({"status": "error", "message": "signature"}))
            }
            Bug::RejectsSignaturesWith500 => Response::status(500),
            _ => Response::json(401, json!({"detail": "Invalid webhook signature"})),
        })
    }

    fn process(&mut self, got: &ReceivedRequest, releases: bool) -> Response {
        let has = |bug| self.bug == bug;
        let event = EventType::parse(got.text("event_type"));
        let busy = got.body["reservation_id"].as_str().and_then(|id| self.reservations.get(id)).copied();
        let time: DateTime<Utc> = got.text("timestamp").parse().unwrap();
        let known_fields = || serde_json::from_value::<ReservationBody>(got.body.clone()).map(|body| json!(body));
        match (event, self.bug) {
            (None, Bug::RejectsUnknownEvents) => return Response::status(400),
            (None, Bug::FailsOnUnknownEvents) => return Response::status(500),
            (None, Bug::ProvisionsUnknownEvents) | (Some(_), _) => {}
            (None, _) => return Response::json(200, json!({"status": "success", "message": "ignored"})),
        }
        match self.bug {
            Bug::ChecksTheTimeOfTheEvent if (NOW - time.timestamp()).abs() > 300 => return Response::status(400),
            Bug::NeedsAnSshKey if got.text("user_ssh_key").is_empty() => return Response::status(422),
            Bug::RejectsUnknownFields if known_fields().is_ok_and(|known| known != got.body) => {
                return Response::status(422);
            }
            Bug::RejectsEarlyUpdates if event == Some(EventType::ReservationUpdated) && busy.is_none() => {
                return Response::status(404);
            }
            Bug::RejectsUnknownCancellations if releases && busy.is_none() => return Response::status(404),
            Bug::RejectsCancellationsWhileBusy if releases && busy.is_some_and(|since| since.elapsed() < BUSY) => {
                return Response::status(409);
            }
            Bug::RejectsRepeatedEvents if self.known.contains_key(got.event_id()) => return Response::status(409),
            Bug::RejectsLateCreations
                if event == Some(EventType::ReservationCreated)
                    && busy.is_some()
                    && !self.known.contains_key(got.event_id()) =>
            {
                return Response::status(409);
            }
            _ => {}
        }
        if let Some(response) = self.known.get(got.event_id()).filter(|_| !has(Bug::ProvisionsRepeatedEvents)) {
            return Response::json(200, response.clone());
        }
        let response = self.act(got, releases);
        let delay = match self.bug {
            Bug::IsSlow if event == Some(EventType::ReservationUpdated) => TIMEOUT * 2 / 5,
            Bug::RejectsCancellationsWhileBusy if event == Some(EventType::ReservationCreated) => BUSY * 2,
            _ => Duration::ZERO,
        };
        let status = match self.bug {
            Bug::SendsJsonAsText => Response::status(200).with_header("content-type", "text/plain"),
            Bug::SendsAnHtmlPage => {
                return Response::status(200).with_header("content-type", "text/html").with_body("<html></html>");
            }
            Bug::SendsInvalidJson => {
                return Response::status(200).with_header("content-type", "application/json").with_body("{'a': 1}");
            }
            Bug::SendsAnUnknownStatus => return Response::json(200, json!({"status": "done"})),
            Bug::ReportsAFailure => return Response::json(200, json!({"status": "failed", "message": "no capacity"})),
            _ => return Response::json(200, response).after(delay),
        };
        status.with_body(response.to_string())
    }

    fn act(&mut self, got: &ReceivedRequest, releases: bool) -> Value {
        let response = if releases || got.path.ends_with("access-request") {
            json!({"status": "success", "message": "done"})
        } else {
            self.reservations.entry(got.reservation().to_owned()).or_insert_with(Instant::now);
            self.provisioned += 1;
            let address = format!("192.0.2.{}", self.provisioned);
            json!({"status": "success", "message": "ready", "details": {"access_info": {"ip_address": address}}})
        };
        self.known.insert(got.event_id().to_owned(), response.clone());
        response
    }
}

fn certification(url: &str, only: Vec<Check>) -> Certification {
    Certification {
        endpoint_url: format!("{url}/hook"),
        paths: DeliveryPaths::default(),
        target: Arc::new(Target {
            webhook_id: 1,
            auth: Auth::ApiKey { header: "X-API-Key".into(), key: API_KEY.into() },
            secrets: vec![Secret::parse(SECRET).unwrap()],
            keys: Vec::new(),
            headers: Vec::new(),
            public_url: "https://berth.example.com".into(),
            tls: None,
        }),
        sample: Sample::default(),
        format: PayloadFormat::default(),
        events: EventType::ALL.to_vec(),
        health_url: Some(format!("{url}/health")),
        only,
        time_limit: None,
    }
}

async fn run(certification: &Certification) -> ConformanceReport {
    let mut random = 0;
    let sources = Sources {
        now: &|| DateTime::from_timestamp(NOW, 0).unwrap(),
        new_ulid: &mut || {
            random += 1;
            Ulid::from_parts(1, random)
        },
        status_url: &|id: &ReservationId, _: WebhookId| format!("https://berth.example/{id}"),
    };
    certify(&sender(true, TIMEOUT), certification, sources).await
}

async fn start(bug: Bug) -> Receiver {
    let receiver = Receiver::start().await;
    let mut service = Service::new(bug);
    receiver.respond_with(move |got| service.respond(got));
    receiver
}

/// The checks that did not pass, without those that were skipped.
fn findings(report: &ConformanceReport) -> Vec<(Check, Verdict)> {
    let checks = report.checks.iter().map(|check| (check.check, check.verdict));
    checks.filter(|(_, verdict)| matches!(verdict, Failed | Warning)).collect()
}

#[tokio::test]
async fn each_bug_is_diagnosed_without_false_alarms() {
    let mut wrong = Vec::new();
    for (bug, expected) in BUGS {
        let receiver = start(bug).await;
        let report = run(&certification(&receiver.url, Vec::new())).await;
        if findings(&report) != expected {
            wrong.push(format!("{bug:?}: {:#?}", findings(&report)));
        }
        let unmet: BTreeSet<Check> = report
            .checks
            .iter()
            .filter(|check| matches!(check.verdict, Failed | Skipped))
            .map(|check| check.check)
            .collect();
        for check in &report.checks {
            let needs_unmet = check.check.requires().iter().any(|required| unmet.contains(required));
            assert_eq!(check.verdict == Skipped, needs_unmet, "{bug:?}: {check:#?}");
            assert_eq!(check.remedy.is_empty(), check.verdict == Verdict::Passed, "{bug:?}: {check:#?}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_request_is_a_test_event_and_every_reservation_is_released() {
    let receiver = start(Bug::None).await;
    let report = run(&certification(&receiver.url, Vec::new())).await;
    assert_eq!((report.failed, report.warnings, report.skipped, report.passed), (0, 0, 0, Check::ALL.len()));
    let mut open = BTreeSet::new();
    for got in receiver.requests().iter().filter(|got| got.path != "/health") {
        assert_eq!((got.header("x-webhook-test"), &got.body["test"]), ("true", &json!(true)), "{got:?}");
        assert!(got.raw.len() < 256 * 1024);
        match got.path.as_str() {
            "/hook/reservation/cancel" => open.remove(got.reservation()),
            "/hook/reservation" => open.insert(got.reservation().to_owned()),
            _ => false,
        };
    }
    assert_eq!(open, BTreeSet::new(), "the reservations should be cancelled");
    let text = serde_json::to_string(&report).unwrap();
    assert!(!text.contains(API_KEY) && !text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn selected_checks_run_with_those_that_they_require() {
    let receiver = start(Bug::None).await;
    let report = run(&certification(&receiver.url, vec![LargeBody])).await;
    let checks: Vec<Check> = report.checks.iter().map(|check| check.check).collect();
    assert_eq!((checks, report.passed), (vec![LargeBody], 1));
    let sent: Vec<String> = receiver.requests().iter().map(|got| got.event().to_owned()).collect();
    assert_eq!(sent.iter().filter(|event| *event == "reservation.created").count(), 3, "{sent:?}");
}

#[tokio::test]
async fn unreachable_receiver_fails_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let report = run(&certification(&url, vec![Created, Duplicate])).await;
    let verdicts: Vec<Verdict> = report.checks.iter().map(|check| check.verdict).collect();
    assert_eq!(verdicts, [Failed, Skipped]);
    assert_eq!(report.checks[0].exchanges[0].status_code, None);
    assert!(report.checks[0].remedy.contains("port"), "{:?}", report.checks[0]);
}

#[tokio::test]
async fn checks_after_the_time_limit_are_skipped() {
    let receiver = start(Bug::None).await;
    let limited = Certification { time_limit: Some(Duration::ZERO), ..certification(&receiver.url, Vec::new()) };
    let report = run(&limited).await;
    assert_eq!((report.skipped, receiver.count()), (Check::ALL.len(), 0));
}
