//! Certification of a receiver: sends the requests of `domain::conformance` and reports the verdicts.

use crate::{Auth, DeliveryRequest, Destination, HeaderChange, Sender, Target};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::conformance::judge::{Answer, Circumstances, Judgement, judge, judge_health};
use domain::conformance::plan::{Planner, Signing, Step};
use domain::conformance::{Check, CheckResult, ConformanceExchange, ConformanceReport, Verdict};
use domain::delivery::Timings;
use domain::event::EventType;
use domain::id::{ReservationId, WebhookId};
use domain::payload::PayloadFormat;
use domain::routing::DeliveryPaths;
use domain::sample::Sample;
use domain::signature::{Secret, sign_body, sign_standard};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ulid::Ulid;

/// Time between the start of an event and the cancellation that overlaps it.
const OVERLAP: Duration = Duration::from_millis(50);
/// Number of characters of a shortened signature.
const SHORTENED: usize = 8;
/// Credentials that no receiver accepts.
const WRONG_CREDENTIALS: &str = "certification-with-wrong-credentials";
const SIGNATURE: &str = "x-webhook-signature";
const STANDARD: &str = "webhook-signature";
const EVENT: &str = "x-webhook-event";

/// The receiver to certify, and the checks.
pub struct Certification {
    /// The endpoint URL.
    pub endpoint_url: String,
    /// The delivery paths.
    pub paths: DeliveryPaths,
    /// Credentials, signing secrets and custom headers. A receiver is certified with at least one secret.
    pub target: Arc<Target>,
    /// User and resource of the events.
    pub sample: Sample,
    /// The format of the bodies.
    pub format: PayloadFormat,
    /// The events that the receiver must handle.
    pub events: Vec<EventType>,
    /// The URL of the health path; `/health` on the endpoint's host when absent, which is then optional.
    pub health_url: Option<String>,
    /// The checks to report on; all when empty. Checks that these require run too.
    pub only: Vec<Check>,
    /// Time after which no further check starts.
    pub time_limit: Option<Duration>,
}

/// Time, ids and status URLs of a run.
pub struct Sources<'a> {
    /// Returns the present time.
    pub now: &'a (dyn Fn() -> DateTime<Utc> + Send + Sync),
    /// Returns a new ULID.
    pub new_ulid: &'a mut (dyn FnMut() -> Ulid + Send + Sync),
    /// Returns the status URL of a reservation.
    pub status_url: &'a (dyn Fn(&ReservationId, WebhookId) -> String + Send + Sync),
}

/// Runs the checks one after the other, releases the reservations that they created, and reports the verdicts.
pub async fn certify(sender: &Sender, certification: &Certification, sources: Sources<'_>) -> ConformanceReport {
    let started_at = (sources.now)();
    let started = Instant::now();
    let mut run = Run::new(sender, certification, sources, started_at);
    let wanted = with_required(&certification.only);
    for check in &wanted {
        let is_late = certification.time_limit.is_some_and(|limit| started.elapsed() >= limit);
        run.run(*check, is_late).await;
    }
    if run.verdict(Check::Created) == Some(Verdict::Passed) {
        run.clean_up(started).await;
    }
    let is_reported = |check: &Check| certification.only.is_empty() || certification.only.contains(check);
    let checks = run.results.into_iter().filter(|(check, _)| is_reported(check)).map(|(_, result)| result).collect();
    let duration_ms = started.elapsed().as_secs_f64() * 1_000.0;
    ConformanceReport::new(certification.endpoint_url.clone(), started_at, duration_ms, checks)
}

/// The checks and those that they require; all checks for none.
fn with_required(only: &[Check]) -> BTreeSet<Check> {
    if only.is_empty() {
        return Check::ALL.iter().copied().collect();
    }
    let mut wanted = BTreeSet::new();
    let mut pending = only.to_vec();
    while let Some(check) = pending.pop() {
        if wanted.insert(check) {
            pending.extend(check.requires());
            // They judge the answers to earlier checks.
            if matches!(check, Check::Response | Check::ResponseTime) {
                pending.extend([Check::Updated, Check::Cancelled]);
            }
        }
    }
    wanted
}

/// The URL of `/health` on the host of an endpoint.
pub(crate) fn default_health_url(endpoint: &str) -> String {
    url::Url::parse(endpoint).and_then(|url| url.join("/health")).map(String::from).unwrap_or_default()
}

/// A run of checks, with the requests that it has planned.
pub(crate) struct Run<'a> {
    sender: &'a Sender,
    certification: &'a Certification,
    now: &'a (dyn Fn() -> DateTime<Utc> + Send + Sync),
    other_secret: Secret,
    pub(crate) planner: Planner<'a>,
    circumstances: Circumstances,
    results: BTreeMap<Check, CheckResult>,
}

