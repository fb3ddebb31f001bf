//! Keyboard shortcuts.

use crate::erased::ErasedSignal;
use crate::preferences;
use leptos::ev;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, KeyboardEvent};

/// The key of the preference; `off` disables the shortcuts.
const PREFERENCE: &str = "shortcuts";

/// Keys with their descriptions.
pub type Keys = &'static [(&'static str, &'static str)];

/// The shortcuts of every screen.
pub const EVERYWHERE: Keys = &[
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
    /// Whether the shortcuts are enabled.
    pub is_on: RwSignal<bool>,
    /// The shortcuts of the screen.
    pub of_screen: ErasedSignal<Vec<Keys>>,
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

    /// Enables or disables the shortcuts, and stores the preference.
    pub fn enable(self, on: bool) {
        self.is_on.set(on);
        preferences::set(PREFERENCE, if on { "" } else { "off" });
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
