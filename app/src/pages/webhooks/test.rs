//! The panel of *Test Webhook*, which sends a test event and shows the exchange.

use crate::components::*;
use crate::erased::ErasedSignal;
use crate::pages::deliveries::AttemptView;
use crate::query::Mutation;
use crate::rpc::webhooks as rpc;
use domain::delivery::Attempt;
use domain::event::EventType;
use domain::webhook::{TestInput, Webhook};
use leptos::prelude::*;

/// Sends the first event of the webhook as a test event when it opens, and others on demand. Shows the attempt.
#[component]
pub fn TestPanel(webhook: Webhook) -> impl IntoView {
    let id = webhook.id;
    let first = webhook.events.first().copied().unwrap_or(EventType::ReservationCreated);
    let event = RwSignal::new(first.as_str().to_owned());
    let mutation = Mutation::new();
    let attempt = ErasedSignal::new(None::<(EventType, Attempt)>);
    let send = Callback::new(move |()| {
        let event = EventType::parse(&event.get_untracked()).unwrap_or(first);
        attempt.set(None);
        let input = TestInput { event_type: Some(event) };
        mutation.run(rpc::test_webhook(id, input), move |new| attempt.set(Some((event, new))));
    });
    send.run(());
    let options: Vec<(String, String)> = EventType::ALL
        .into_iter()
        .map(|e| {
            let suffix = if webhook.events.contains(&e) { "" } else { " (not selected)" };
            (e.as_str().to_owned(), format!("{}{suffix}", e.label()))
        })
        .collect();
    let paths = webhook.delivery_paths;
    let endpoint = webhook.endpoint_url;
    let url = move || EventType::parse(&event.get()).map(|event| paths.url(&endpoint, event)).unwrap_or_default();
    view! {
        <div class="stack">
            <section class="card stack tight">
                <div class="toolbar test-tools">
                    <Select label="Event" value=event options=options />
                    <Button variant=ButtonVariant::Primary pending=mutation.pending on_click=send><IconView icon=Icon::Send />"Test Webhook"</Button>
                </div>
                <p class="small muted wrap">
                    "Sent to "<code>{url}</code>" with "<code>"\"test\": true"</code>
                    " and the header "<code>"X-Webhook-Test: true"</code>". Test events change no reservation and are not retried."
                </p>
            </section>
            <FormProblem problem=mutation.problem />
            <div aria-live="polite">
                <Show when=move || mutation.pending.get()>
                    <p class="muted row"><span class="spinner" aria-hidden="true"></span>"Waiting for the response…"</p>
                </Show>
                {move || {
                    attempt
                        .get()
                        .map(|(event, attempt)| {
                            view! { <h2 class="visually-hidden">"Result"</h2><AttemptView event=event attempt=attempt /> }
                        })
                }}
            </div>
        </div>
    }
}
