//! The certification of a webhook's receiver: the run and its report.

use crate::components::*;
use crate::erased::ErasedSignal;
use crate::intl;
use crate::query::Mutation;
use crate::rpc::webhooks as rpc;
use domain::conformance::{CheckResult, ConformanceExchange, ConformanceReport, Verdict};
use domain::id::WebhookId;
use leptos::prelude::*;

impl Status for Verdict {
    fn label(self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Warning => "Warning",
            Self::Failed => "Failed",
            Self::Skipped => "Skipped",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Passed => Tone::Good,
            Self::Warning => Tone::Warn,
            Self::Failed => Tone::Bad,
            Self::Skipped => Tone::Neutral,
        }
    }
}

/// Starts the certification on demand and shows its report.
#[component]
pub fn CertificationPanel(webhook: WebhookId) -> impl IntoView {
    let mutation = Mutation::new();
    let report = ErasedSignal::new(None::<ConformanceReport>);
    let certify = Callback::new(move |()| {
        report.set(None);
        mutation.run(rpc::certify_webhook(webhook), move |new| report.set(Some(new)));
    });
    view! {
        <div class="stack">
            <section class="card stack tight">
                <p>
                    "Berth sends about 40 test events: valid ones, forged ones, duplicates, late ones and unusual ones. "
                    "A receiver that ignores "<code>"\"test\": true"</code>
                    " provisions resources for them. They are cancelled at the end."
                </p>
                <div>
                    <Button variant=ButtonVariant::Primary pending=mutation.pending on_click=certify>
                        <IconView icon=Icon::Send />
                        "Certify receiver"
                    </Button>
                </div>
            </section>
            <FormProblem problem=mutation.problem />
            <div aria-live="polite">
                <Show when=move || mutation.pending.get()>
                    <p class="muted row"><span class="spinner" aria-hidden="true"></span>"Checking the receiver. This takes up to 90 s…"</p>
                </Show>
                {move || report.get().map(|report| view! { <Report report=report /> })}
            </div>
        </div>
    }
}

#[component]
fn Report(report: ConformanceReport) -> impl IntoView {
    let verdict = if report.failed > 0 { Verdict::Failed } else { Verdict::Passed };
    let counts = [
        (report.passed, "passed"),
        (report.warnings, "with a warning"),
        (report.failed, "failed"),
        (report.skipped, "skipped"),
    ];
    let counts: Vec<String> =
        counts.into_iter().map(|(number, text)| format!("{} {text}", intl::number(number as u64))).collect();
    view! {
        <section class="stack tight">
            <h2 class="row">"Result "<Badge status=verdict /></h2>
            <p class="muted">{counts.join(", ")}" in "{intl::duration(report.duration_ms)}"."</p>
            <ul class="stack tight">{report.checks.into_iter().map(|check| view! { <Check check=check /> }).collect_view()}</ul>
        </section>
    }
}

/// A check. Its requests are shown on demand, and at once if it did not pass.
#[component]
fn Check(check: CheckResult) -> impl IntoView {
    let is_open = matches!(check.verdict, Verdict::Failed | Verdict::Warning);
    view! {
        <li class="card">
            <details class="entry" open=is_open>
                <summary><Badge status=check.verdict /><span>{check.title}</span></summary>
                <div class="stack tight">
                    {(!check.remedy.is_empty()).then(|| view! { <p>{check.remedy}</p> })}
                    {check.exchanges.into_iter().map(|exchange| view! { <Exchange exchange=exchange /> }).collect_view()}
                </div>
            </details>
        </li>
    }
}

#[component]
fn Exchange(exchange: ConformanceExchange) -> impl IntoView {
    view! {
        <dl class="details-list small">
            <dt>"Request"</dt>
            <dd class="wrap">{exchange.sent}" "<code>{exchange.url}</code></dd>
            <dt>"Response"</dt>
            <dd class="wrap">{exchange.received}</dd>
            <dt>"Duration"</dt>
            <dd>{intl::duration(exchange.duration_ms)}</dd>
        </dl>
    }
}
