//! The check of a webhook before it is saved: sends the requests of `domain::draft_check`.

use crate::certification::{Run, default_health_url};
use crate::{Auth, Certification, Destination, Sender, Sources};
use domain::conformance::plan::{Signing, Step};
use domain::draft_check::{DraftReport, Probe, Probes};
use domain::event::EventType;
use std::time::Instant;

/// Sends each event of a draft, and the first one also with a wrong signature. Reports the checklist.
///
/// After a request without a response, or one whose signature is rejected, no other event is sent. `certification.only`
/// has no effect.
pub async fn check_draft(sender: &Sender, certification: &Certification, sources: Sources<'_>) -> DraftReport {
    let started = Instant::now();
    let started_at = (sources.now)();
    let mut run = Run::new(sender, certification, sources, started_at);
    let mut events = certification.events.clone();
    events.sort_unstable();
    let (first, others) = match events.split_first() {
        Some((first, others)) => (*first, others),
        None => (EventType::ReservationCreated, &[][..]),
    };
    let mut probes =
        Probes { first: probe(&mut run, certification, first).await, forged: None, others: Vec::new(), health: None };
    if probes.first.answer.is_accepted() {
        probes.forged = forged(&mut run, certification, first).await;
    }
    let is_late = || certification.time_limit.is_some_and(|limit| started.elapsed() >= limit);
    if !probes.first.ends_check() {
        for event in others {
            let is_over = probes.others.last().is_some_and(Probe::ends_check);
            if is_over || is_late() {
                break;
            }
            probes.others.push(probe(&mut run, certification, *event).await);
        }
    }
    if probes.first.answer.status.is_some() && !is_late() {
        let url = certification.health_url.clone().unwrap_or_else(|| default_health_url(&certification.endpoint_url));
        let answer = sender.get(&Destination::new(url.clone()), certification.target.tls.as_ref()).await;
        probes.health = Some((url, answer));
    }
    if probes.first.answer.is_accepted() {
        run.clean_up(started).await;
    }
    let has_token = matches!(certification.target.auth, Auth::Oauth2 { .. });
    DraftReport::new(has_token, &events, &probes, started.elapsed().as_secs_f64() * 1_000.0)
}

/// Sends a valid event.
async fn probe(run: &mut Run<'_>, certification: &Certification, event: EventType) -> Probe {
    let mut last = None;
    for step in run.planner.valid_event(event) {
        last = Some(send(run, certification, &step).await);
    }
    // A check of an event plans one request at least.
    match last {
        Some(probe) => probe,
        None => unreachable!("every event has a request"),
    }
}

/// Sends an event with the signature of another secret.
async fn forged(run: &mut Run<'_>, certification: &Certification, event: EventType) -> Option<Probe> {
    let step = run.planner.valid_event(event).pop()?;
    let step =
        Step { sent: format!("{}, signed with another secret", step.sent), signing: Signing::OtherSecret, ..step };
    Some(send(run, certification, &step).await)
}

async fn send(run: &Run<'_>, certification: &Certification, step: &Step) -> Probe {
    let (answer, timings) = run.exchange(step).await;
    let url = certification.paths.url(&certification.endpoint_url, step.event_type);
    Probe { event_type: step.event_type, url, answer, timings }
}
