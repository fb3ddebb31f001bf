//! Send Test Event: the exact exchange, and what it means.

use crate::components::*;
use crate::load::Write;
use crate::pages::deliveries::AttemptView;
use crate::rpc::webhooks as rpc;
use crate::values::Cell;
use domain::delivery::Attempt;
use domain::event::EventType;
use domain::webhook::{TestInput, Webhook};
use leptos::prelude::*;

/// Chooses an event, sends it, shows the whole exchange. `at_once` sends the first ticked event without asking.
#[component]
pub fn TestPanel(webhook: Webhook, #[prop(optional)] at_once: bool) -> impl IntoView {
    let id = webhook.id;
    let first = webhook.events.first().copied().unwrap_or(EventType::ReservationCreated);
    let event = RwSignal::new(first.as_str().to_owned());
    let write = Write::new();
    let attempt = Cell::new(None::<Attempt>);
    let send = Callback::new(move |()| {
        let input = TestInput { event_type: EventType::parse(&event.get_untracked()) };
        attempt.set(None);
        write.run(rpc::test_webhook(id, input), move |done| {
            attempt.set(Some(done));
        });
    });
    if at_once {
        send.run(());
    }
    let options: Vec<(String, String)> = EventType::ALL
        .into_iter()
        .map(|e| {
            let ticked = if webhook.events.contains(&e) { "" } else { " (not selected)" };
            (e.as_str().to_owned(), format!("{}{ticked}", e.label()))
        })
        .collect();
    let paths = webhook.delivery_paths;
    let endpoint = webhook.endpoint_url;
    let target = move || EventType::parse(&event.get()).map(|event| paths.url(&endpoint, event)).unwrap_or_default();
    view! {
        <div class="stack">
            <section class="card stack tight">
                <div class="toolbar test-tools">
                    <Select label="Event" value=event options=options />
                    <Button look=Look::Primary busy=write.busy on_click=send><IconView icon=Icon::Send />"Send Test Event"</Button>
                </div>
                <p class="small muted wrap">
                    "Sent to "<code>{target}</code>" with "<code>"\"test\": true"</code>
                    " and the header "<code>"X-Webhook-Test: true"</code>". Test events change no reservation and are not retried."
                </p>
            </section>
            <FormProblem problem=write.problem />
            <div aria-live="polite">
                <When when=move || write.busy.get()>
                    <p class="muted row"><span class="spinner" aria-hidden="true"></span>"Waiting for the response…"</p>
                </When>
                {move || attempt.get().map(|attempt| view! { <h2 class="visually-hidden">"Result"</h2><AttemptView attempt=attempt /> }.into_any())}
            </div>
        </div>
    }
}
