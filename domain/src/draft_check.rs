//! The check of a webhook before it is saved: the rows of the checklist, and the rules for their verdicts.
//!
//! The crate `delivery` sends the requests. Each is a test event.

use crate::conformance::Verdict;
use crate::conformance::judge::{Answer, Judgement, judge_health, sentence, valid, wrong};
use crate::delivery::{Diagnosis, DiagnosisCode, Timings};
use crate::event::EventType;
use crate::id::WebhookId;
use crate::webhook::WebhookInput;
use serde::{Deserialize, Serialize};

/// Body of `POST /api/v1/tools/webhook-check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DraftCheckInput {
    /// The settings to check. Without a secret, requests are signed with a new one, which the receiver cannot know.
    pub webhook: WebhookInput,
    /// The stored webhook that the settings change: its signing secret, and its credentials for those that are empty, are
    /// used. Absent for a new webhook.
    #[serde(default)]
    pub webhook_id: Option<WebhookId>,
}

/// A property of a receiver, in the order of the checklist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DraftCheck {
    /// The token endpoint of OAuth 2.0 issues an access token.
    AccessToken,
    /// A connection is established.
    Reachable,
    /// The connection is encrypted, and the certificate valid.
    Tls,
    /// A signed event is accepted.
    AcceptsSignature,
    /// An event with a wrong signature is rejected.
    RejectsWrongSignature,
    /// The URL of an event answers.
    Path,
    /// The health path answers.
    Health,
}

impl DraftCheck {
    /// The wire name, e.g. `accepts_signature`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The property that a receiver should have.
    pub fn title(self) -> &'static str {
        match self {
            Self::AccessToken => "Access token",
            Self::Reachable => "Reachable",
            Self::Tls => "TLS",
            Self::AcceptsSignature => "Accepts the signature",
            Self::RejectsWrongSignature => "Rejects a wrong signature",
            Self::Path => "Answers",
            Self::Health => "Health path",
        }
    }

    /// The titles of the rows for a webhook with these events, before the check has run.
    pub fn titles(has_token: bool, events: &[EventType]) -> Vec<String> {
        let before = [Self::Reachable, Self::Tls, Self::AcceptsSignature, Self::RejectsWrongSignature];
        let token = has_token.then_some(Self::AccessToken);
        let mut titles: Vec<String> = token.into_iter().chain(before).map(|check| check.title().to_owned()).collect();
        titles.extend(events.iter().map(|event| path_title(*event)));
        titles.push(Self::Health.title().to_owned());
        titles
    }
}

/// The title of the row for the path of an event.
fn path_title(event: EventType) -> String {
    format!("{} {event}", DraftCheck::Path.title())
}

/// A row of the checklist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DraftResult {
    /// The property.
    pub check: DraftCheck,
    /// The event of a path; null for the other properties.
    pub event_type: Option<EventType>,
    /// The property in words.
    pub title: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What to change, or why the row says nothing, in one or two sentences; `""` if it passed.
    pub remedy: String,
    /// The called URL; `""` without a request.
    pub url: String,
    /// The response in words, e.g. `200`, or why there is none; `""` without a request.
    pub received: String,
    /// The duration in milliseconds: of the step for `reachable` and `tls`, else of the request; null without one.
    pub duration_ms: Option<f64>,
}

/// The checklist of a draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DraftReport {
    /// Number of failed rows. The draft can be saved all the same.
    pub failed: usize,
    /// Number of rows with a warning.
    pub warnings: usize,
    /// Duration in milliseconds.
    pub duration_ms: f64,
    /// The rows in the order of the checklist.
    pub checks: Vec<DraftResult>,
}

/// A request of the check and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The event.
    pub event_type: EventType,
    /// The called URL.
    pub url: String,
    /// The answer.
    pub answer: Answer,
    /// The durations of its steps.
    pub timings: Timings,
}

/// The answers to the requests of a check, in the order sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Probes {
    /// The first event, with a valid signature.
    pub first: Probe,
    /// The first event with the signature of another secret; `None` if it was not sent.
    pub forged: Option<Probe>,
    /// The other events.
    pub others: Vec<Probe>,
    /// The URL of the health path, and its status or the reason why there is none; `None` if it was not called.
    pub health: Option<(String, Result<u16, Diagnosis>)>,
}

