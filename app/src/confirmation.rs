//! The requests that wait for the confirmation of a sensitive change. They are sent again after it (`app/src/rpc/fetch.rs`).

use crate::rpc;
use leptos::prelude::*;
use wasm_bindgen::JsValue;

/// The requests that wait for a confirmation.
#[derive(Clone, Copy)]
pub struct Confirmation {
    /// Whether the dialog is open.
    pub open: RwSignal<bool>,
    waiting: StoredValue<Vec<js_sys::Function>, LocalStorage>,
}

impl Confirmation {
    /// Without requests. Gives them up when the user closes the dialog.
    pub fn new() -> Self {
        let confirmation = Self { open: RwSignal::new(false), waiting: StoredValue::new_local(Vec::new()) };
        rpc::set_confirmation_handler(move || confirmation.wait());
        Effect::new(move |_| {
            if !confirmation.open.get() {
                confirmation.resolve(false);
            }
        });
        confirmation
    }

    /// Asks for the confirmation. Resolves to whether the user has confirmed.
    fn wait(self) -> js_sys::Promise {
        self.open.set(true);
        js_sys::Promise::new(&mut |resolve, _| self.waiting.update_value(|waiting| waiting.push(resolve)))
    }

    /// Sends the requests again, after the user has confirmed or logged in.
    pub fn finish(self) {
        self.resolve(true);
        self.open.set(false);
    }

    fn resolve(self, confirmed: bool) {
        let waiting = self.waiting.try_update_value(std::mem::take).unwrap_or_default();
        for resolve in waiting {
            let _ = resolve.call1(&JsValue::UNDEFINED, &JsValue::from_bool(confirmed));
        }
    }
}
