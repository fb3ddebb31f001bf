//! The verdict on each check.

use super::{Check, Verdict};
use crate::delivery::{Diagnosis, DiagnosisCode};
use crate::event::EventType;
use crate::provisioning::{ProvisioningStatus, ReceiverResponse};
use std::collections::BTreeMap;

/// Part of the time limit that a response may take without a warning.
const SLOW_PART: f64 = 1.0 / 3.0;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status code; `None` without a response.
    pub status: Option<u16>,
    /// The duration in milliseconds.
    pub duration_ms: f64,
    /// The diagnosis.
    pub diagnosis: Diagnosis,
    /// The content type; `""` without one.
    pub content_type: String,
    /// The body of the response.
    pub body: String,
    /// The interpretation of a 2xx response.
    pub response: Option<ReceiverResponse>,
}

impl Answer {
    /// Whether Berth would regard the delivery as successful.
    pub fn is_accepted(&self) -> bool {
        self.diagnosis.code == DiagnosisCode::Ok
    }

    /// Whether the response reports a failure in its body.
    fn reports_failure(&self) -> bool {
        self.provisioning() == Some(ProvisioningStatus::Failed)
    }

    fn provisioning(&self) -> Option<ProvisioningStatus> {
        self.response.as_ref().and_then(|response| response.status)
    }

    fn is_server_error(&self) -> bool {
        self.status.is_some_and(|status| status >= 500)
    }

    /// The response in words.
    pub fn describe(&self) -> String {
        match self.status {
            Some(status) if (200..300).contains(&status) && self.is_accepted() => match self.response.as_ref() {
                Some(ReceiverResponse { message: Some(message), .. }) => format!("{status}: {message}"),
                _ => status.to_string(),
            },
            _ => self.diagnosis.message.clone(),
        }
    }
}

/// The verdict on a check, and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What to change, or why the check says nothing; `""` if it passed.
    pub remedy: String,
}

impl Judgement {
    pub(crate) fn passed() -> Self {
        Self { verdict: Verdict::Passed, remedy: String::new() }
    }

    pub(crate) fn warning(remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, remedy: remedy.into() }
    }

    pub(crate) fn failed(remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, remedy: remedy.into() }
    }

    /// A check that did not run.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, remedy: reason.into() }
    }
}

/// What verdicts depend on besides the answers of a check.
#[derive(Debug, Clone, PartialEq)]
pub struct Circumstances {
    /// The answers of earlier checks.
    pub earlier: BTreeMap<Check, Vec<Answer>>,
    /// The time limit of a request in milliseconds.
    pub timeout_ms: f64,
    /// The events that the receiver must handle.
    pub events: Vec<EventType>,
}

/// The verdict on the answers to the requests of a check.
pub fn judge(check: Check, answers: &[Answer], circumstances: &Circumstances) -> Judgement {
    let wrong_signature = circumstances.earlier.get(&Check::WrongSignature).and_then(|answers| answers.first());
    match check {
        Check::Created | Check::Updated | Check::Cancelled | Check::Expired => valid(answers),
        Check::AccessRequested => access_requested(answers, circumstances),
        Check::Response => response(&circumstances.earlier),
        Check::ResponseTime => response_time(circumstances),
        Check::Duplicate => duplicate(answers),
        Check::LateRetry => accepted(
            answers,
            "Check the age of webhook-timestamp, which is new for each attempt, and not the timestamp in the body: a retry \
             can arrive hours after the event.",
        ),
        Check::WrongSignature => wrong(answers),
        Check::MissingSignature => rejected(
            answers,
            wrong_signature,
            "Reject a request without a signature with 401: anybody can send one.",
            "Check that the signature header exists before you read it, and respond with 401 if it does not.",
        ),
        Check::ShortenedSignature => rejected(
            answers,
            wrong_signature,
            "Compare the whole signature in constant time: the receiver accepts the beginning of one.",
            "Compare texts of different lengths without an error, and respond with 401.",
        ),
        Check::ChangedBody => rejected(
            answers,
            wrong_signature,
            "Verify the signature before you look for known events: the receiver sends a stored response to a forged \
             request.",
            "Respond with 401 to a signature that does not fit the body.",
        ),
        Check::OldTimestamp => old_timestamp(answers),
        Check::Credentials => credentials(answers),
        Check::RawBody => accepted(
            answers,
            "Compute the signature over the raw bytes of the request body, before you parse, trim or serialise it.",
        ),
        Check::NonAscii => accepted(
            answers,
            "Read the body as UTF-8, and compute the signature over its bytes and not over a decoded text.",
        ),
        Check::EmptyFields => {
            accepted(answers, "Accept \"\" in title and user_ssh_key: Berth sends it when the user enters none.")
        }
        Check::UnknownFields => {
            accepted(answers, "Ignore unknown fields: later releases of Berth add fields to the events.")
        }
        Check::UnknownEvent => unknown_event(answers),
        Check::LargeBody => accepted(
            answers,
            "Raise the limit for request bodies to at least 256 KiB: a configuration can be that large.",
        ),
        Check::UpdateFirst => update_first(answers),
        Check::CancelUnknown => accepted(
            answers,
            "Respond with 2xx to the cancellation of an unknown reservation: the event that created it may have failed, \
             and nothing is left to release.",
        ),
        Check::CancelWhileProvisioning => accepted(
            answers,
            "Accept a cancellation at any time: stop the work, or respond with 202 and release the resource afterwards.",
        ),
        Check::RotationNew => accepted(
            answers,
            "Split webhook-signature at its spaces and accept the request if any of the signatures is valid: during a \
             rotation it contains several.",
        ),
        Check::RotationOld => rotation_old(answers),
        // The runner judges the health path, which has no event.
        Check::Health => Judgement::passed(),
    }
}

