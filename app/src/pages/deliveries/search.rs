//! The search of the delivery log: its field with the keys, the number of results, and their export.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::query::{Mutation, Query};
use crate::rpc::deliveries as rpc;
use domain::delivery::{DeliveryCount, DeliveryFilter};
use domain::search::{ID_PREFIXES, KEYS, Search};
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

/// The number of characters from which a text that begins like an id can be a whole one: prefix and ULID.
const ID_LENGTH: usize = 30;

/// Whether a text is a whole id rather than a search.
fn is_whole_id(text: &str) -> bool {
    text.len() == ID_LENGTH && ID_PREFIXES.iter().any(|prefix| text.to_lowercase().starts_with(prefix))
}

/// The search field. `q` is the applied search, which the address contains. A whole id opens its object.
#[component]
pub fn SearchField(q: RwSignal<String>) -> impl IntoView {
    let input = RwSignal::new(q.get_untracked());
    // Going back in the history changes the address.
    Effect::new(move |_| input.set(q.get()));
    let error = RwSignal::new(None::<String>);
    let navigate = StoredValue::new_local(use_navigate());
    let look_up = Mutation::new();
    let apply = move || {
        let text = input.get_untracked().trim().to_owned();
        if is_whole_id(&text) {
            return look_up.run(rpc::look_up(text), move |found| {
                navigate.with_value(|navigate| navigate(&found.link, Default::default()));
            });
        }
        match Search::parse(&text) {
            Ok(_) => q.set(text),
            Err(wrong) => error.set(Some(wrong.to_string())),
        }
    };
    let clear = Callback::new(move |()| {
        error.set(None);
        q.set(String::new());
        input.set(String::new());
    });
    let message = FieldMessage::new(error.into(), Callback::new(move |()| error.set(None)));
    view! {
        <form
            role="search"
            aria-label="Deliveries"
            class="search"
            on:submit=move |event| {
                event.prevent_default();
                apply();
            }
        >
            <TextInput
                label="Search"
                kind="search"
                value=input
                mono=true
                placeholder="status:failed code:5xx error:timeout"
                error=message
            />
            <div class="row">
                <Button submit=true pending=look_up.pending>"Search"</Button>
                <Show when=move || !q.with(String::is_empty)>
                    <Button variant=ButtonVariant::Quiet on_click=clear>"Clear search"</Button>
                </Show>
            </div>
            <FormProblem problem=look_up.problem />
            <SearchHelp />
        </form>
    }
}

/// The keys with examples.
#[component]
fn SearchHelp() -> impl IntoView {
    let examples = KEYS.map(|(key, example)| view! { <li><code>{format!("{key}:{example}")}</code></li> });
    view! {
        <details class="search-help small">
            <summary>"Search keys"</summary>
            <p>
                "Separate terms by spaces. " <code>"-"</code> " excludes a term, and a comma separates alternatives: "
                <code>"status:failed,cancelled"</code>
                ". Words without a key are searched in requests, responses and diagnoses. A whole id opens its page."
            </p>
            <ul class="search-keys">{examples.into_iter().collect_view()}</ul>
        </details>
    }
}

/// The number of results, how far the index reaches, and the links to export the results.
#[component]
pub fn SearchResults(filter: ErasedMemo<DeliveryFilter>) -> impl IntoView {
    let count = Query::new(move || rpc::count_deliveries(filter.get()));
    let address = move |format: &str| filter.with(|filter| export_address(filter, format));
    view! {
        <div class="row search-results">
            <p role="status" aria-label="Search results">{move || count.get().map(|count| count_text(&count))}</p>
            <a class="button quiet" download="" rel="external" href=move || address("csv")>"Export CSV"</a>
            <a class="button quiet" download="" rel="external" href=move || address("jsonl")>"Export JSON Lines"</a>
        </div>
        {move || count.get().and_then(|count| lag_text(&count)).map(|text| view! { <p class="muted small">{text}</p> })}
    }
}

fn count_text(count: &DeliveryCount) -> String {
    match (count.count, count.more) {
        (1, _) => "1 delivery".to_owned(),
        (number, false) => format!("{} deliveries", intl::number(number)),
        (number, true) => format!("More than {} deliveries", intl::number(number)),
    }
}

/// The number of deliveries that are not in the index yet, if a reader would miss them.
fn lag_text(count: &DeliveryCount) -> Option<String> {
    let index = &count.index;
    (!index.complete).then(|| {
        let number = intl::number(index.behind);
        match index.until {
            Some(until) => {
                format!("{number} deliveries are not searchable yet. Searchable until {}.", intl::timestamp(until))
            }
            None => format!("{number} deliveries are not searchable yet."),
        }
    })
}

/// The address of an export with the parameters of a filter.
fn export_address(filter: &DeliveryFilter, format: &str) -> String {
    let time = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let parameters = [
        ("q", filter.q.clone()),
        ("webhook_id", filter.webhook_id.map(|id| id.to_string())),
        ("event_type", filter.event_type.map(|event| event.as_str().to_owned())),
        ("status", filter.status.map(|status| status.as_str().to_owned())),
        ("reservation_id", filter.reservation_id.clone()),
        ("redelivery_of", filter.redelivery_of.as_ref().map(|id| id.0.clone())),
        ("replay", filter.replay.as_ref().map(|id| id.0.clone())),
        ("since", filter.since.map(time)),
        ("until", filter.until.map(time)),
    ];
    let set = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    set.fold(format!("/api/v1/deliveries/export?format={format}"), |address, (name, value)| {
        format!("{address}&{name}={}", js_sys::encode_uri_component(&value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_id_is_opened() {
        assert!(is_whole_id("dlv_01m876qmvsr6z661we0hkytadk"));
        assert!(is_whole_id("RSV-01M876QMVSR6Z661WE0HKYTADK"));
        for text in
            ["dlv_01m876", "status:failed", "01m876qmvsr6z661we0hkytadk0000", "id:dlv_01m876qmvsr6z661we0hkytadk"]
        {
            assert!(!is_whole_id(text), "{text}");
        }
    }
}
