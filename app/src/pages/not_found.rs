//! An address that leads nowhere.

use crate::components::*;
use leptos::prelude::*;

/// Says so, and where to go instead.
#[component]
pub fn NotFound() -> impl IntoView {
    view! {
        <PageHeader title="Page not found" />
        <EmptyState icon=Icon::Info title="There is nothing at this address">
            <p>"It may have been deleted, or the link may be cut short."</p>
            <a class="button primary" href="/">"Go to the start"</a>
        </EmptyState>
    }
}
