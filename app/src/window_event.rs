//! Events of the window that are awaited once.

use leptos::prelude::*;
use wasm_bindgen::JsValue;

/// Waits for the next event with one of these names.
pub async fn next_event(names: &[&str]) {
    let mut listener = None;
    let event = js_sys::Promise::new(&mut |resolve, _| {
        for name in names {
            let _ = window().add_event_listener_with_callback(name, &resolve);
        }
        listener = Some(resolve);
    });
    let _: Result<JsValue, JsValue> = wasm_bindgen_futures::JsFuture::from(event).await;
    for name in names {
        if let Some(listener) = &listener {
            let _ = window().remove_event_listener_with_callback(name, listener);
        }
    }
}

/// Runs an action: at once, or when a pressed mouse button is released. What the action changes could otherwise move the
/// element below the pointer away, so that the press would not become a click.
pub fn after_press(action: impl FnOnce() + 'static) {
    let is_pressed = document().query_selector(":active").is_ok_and(|pressed| pressed.is_some());
    if !is_pressed {
        return action();
    }
    leptos::task::spawn_local_scoped_with_cancellation(async move {
        // Dragging ends without `mouseup`.
        next_event(&["mouseup", "dragend"]).await;
        action();
    });
}
