//! The page for unknown addresses.

use crate::components::*;
use leptos::prelude::*;

/// The message for an unknown address, with a link to the home page.
#[component]
pub fn NotFound() -> impl IntoView {
    view! {
        <PageHeader title="Page not found" />
        <EmptyState icon=Icon::Info title="This page does not exist">
            <p>"It may have been deleted, or the link is incomplete."</p>
            <a class="button primary" href="/">"Go home"</a>
        </EmptyState>
    }
}
