//! The panel of *Test Webhook*: sends test events, interprets the responses, and compares recent tests.

mod recent;
mod result;

use super::elapsed::Elapsed;
use crate::components::*;
use crate::erased::ErasedSignal;
use crate::query::Query;
use crate::rpc::deliveries as log;
use crate::rpc::webhooks as rpc;
use domain::Problem;
use domain::delivery::{Attempt, DeliveryFilter};
use domain::event::EventType;
use domain::pagination::PageQuery;
use domain::webhook::{TestInput, Webhook};
use leptos::prelude::*;
use leptos::task::spawn_local;
use recent::RecentTests;
use result::TestResult;
use serde_json::{Map, Value};

/// The option for one test of each selected event.
const ALL: &str = "all";

/// A test that has ended.
#[derive(Clone)]
pub struct EndedTest {
    event: EventType,
    attempt: Attempt,
}

/// The tests of an opened panel.
#[derive(Clone, Copy)]
struct Tests {
    webhook: StoredValue<Webhook>,
    /// The results of the last run, in the order sent.
    ended: ErasedSignal<Vec<EndedTest>>,
    /// The event in flight.
    sending: ErasedSignal<Option<EventType>>,
    problem: RwSignal<Option<Problem>>,
    cancelled: RwSignal<bool>,
    /// Number of events of the last run.
    events: StoredValue<usize>,
    /// The number of the last run. The results of earlier ones are ignored.
    run: StoredValue<u32>,
}

impl Tests {
    /// Sends events one after the other.
    fn send(self, events: Vec<EventType>, payload: Option<Map<String, Value>>, on_end: impl Fn() + 'static) {
        let run = self.run.get_value() + 1;
        self.run.set_value(run);
        self.events.set_value(events.len());
        self.ended.set(Vec::new());
        self.problem.set(None);
        self.cancelled.set(false);
        let id = self.webhook.with_value(|webhook| webhook.id);
        spawn_local(async move {
            for event in events {
                self.sending.set(Some(event));
                let input = TestInput { event_type: Some(event), payload: payload.clone() };
                let result = rpc::test_webhook(id, input).await;
                // The panel was closed, or another run has begun.
                if self.run.try_get_value() != Some(run) {
                    return;
                }
                match result {
                    Ok(attempt) => self.ended.update(|ended| ended.push(EndedTest { event, attempt })),
                    Err(error) => {
                        self.problem.set(Some(error.0));
                        break;
                    }
                }
            }
            self.sending.set(None);
            on_end();
        });
    }

    /// Stops to wait for the response, and sends no further event.
    fn cancel(self) {
        self.run.update_value(|run| *run += 1);
        self.sending.set(None);
        self.cancelled.set(true);
    }
}

/// Sends the first event of the webhook as a test event when it opens, and others on demand.
#[component]
pub fn TestPanel(webhook: StoredValue<Webhook>) -> impl IntoView {
    let (id, selected) = webhook.with_value(|webhook| (webhook.id, webhook.events.clone()));
    let first = selected.first().copied().unwrap_or(EventType::ReservationCreated);
    let event = RwSignal::new(first.as_str().to_owned());
    let editor = Editor::new(webhook, event);
    let tests = Tests {
        webhook,
        ended: ErasedSignal::new(Vec::new()),
        sending: ErasedSignal::new(None),
        problem: RwSignal::new(None),
        cancelled: RwSignal::new(false),
        events: StoredValue::new(0),
        run: StoredValue::new(0),
    };
    let recent = Query::new(move || {
        let filter = DeliveryFilter { webhook_id: Some(id), ..DeliveryFilter::default() };
        log::list_deliveries(filter, PageQuery { limit: Some(recent::SEARCHED), cursor: None })
    });
    let of_all = selected.clone();
    let send = Callback::new(move |()| {
        let events = match EventType::parse(&event.get_untracked()) {
            Some(event) => vec![event],
            None => of_all.clone(),
        };
        if let Ok(payload) = editor.payload() {
            tests.send(events, payload, move || recent.refetch());
        }
    });
    send.run(());
    let mut options: Vec<(String, String)> = EventType::ALL
        .into_iter()
        .map(|event| {
            let suffix = if selected.contains(&event) { "" } else { " (not selected)" };
            (event.as_str().to_owned(), format!("{}{suffix}", event.label()))
        })
        .collect();
    if selected.len() > 1 {
        options.push((ALL.to_owned(), format!("All {} selected events", selected.len())));
    }
    let url = move || {
        let event = EventType::parse(&event.get()).unwrap_or(first);
        webhook.with_value(|webhook| webhook.delivery_paths.url(&webhook.endpoint_url, event))
    };
    let pending = Signal::derive(move || tests.sending.with(Option::is_some));
    view! {
        <div class="stack">
            <section class="card stack tight">
                <div class="toolbar test-tools">
                    <Select label="Event" value=event options=options />
                    <Button variant=ButtonVariant::Primary pending=pending on_click=send><IconView icon=Icon::Send />"Test Webhook"</Button>
                    <EditButton editor=editor event=event />
                </div>
                <PayloadField editor=editor />
                <p class="small muted wrap">
                    "Sent to "<code>{url}</code>" with "<code>"\"test\": true"</code>
                    " and the header "<code>"X-Webhook-Test: true"</code>". Test events change no reservation and are not retried."
                </p>
            </section>
            <FormProblem problem=tests.problem />
            <Progress tests=tests />
            <div aria-live="polite">
                {move || {
                    let is_single = tests.events.get_value() == 1;
                    tests
                        .ended
                        .get()
                        .into_iter()
                        .map(|test| view! { <TestResult test=test webhook=webhook is_open=is_single /> })
                        .collect_view()
                }}
            </div>
            <RecentTests recent=recent />
        </div>
    }
}

