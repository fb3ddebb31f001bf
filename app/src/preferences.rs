//! Preferences that the browser remembers: the theme, and the formats of dates and times.

use leptos::prelude::window;

/// The key of the theme, which `index.html` reads too: `light` or `dark`.
pub const THEME: &str = "theme";
/// The key of the locale, e.g. `en-GB`.
pub const LOCALE: &str = "locale";
/// The key of the clock: `h23` or `h12`.
pub const CLOCK: &str = "clock";
/// The key of the first day of the week, from `1` for Monday to `7`.
pub const WEEK_START: &str = "week-start";

/// A preference, or an empty text for the browser's own.
pub fn get(key: &str) -> String {
    let storage = window().local_storage().ok().flatten();
    storage.and_then(|storage| storage.get_item(key).ok().flatten()).unwrap_or_default()
}

/// Remembers a preference, unless the browser refuses access to its storage. An empty text removes it.
pub fn set(key: &str, value: &str) {
    if let Ok(Some(storage)) = window().local_storage() {
        let _ = if value.is_empty() { storage.remove_item(key) } else { storage.set_item(key, value) };
    }
}