impl Probe {
    /// Whether the answers to other events say nothing new: the receiver was not reached, or rejects all requests.
    pub fn ends_check(&self) -> bool {
        use DiagnosisCode::{CredentialsRefused, Gone, SignatureRefused, TokenFailed};
        self.answer.status.is_none()
            || matches!(self.answer.diagnosis.code, SignatureRefused | CredentialsRefused | TokenFailed | Gone)
    }

    /// Whether a connection was established, before TLS.
    fn is_connected(&self) -> bool {
        use DiagnosisCode::{CertificateInvalid, TlsFailed};
        self.answer.status.is_some()
            || self.timings.connect_ms.is_some()
            || matches!(self.answer.diagnosis.code, CertificateInvalid | TlsFailed)
    }

    fn is_token_failure(&self) -> bool {
        self.answer.diagnosis.code == DiagnosisCode::TokenFailed
    }

    fn is_tls_failure(&self) -> bool {
        matches!(self.answer.diagnosis.code, DiagnosisCode::CertificateInvalid | DiagnosisCode::TlsFailed)
    }

    fn row(&self, check: DraftCheck, judgement: Judgement) -> DraftResult {
        let row = DraftResult::new(check, judgement);
        DraftResult {
            url: self.url.clone(),
            received: self.answer.describe(),
            duration_ms: Some(self.answer.duration_ms),
            ..row
        }
    }
}

impl DraftResult {
    fn new(check: DraftCheck, judgement: Judgement) -> Self {
        let Judgement { verdict, remedy } = judgement;
        Self {
            check,
            event_type: None,
            title: check.title().to_owned(),
            verdict,
            remedy,
            url: String::new(),
            received: String::new(),
            duration_ms: None,
        }
    }

    fn of_path(self, event: EventType) -> Self {
        Self { event_type: Some(event), title: path_title(event), ..self }
    }
}

impl DraftReport {
    /// The checklist of a webhook with these events.
    pub fn new(has_token: bool, events: &[EventType], probes: &Probes, duration_ms: f64) -> Self {
        let Probes { first, forged, others, health } = probes;
        let mut checks = Vec::new();
        if has_token {
            checks.push(access_token(first));
        }
        checks.extend([reachable(first), tls(first), accepts_signature(first), rejects(first, forged.as_ref())]);
        checks.extend(events.iter().map(|event| {
            let probe = std::iter::once(first).chain(others).find(|probe| probe.event_type == *event);
            path(*event, first, probe)
        }));
        checks.push(match health {
            Some((url, answer)) => DraftResult {
                url: url.clone(),
                received: match answer {
                    Ok(status) => status.to_string(),
                    Err(diagnosis) => diagnosis.message.clone(),
                },
                ..DraftResult::new(DraftCheck::Health, judge_health(answer, false))
            },
            None => DraftResult::new(DraftCheck::Health, Judgement::skipped(NOT_REACHED)),
        });
        let count = |verdict| checks.iter().filter(|row| row.verdict == verdict).count();
        Self { failed: count(Verdict::Failed), warnings: count(Verdict::Warning), duration_ms, checks }
    }
}

/// The reason why a row says nothing after a failed connection.
const NOT_REACHED: &str = "The receiver was not reached.";
/// The reason why a row says nothing after a rejected signature or rejected credentials.
const REJECTED: &str = "The receiver rejects every request. Correct the signature and the credentials first.";
/// The reason why a row says nothing if the run took too long.
const TOO_LATE: &str = "The time limit of the check was over before this request.";

fn access_token(first: &Probe) -> DraftResult {
    if first.is_token_failure() {
        return first.row(DraftCheck::AccessToken, Judgement::failed(sentence(&first.answer.diagnosis)));
    }
    DraftResult { received: "issued".to_owned(), ..DraftResult::new(DraftCheck::AccessToken, Judgement::passed()) }
}

fn reachable(first: &Probe) -> DraftResult {
    let check = DraftCheck::Reachable;
    if first.is_token_failure() {
        return DraftResult::new(check, Judgement::skipped("The receiver is called with an access token only."));
    }
    if !first.is_connected() {
        return first.row(check, Judgement::failed(sentence(&first.answer.diagnosis)));
    }
    DraftResult {
        received: "connected".to_owned(),
        duration_ms: first.timings.connect_ms,
        ..first.row(check, Judgement::passed())
    }
}