impl<'a> Run<'a> {
    pub(crate) fn new<'s: 'a>(
        sender: &'a Sender,
        certification: &'a Certification,
        sources: Sources<'s>,
        started_at: DateTime<Utc>,
    ) -> Self {
        // Another secret, which the receiver cannot know: 160 random bits.
        let mut random = [0; 32];
        for half in random.chunks_exact_mut(16) {
            half.copy_from_slice(&(sources.new_ulid)().to_bytes());
        }
        let planner = Planner {
            webhook_id: certification.target.webhook_id,
            sample: &certification.sample,
            format: certification.format,
            public_url: &certification.target.public_url,
            status_url: sources.status_url,
            new_ulid: sources.new_ulid,
            now: started_at,
            open: BTreeSet::new(),
            main: None,
            first: None,
        };
        Self {
            sender,
            certification,
            now: sources.now,
            other_secret: Secret::generate(random),
            planner,
            circumstances: Circumstances {
                earlier: BTreeMap::new(),
                timeout_ms: sender.timeout().as_secs_f64() * 1_000.0,
                events: certification.events.clone(),
            },
            results: BTreeMap::new(),
        }
    }

    fn verdict(&self, check: Check) -> Option<Verdict> {
        self.results.get(&check).map(|result| result.verdict)
    }

    /// Runs a check, unless it cannot say anything.
    async fn run(&mut self, check: Check, is_late: bool) {
        let (judgement, exchanges) = match self.reason_to_skip(check, is_late) {
            Some(reason) => (Judgement::skipped(reason), Vec::new()),
            None if check == Check::Health => self.check_health().await,
            None => self.check(check).await,
        };
        let Judgement { verdict, remedy } = judgement;
        let result = CheckResult { check, title: check.title().to_owned(), verdict, remedy, exchanges };
        self.results.insert(check, result);
    }

    fn reason_to_skip(&self, check: Check, is_late: bool) -> Option<String> {
        let unmet = |required: &&Check| matches!(self.verdict(**required), Some(Verdict::Failed | Verdict::Skipped));
        if let Some(required) = check.requires().iter().find(unmet) {
            return Some(format!("Correct {} first: without it, this check says nothing.", required.as_str()));
        }
        if is_late {
            return Some("The time limit of the run is over; run this check alone.".into());
        }
        let has_credentials = !matches!(self.certification.target.auth, Auth::None);
        (check == Check::Credentials && !has_credentials)
            .then(|| "Requests have no credentials other than their signature.".into())
    }

    async fn check(&mut self, check: Check) -> (Judgement, Vec<ConformanceExchange>) {
        self.planner.now = (self.now)();
        let steps = self.planner.steps(check);
        let answers = self.send_all(&steps).await;
        let judgement = judge(check, &answers, &self.circumstances);
        let exchanges = steps.iter().zip(&answers).map(|(step, answer)| ConformanceExchange {
            sent: step.sent.clone(),
            url: self.certification.paths.url(&self.certification.endpoint_url, step.event_type),
            received: answer.describe(),
            status_code: answer.status,
            duration_ms: answer.duration_ms,
        });
        let exchanges = exchanges.collect();
        self.circumstances.earlier.insert(check, answers);
        (judgement, exchanges)
    }

    async fn check_health(&self) -> (Judgement, Vec<ConformanceExchange>) {
        let named = &self.certification.health_url;
        let url = named.clone().unwrap_or_else(|| default_health_url(&self.certification.endpoint_url));
        let started = Instant::now();
        let answer = self.sender.get(&Destination::new(url.clone()), self.certification.target.tls.as_ref()).await;
        let exchange = ConformanceExchange {
            sent: "GET".into(),
            url,
            received: match &answer {
                Ok(status) => status.to_string(),
                Err(diagnosis) => diagnosis.message.clone(),
            },
            status_code: answer.as_ref().ok().copied(),
            duration_ms: started.elapsed().as_secs_f64() * 1_000.0,
        };
        (judge_health(&answer, named.is_some()), vec![exchange])
    }

    /// Releases the reservations of the checks. The answers have no effect on the report.
    pub(crate) async fn clean_up(&mut self, started: Instant) {
        self.planner.now = (self.now)();
        for step in self.planner.clean_up() {
            let limit = self.certification.time_limit.map(|limit| limit + self.sender.timeout());
            if limit.is_some_and(|limit| started.elapsed() >= limit) {
                return;
            }
            self.send(&step).await;
        }
    }

    /// Sends requests one after the other, except those that overlap the one before them.
    async fn send_all(&self, steps: &[Step]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(steps.len());
        let mut rest = steps;
        while let [step, after @ ..] = rest {
            rest = match after {
                [overlapping, after @ ..] if overlapping.overlaps => {
                    let later = async {
                        tokio::time::sleep(OVERLAP).await;
                        self.send(overlapping).await
                    };
                    let (first, second) = tokio::join!(self.send(step), later);
                    answers.extend([first, second]);
                    after
                }
                _ => {
                    answers.push(self.send(step).await);
                    after
                }
            };
        }
        answers
    }

    async fn send(&self, step: &Step) -> Answer {
        self.exchange(step).await.0
    }

