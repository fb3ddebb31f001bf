//! The door: the log-in form. It stands in `frontend/index.html`, where it can be used before the app is there; the app
//! takes it over as it is, with what was typed and where the cursor stands.

use domain::account::Credentials;
use leptos::prelude::document;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, Event, HtmlElement, HtmlInputElement};

/// On the root element while the door shows.
const OPEN: &str = "data-login";

fn root() -> Option<Element> {
    document().document_element()
}

fn element<T: wasm_bindgen::JsCast>(id: &str) -> Option<T> {
    document().get_element_by_id(id).and_then(|element| element.dyn_into().ok())
}

fn typed(id: &str) -> String {
    element::<HtmlInputElement>(id).map(|input| input.value()).unwrap_or_default()
}

/// Shows the door instead of the app, whose log-in it is from here on.
pub fn open() {
    if let Some(root) = root() {
        let _ = root.set_attribute(OPEN, "");
    }
    if let Some(form) = element::<Element>("door-form") {
        let _ = form.set_attribute("data-taken", "");
    }
}

/// Shows the app; what was typed is forgotten.
pub fn close() {
    if let Some(root) = root() {
        let _ = root.remove_attribute(OPEN);
    }
    if let Some(password) = element::<HtmlInputElement>("door-password") {
        password.set_value("");
    }
    say(None);
}

/// Whether an event is the door's.
pub fn is_at(event: &Event) -> bool {
    event.target().and_then(|target| target.dyn_into::<Element>().ok()).is_some_and(|form| form.id() == "door-form")
}

/// What was typed.
pub fn credentials() -> Credentials {
    Credentials { username: typed("door-username").trim().to_owned(), password: typed("door-password") }
}

/// Shows why nobody came in, or nothing.
pub fn say(problem: Option<&str>) {
    let Some(notice) = element::<HtmlElement>("door-problem") else { return };
    if let Ok(Some(text)) = notice.query_selector("p") {
        text.set_text_content(problem);
    }
    let _ = notice.toggle_attribute_with_force("hidden", problem.is_none());
}

/// Shows whether the log-in is under way.
pub fn set_busy(busy: bool) {
    if let Some(button) = element::<HtmlElement>("door-button") {
        let _ = button.set_attribute("aria-busy", if busy { "true" } else { "false" });
    }
}
