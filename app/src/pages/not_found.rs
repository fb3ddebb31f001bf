//! An address that leads nowhere.

use crate::components::*;
use leptos::prelude::*;

/// Says so, and where to go instead.
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