    /// Sends a request. Returns the answer and the durations of its steps.
    pub(crate) async fn exchange(&self, step: &Step) -> (Answer, Timings) {
        let now = (self.now)() - step.age;
        let url = self.certification.paths.url(&self.certification.endpoint_url, step.event_type);
        let request = DeliveryRequest {
            target: self.target(step),
            url: Destination::new(url),
            delivery_id: step.delivery_id.clone(),
            event_id: step.event_id.clone(),
            event_type: step.event_type,
            attempt: step.attempt,
            test: true,
            format: self.certification.format,
            body: Bytes::from(step.body.clone().into_bytes()),
        };
        let outcome = self.sender.attempt_with(&request, &self.header_changes(step, now), now).await;
        let attempt = outcome.to_attempt(step.delivery_id.clone()).map(|attempt| attempt.with_effect(step.event_type));
        let (response, effect) = attempt.map(|attempt| (attempt.response, attempt.effect)).unwrap_or_default();
        let content_type = response.as_ref().and_then(|response| {
            response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-type"))
        });
        let answer = Answer {
            status: outcome.status_code,
            duration_ms: outcome.timings.total_ms,
            diagnosis: outcome.diagnosis,
            content_type: content_type.map(|header| header.value.clone()).unwrap_or_default(),
            body: response.map(|response| response.body).unwrap_or_default(),
            response: effect,
        };
        (answer, outcome.timings)
    }

    /// The target of a request: secrets and credentials as the step requires.
    fn target(&self, step: &Step) -> Arc<Target> {
        let own = &self.certification.target;
        let with = |secrets: Vec<Secret>, auth: Auth| {
            let keys = if step.signing == Signing::OtherSecret { Vec::new() } else { own.keys.clone() };
            let (headers, public_url, tls) = (own.headers.clone(), own.public_url.clone(), own.tls.clone());
            Arc::new(Target { webhook_id: own.webhook_id, auth, secrets, keys, headers, public_url, tls })
        };
        if step.wrong_credentials {
            let header = match &own.auth {
                Auth::ApiKey { header, .. } => header.clone(),
                Auth::Oauth2 { .. } | Auth::None => http::header::AUTHORIZATION.to_string(),
            };
            let is_bearer = header.eq_ignore_ascii_case(http::header::AUTHORIZATION.as_str());
            let key = if is_bearer { format!("Bearer {WRONG_CREDENTIALS}") } else { WRONG_CREDENTIALS.to_owned() };
            return with(own.secrets.clone(), Auth::ApiKey { header, key });
        }
        let other = self.other_secret.clone();
        let current = own.secrets.first().cloned();
        match step.signing {
            Signing::OtherSecret => with(vec![other], own.auth.clone()),
            Signing::WithPrevious => with(current.into_iter().chain([other]).collect(), own.auth.clone()),
            Signing::AsPrevious => with([other].into_iter().chain(current).collect(), own.auth.clone()),
            _ => own.clone(),
        }
    }

    fn header_changes(&self, step: &Step, now: DateTime<Utc>) -> Vec<HeaderChange> {
        let sign = |body: &str| {
            let target = &self.certification.target;
            let body = body.as_bytes();
            let own = target.secrets.first().map(|secret| sign_body(secret, body)).unwrap_or_default();
            let standard = sign_standard(&target.secrets, &target.keys, step.event_id.as_str(), now.timestamp(), body);
            (own, standard)
        };
        let set = |(own, standard)| vec![HeaderChange::Set(SIGNATURE, own), HeaderChange::Set(STANDARD, standard)];
        let mut changes = match &step.signing {
            Signing::Valid | Signing::OtherSecret | Signing::WithPrevious | Signing::AsPrevious => Vec::new(),
            Signing::Absent => vec![HeaderChange::Remove(SIGNATURE), HeaderChange::Remove(STANDARD)],
            Signing::Empty => set(("sha256=".to_owned(), "v1,".to_owned())),
            Signing::Shortened => {
                let (own, standard) = sign(&step.body);
                let shorten = |text: &str, prefix: &str| text.chars().take(prefix.len() + SHORTENED).collect();
                set((shorten(&own, "sha256="), shorten(&standard, "v1,")))
            }
            Signing::OfBody(body) => set(sign(body)),
        };
        if let Some(name) = step.event_name {
            changes.push(HeaderChange::Set(EVENT, name.to_owned()));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_runs_with_those_that_it_requires() {
        assert_eq!(with_required(&[]).len(), Check::ALL.len());
        let required: Vec<Check> = with_required(&[Check::LargeBody]).into_iter().collect();
        assert_eq!(required, [Check::Created, Check::RawBody, Check::LargeBody]);
    }

    #[test]
    fn health_path_is_at_the_root_of_the_host() {
        assert_eq!(default_health_url("https://a.example:8443/api/webhook?x=1"), "https://a.example:8443/health");
        assert_eq!(default_health_url("nonsense"), "");
    }
}
