//! The recent tests of a webhook, two of which can be compared.

use super::result::{figures, verdict};
use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::intl;
use crate::query::Query;
use crate::rpc::deliveries as log;
use domain::delivery::{Attempt, DeliverySummary};
use domain::event::EventType;
use domain::id::DeliveryId;
use domain::pagination::Page;
use leptos::prelude::*;
use leptos::task::spawn_local;

/// Number of newest deliveries that are searched for tests.
pub const SEARCHED: u32 = 200;
/// Maximum number of tests that are shown.
const SHOWN: usize = 10;
/// Number of tests that are compared.
const COMPARED: usize = 2;

/// A test with its attempt.
#[derive(Clone)]
struct LoadedTest {
    id: DeliveryId,
    event: EventType,
    attempt: Attempt,
}

/// The newest tests. The user marks two of them to compare.
#[component]
pub fn RecentTests(recent: Query<Page<DeliverySummary>>) -> impl IntoView {
    let compared = ErasedSignal::new(Vec::<LoadedTest>::new());
    let problem = RwSignal::new(None);
    let toggle = Callback::new(move |id: DeliveryId| {
        let is_marked = compared.with_untracked(|tests| tests.iter().any(|test| test.id == id));
        if is_marked {
            return compared.update(|tests| tests.retain(|test| test.id != id));
        }
        problem.set(None);
        // Not a `Mutation`, which would ignore the second test while the first one is loaded.
        spawn_local(async move {
            let detail = match log::get_delivery(id.clone()).await {
                Ok(detail) => detail,
                Err(error) => {
                    problem.try_set(Some(error.0));
                    return;
                }
            };
            let Some(attempt) = detail.attempt_log.into_iter().next_back() else { return };
            let event = detail.delivery.event_type;
            compared.update(|tests| {
                if tests.len() == COMPARED {
                    tests.remove(0);
                }
                tests.push(LoadedTest { id, event, attempt });
            });
        });
    });
    view! {
        <details class="advanced">
            <summary>"Recent tests"</summary>
            <div class="stack tight">
                {recent.view(move |page| view! { <TestTable page=page compared=compared toggle=toggle /> })}
                <FormProblem problem=problem />
                <div aria-live="polite">
                    {move || {
                        let tests = compared.get();
                        (tests.len() == COMPARED).then(|| view! { <Comparison tests=tests /> })
                    }}
                </div>
            </div>
        </details>
    }
}

#[component]
fn TestTable(
    page: ErasedMemo<Page<DeliverySummary>>,
    compared: ErasedSignal<Vec<LoadedTest>>,
    toggle: Callback<DeliveryId>,
) -> impl IntoView {
    let row = move |test: DeliverySummary| {
        let (id, of_button) = (test.id.clone(), test.id.clone());
        let is_marked = move || compared.with(|tests| tests.iter().any(|test| test.id == id));
        let code = test.status_code.map_or_else(|| "–".to_owned(), |code| code.to_string());
        let duration = test.duration_ms.map(intl::duration);
        let at = test.created_at;
        view! {
            <tr>
                <td data-label="Time">{intl::timestamp(at)}</td>
                <td data-label="Event"><code>{test.event_type.as_str()}</code></td>
                <td data-label="Status"><Badge status=test.status /></td>
                <td data-label="Code">{code}</td>
                <td data-label="Duration">{duration}</td>
                <td>
                    <button
                        type="button"
                        class="button small"
                        aria-pressed=move || is_marked().to_string()
                        aria-label=format!("Compare test of {}", intl::timestamp(at))
                        on:click=move |_| toggle.run(of_button.clone())
                    >
                        "Compare"
                    </button>
                </td>
            </tr>
        }
    };
    move || {
        let tests: Vec<_> = page.with(|page| page.items.iter().filter(|test| test.test).take(SHOWN).cloned().collect());
        if tests.is_empty() {
            return view! { <p class="muted">"No tests yet."</p> }.into_any();
        }
        view! {
            <p class="muted small">"Mark two tests to compare them."</p>
            <ScrollableTable label="Recent tests">
                <table class="cards-on-phone choices">
                    <thead>
                        <tr>
                            <th>"Time"</th>
                            <th>"Event"</th>
                            <th>"Status"</th>
                            <th>"Code"</th>
                            <th>"Duration"</th>
                            <th><span class="visually-hidden">"Actions"</span></th>
                        </tr>
                    </thead>
                    <tbody>{tests.clone().into_iter().map(row).collect_view()}</tbody>
                </table>
            </ScrollableTable>
        }
        .into_any()
    }
}

/// Two tests side by side, the older one first.
#[component]
fn Comparison(tests: Vec<LoadedTest>) -> impl IntoView {
    let mut tests = tests;
    tests.sort_by_key(|test| test.attempt.started_at);
    let differences = match tests.as_slice() {
        [one, other] => differences(one, other),
        _ => Vec::new(),
    };
    let summary = match differences.as_slice() {
        [] => "The results are the same.".to_owned(),
        names => format!("Different: {}.", names.join(", ")),
    };
    let column = |LoadedTest { event, attempt, .. }: LoadedTest| {
        let response = attempt.response.as_ref().map(|response| pretty_json(&response.body)).unwrap_or_default();
        let at = intl::timestamp(attempt.started_at);
        view! {
            <div class="stack tight" role="group" aria-label=format!("Test of {at}")>
                <h3>{at.clone()}</h3>
                <p class="row"><Badge status=verdict(&attempt) />{figures(&attempt)}<code>{event.as_str()}</code></p>
                <p class="wrap">{attempt.diagnosis.message.clone()}</p>
                <CodeBlock text=pretty_json(&attempt.request.body) label=format!("Request of {at}") />
                <CodeBlock text=response label=format!("Response of {at}") />
            </div>
        }
    };
    view! {
        <div class="stack tight">
            <p><strong>{summary}</strong></p>
            <div class="grid-2">{tests.into_iter().map(column).collect_view()}</div>
        </div>
    }
}

/// The properties in which two tests differ. Each test has another duration.
fn differences(one: &LoadedTest, other: &LoadedTest) -> Vec<&'static str> {
    let body = |test: &LoadedTest| test.attempt.response.as_ref().map(|response| response.body.clone());
    let names = [
        ("event", one.event != other.event),
        ("verdict", one.attempt.outcome != other.attempt.outcome),
        ("code", one.attempt.status_code != other.attempt.status_code),
        ("diagnosis", one.attempt.diagnosis.code != other.attempt.diagnosis.code),
        ("response", body(one) != body(other)),
    ];
    names.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
