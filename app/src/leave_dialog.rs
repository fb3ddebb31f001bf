//! The question before unsaved input is discarded.

use crate::components::*;
use crate::unsaved::{self, Leave};
use leptos::prelude::*;
use leptos_router::hooks::use_location;
use send_wrapper::SendWrapper;
use std::rc::Rc;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::AddEventListenerOptions;

/// The question, and the guard of the browser's own *Back*.
#[component]
pub fn LeaveDialog() -> impl IntoView {
    let open = RwSignal::new(false);
    let pending = StoredValue::new_local(None::<Leave>);
    unsaved::set_ask(Some(Rc::new(move |leave| {
        pending.try_update_value(|pending| *pending = Some(leave));
        open.set(true);
    })));
    on_cleanup(|| unsaved::set_ask(None));
    let stay = Callback::new(move |()| open.set(false));
    let discard = Callback::new(move |()| {
        unsaved::discard();
        let leave = pending.try_update_value(Option::take).flatten();
        open.set(false);
        if let Some(leave) = leave {
            leave();
        }
    });
    guard_back();
    view! {
        <Dialog open=open title="Discard unsaved changes?">
            <p>"The form has changes that are not saved."</p>
            <div class="dialog-actions">
                <Button variant=ButtonVariant::Primary on_click=stay>"Keep editing"</Button>
                <Button variant=ButtonVariant::Danger on_click=discard>"Discard changes"</Button>
            </div>
        </Dialog>
    }
}

/// Returns to the form, when the browser has gone back, and asks. The browser does not let pages prevent it.
fn guard_back() {
    let location = use_location();
    let on_back = Closure::<dyn Fn(web_sys::Event)>::new(move |event: web_sys::Event| {
        if !unsaved::has_unsaved(None) {
            return;
        }
        let (Some(path), Some(search)) = (location.pathname.try_get_untracked(), location.search.try_get_untracked())
        else {
            return;
        };
        event.stop_immediate_propagation();
        let address = if search.is_empty() { path } else { format!("{path}?{search}") };
        if let Ok(history) = window().history() {
            let _ = history.push_state_with_url(&JsValue::NULL, "", Some(&address));
        }
        unsaved::leave(None, || {
            if let Ok(history) = window().history() {
                let _ = history.back();
            }
        });
    });
    let options = AddEventListenerOptions::new();
    options.set_capture(true);
    let listener: &js_sys::Function = on_back.as_ref().unchecked_ref();
    let _ = window().add_event_listener_with_callback_and_add_event_listener_options("popstate", listener, &options);
    let listener = SendWrapper::new(on_back);
    on_cleanup(move || {
        let function = listener.as_ref().unchecked_ref();
        let _ = window().remove_event_listener_with_callback_and_bool("popstate", function, true);
    });
}