fn tls(first: &Probe) -> DraftResult {
    let check = DraftCheck::Tls;
    if first.is_tls_failure() {
        return first.row(check, Judgement::failed(sentence(&first.answer.diagnosis)));
    }
    if !first.is_connected() {
        return DraftResult::new(check, Judgement::skipped(NOT_REACHED));
    }
    if !first.url.starts_with("https:") {
        let remedy = "Use https:// in production: everybody on the way can read events that are sent to http://.";
        return DraftResult {
            received: "not encrypted".to_owned(),
            ..DraftResult::new(check, Judgement::warning(remedy))
        };
    }
    if first.timings.tls_ms.is_none() && first.answer.status.is_none() {
        return first.row(check, Judgement::failed(sentence(&first.answer.diagnosis)));
    }
    DraftResult {
        received: "valid certificate".to_owned(),
        duration_ms: first.timings.tls_ms,
        ..DraftResult::new(check, Judgement::passed())
    }
}

fn accepts_signature(first: &Probe) -> DraftResult {
    use DiagnosisCode::{Gone, MethodNotAllowed, NotFound, Redirected};
    let check = DraftCheck::AcceptsSignature;
    if first.answer.is_accepted() {
        return first.row(check, Judgement::passed());
    }
    if first.is_tls_failure() || !first.is_connected() {
        return DraftResult::new(check, Judgement::skipped(NOT_REACHED));
    }
    let judgement = match first.answer.diagnosis.code {
        NotFound | MethodNotAllowed | Redirected | Gone => {
            Judgement::skipped("The path does not answer. Correct it first.")
        }
        _ => Judgement::failed(sentence(&first.answer.diagnosis)),
    };
    first.row(check, judgement)
}

fn rejects(first: &Probe, forged: Option<&Probe>) -> DraftResult {
    let check = DraftCheck::RejectsWrongSignature;
    match forged {
        Some(forged) => forged.row(check, wrong(std::slice::from_ref(&forged.answer))),
        None if first.answer.status.is_none() => DraftResult::new(check, Judgement::skipped(NOT_REACHED)),
        None => DraftResult::new(check, Judgement::skipped("It says nothing before a valid signature is accepted.")),
    }
}

