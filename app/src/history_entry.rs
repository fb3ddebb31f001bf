//! What the page remembers with an entry of the browser's history: the scroll position, and the number of rows of a long list.
//!
//! The browser keeps the state of an entry while it goes back and forward, and when it reloads the page.

use gloo_timers::callback::Timeout;
use leptos::ev;
use leptos::prelude::*;
use std::cell::{Cell, RefCell};
use wasm_bindgen::JsValue;

/// The delay after which a scroll position is saved, in milliseconds. Browsers limit how often the state changes.
const SAVE_DELAY_MS: u32 = 400;
/// The time in milliseconds in which a scroll position is restored while the page loads.
const RESTORE_TIMEOUT_MS: f64 = 10_000.0;

thread_local! {
    static SAVE_TIMER: RefCell<Option<Timeout>> = const { RefCell::new(None) };
    /// The number of the latest restoration; the user or another page ends it.
    static RESTORATION: Cell<u32> = const { Cell::new(0) };
    static RESTORING: Cell<bool> = const { Cell::new(false) };
}

/// The state of an entry of the history.
#[derive(Default)]
pub struct HistoryEntry {
    /// The number of rows of the list.
    pub rows: usize,
    /// The scroll position in pixels.
    pub scroll: f64,
}

/// The address in the address bar.
fn address() -> String {
    let location = window().location();
    location.pathname().unwrap_or_default() + &location.search().unwrap_or_default()
}

impl HistoryEntry {
    /// The state of the current entry, if it belongs to this path and query string. While a link is followed, the current entry is
    /// still the one of the last page.
    pub fn of(path: &str, search: &str) -> Option<Self> {
        Self::of_address(&if search.is_empty() { path.to_owned() } else { format!("{path}?{search}") })
    }

    fn of_address(address: &str) -> Option<Self> {
        let state = window().history().ok()?.state().ok()?.as_string()?;
        let mut parts = state.splitn(3, ' ');
        let (rows, scroll) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        (parts.next() == Some(address)).then_some(Self { rows, scroll })
    }

    fn save(change: impl FnOnce(&mut Self)) {
        let address = address();
        let mut entry = Self::of_address(&address).unwrap_or_default();
        change(&mut entry);
        let state = format!("{} {} {address}", entry.rows, entry.scroll);
        if let Ok(history) = window().history() {
            let _ = history.replace_state(&JsValue::from_str(&state), "");
        }
    }

    /// Saves the number of rows of a list.
    pub fn save_rows(rows: usize) {
        Self::save(|entry| entry.rows = rows);
    }

    /// Scrolls to the saved position, as soon as the page is long enough. The user's own scrolling has priority.
    pub fn restore_scroll(&self) {
        let number = RESTORATION.get() + 1;
        RESTORATION.set(number);
        RESTORING.set(true);
        try_restore(self.scroll, number, js_sys::Date::now() + RESTORE_TIMEOUT_MS);
    }

    /// Scrolls to the top of a new page.
    pub fn scroll_to_top() {
        end_restoration();
        window().scroll_to_with_x_and_y(0.0, 0.0);
    }
}

fn end_restoration() {
    RESTORATION.set(RESTORATION.get() + 1);
    RESTORING.set(false);
}

fn try_restore(scroll: f64, number: u32, deadline: f64) {
    request_animation_frame(move || {
        if RESTORATION.get() != number {
            return;
        }
        let height = document().document_element().map_or(0, |root| root.scroll_height() - root.client_height());
        if f64::from(height) >= scroll {
            window().scroll_to_with_x_and_y(0.0, scroll);
            end_restoration();
        } else if js_sys::Date::now() < deadline {
            try_restore(scroll, number, deadline);
        } else {
            end_restoration();
        }
    });
}

fn save_scroll() {
    let scroll = window().scroll_y().unwrap_or_default();
    HistoryEntry::save(|entry| entry.scroll = scroll);
}

/// Saves the scroll position of every page from now on, instead of the browser, which restores it before the page has its content.
pub fn track_scrolling() {
    if let Ok(history) = window().history() {
        let _ = history.set_scroll_restoration(web_sys::ScrollRestoration::Manual);
    }
    let on_scroll = window_event_listener(ev::scroll, |_| {
        if RESTORING.get() {
            return;
        }
        let scrolled = address();
        let save = move || {
            if scrolled == address() {
                save_scroll();
            }
        };
        SAVE_TIMER.with_borrow_mut(|timer| *timer = Some(Timeout::new(SAVE_DELAY_MS, save)));
    });
    // A click can open another page before the timer ends.
    let on_press = window_event_listener(ev::pointerdown, |_| save_now());
    let on_key = window_event_listener(ev::keydown, |_| save_now());
    let on_wheel = window_event_listener(ev::wheel, |_| end_restoration());
    let on_touch = window_event_listener(ev::touchmove, |_| end_restoration());
    on_cleanup(move || {
        for listener in [on_scroll, on_press, on_key, on_wheel, on_touch] {
            listener.remove();
        }
    });
}

/// Saves a position whose timer runs.
fn save_now() {
    let was_scheduled = SAVE_TIMER.with_borrow_mut(|timer| timer.take().is_some());
    if was_scheduled {
        save_scroll();
    }
}
