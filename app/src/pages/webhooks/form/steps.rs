//! The steps of the form: their titles, and how far each is.

use super::model::FieldErrors;
use crate::components::*;
use crate::focus;
use leptos::prelude::*;

/// The beginnings of the names of the fields in the first step.
const ENDPOINT_FIELDS: [&str; 5] = ["name", "endpoint_url", "resource_type", "events", "delivery_paths"];
/// The same for the second step.
const SECURITY_FIELDS: [&str; 3] = ["auth", "secret", "tls"];

/// The id of the title of a step.
fn title_id(number: u8) -> String {
    format!("setup-step-{number}")
}

/// The steps with their states. `outcome` is the result of the checks in words, and empty before they have run.
#[component]
pub fn StepList(errors: FieldErrors, outcome: RwSignal<String>) -> impl IntoView {
    let of_fields = move |prefixes: &'static [&'static str]| {
        Signal::derive(move || match (errors.has_error(prefixes), errors.has_submitted_error(prefixes)) {
            (_, true) => "failed",
            (true, false) => "",
            (false, false) => "done",
        })
    };
    let of_checks = Signal::derive(move || {
        outcome.with(|outcome| match outcome.as_str() {
            "" => "",
            passed if passed.starts_with("Passed") => "done",
            _ => "failed",
        })
    });
    let step = |number: u8, title: &'static str, state: Signal<&'static str>| {
        let to_title = move |_| {
            if let Some(title) = document().get_element_by_id(&title_id(number)) {
                title.scroll_into_view();
                focus::move_to(&title);
            }
        };
        let description = move || match state.get() {
            "done" => "complete",
            "failed" => "has errors",
            _ => "not complete",
        };
        view! {
            <li class=move || state.get()>
                <button type="button" class="button quiet small" on:click=to_title>
                    {move || (state.get() == "done").then(|| view! { <IconView icon=Icon::Check /> })}
                    {format!("{number}. {title}")}
                    <span class="visually-hidden">", "{description}</span>
                </button>
            </li>
        }
    };
    view! {
        <nav aria-label="Steps">
            <ol class="steps setup-steps">
                {step(1, "Endpoint", of_fields(&ENDPOINT_FIELDS))}
                {step(2, "Security", of_fields(&SECURITY_FIELDS))}
                {step(3, "Test", of_checks)}
            </ol>
        </nav>
    }
}

/// A step with its title.
#[component]
pub fn Step(number: u8, title: &'static str, children: Children) -> impl IntoView {
    view! {
        <section class="stack setup-step" aria-labelledby=title_id(number)>
            <h2 id=title_id(number) tabindex="-1"><span class="step-number" aria-hidden="true">{number}</span>{title}</h2>
            {children()}
        </section>
    }
}
