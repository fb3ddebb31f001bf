//! The confirmation of a change of a credential: the current password, or a new log-in at an identity provider.

use crate::components::*;
use crate::prerendered_login;
use crate::provider_buttons::provider_buttons;
use crate::query::Mutation;
use crate::session::use_session;
use leptos::prelude::*;

/// Asks for the confirmation after the server has required it, because the log-in is not recent. An account without a
/// password needs an identity provider.
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
    let info = use_session().info;
    // Not tracked: a log-in in another window must not replace the field while somebody types.
    let has_password = move || info.with_untracked(|info| info.as_ref().is_some_and(|info| info.user.has_password));
    view! {
        <Show when=move || is_required.get()>
            {(has_password() && prerendered_login::accepts_passwords())
                .then(|| {
                    view! {
                        <TextInput
                            label="Current password"
                            value=value
                            kind="password"
                            autocomplete="current-password"
                            error=mutation.field_error("current_password")
                        />
                    }
                })}
            <ConfirmAtProvider has_password=has_password() />
        </Show>
    }
}

/// The identity providers, which ask for a credential in a new window. The form below keeps its input.
#[component]
fn ConfirmAtProvider(has_password: bool) -> impl IntoView {
    let buttons = provider_buttons(true);
    let text = if has_password {
        "Or log in again in a new window, then repeat the change."
    } else {
        "Log in again in a new window to confirm this change, then repeat it."
    };
    (!buttons.is_empty()).then(|| {
        view! {
            <p class="muted small">{text}</p>
            <div class="row">{buttons}</div>
        }
    })
}
