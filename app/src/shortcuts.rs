//! Keyboard shortcuts of every screen, and the overview of all that the screen has.

use crate::components::*;
use crate::erased::ErasedSignal;
use crate::pages::areas;
use crate::preferences;
use crate::toast::use_toasts;
use leptos::ev;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, HtmlElement, KeyboardEvent};

/// The key of the preference; `off` disables the shortcuts.
const PREFERENCE: &str = "shortcuts";

/// Keys with their descriptions.
pub type Keys = &'static [(&'static str, &'static str)];

/// The shortcuts of every screen.
const EVERYWHERE: Keys = &[
    ("Ctrl K", "Commands: go to a page, a webhook or an id"),
    ("/", "Search on this screen"),
    ("u", "Undo the last change, while its message is shown"),
    ("Esc", "Close a dialog"),
    ("?", "Keyboard shortcuts"),
];

/// The shortcuts, as a context.
#[derive(Clone, Copy)]
pub struct Shortcuts {
    /// Whether the overview is open.
    pub open: RwSignal<bool>,
    is_on: RwSignal<bool>,
    of_screen: ErasedSignal<Vec<Keys>>,
}

impl Shortcuts {
    /// Reads the preference of the user.
    pub fn new() -> Self {
        Self {
            open: RwSignal::new(false),
            is_on: RwSignal::new(preferences::get(PREFERENCE) != "off"),
            of_screen: ErasedSignal::new(Vec::new()),
        }
    }

    /// Calls `on_key` with the keys that are pressed outside of inputs and dialogs, until the current component is removed. It returns
    /// whether the key is a shortcut.
    pub fn on(self, on_key: impl Fn(&str) -> bool + 'static) {
        let listener = window_event_listener(ev::keydown, move |event| {
            let has_modifier = event.ctrl_key() || event.meta_key() || event.alt_key();
            if !has_modifier && self.is_on.get_untracked() && !is_taken(&event) && on_key(&event.key()) {
                event.prevent_default();
            }
        });
        on_cleanup(move || listener.remove());
    }

    /// Lists keys in the overview, until the current component is removed.
    pub fn list(self, keys: Keys) {
        self.of_screen.update(|all| all.push(keys));
        on_cleanup(move || {
            self.of_screen.update(|all| {
                if let Some(position) = all.iter().position(|listed| *listed == keys) {
                    all.remove(position);
                }
            });
        });
    }
}

/// Returns the shortcuts.
pub fn use_shortcuts() -> Shortcuts {
    expect_context::<Shortcuts>()
}

/// Whether a key belongs to an input, or a dialog is open.
fn is_taken(event: &KeyboardEvent) -> bool {
    let of_input = event.target().and_then(|target| target.dyn_into::<Element>().ok()).is_some_and(|target| {
        target.matches("input:not([type=checkbox]), select, textarea, [role=slider]").unwrap_or_default()
    });
    of_input || matches!(document().query_selector("dialog[open]"), Ok(Some(_)))
}

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

/// The content of the overview.
#[component]
pub fn ShortcutList() -> impl IntoView {
    let Shortcuts { is_on, of_screen, .. } = use_shortcuts();
    let set = Callback::new(move |on: bool| {
        is_on.set(on);
        preferences::set(PREFERENCE, if on { "" } else { "off" });
    });
    let row = |(key, action): &(&'static str, &'static str)| view! { <dt><kbd>{*key}</kbd></dt><dd>{*action}</dd> };
    let rows = move |keys: Keys| view! { <dl class="details-list">{keys.iter().map(row).collect_view()}</dl> };
    view! {
        {move || {
            let of_screen = of_screen.get();
            let on_every = (!of_screen.is_empty()).then(|| view! { <h3>"On every screen"</h3> });
            let on_this = (!of_screen.is_empty()).then(|| view! { <h3>"On this screen"</h3> });
            view! {
                {on_this}
                {of_screen.into_iter().map(rows).collect_view()}
                {on_every}
                {rows(EVERYWHERE)}
            }
        }}
        <div class="row">
            <Switch label="Keyboard shortcuts" on=is_on on_change=set />
            <span>"Use keyboard shortcuts"</span>
        </div>
    }
}
