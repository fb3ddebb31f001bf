//! One attempt: diagnosis, timings, request and response.

use super::body::Body;
use crate::components::*;
use crate::intl;
use domain::delivery::{Attempt, Outcome, ReceivedResponse, SentRequest, Timings};
use domain::event::EventType;
use domain::header::Header;
use domain::provisioning::{ProvisioningStatus, ReceiverResponse};
use leptos::prelude::*;

/// Formats headers, one per line.
fn header_lines(headers: &[Header]) -> String {
    headers.iter().map(|h| format!("{}: {}", h.name, h.value)).collect::<Vec<_>>().join("\n")
}

/// Quotes a text as one argument of a shell command.
fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The request as a curl command. The user has to insert the redacted header values, and signatures, which
/// are shortened.
pub(super) fn curl(request: &SentRequest) -> String {
    let mut command = format!("curl -i -X {} {}", request.method, shell_quote(&request.url));
    for header in &request.headers {
        // curl sets these headers itself.
        if !["host", "content-length", "accept-encoding"].contains(&header.name.to_ascii_lowercase().as_str()) {
            command.push_str(&format!(" \\\n  -H {}", shell_quote(&format!("{}: {}", header.name, header.value))));
        }
    }
    command.push_str(&format!(" \\\n  --data-binary {}", shell_quote(&request.body)));
    command
}

/// A step of an exchange. Times are in milliseconds from its start.
struct Step {
    name: &'static str,
    start: f64,
    duration: f64,
}

/// The steps of an exchange that took place.
fn steps(timings: &Timings) -> Vec<Step> {
    let mut start = 0.0;
    let mut steps = Vec::new();
    let parts = [
        ("DNS lookup", timings.dns_ms),
        ("TCP connect", timings.connect_ms),
        ("TLS handshake", timings.tls_ms),
        ("Waiting (TTFB)", timings.first_byte_ms),
    ];
    for (name, duration) in parts {
        if let Some(duration) = duration {
            steps.push(Step { name, start, duration });
            start += duration;
        }
    }
    if timings.first_byte_ms.is_some() && timings.total_ms > start {
        steps.push(Step { name: "Download", start, duration: timings.total_ms - start });
    }
    steps
}

/// The steps as a chart of horizontal bars.
#[component]
pub(super) fn Waterfall(timings: Timings) -> impl IntoView {
    let total = timings.total_ms.max(0.001);
    let row = move |Step { name, start, duration }: Step| {
        let left = (start / total * 100.0).clamp(0.0, 99.0);
        let width = (duration / total * 100.0).clamp(0.6, 100.0 - left);
        view! {
            <li>
                <span>{name}</span>
                <span class="bar" aria-hidden="true">
                    <span style:margin-left=format!("{left:.2}%") style:width=format!("{width:.2}%")></span>
                </span>
                <span class="mono">{intl::duration(duration)}</span>
            </li>
        }
    };
    view! {
        <ul class="waterfall" aria-label="Timings">
            {steps(&timings).into_iter().map(row).collect_view()}
            <li class="total">
                <span>"Total"</span>
                <span class="small muted">
                    {timings.resent.then_some("sent again: the kept-alive connection had closed")}
                    {timings.reused.then_some("connection reused")}
                </span>
                <span class="mono">{intl::duration(timings.total_ms)}</span>
            </li>
        </ul>
    }
}

