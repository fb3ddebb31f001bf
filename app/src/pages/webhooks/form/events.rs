//! The selection of events.

use super::model::{FieldErrors, FormModel};
use crate::components::*;
use leptos::prelude::*;

/// A checkbox for each event.
#[component]
pub fn EventFields(model: FormModel, errors: FieldErrors) -> impl IntoView {
    let error = errors.message("events");
    let checkboxes = model
        .events
        .into_iter()
        .map(|(event, selected)| view! { <Checkbox label=event.label() value=selected hint=event.explanation() /> });
    view! {
        <fieldset class="events">
            <legend>"Event Triggers"</legend>
            {checkboxes.collect_view()}
            <p class="error" aria-live="polite">{move || error.get()}</p>
        </fieldset>
    }
}
