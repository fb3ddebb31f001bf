//! The checklist of a webhook before it is saved.

use super::super::elapsed::Elapsed;
use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::intl;
use crate::query::Mutation;
use crate::rpc::webhooks as rpc;
use domain::draft_check::{DraftCheckInput, DraftReport, DraftResult};
use leptos::prelude::*;

/// The settings to check.
#[derive(Clone, Copy)]
pub struct DraftSource {
    /// The settings, if they are valid.
    pub input: ErasedMemo<Option<DraftCheckInput>>,
    /// The titles of the rows.
    pub titles: ErasedMemo<Vec<String>>,
    /// Shows the messages of the invalid fields.
    pub reject: Callback<()>,
    /// The result in words; empty before the first run.
    pub outcome: RwSignal<String>,
}

/// Runs the checks on demand and shows a row for each.
#[component]
pub fn Checklist(draft: DraftSource) -> impl IntoView {
    let DraftSource { input, titles, reject, outcome } = draft;
    let mutation = Mutation::new();
    let checked = ErasedSignal::new(None::<(DraftCheckInput, DraftReport)>);
    let run = Callback::new(move |()| {
        let Some(settings) = input.get_untracked() else { return reject.run(()) };
        checked.set(None);
        outcome.set(String::new());
        mutation.run(rpc::check_webhook(settings.clone()), move |report| {
            outcome.set(summary(&report));
            checked.set(Some((settings, report)));
        });
    });
    let is_stale = move || {
        checked.with(|checked| {
            checked.as_ref().is_some_and(|(settings, _)| input.with(|now| now.as_ref() != Some(settings)))
        })
    };
    let rows = move || {
        if mutation.pending.get() {
            return titles
                .get()
                .into_iter()
                .map(|title| view! { <PendingRow title=title /> })
                .collect_view()
                .into_any();
        }
        match checked.get() {
            Some((_, report)) => {
                report.checks.into_iter().map(|row| view! { <Row row=row /> }).collect_view().into_any()
            }
            None => titles
                .get()
                .into_iter()
                .map(|title| view! { <li><span class="muted">{title}</span></li> })
                .collect_view()
                .into_any(),
        }
    };
    view! {
        <div class="stack tight">
            <p class="muted">
                "Start your receiver first. Berth sends a test event for each trigger, one with a wrong signature, and a request to "
                <code>"/health"</code>". Nothing is saved."
            </p>
            <div class="row">
                <Button pending=mutation.pending on_click=run><IconView icon=Icon::Send />"Run checks"</Button>
                <Show when=move || mutation.pending.get()>
                    <Elapsed />
                </Show>
                <span role="status">{move || outcome.get()}</span>
            </div>
            <FormProblem problem=mutation.problem />
            <Show when=is_stale>
                <p class="muted small">"The settings have changed since these checks. Run them again."</p>
            </Show>
            <ul class="checklist" aria-label="Checks">{rows}</ul>
        </div>
    }
}

/// A report in words.
fn summary(report: &DraftReport) -> String {
    let duration = intl::duration(report.duration_ms);
    match (report.failed, report.warnings) {
        (0, 0) => format!("Passed in {duration}."),
        (0, 1) => format!("Passed with 1 warning in {duration}."),
        (0, warnings) => format!("Passed with {} warnings in {duration}.", intl::number(warnings as u64)),
        (1, _) => format!("1 check failed after {duration}."),
        (failed, _) => format!("{} checks failed after {duration}.", intl::number(failed as u64)),
    }
}

#[component]
fn PendingRow(title: String) -> impl IntoView {
    view! {
        <li>
            <span class="row"><span class="spinner" aria-hidden="true"></span>{title}</span>
        </li>
    }
}

/// A row with its verdict, the answer, and what to change.
#[component]
fn Row(row: DraftResult) -> impl IntoView {
    let DraftResult { title, verdict, remedy, url, received, duration_ms, .. } = row;
    view! {
        <li>
            <div class="row">
                <Badge status=verdict />
                <strong>{title}</strong>
                {duration_ms.map(|duration| view! { <span class="muted small mono">{intl::duration(duration)}</span> })}
            </div>
            {(!received.is_empty())
                .then(|| {
                    view! {
                        <p class="small muted wrap">
                            {received} {(!url.is_empty()).then(|| view! { " · "<code>{url}</code> })}
                        </p>
                    }
                })}
            {(!remedy.is_empty()).then(|| view! { <p class="wrap">{remedy}</p> })}
        </li>
    }
}
