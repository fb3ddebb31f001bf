//! The keyboard shortcuts of every screen, and the dialog with the overview of all that the screen has.

use crate::components::*;
use crate::pages::areas;
use crate::shortcuts::use_shortcuts;
use crate::toast::use_toasts;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::HtmlElement;

/// Focuses the search field of the screen. Returns whether there is one.
fn focus_search() -> bool {
    let input = document().query_selector("#main input[type=search]").ok().flatten();
    input.and_then(|input| input.dyn_into::<HtmlElement>().ok()).is_some_and(|input| input.focus().is_ok())
}

/// The shortcuts of every screen, and the dialog with the overview, whose content is loaded when it opens.
#[component]
pub fn ShortcutOverview() -> impl IntoView {
    let shortcuts = use_shortcuts();
    let toasts = use_toasts();
    shortcuts.on(move |key| match key {
        "/" => focus_search(),
        "u" => toasts.undo_latest(),
        "?" => {
            shortcuts.open.set(true);
            true
        }
        _ => false,
    });
    view! {
        <Dialog open=shortcuts.open title="Keyboard shortcuts">{areas::show_part(areas::overlays::Screen::Shortcuts)}</Dialog>
    }
}
