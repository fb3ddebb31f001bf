//! The fields for the endpoint and the delivery paths.

use super::model::{FieldErrors, FormModel};
use crate::components::*;
use crate::session::use_session;
use domain::event::EventType;
use domain::resource::ResourceType;
use leptos::prelude::*;

/// Name, endpoint URL and resource type.
#[component]
pub fn EndpointFields(model: FormModel, errors: FieldErrors, types: Vec<ResourceType>) -> impl IntoView {
    // Only administrators manage webhooks of all types. Auditors see them in the form of an existing one.
    let has_all = untrack(|| use_session().reads_everything());
    let mut options = Vec::new();
    options.extend(has_all.then(|| (String::new(), "All types".to_owned())));
    options.extend(types.into_iter().map(|t| {
        let label = if t.name == t.slug { t.name } else { format!("{} ({})", t.slug, t.name) };
        (t.slug, label)
    }));
    view! {
        <TextInput
            label="Webhook Name"
            value=model.name
            error=errors.message("name")
            on_blur=errors.on_blur("name")
            placeholder="GPU Cluster Manager"
        />
        <TextInput
            label="Endpoint URL"
            value=model.url
            kind="url"
            mono=true
            error=errors.message("endpoint_url")
            on_blur=errors.on_blur("endpoint_url")
            placeholder="https://your-service.com/api/webhook"
        />
        <Select
            label="Resource Type"
            value=model.resource_type
            options=options
            hint="Only reservations of this type are sent."
            error=errors.message("resource_type")
        />
    }
}

/// The layout of the URLs, with a preview of the URL of each selected event.
#[component]
pub fn PathFields(model: FormModel, errors: FieldErrors) -> impl IntoView {
    let preview = move || {
        let paths = model.delivery_paths();
        let url = model.url.with(|url| url.trim().to_owned());
        let endpoint = if url.is_empty() { "https://…".to_owned() } else { url };
        let item = move |event: EventType| {
            view! { <li><span>{event.label()}</span><code>"POST "{paths.url(&endpoint, event)}</code></li> }
        };
        model.selected_events().into_iter().map(item).collect_view()
    };
    view! {
        <div class="stack tight">
            <RadioCards
                legend="Delivery paths"
                value=model.layout
                options=vec![
                    ("by_event", "Path per event", "Appends /reservation, /reservation/cancel or /access-request."),
                    ("single", "Single URL", "Sends every event to the endpoint."),
                    ("custom", "Custom paths", "Set a path for each event."),
                ]
            />
            <Show when=move || model.layout.get() == "custom">
                <CustomPathFields model=model errors=errors />
            </Show>
            <div class="preview" aria-live="polite">
                <p class="label">"Requests will be sent to"</p>
                <ul class="destinations">{preview}</ul>
            </div>
        </div>
    }
}

#[component]
fn CustomPathFields(model: FormModel, errors: FieldErrors) -> impl IntoView {
    let field = move |(event, path): (EventType, RwSignal<String>)| {
        let name = format!("delivery_paths.paths.{event}");
        view! {
            <TextInput
                label=event.label()
                value=path
                mono=true
                placeholder="/reservation"
                error=errors.message(name.clone())
                on_blur=errors.on_blur(name)
            />
        }
    };
    view! { <div class="grid-2">{model.paths.into_iter().map(field).collect_view()}</div> }
}
