//! The guard of unsaved input: leaving a screen or closing a dialog asks first, while a form has input that was not saved.
//!
//! A form is marked when the user changes a field, and unmarked when it is submitted or removed. A submitted form that shows an error
//! still has unsaved input.

use leptos::ev;
use leptos::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{AddEventListenerOptions, Element, HtmlElement, MouseEvent};

/// A form whose fields the user has changed.
struct Changed {
    form: Element,
    is_submitted: bool,
    /// The address of the screen with the form.
    address: String,
}

/// Continues what the guard has interrupted.
pub type Leave = Rc<dyn Fn()>;
/// Asks the user. Set while the layout is shown.
pub type Ask = Rc<dyn Fn(Leave)>;

thread_local! {
    static CHANGED: RefCell<Vec<Changed>> = const { RefCell::new(Vec::new()) };
    static ASK: RefCell<Option<Ask>> = const { RefCell::new(None) };
}

/// Marks the form of a changed field.
pub fn mark(field: &web_sys::Event) {
    let element = field.target().and_then(|target| target.dyn_into::<Element>().ok());
    let Some(form) = element.and_then(|element| element.closest("form").ok().flatten()) else { return };
    CHANGED.with_borrow_mut(|all| {
        all.retain(|changed| changed.form != form && changed.form.is_connected());
        let address = window().location().href().unwrap_or_default();
        all.push(Changed { form, is_submitted: false, address });
    });
}

/// Unmarks a form that is submitted.
pub fn submit(event: &web_sys::Event) {
    let form = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    CHANGED.with_borrow_mut(|all| {
        for changed in all.iter_mut().filter(|changed| Some(&changed.form) == form.as_ref()) {
            changed.is_submitted = true;
        }
    });
}

/// Whether a form has unsaved input, in `part` or anywhere.
pub fn has_unsaved(part: Option<&Element>) -> bool {
    CHANGED.with_borrow(|all| first_unsaved(all, part).is_some())
}

fn first_unsaved<'a>(all: &'a [Changed], part: Option<&Element>) -> Option<&'a Changed> {
    all.iter().find(|Changed { form, is_submitted, .. }| {
        let has_error = || form.query_selector("[aria-invalid=true], .notice.error").is_ok_and(|error| error.is_some());
        let node: &web_sys::Node = form;
        let is_in_part = part.is_none_or(|part| part.contains(Some(node)));
        form.is_connected() && is_in_part && (!is_submitted || has_error())
    })
}

/// Runs `leave`, after a question if `part` of the page, or any part, has unsaved input.
pub fn leave(part: Option<&Element>, leave: impl Fn() + 'static) {
    let ask = ASK.with_borrow(Clone::clone).filter(|_| has_unsaved(part));
    match ask {
        Some(ask) => ask(Rc::new(leave)),
        None => leave(),
    }
}

/// The link of a plain click that leaves the screen.
fn followed_link(event: &MouseEvent) -> Option<HtmlElement> {
    let has_modifier = event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key();
    let target = event.target()?.dyn_into::<Element>().ok()?;
    let link = target.closest("a[href]").ok().flatten()?;
    let opens_elsewhere = link.has_attribute("target") || link.has_attribute("download");
    let is_inside = link.get_attribute("href").is_some_and(|href| href.starts_with('#'));
    (event.button() == 0 && !has_modifier && !opens_elsewhere && !is_inside).then(|| link.unchecked_into())
}

/// Asks before the page is closed or reloaded, before a link is followed, and before the browser goes back.
///
/// It must be called before the router is created, whose listeners it precedes.
pub fn guard() {
    let on_close = window_event_listener(ev::beforeunload, |event| {
        if has_unsaved(None) {
            event.prevent_default();
            event.set_return_value("");
        }
    });
    on_cleanup(move || on_close.remove());
    let on_click = Closure::<dyn Fn(MouseEvent)>::new(|event: MouseEvent| {
        if let Some(link) = followed_link(&event).filter(|_| has_unsaved(None)) {
            event.prevent_default();
            event.stop_immediate_propagation();
            leave(None, move || link.click());
        }
    });
    let options = AddEventListenerOptions::new();
    options.set_capture(true);
    let listener = on_click.as_ref().unchecked_ref();
    let _ = window().add_event_listener_with_callback_and_add_event_listener_options("click", listener, &options);
    on_click.forget();
    let on_back = window_event_listener(ev::popstate, return_to_form);
    on_cleanup(move || on_back.remove());
}

/// Returns to the form when the browser has gone back, and asks. The browser does not let pages prevent it.
fn return_to_form(event: web_sys::PopStateEvent) {
    let Some(address) = CHANGED.with_borrow(|all| first_unsaved(all, None).map(|changed| changed.address.clone()))
    else {
        return;
    };
    event.stop_immediate_propagation();
    let Ok(history) = window().history() else { return };
    let _ = history.push_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(&address));
    leave(None, move || {
        let _ = history.back();
    });
}

/// Sets how the user is asked.
pub fn set_ask(ask: Option<Ask>) {
    ASK.set(ask);
}

/// Forgets all unsaved input, because the user discards it.
pub fn discard() {
    CHANGED.with_borrow_mut(Vec::clear);
}
