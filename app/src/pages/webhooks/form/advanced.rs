//! The advanced fields: headers, retries, limits, responses and signatures.

use super::super::retry_delay;
use super::model::{FieldErrors, FormModel, HeaderModel};
use crate::components::*;
use crate::erased::ErasedSignal;
use domain::retry::RetryPolicy;
use domain::webhook::is_secret_header;
use leptos::prelude::*;

/// The advanced fields, collapsed until the user opens them or one of them has an error.
#[component]
pub fn AdvancedFields(model: FormModel, errors: FieldErrors) -> impl IntoView {
    let has_error =
        Memo::new(move |_| errors.has_submitted_error(&["headers", "retry", "max_in_flight", "rate_limit"]));
    view! {
        <details class="advanced" open=move || has_error.get()>
            <summary>"Advanced: headers, retries, limits, responses, signatures"</summary>
            <div class="stack">
                <HeaderFields model=model errors=errors />
                <RetryFields model=model errors=errors />
                <LimitFields model=model errors=errors />
                <fieldset class="stack tight">
                    <legend>"Responses and signatures"</legend>
                    <Checkbox
                        label="Responses update the reservation"
                        value=model.provisions
                        hint="Clear this for services that do not provision, such as an inventory or a chat. The webhook then listens only."
                    />
                    <Checkbox
                        label="Also sign with Ed25519"
                        value=model.ed25519
                        hint="Adds a v1a signature to webhook-signature. Your service verifies it with a public key instead of a secret."
                    />
                </fieldset>
            </div>
        </details>
    }
}

#[component]
fn HeaderFields(model: FormModel, errors: FieldErrors) -> impl IntoView {
    let headers = model.headers;
    let next_key = StoredValue::new(headers.with_untracked(Vec::len) as u32);
    let add = Callback::new(move |()| {
        let key = next_key.get_value();
        next_key.set_value(key + 1);
        headers.update(|rows| rows.push(HeaderModel::new(key)));
    });
    let error = errors.message("headers");
    view! {
        <fieldset class="stack tight">
            <legend>"Custom headers"</legend>
            <For each=move || headers.get() key=|row| row.key let:row>
                <HeaderRow headers=headers row=row errors=errors />
            </For>
            <p class="error" aria-live="polite">{move || error.get()}</p>
            <div><Button on_click=add><IconView icon=Icon::Plus />"Add header"</Button></div>
        </fieldset>
    }
}

#[component]
fn HeaderRow(headers: ErasedSignal<Vec<HeaderModel>>, row: HeaderModel, errors: FieldErrors) -> impl IntoView {
    // Validation reports the position of a header, which changes when an earlier one is removed.
    let position = move || headers.with(|rows| rows.iter().position(|other| other.key == row.key)).unwrap_or(0);
    let error = move |part: &'static str| {
        let message = move || errors.message(format!("headers.{}.{part}", position()));
        let on_edit = Callback::new(move |()| untrack(message).edited());
        FieldMessage::new(Signal::derive(move || message().get()), on_edit)
    };
    // A changed name sets the mark again. The user can change it afterwards.
    Effect::new(move |before: Option<bool>| {
        let by_name = row.name.with(|name| is_secret_header(name));
        if before.is_some_and(|before| before != by_name) {
            row.secret.set(by_name);
        }
        by_name
    });
    let value = move || {
        if row.secret.get() {
            view! { <TextInput label="Value" value=row.value kind="password" autocomplete="new-password" mono=true hint="Not shown. Leave empty to keep a stored value." error=error("value") /> }
                .into_any()
        } else {
            view! { <TextInput label="Value" value=row.value mono=true error=error("value") /> }.into_any()
        }
    };
    view! {
        <div class="header-row">
            <TextInput label="Name" value=row.name mono=true placeholder="X-Team" error=error("name") />
            <div class="stack tight">{value} <Checkbox label="Hide and encrypt" value=row.secret /></div>
            <button
                type="button"
                class="button quiet"
                aria-label=move || format!("Remove header {}", row.name.get())
                on:click=move |_| headers.update(|rows| rows.retain(|other| other.key != row.key))
            >
                <IconView icon=Icon::Trash />
            </button>
        </div>
    }
}

#[component]
fn RetryFields(model: FormModel, errors: FieldErrors) -> impl IntoView {
    let describe = |policy: RetryPolicy| {
        let delays: Vec<_> = policy.delays.iter().map(|seconds| retry_delay(*seconds)).collect();
        format!("{} retries: {}", delays.len(), delays.join(", "))
    };
    view! {
        <Select
            label="Retries"
            value=model.retry
            options=vec![
                ("default".to_owned(), describe(RetryPolicy::default())),
                ("extended".to_owned(), describe(RetryPolicy::extended())),
                ("custom".to_owned(), "Custom delays".to_owned()),
            ]
        />
        <Show when=move || model.retry.get() == "custom">
            <TextInput
                label="Retry delays"
                value=model.retry_delays
                mono=true
                hint="Seconds before each retry, up to 12; empty for no retries."
                error=errors.message("retry.waits")
                on_blur=errors.on_blur("retry.waits")
            />
        </Show>
    }
}

#[component]
fn LimitFields(model: FormModel, errors: FieldErrors) -> impl IntoView {
    view! {
        <div class="grid-2">
            <TextInput
                label="Concurrent requests"
                value=model.max_in_flight
                numeric=true
                hint="1 to 2000."
                error=errors.message("max_in_flight")
                on_blur=errors.on_blur("max_in_flight")
            />
            <TextInput
                label="Rate limit (per second)"
                value=model.rate_limit
                numeric=true
                optional=true
                hint="1 to 10000; empty for no limit."
                error=errors.message("rate_limit")
                on_blur=errors.on_blur("rate_limit")
            />
        </div>
    }
}
