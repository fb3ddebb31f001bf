//! One attempt, whole: what it means, how long each step took, what was sent and what came back.

use crate::components::*;
use crate::time;
use domain::delivery::{Attempt, Outcome, SentRequest, Timings};
use domain::header::Header;
use leptos::prelude::*;

fn lines(headers: &[Header]) -> String {
    headers.iter().map(|h| format!("{}: {}", h.name, h.value)).collect::<Vec<_>>().join("\n")
}

/// `'` in a word of the shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The request as a command; redacted headers stay to be filled in.
fn curl(request: &SentRequest) -> String {
    let mut command = format!("curl -i -X {} {}", request.method, quote(&request.url));
    for header in &request.headers {
        // curl writes these itself, rightly.
        if !["host", "content-length", "accept-encoding"].contains(&header.name.to_ascii_lowercase().as_str()) {
            command.push_str(&format!(" \\\n  -H {}", quote(&format!("{}: {}", header.name, header.value))));
        }
    }
    command.push_str(&format!(" \\\n  --data-binary {}", quote(&request.body)));
    command
}

/// The steps of an exchange: (name, begins at, lasts), in milliseconds.
fn steps(timings: &Timings) -> Vec<(&'static str, f64, f64)> {
    let mut at = 0.0;
    let mut steps = Vec::new();
    let parts = [
        ("DNS lookup", timings.dns_ms),
        ("TCP connect", timings.connect_ms),
        ("TLS handshake", timings.tls_ms),
        ("Waiting (TTFB)", timings.first_byte_ms),
    ];
    for (name, part) in parts {
        if let Some(lasts) = part {
            steps.push((name, at, lasts));
            at += lasts;
        }
    }
    if timings.first_byte_ms.is_some() && timings.total_ms > at {
        steps.push(("Download", at, timings.total_ms - at));
    }
    steps
}

/// The steps as bars under each other.
#[component]
fn Waterfall(timings: Timings) -> impl IntoView {
    let total = timings.total_ms.max(0.001);
    let row = move |(name, at, lasts): (&'static str, f64, f64)| {
        let left = (at / total * 100.0).clamp(0.0, 99.0);
        let width = (lasts / total * 100.0).clamp(0.6, 100.0 - left);
        view! {
            <li>
                <span>{name}</span>
                <span class="bar" aria-hidden="true">
                    <span style:margin-left=format!("{left:.2}%") style:width=format!("{width:.2}%")></span>
                </span>
                <span class="mono">{time::duration(lasts)}</span>
            </li>
        }
        .into_any()
    };
    view! {
        <ul class="waterfall" aria-label="Timings">
            {steps(&timings).into_iter().map(row).collect_view()}
            <li class="total">
                <span>"Total"</span>
                <span class="small muted">{timings.reused.then_some("connection reused")}</span>
                <span class="mono">{time::duration(timings.total_ms)}</span>
            </li>
        </ul>
    }
}

/// What an attempt means.
#[component]
fn Verdict(attempt: Attempt) -> impl IntoView {
    let good = attempt.outcome == Outcome::Succeeded;
    let class = if good { "notice success" } else { "notice error" };
    view! {
        <div class=class role="status">
            <IconView icon=if good { Icon::Check } else { Icon::Warning } />
            <div>
                <strong>{attempt.diagnosis.message}</strong>
                {(!attempt.diagnosis.hint.is_empty()).then(|| view! { <p>{attempt.diagnosis.hint}</p> }.into_any())}
            </div>
        </div>
    }
}

/// Everything about one attempt.
#[component]
pub fn AttemptView(attempt: Attempt) -> impl IntoView {
    let request = attempt.request.clone();
    let response = attempt.response.clone();
    let code = attempt.status_code;
    view! {
        <div class="stack attempt">
            <Verdict attempt=attempt.clone() />
            <Waterfall timings=attempt.timings />
            <div class="grid-2 exchange">
                <section class="stack tight" aria-label="Request">
                    <div class="row between">
                        <h3>"Request"</h3>
                        <CopyButton text=curl(&request) label="Copy as curl" />
                    </div>
                    <p class="mono wrap"><strong>{request.method.clone()}</strong>" "{request.url.clone()}</p>
                    <CodeBlock text=lines(&request.headers) label="Request headers" />
                    <CodeBlock text=pretty(&request.body) label="Request body" />
                </section>
                <section class="stack tight" aria-label="Response">
                    <h3>"Response"</h3>
                    {match response {
                        None => view! { <p class="muted">"No response."</p> }.into_any(),
                        Some(response) => {
                            view! {
                                <p class="mono">
                                    {response.version} " " <strong>{code.map(|code| code.to_string()).unwrap_or_default()}</strong>
                                </p>
                                <CodeBlock text=lines(&response.headers) label="Response headers" />
                                {if response.body.is_empty() {
                                    view! { <p class="muted">"Empty body."</p> }.into_any()
                                } else {
                                    view! { <CodeBlock text=pretty(&response.body) label="Response body" /> }.into_any()
                                }}
                                {response.truncated.then(|| view! { <p class="muted small">"Truncated at 64 KiB."</p> }.into_any())}
                            }
                                .into_any()
                        }
                    }}
                </section>
            </div>
        </div>
    }
}