/// The diagnosis of an attempt, and the effect of the response on a reservation. `lead` is a line above.
#[component]
pub(super) fn Diagnosis(event: EventType, attempt: Attempt, #[prop(optional)] lead: Option<String>) -> impl IntoView {
    let succeeded = attempt.outcome == Outcome::Succeeded;
    let effect = attempt.effect;
    let (class, icon) = match &effect {
        _ if !succeeded => ("notice error", Icon::Warning),
        Some(effect) if effect.status == Some(ProvisioningStatus::Failed) => ("notice error", Icon::Warning),
        Some(effect) if effect.problem.is_some() => ("notice warning", Icon::Warning),
        _ => ("notice success", Icon::Check),
    };
    view! {
        <div class=class role="status">
            <IconView icon=icon />
            <div>
                {lead.map(|lead| view! { <p class="small muted">{lead}</p> })}
                <strong>{attempt.diagnosis.message}</strong>
                {(!attempt.diagnosis.hint.is_empty()).then(|| view! { <p>{attempt.diagnosis.hint}</p> })}
                {effect.map(|effect| view! { <Effect event=event effect=effect /> })}
            </div>
        </div>
    }
}

/// The effect of a response on a reservation.
#[component]
fn Effect(event: EventType, effect: ReceiverResponse) -> impl IntoView {
    let Some(status) = effect.status else {
        return view! { <p>"Responses to this event change no reservation."</p> }.into_any();
    };
    let lines = [
        effect.problem.map(|problem| format!("{problem} Berth waits for a status update.")),
        effect.message.map(|message| format!("Message: {message}")),
        effect.estimated_ready_time.map(|estimate| format!("Estimated ready time: {estimate}")),
        effect
            .access_info
            .and_then(|access| access.connection_command.or(access.ip_address))
            .map(|a| format!("Access: {a}")),
    ];
    let leaves_ready = event == EventType::ReservationUpdated && status != ProvisioningStatus::Ready;
    view! {
        <p class="row">"With this response, a reservation becomes "<Badge status=status /></p>
        {leaves_ready.then(|| view! { <p>"One that is ready stays ready, and its page shows that the change is not confirmed."</p> })}
        {lines.into_iter().flatten().map(|line| view! { <p class="wrap">{line}</p> }).collect_view()}
    }
    .into_any()
}

/// A request as it was sent, with secrets redacted.
#[component]
pub(super) fn RequestView(request: SentRequest) -> impl IntoView {
    view! {
        <p class="mono wrap"><strong>{request.method}</strong>" "{request.url}</p>
        <Body text=request.body label="Request body" />
        <CodeBlock text=header_lines(&request.headers) label="Request headers" />
    }
}

/// A response, or the note that there is none.
#[component]
pub(super) fn ResponseView(response: Option<ReceivedResponse>, status_code: Option<u16>) -> impl IntoView {
    let Some(response) = response else { return view! { <p class="muted">"No response."</p> }.into_any() };
    let headers = header_lines(&response.headers);
    view! {
        <p class="mono">
            {response.version} " " <strong>{status_code.map(|code| code.to_string()).unwrap_or_default()}</strong>
        </p>
        {if response.body.is_empty() {
            view! { <p class="muted">"Empty body."</p> }.into_any()
        } else {
            view! { <Body text=response.body label="Response body" /> }.into_any()
        }}
        {response.truncated.then(|| view! { <p class="muted small">"Truncated at 64 KiB."</p> })}
        {response.problem.map(|problem| view! { <p class="muted small wrap">{problem}</p> })}
        <CodeBlock text=headers label="Response headers" />
    }
    .into_any()
}

/// One attempt with all its details.
#[component]
pub fn AttemptView(
    /// The event of the delivery.
    event: EventType,
    attempt: Attempt,
) -> impl IntoView {
    let request = attempt.request.clone();
    view! {
        <div class="stack attempt">
            <Diagnosis event=event attempt=attempt.clone() />
            <Waterfall timings=attempt.timings />
            <div class="grid-2 exchange">
                <section class="stack tight" aria-label="Request">
                    <div class="row between">
                        <h3>{if request.sent { "Request" } else { "Request (not sent)" }}</h3>
                        <CopyButton text=curl(&request) label="Copy as curl" />
                    </div>
                    <RequestView request=request />
                </section>
                <section class="stack tight" aria-label="Response">
                    <h3>"Response"</h3>
                    <ResponseView response=attempt.response status_code=attempt.status_code />
                </section>
            </div>
        </div>
    }
}