/// The verdict on the answer of a health path: its status, or why there is none. `is_required` states that the user
/// named the path.
pub fn judge_health(answer: &Result<u16, Diagnosis>, is_required: bool) -> Judgement {
    match answer {
        Ok(200..300) => Judgement::passed(),
        _ if !is_required => Judgement::skipped("The receiver has no health path there; it is optional."),
        Ok(status) => Judgement::failed(format!("Respond with 200 to GET on the health path instead of {status}.")),
        Err(diagnosis) => Judgement::failed(sentence(diagnosis)),
    }
}

/// The first answer that is not a success.
fn first_refusal(answers: &[Answer]) -> Option<&Answer> {
    answers.iter().find(|answer| !answer.is_accepted())
}

/// The remedy of a diagnosis, or its cause if there is none.
pub(crate) fn sentence(diagnosis: &Diagnosis) -> String {
    let text = if diagnosis.hint.is_empty() { &diagnosis.message } else { &diagnosis.hint };
    text.clone()
}

/// The verdict on requests that Berth sends like this.
pub(crate) fn valid(answers: &[Answer]) -> Judgement {
    match first_refusal(answers) {
        Some(answer) => Judgement::failed(sentence(&answer.diagnosis)),
        None => match answers.iter().find(|answer| answer.reports_failure()) {
            Some(answer) => Judgement::failed(format!(
                "The receiver reports a failure ({}): certify it with a resource type and a configuration that it provides.",
                answer.describe()
            )),
            None => Judgement::passed(),
        },
    }
}

/// The verdict on valid but unusual requests. Without a response, the cause is more specific than `remedy`.
fn accepted(answers: &[Answer], remedy: &str) -> Judgement {
    match first_refusal(answers) {
        None => Judgement::passed(),
        Some(Answer { status: None, diagnosis, .. }) => Judgement::failed(sentence(diagnosis)),
        Some(_) => Judgement::failed(remedy),
    }
}

fn access_requested(answers: &[Answer], circumstances: &Circumstances) -> Judgement {
    let is_required = circumstances.events.contains(&EventType::AccessRequested);
    match first_refusal(answers) {
        Some(answer) if !is_required && matches!(answer.status, Some(404 | 405 | 501)) => Judgement::skipped(
            "The receiver does not handle user.access_requested; leave this trigger of the webhook off.",
        ),
        _ => valid(answers),
    }
}

/// Whether Berth can interpret the responses to the first events.
fn response(earlier: &BTreeMap<Check, Vec<Answer>>) -> Judgement {
    let answers =
        || [Check::Created, Check::Updated, Check::Cancelled].iter().filter_map(|check| earlier.get(check)).flatten();
    let accepted = || answers().filter(|answer| answer.is_accepted());
    let problem = |answer: &Answer| answer.response.as_ref().and_then(|response| response.problem.clone());
    if let Some(problem) = accepted().find_map(problem) {
        return Judgement::failed(format!(
            "{problem} Respond with a JSON object whose status is success, accepted or failed; otherwise the reservation \
             waits for a status update."
        ));
    }
    let looks_like = |start: &'static str| move |answer: &&Answer| answer.body.trim_start().starts_with(start);
    let is_json = |answer: &Answer| crate::provisioning::is_json_content_type(&answer.content_type);
    if accepted().filter(looks_like("{")).any(|answer| !is_json(answer)) {
        return Judgement::warning("Set the Content-Type of the response to application/json.");
    }
    if accepted().any(|answer| looks_like("<")(&answer)) {
        return Judgement::warning(
            "Respond with a JSON object: the response is an HTML page, and Berth regards every 2xx as success.",
        );
    }
    Judgement::passed()
}

/// The slowest answer to an event, against the time limit.
fn response_time(circumstances: &Circumstances) -> Judgement {
    let slowest = circumstances.earlier.values().flatten().map(|answer| answer.duration_ms).fold(0.0, f64::max);
    let limit = circumstances.timeout_ms;
    if slowest > limit * SLOW_PART {
        return Judgement::warning(format!(
            "Respond with 202 at once and report the result to status_url: the slowest response took {:.1} s of {:.0} s.",
            slowest / 1_000.0,
            limit / 1_000.0
        ));
    }
    Judgement::passed()
}

