//! The field for the current password, which confirms a change of a credential.

use crate::components::*;
use crate::query::Mutation;
use leptos::prelude::*;

/// Asks for the current password after the server has required it, because the log-in is not recent.
#[component]
pub fn ConfirmationField(mutation: Mutation, value: RwSignal<String>) -> impl IntoView {
    let is_required = RwSignal::new(false);
    Effect::new(move |_| {
        let is_missing = mutation
            .problem
            .with(|problem| problem.as_ref().is_some_and(|p| p.message_for("current_password").is_some()));
        if is_missing {
            is_required.set(true);
        }
    });
    view! {
        <Show when=move || is_required.get()>
            <TextInput
                label="Current password"
                value=value
                kind="password"
                autocomplete="current-password"
                error=mutation.field_error("current_password")
            />
        </Show>
    }
}
