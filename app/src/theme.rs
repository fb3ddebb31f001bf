//! The light and the dark theme.

use crate::components::{Icon, IconView};
use crate::preferences;
use leptos::prelude::*;

/// The attribute of the root element that selects the theme. `index.html` sets it from the storage before the page renders.
const ATTRIBUTE: &str = "data-theme";

fn initially_dark() -> bool {
    match document().document_element().and_then(|root| root.get_attribute(ATTRIBUTE)) {
        Some(theme) => theme == "dark",
        None => {
            let query = window().match_media("(prefers-color-scheme: dark)").ok().flatten();
            query.is_some_and(|query| query.matches())
        }
    }
}

fn apply(dark: bool) {
    let theme = if dark { "dark" } else { "light" };
    if let Some(root) = document().document_element() {
        let _ = root.set_attribute(ATTRIBUTE, theme);
    }
    preferences::set(preferences::THEME, theme);
}

/// The button that changes the theme. The browser remembers the choice.
#[component]
pub fn ThemeSwitch() -> impl IntoView {
    let dark = RwSignal::new(initially_dark());
    let toggle = move |_| {
        dark.update(|dark| *dark = !*dark);
        apply(dark.get_untracked());
    };
    view! {
        <button
            type="button"
            class="button quiet"
            aria-label=move || if dark.get() { "Switch to light theme" } else { "Switch to dark theme" }
            on:click=toggle
        >
            {move || view! { <IconView icon=if dark.get() { Icon::Sun } else { Icon::Moon } /> }}
        </button>
    }
}