fn duplicate(answers: &[Answer]) -> Judgement {
    if let Some(answer) = first_refusal(answers) {
        return match answer.status {
            None => Judgement::failed(sentence(&answer.diagnosis)),
            Some(_) => Judgement::failed(
                "Respond with 2xx to an event whose webhook-id is known, and do nothing else: Berth sends an event again \
                 until it gets a 2xx.",
            ),
        };
    }
    let access = |answer: &Answer| answer.response.as_ref().and_then(|response| response.access_info.clone());
    let mut distinct: Vec<_> = answers.iter().filter_map(access).collect();
    distinct.dedup();
    if distinct.len() > 1 {
        return Judgement::failed(
            "Store the result by webhook-id and send it again for a repeated event: the access information differs, so the \
             receiver has provisioned twice.",
        );
    }
    Judgement::passed()
}

/// The verdict on a request with a wrong signature.
pub(crate) fn wrong(answers: &[Answer]) -> Judgement {
    let Some(answer) = answers.first() else { return Judgement::passed() };
    match answer.status {
        Some(401 | 403) => Judgement::passed(),
        None => Judgement::failed(sentence(&answer.diagnosis)),
        Some(status) if answer.is_accepted() && answer.reports_failure() => Judgement::failed(format!(
            "Respond with 401 instead of {status}: for Berth, a 2xx means that the event was delivered."
        )),
        Some(_) if answer.is_accepted() => Judgement::failed(
            "Compute the signature with your secret, compare it with the header, and respond with 401 if they differ.",
        ),
        Some(status) => Judgement::warning(format!(
            "Respond with 401 instead of {status}, so that the delivery log names the signature as the cause."
        )),
    }
}

/// The verdict on forged requests. An error is reported only if the receiver does not have it for each wrong signature.
fn rejected(answers: &[Answer], wrong_signature: Option<&Answer>, remedy: &str, on_error: &str) -> Judgement {
    if answers.iter().any(Answer::is_accepted) {
        return Judgement::failed(remedy);
    }
    let fails_always = wrong_signature.is_some_and(Answer::is_server_error);
    match answers.iter().find(|answer| answer.status.is_none()) {
        Some(answer) => Judgement::failed(sentence(&answer.diagnosis)),
        None if !fails_always && answers.iter().any(Answer::is_server_error) => Judgement::warning(on_error),
        None => Judgement::passed(),
    }
}

fn old_timestamp(answers: &[Answer]) -> Judgement {
    match answers.first() {
        Some(answer) if answer.is_accepted() => Judgement::warning(
            "Verify webhook-signature, which covers the time, and reject a webhook-timestamp that is more than 5 minutes \
             off: anybody who has recorded a request can send it again.",
        ),
        _ => Judgement::passed(),
    }
}

fn credentials(answers: &[Answer]) -> Judgement {
    match answers.first() {
        Some(answer) if answer.is_accepted() => Judgement::warning(
            "Check the API key or token too, or remove it from the webhook: the receiver does not read it.",
        ),
        _ => Judgement::passed(),
    }
}

fn unknown_event(answers: &[Answer]) -> Judgement {
    let Some(answer) = answers.first() else { return Judgement::passed() };
    if !answer.is_accepted() {
        return match answer.status {
            None => Judgement::failed(sentence(&answer.diagnosis)),
            Some(500..) => Judgement::failed("Respond with 2xx to an unknown event_type, and do nothing else."),
            Some(status) => Judgement::warning(format!(
                "Respond with 2xx instead of {status} to an unknown event_type: later releases of Berth add events."
            )),
        };
    }
    let has_access = answer.response.as_ref().is_some_and(|response| response.access_info.is_some());
    if has_access || answer.provisioning() == Some(ProvisioningStatus::Provisioning) {
        return Judgement::warning(
            "Read event_type and ignore unknown ones: the receiver has provisioned a resource for an event that it does \
             not know.",
        );
    }
    Judgement::passed()
}

fn update_first(answers: &[Answer]) -> Judgement {
    let remedy = "Treat an update of an unknown reservation like its creation: the event that created it may have failed, or \
                  be redelivered later.";
    match answers {
        [updated, created] if updated.is_accepted() && !created.is_accepted() => Judgement::failed(
            "Accept reservation.created for a reservation that an update has already created: a redelivery arrives last.",
        ),
        [updated, ..] => match updated.status {
            Some(400..500) => Judgement::warning(remedy),
            _ => accepted(answers, remedy),
        },
        [] => Judgement::passed(),
    }
}

fn rotation_old(answers: &[Answer]) -> Judgement {
    match first_refusal(answers) {
        None => Judgement::passed(),
        Some(Answer { status: None, diagnosis, .. }) => Judgement::failed(sentence(diagnosis)),
        Some(_) => Judgement::warning(
            "Verify webhook-signature, which contains a signature of the old secret during the overlap: a receiver that \
             verifies only X-Webhook-Signature or the first signature fails until it has the new secret.",
        ),
    }
}
