//! The question before unsaved input is discarded, and its answers.

use crate::components::*;
use leptos::prelude::*;

/// The question and its answers.
#[component]
pub fn LeaveQuestion(stay: Callback<()>, discard: Callback<()>) -> impl IntoView {
    view! {
        <p>"The form has changes that are not saved."</p>
        <div class="dialog-actions">
            <Button variant=ButtonVariant::Primary on_click=stay>"Keep editing"</Button>
            <Button variant=ButtonVariant::Danger on_click=discard>"Discard changes"</Button>
        </div>
    }
}