/// The event in flight, and the button that stops to wait for it.
#[component]
fn Progress(tests: Tests) -> impl IntoView {
    let cancel = Callback::new(move |()| tests.cancel());
    move || {
        if tests.cancelled.get() {
            let text = "Cancelled. The service may still process the event; its result appears under recent tests.";
            return Some(view! { <p class="muted">{text}</p> }.into_any());
        }
        let event = tests.sending.get()?;
        let view = view! {
            <p class="row">
                <span class="spinner" aria-hidden="true"></span>
                <span>"Waiting for the response to "<code>{event.as_str()}</code>"…"</span>
                <Elapsed />
                <span class="muted">"of at most 30 s"</span>
                <Button on_click=cancel>"Cancel"</Button>
            </p>
        };
        Some(view.into_any())
    }
}

/// The editor of the payload.
#[derive(Clone, Copy)]
struct Editor {
    webhook: StoredValue<Webhook>,
    /// The text; `None` while the sample event is sent.
    text: RwSignal<Option<String>>,
    value: RwSignal<String>,
    error: RwSignal<Option<String>>,
}

impl Editor {
    /// A closed editor. Another event closes it.
    fn new(webhook: StoredValue<Webhook>, event: RwSignal<String>) -> Self {
        let editor = Self {
            webhook,
            text: RwSignal::new(None),
            value: RwSignal::new(String::new()),
            error: RwSignal::new(None),
        };
        Effect::new(move |before: Option<String>| {
            let event = event.get();
            if before.is_some_and(|before| before != event) {
                editor.close();
            }
            event
        });
        editor
    }

    /// Shows the sample of an event.
    fn open(self, event: EventType) {
        let id = self.webhook.with_value(|webhook| webhook.id);
        spawn_local(async move {
            match rpc::sample_payload(id, event).await {
                Ok(sample) => {
                    let text = domain::json::to_pretty_text(&sample).unwrap_or_default();
                    self.value.try_set(text.clone());
                    self.text.try_set(Some(text));
                }
                Err(error) => {
                    self.error.try_set(Some(error.0.detail));
                }
            }
        });
    }

    fn close(self) {
        self.text.set(None);
        self.error.set(None);
    }

    /// The edited fields; `None` for the sample event.
    ///
    /// # Errors
    /// When the text is not a JSON object. The field shows the message.
    fn payload(self) -> Result<Option<Map<String, Value>>, ()> {
        if self.text.with_untracked(Option::is_none) {
            return Ok(None);
        }
        match domain::json::from_text(&self.value.get_untracked()) {
            Ok(Value::Object(fields)) => {
                self.error.set(None);
                Ok(Some(fields))
            }
            Ok(_) => {
                self.error.set(Some("Enter a JSON object.".to_owned()));
                Err(())
            }
            Err(_) => {
                self.error.set(Some("This is not JSON. Check quotation marks, commas and braces.".to_owned()));
                Err(())
            }
        }
    }
}

#[component]
fn EditButton(editor: Editor, event: RwSignal<String>) -> impl IntoView {
    move || {
        if editor.text.with(Option::is_some) {
            let close = Callback::new(move |()| editor.close());
            return Some(view! { <Button on_click=close>"Use sample payload"</Button> });
        }
        let event = EventType::parse(&event.get())?;
        let open = Callback::new(move |()| editor.open(event));
        Some(view! { <Button on_click=open>"Edit payload"</Button> })
    }
}

#[component]
fn PayloadField(editor: Editor) -> impl IntoView {
    let message = FieldMessage::new(editor.error.into(), Callback::new(move |()| editor.error.set(None)));
    move || {
        editor.text.with(Option::is_some).then(|| {
            view! {
                <TextArea
                    label="Payload"
                    value=editor.value
                    mono=true
                    rows=12
                    error=message
                    hint="Checked against the schema of the event. event_type, event_id, webhook_id, status_url and test are those of the test."
                />
            }
        })
    }
}
