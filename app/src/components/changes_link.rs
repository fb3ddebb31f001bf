//! The link from an object to its entries in the audit log.

use leptos::prelude::*;

/// A link to the audit log, filtered by one object. `target` is the wire name of its kind.
#[component]
pub fn ChangesLink(target: &'static str, #[prop(into)] id: String, #[prop(into)] name: String) -> impl IntoView {
    let href = format!("/settings/audit?target={target}&id={}", js_sys::encode_uri_component(&id));
    view! { <a class="button quiet" href=href aria-label=format!("Changes of {name}")>"Changes"</a> }
}
