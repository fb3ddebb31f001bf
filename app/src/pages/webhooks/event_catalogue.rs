//! The event catalogue: each event type with its fields and examples.

use crate::components::*;
use crate::query::Query;
use crate::rpc::webhooks as rpc;
use domain::event_catalogue::{CatalogueEntry, PayloadExample};
use domain::payload::PayloadFormat;
use leptos::prelude::*;
use serde_json::Value;

/// `/settings/webhooks/events`
#[component]
pub fn EventCataloguePage() -> impl IntoView {
    let catalogue = Query::new(rpc::event_catalogue);
    let format = RwSignal::new(PayloadFormat::default().as_str().to_owned());
    let options: Vec<_> =
        PayloadFormat::ALL.into_iter().map(|format| (format.as_str().to_owned(), format.label().to_owned())).collect();
    let explanation = move || PayloadFormat::parse(&format.get()).unwrap_or_default().explanation();
    view! {
        <PageHeader title="Event catalogue" lead="The events that webhooks receive, with their fields and examples.">
            <a class="button" href="/settings/webhooks">"Webhook Integrations"</a>
        </PageHeader>
        <div class="stack">
            <div class="narrow">
                <Select label="Payload format of the examples" value=format options=options hint=explanation />
            </div>
            {catalogue.view(move |catalogue| {
                catalogue.get_untracked().into_iter().map(|entry| view! { <EventSection entry=entry format=format /> }).collect_view()
            })}
        </div>
    }
}

#[component]
fn EventSection(entry: CatalogueEntry, format: RwSignal<String>) -> impl IntoView {
    let CatalogueEntry { event_type, trigger, sent_when, delivery_path, schema_path, schema, examples } = entry;
    let schema_url = schema_path.clone();
    let request = Signal::derive(move || {
        let selected = format.get();
        let example = examples.iter().find(|example| example.format.as_str() == selected);
        example.map_or_else(|| "This format does not have this event.".to_owned(), request_text)
    });
    view! {
        <section class="card stack tight" id=event_type.as_str()>
            <h2><code>{event_type.as_str()}</code></h2>
            <dl class="details-list">
                <dt>"Sent"</dt>
                <dd>{sent_when}</dd>
                <dt>"Trigger"</dt>
                <dd>{trigger}</dd>
                <dt>"Delivery path"</dt>
                <dd><code>{delivery_path}</code></dd>
                <dt>"JSON Schema"</dt>
                <dd class="wrap"><a rel="external" href=schema_url>{schema_path}</a></dd>
            </dl>
            <ScrollableTable label=format!("Fields of {event_type}")>
                <table class="cards-on-phone">
                    <thead>
                        <tr><th>"Field"</th><th>"Type"</th><th>"Meaning"</th></tr>
                    </thead>
                    <tbody>{field_rows(&schema)}</tbody>
                </table>
            </ScrollableTable>
            <CodeBlock label="Example" text=request />
        </section>
    }
}

/// The rows of the fields that a schema describes.
fn field_rows(schema: &Value) -> AnyView {
    let Some(properties) = schema["properties"].as_object() else { return ().into_any() };
    let row = |(name, property): (&String, &Value)| {
        let text = |key: &str| property[key].as_str().unwrap_or_default().to_owned();
        let kind = if property["format"].is_string() { text("format") } else { text("type") };
        view! {
            <tr>
                <td data-label="Field"><code>{name.clone()}</code></td>
                <td data-label="Type" class="nowrap">{kind}</td>
                <td data-label="Meaning" class="wrap">{text("description")}</td>
            </tr>
        }
    };
    properties.iter().map(row).collect_view().into_any()
}

/// The headers that the format determines, and the body.
fn request_text(example: &PayloadExample) -> String {
    let headers: String = example.headers.iter().map(|header| format!("{}: {}\n", header.name, header.value)).collect();
    let body = domain::json::to_pretty_text(&example.body).unwrap_or_default();
    format!("{headers}\n{body}")
}
