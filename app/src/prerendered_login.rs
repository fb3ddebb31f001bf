//! The log-in form that `frontend/index.html` contains.
//!
//! Users can submit the form while the app loads. The app then takes it over in place, so that typed text and the focus stay.

use crate::passkey;
use domain::account::Credentials;
use leptos::prelude::{document, window};
use wasm_bindgen::JsCast as _;
use web_sys::{Element, Event, HtmlAnchorElement, HtmlElement, HtmlInputElement};

/// The attribute of the root element that shows the form instead of the app.
const VISIBLE: &str = "data-login";

/// The id of the button that logs in with a passkey. It is hidden until the app has loaded.
const PASSKEY: &str = "login-passkey";

fn root() -> Option<Element> {
    document().document_element()
}

fn element<T: wasm_bindgen::JsCast>(id: &str) -> Option<T> {
    document().get_element_by_id(id).and_then(|element| element.dyn_into().ok())
}

fn input_text(id: &str) -> String {
    element::<HtmlInputElement>(id).map(|input| input.value()).unwrap_or_default()
}

/// Shows the form and disables the script in `index.html` that submits it without the app.
pub fn open() {
    if let Some(root) = root() {
        let _ = root.set_attribute(VISIBLE, "");
    }
    if let Some(form) = element::<Element>("login-form") {
        let _ = form.set_attribute("data-managed", "");
    }
    if let Some(button) = element::<Element>(PASSKEY).filter(|_| passkey::is_supported()) {
        let _ = button.remove_attribute("hidden");
    }
}

/// Whether an event comes from the button that logs in with a passkey.
pub fn is_passkey_button(event: &Event) -> bool {
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    target.is_some_and(|target| target.id() == PASSKEY)
}

/// Shows the app and clears the password.
pub fn close() {
    if let Some(root) = root() {
        let _ = root.remove_attribute(VISIBLE);
    }
    if let Some(password) = element::<HtmlInputElement>("login-password") {
        password.set_value("");
    }
    show_problem(None);
}

/// An identity provider, as the server has added it to the page.
#[derive(Clone)]
pub struct Provider {
    /// The text of its button: `Log in with Corp`.
    pub label: String,
    /// The address that starts a log-in.
    pub start: String,
}

/// The identity providers, in the order of their buttons.
pub fn providers() -> Vec<Provider> {
    let Ok(links) = document().query_selector_all("#login-providers a") else { return Vec::new() };
    let link = |n| links.item(n)?.dyn_into::<HtmlAnchorElement>().ok();
    let provider =
        |link: HtmlAnchorElement| Provider { label: link.text_content().unwrap_or_default(), start: link.pathname() };
    (0..links.length()).filter_map(link).map(provider).collect()
}

/// Whether users may log in with a password. The break-glass administrator uses the log-in page.
pub fn accepts_passwords() -> bool {
    root().and_then(|root| root.get_attribute("data-local-login")).is_none_or(|mode| mode == "on")
}

/// Opens a log-in at a provider in a new window, so that the page keeps its input. With `confirms`, the provider asks for
/// a credential.
pub fn open_window(provider: &Provider, confirms: bool) {
    let confirm = if confirms { "&confirm=true" } else { "" };
    let _ = window().open_with_url(&format!("{}?to=/oidc/done{confirm}", provider.start));
}

/// Whether an event comes from the form.
pub fn is_source_of(event: &Event) -> bool {
    event.target().and_then(|target| target.dyn_into::<Element>().ok()).is_some_and(|form| form.id() == "login-form")
}

/// The entered user name and password.
pub fn credentials() -> Credentials {
    Credentials { username: input_text("login-username").trim().to_owned(), password: input_text("login-password") }
}

/// Shows why the log-in failed; `None` hides the message.
pub fn show_problem(problem: Option<&str>) {
    let Some(notice) = element::<HtmlElement>("login-problem") else { return };
    if let Ok(Some(text)) = notice.query_selector("p") {
        text.set_text_content(problem);
    }
    let _ = notice.toggle_attribute_with_force("hidden", problem.is_none());
}

/// Shows whether a log-in is in progress.
pub fn set_pending(pending: bool) {
    if let Some(button) = element::<HtmlElement>("login-button") {
        let _ = button.set_attribute("aria-busy", if pending { "true" } else { "false" });
    }
}
