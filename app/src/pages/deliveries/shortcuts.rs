//! Keyboard shortcuts of the deliveries, and their overview.

use crate::components::*;
use crate::preferences;
use leptos::ev;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, HtmlElement, KeyboardEvent};

/// The key of the preference; `off` disables the shortcuts.
const PREFERENCE: &str = "shortcuts";
/// The shortcuts with their descriptions.
const SHORTCUTS: [(&str, &str); 7] = [
    ("j", "Next delivery"),
    ("k", "Previous delivery"),
    ("/", "Search"),
    ("r", "Redeliver"),
    ("c", "Copy as curl"),
    ("Esc", "Close the delivery"),
    ("?", "Keyboard shortcuts"),
];

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

/// Whether a key belongs to an input, or a dialog is open.
fn is_taken(event: &KeyboardEvent) -> bool {
    let of_input = event
        .target()
        .and_then(|target| target.dyn_into::<Element>().ok())
        .is_some_and(|target| target.matches("input, select, textarea, [role=slider]").unwrap_or_default());
    of_input || matches!(document().query_selector("dialog[open]"), Ok(Some(_)))
}

/// Presses the button of a shortcut, if the page shows it.
fn press(key: &str) {
    if let Ok(Some(button)) = document().query_selector(&format!("#main [data-key=\"{key}\"] button"))
        && let Ok(button) = button.dyn_into::<HtmlElement>()
    {
        button.click();
    }
}

fn focus_search() {
    if let Ok(Some(input)) = document().query_selector("#main input[type=search]")
        && let Ok(input) = input.dyn_into::<HtmlElement>()
    {
        let _ = input.focus();
    }
}

/// The shortcuts while this is rendered, and the button that shows them.
#[component]
pub fn Shortcuts(#[prop(optional)] on_move: Option<Callback<Move>>) -> impl IntoView {
    let open = RwSignal::new(false);
    let is_on = RwSignal::new(preferences::get(PREFERENCE) != "off");
    let act = move |action| {
        if let Some(on_move) = on_move {
            on_move.run(action);
        }
    };
    let listener = window_event_listener(ev::keydown, move |event| {
        if !is_on.get_untracked() || event.ctrl_key() || event.meta_key() || event.alt_key() || is_taken(&event) {
            return;
        }
        match event.key().as_str() {
            "j" => act(Move::Next),
            "k" => act(Move::Previous),
            "Escape" => act(Move::Close),
            "/" => focus_search(),
            "?" => open.set(true),
            key @ ("r" | "c") => press(key),
            _ => return,
        }
        event.prevent_default();
    });
    on_cleanup(move || listener.remove());
    let set = Callback::new(move |on: bool| {
        is_on.set(on);
        preferences::set(PREFERENCE, if on { "" } else { "off" });
    });
    let row = |(key, action): (&'static str, &'static str)| view! { <dt><kbd>{key}</kbd></dt><dd>{action}</dd> };
    view! {
        <button
            type="button"
            class="button quiet small shortcuts"
            aria-label="Keyboard shortcuts"
            title="Keyboard shortcuts"
            on:click=move |_| open.set(true)
        >
            <kbd>"?"</kbd>
        </button>
        <Dialog open=open title="Keyboard shortcuts">
            <dl class="details-list">{SHORTCUTS.map(row).into_iter().collect_view()}</dl>
            <div class="row">
                <Switch label="Keyboard shortcuts" on=is_on on_change=set />
                <span>"Use keyboard shortcuts"</span>
            </div>
        </Dialog>
    }
}
