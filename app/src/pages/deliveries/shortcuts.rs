//! Keyboard shortcuts of the deliveries.

use crate::shortcuts::{Keys, use_shortcuts};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::HtmlElement;

/// The shortcuts of a delivery.
const OF_DELIVERY: Keys = &[("r", "Redeliver"), ("c", "Copy as curl")];
/// The shortcuts of the log.
const OF_LOG: Keys = &[("j", "Next delivery"), ("k", "Previous delivery"), ("Esc", "Close the delivery")];

/// An action of a shortcut that a list performs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Selects the next delivery.
    Next,
    /// Selects the previous delivery.
    Previous,
    /// Closes the selected delivery.
    Close,
}

/// Presses the button of a shortcut, if the page shows it.
fn press(key: &str) -> bool {
    let button = document().query_selector(&format!("#main [data-key=\"{key}\"] button")).ok().flatten();
    button.and_then(|button| button.dyn_into::<HtmlElement>().ok()).is_some_and(|button| {
        button.click();
        true
    })
}

/// The shortcuts while this is rendered, and the button that shows the overview.
#[component]
pub fn Shortcuts(#[prop(optional)] on_move: Option<Callback<Move>>) -> impl IntoView {
    let shortcuts = use_shortcuts();
    shortcuts.list(OF_DELIVERY);
    if on_move.is_some() {
        shortcuts.list(OF_LOG);
    }
    shortcuts.on(move |key| {
        let action = match key {
            "j" => Move::Next,
            "k" => Move::Previous,
            "Escape" => Move::Close,
            "r" | "c" => return press(key),
            _ => return false,
        };
        on_move.is_some_and(|on_move| {
            on_move.run(action);
            true
        })
    });
    view! {
        <button
            type="button"
            class="button quiet small shortcuts"
            aria-label="Keyboard shortcuts"
            title="Keyboard shortcuts"
            on:click=move |_| shortcuts.open.set(true)
        >
            <kbd>"?"</kbd>
        </button>
    }
}