fn path(event: EventType, first: &Probe, probe: Option<&Probe>) -> DraftResult {
    let check = DraftCheck::Path;
    let skipped = |reason: &str| DraftResult::new(check, Judgement::skipped(reason)).of_path(event);
    match probe {
        Some(probe) if probe.answer.status.is_none() && !probe.is_connected() => skipped(NOT_REACHED),
        Some(probe) if probe.is_tls_failure() => skipped(NOT_REACHED),
        Some(probe) => probe.row(check, valid(std::slice::from_ref(&probe.answer))).of_path(event),
        None if first.answer.status.is_none() => skipped(NOT_REACHED),
        None if first.ends_check() => skipped(REJECTED),
        None => skipped(TOO_LATE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventType::{ReservationCancelled, ReservationCreated};

    const EVENTS: [EventType; 2] = [ReservationCreated, ReservationCancelled];

    fn probe(event_type: EventType, status: Option<u16>, code: DiagnosisCode) -> Probe {
        let diagnosis = Diagnosis { code, message: format!("{code:?}."), hint: format!("Correct {code:?}.") };
        let answer = Answer {
            status,
            duration_ms: 5.0,
            diagnosis,
            content_type: "application/json".into(),
            body: String::new(),
            response: None,
        };
        let timings = Timings { connect_ms: status.map(|_| 1.0), tls_ms: status.map(|_| 2.0), ..Timings::default() };
        Probe { event_type, url: "https://a.example/reservation".into(), answer, timings }
    }

    fn rows(has_token: bool, probes: &Probes) -> Vec<(DraftCheck, Verdict)> {
        let report = DraftReport::new(has_token, &EVENTS, probes, 9.0);
        let titles: Vec<String> = report.checks.iter().map(|row| row.title.clone()).collect();
        assert_eq!(titles, DraftCheck::titles(has_token, &EVENTS));
        assert!(
            report.checks.iter().all(|row| (row.verdict == Verdict::Passed) == row.remedy.is_empty()),
            "{report:#?}"
        );
        report.checks.iter().map(|row| (row.check, row.verdict)).collect()
    }

    fn verdicts(probes: &Probes) -> Vec<Verdict> {
        rows(false, probes).into_iter().map(|(_, verdict)| verdict).collect()
    }

    use Verdict::{Failed, Passed, Skipped, Warning};

    #[test]
    fn conforming_receiver_passes_every_row() {
        let probes = Probes {
            first: probe(ReservationCreated, Some(200), DiagnosisCode::Ok),
            forged: Some(probe(ReservationCreated, Some(401), DiagnosisCode::SignatureRefused)),
            others: vec![probe(ReservationCancelled, Some(200), DiagnosisCode::Ok)],
            health: Some(("https://a.example/health".into(), Ok(200))),
        };
        assert_eq!(verdicts(&probes), [Passed; 7]);
        assert_eq!(rows(true, &probes)[0], (DraftCheck::AccessToken, Passed));
    }

    #[test]
    fn receiver_without_verification_and_one_path_fails_these_rows() {
        let probes = Probes {
            first: probe(ReservationCreated, Some(200), DiagnosisCode::Ok),
            forged: Some(probe(ReservationCreated, Some(200), DiagnosisCode::Ok)),
            others: vec![probe(ReservationCancelled, Some(404), DiagnosisCode::NotFound)],
            health: Some(("https://a.example/health".into(), Ok(404))),
        };
        assert_eq!(verdicts(&probes), [Passed, Passed, Passed, Failed, Passed, Failed, Skipped]);
    }

    #[test]
    fn unreachable_receiver_fails_one_row_and_skips_the_others() {
        for code in [DiagnosisCode::ConnectionRefused, DiagnosisCode::DnsFailed, DiagnosisCode::AddressNotAllowed] {
            let first = probe(ReservationCreated, None, code);
            assert!(first.ends_check());
            let probes = Probes { first, forged: None, others: Vec::new(), health: None };
            let mut expected = [Skipped; 7];
            expected[0] = Failed;
            assert_eq!(verdicts(&probes), expected, "{code:?}");
        }
    }

    #[test]
    fn invalid_certificate_fails_the_row_of_tls() {
        let first = probe(ReservationCreated, None, DiagnosisCode::CertificateInvalid);
        let probes = Probes { first, forged: None, others: Vec::new(), health: None };
        assert_eq!(verdicts(&probes), [Passed, Failed, Skipped, Skipped, Skipped, Skipped, Skipped]);
    }

    #[test]
    fn rejected_signature_skips_the_paths() {
        let first = probe(ReservationCreated, Some(401), DiagnosisCode::SignatureRefused);
        let health = Some(("https://a.example/health".into(), Ok(200)));
        let probes = Probes { first, forged: None, others: Vec::new(), health };
        assert_eq!(verdicts(&probes), [Passed, Passed, Failed, Skipped, Failed, Skipped, Passed]);
    }

    #[test]
    fn timeout_is_a_failure_of_the_request_and_not_of_the_connection() {
        let mut first = probe(ReservationCreated, None, DiagnosisCode::TimedOut);
        first.timings = Timings { connect_ms: Some(1.0), tls_ms: Some(1.0), ..Timings::default() };
        let probes = Probes { first, forged: None, others: Vec::new(), health: None };
        assert_eq!(verdicts(&probes), [Passed, Passed, Failed, Skipped, Failed, Skipped, Skipped]);
    }

    #[test]
    fn unencrypted_connection_is_a_warning() {
        let mut first = probe(ReservationCreated, Some(200), DiagnosisCode::Ok);
        first.url = "http://127.0.0.1:8000/reservation".into();
        let probes = Probes { first, forged: None, others: Vec::new(), health: None };
        assert_eq!(verdicts(&probes)[1], Warning);
    }

    #[test]
    fn failed_token_request_names_the_token_endpoint() {
        let first = probe(ReservationCreated, None, DiagnosisCode::TokenFailed);
        let probes = Probes { first, forged: None, others: Vec::new(), health: None };
        let rows = rows(true, &probes);
        assert_eq!(rows[0], (DraftCheck::AccessToken, Failed));
        assert!(rows[1..].iter().all(|(_, verdict)| *verdict == Skipped), "{rows:?}");
    }
}
