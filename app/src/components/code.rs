//! Text to copy.

use super::{Icon, IconView};
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast as _;

/// Puts a text on the clipboard; false where the browser does not let us.
async fn copy(text: &str) -> bool {
    let Some(window) = web_sys::window() else { return false };
    let clipboard = window.navigator().clipboard();
    // Browsers give it to pages from https:// and the same machine only.
    if !clipboard.is_undefined() {
        return wasm_bindgen_futures::JsFuture::from(clipboard.write_text(text)).await.is_ok();
    }
    let copied = || -> Option<bool> {
        let document = window.document()?.dyn_into::<web_sys::HtmlDocument>().ok()?;
        let area = document.create_element("textarea").ok()?.dyn_into::<web_sys::HtmlTextAreaElement>().ok()?;
        area.set_value(text);
        // In the dialog on top, where there is one: nothing below it can be selected.
        let place = document.query_selector("dialog[open] .dialog-body").ok()?.or(document.body().map(Into::into))?;
        place.append_child(&area).ok()?;
        area.select();
        let copied = document.exec_command("copy").ok();
        area.remove();
        copied
    };
    copied().unwrap_or(false)
}

/// Copies `text` and says so.
#[component]
pub fn CopyButton(
    #[prop(into)] text: Signal<String>,
    #[prop(optional, into)] label: Option<&'static str>,
) -> impl IntoView {
    let said = RwSignal::new(None::<bool>);
    let copy = move |_| {
        let text = text.get_untracked();
        spawn_local(async move {
            said.try_set(Some(copy(&text).await));
            Timeout::new(2_000, move || {
                said.try_set(None);
            })
            .forget();
        });
    };
    let words = move || match said.get() {
        Some(true) => "Copied",
        Some(false) => "Select the text and copy it",
        None => label.unwrap_or("Copy"),
    };
    view! {
        <button type="button" class="button quiet small copy" on:click=copy>
            {move || view! { <IconView icon=if said.get() == Some(true) { Icon::Check } else { Icon::Copy } /> }.into_any()}
            <span aria-live="polite">{words}</span>
        </button>
    }
}

/// A block of code or data with a button that copies it.
#[component]
pub fn CodeBlock(#[prop(into)] text: Signal<String>, #[prop(into)] label: String) -> impl IntoView {
    view! {
        <div class="code-block">
            <div class="code-tools">
                <span class="code-label">{label.clone()}</span>
                <CopyButton text=text />
            </div>
            <pre tabindex="0" aria-label=label><code>{move || text.get()}</code></pre>
        </div>
    }
}

/// JSON with line breaks; what is not JSON stays as it is.
pub fn pretty(text: &str) -> String {
    domain::json::from_text::<serde_json::Value>(text)
        .ok()
        .and_then(|value| domain::json::to_pretty_text(&value).ok())
        .unwrap_or_else(|| text.to_owned())
}
