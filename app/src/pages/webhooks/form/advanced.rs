//! The advanced fields: payload format, content filter, headers, retries, limits, responses and signatures.

use super::super::retry_delay;
use super::model::{ConditionModel, FieldErrors, FormModel, HeaderModel};
use crate::components::*;
use crate::erased::ErasedSignal;
use crate::pages::areas;
use domain::payload::PayloadFormat;
use domain::retry::RetryPolicy;
use domain::webhook::{ProvisionTime, is_secret_header};
use leptos::prelude::*;

/// The advanced fields, collapsed and not loaded until the user opens them or one of them has an error.
#[component]
pub fn AdvancedSection(model: FormModel, errors: FieldErrors) -> impl IntoView {
    let has_error = Memo::new(move |_| {
        errors.has_submitted_error(&["headers", "retry", "max_in_flight", "rate_limit", "filter", "provision"])
    });
    let was_opened = RwSignal::new(false);
    let model = StoredValue::new(model);
    view! {
        <details class="advanced" open=move || has_error.get() on:toggle=move |_| was_opened.set(true)>
            <summary>"Advanced: format, filter, headers, retries, limits, responses, signatures"</summary>
            <Show when=move || was_opened.get()>
                {areas::show_part(areas::webhookadvanced::Screen::Fields(model, errors))}
            </Show>
        </details>
    }
}

/// The advanced fields themselves.
#[component]
pub fn AdvancedFields(model: FormModel, errors: FieldErrors) -> impl IntoView {
    view! {
        <div class="stack">
            <FormatField model=model />
            <ProvisionField model=model errors=errors />
            <FilterFields model=model errors=errors />
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
    }
}

/// The payload format, with the explanation of the selected one.
#[component]
fn FormatField(model: FormModel) -> impl IntoView {
    let options: Vec<_> =
        PayloadFormat::ALL.into_iter().map(|format| (format.as_str().to_owned(), format.label().to_owned())).collect();
    view! {
        <Select
            label="Payload format"
            value=model.payload_format
            options=options
            hint=move || model.format().explanation()
        />
    }
}

/// The time at which the creation of a reservation is sent.
#[component]
fn ProvisionField(model: FormModel, errors: FieldErrors) -> impl IntoView {
    let options: Vec<_> =
        ProvisionTime::ALL.into_iter().map(|time| (time.as_str().to_owned(), time.label().to_owned())).collect();
    view! {
        <Select
            label="When to provision"
            value=model.provision
            options=options
            hint=move || model.provision_time().explanation()
            error=errors.message("provision")
        />
    }
}

/// The content filter: resources and configuration fields.
#[component]
fn FilterFields(model: FormModel, errors: FieldErrors) -> impl IntoView {
    let conditions = model.conditions;
    let next_key = StoredValue::new(conditions.with_untracked(Vec::len) as u32);
    let add = Callback::new(move |()| {
        let key = next_key.get_value();
        next_key.set_value(key + 1);
        conditions.update(|rows| rows.push(ConditionModel::new(key)));
    });
    let error = errors.message("filter.fields");
    view! {
        <fieldset class="stack tight">
            <legend>"Content filter"</legend>
            <TextInput
                label="Resource IDs"
                value=model.filter_resources
                mono=true
                optional=true
                hint="Only events of these resources are sent. Separate ids by commas; empty for all resources."
                error=errors.message("filter.resource_ids")
                on_blur=errors.on_blur("filter.resource_ids")
            />
            <For each=move || conditions.get() key=|row| row.key let:row>
                <ConditionRow conditions=conditions row=row errors=errors />
            </For>
            <p class="error" aria-live="polite">{move || error.get()}</p>
            <div><Button on_click=add><IconView icon=Icon::Plus />"Add condition"</Button></div>
        </fieldset>
    }
}

#[component]
fn ConditionRow(
    conditions: ErasedSignal<Vec<ConditionModel>>,
    row: ConditionModel,
    errors: FieldErrors,
) -> impl IntoView {
    // Validation reports the position of a condition, which changes when an earlier one is removed.
    let position = move || conditions.with(|rows| rows.iter().position(|other| other.key == row.key)).unwrap_or(0);
    let error = move |part: &'static str| {
        let message = move || errors.message(format!("filter.fields.{}.{part}", position()));
        let on_edit = Callback::new(move |()| untrack(message).edited());
        FieldMessage::new(Signal::derive(move || message().get()), on_edit)
    };
    let is_list = move || row.operator.get() == "one_of";
    view! {
        <div class="header-row">
            <TextInput label="Configuration field" value=row.field mono=true placeholder="gpu_type" error=error("field") />
            <div class="stack tight">
                <Select
                    label="Comparison"
                    value=row.operator
                    options=select_options([("equals", "equals"), ("one_of", "is one of")])
                />
                {move || {
                    if is_list() {
                        view! { <TextArea label="Values" value=row.values mono=true hint="One value in each line." error=error("values") /> }
                            .into_any()
                    } else {
                        view! { <TextInput label="Value" value=row.values mono=true error=error("values") /> }.into_any()
                    }
                }}
            </div>
            <button
                type="button"
                class="button quiet"
                aria-label=move || format!("Remove condition on {}", row.field.get())
                on:click=move |_| conditions.update(|rows| rows.retain(|other| other.key != row.key))
            >
                <IconView icon=Icon::Trash />
            </button>
        </div>
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
