//! Code blocks and copying to the clipboard.

use super::{Icon, IconView};
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast as _;

/// Copies a text to the clipboard. Returns false if the browser does not allow it.
async fn copy(text: &str) -> bool {
    let clipboard = window().navigator().clipboard();
    // Browsers define it only in a secure context: https:// or localhost.
    if !clipboard.is_undefined() {
        return wasm_bindgen_futures::JsFuture::from(clipboard.write_text(text)).await.is_ok();
    }
    let copy_selection = || -> Option<bool> {
        let document = document().dyn_into::<web_sys::HtmlDocument>().ok()?;
        let area = document.create_element("textarea").ok()?.dyn_into::<web_sys::HtmlTextAreaElement>().ok()?;
        area.set_value(text);
        // Text outside an open modal dialog cannot be selected.
        let parent = document.query_selector("dialog[open] .dialog-body").ok()?.or(document.body().map(Into::into))?;
        parent.append_child(&area).ok()?;
        area.select();
        let copied = document.exec_command("copy").ok();
        area.remove();
        copied
    };
    copy_selection().unwrap_or(false)
}

/// A button that copies `text` and confirms it for two seconds.
#[component]
pub fn CopyButton(
    #[prop(into)] text: Signal<String>,
    #[prop(optional, into)] label: Option<&'static str>,
    #[prop(optional)] on_copy: Option<Callback<()>>,
) -> impl IntoView {
    let result = RwSignal::new(None::<bool>);
    let copy = move |_| {
        let text = text.get_untracked();
        spawn_local(async move {
            let copied = copy(&text).await;
            result.set(Some(copied));
            if let Some(on_copy) = on_copy.filter(|_| copied) {
                on_copy.run(());
            }
            Timeout::new(2_000, move || result.set(None)).forget();
        });
    };
    let label = move || match result.get() {
        Some(true) => "Copied",
        Some(false) => "Select the text and copy it",
        None => label.unwrap_or("Copy"),
    };
    view! {
        <button type="button" class="button quiet small copy" on:click=copy>
            {move || view! { <IconView icon=if result.get() == Some(true) { Icon::Check } else { Icon::Copy } /> }}
            <span aria-live="polite">{label}</span>
        </button>
    }
}

/// A block of code or data with a copy button. `on_copy` is called however the user copies it.
#[component]
pub fn CodeBlock(
    #[prop(into)] text: Signal<String>,
    #[prop(into)] label: String,
    #[prop(optional)] on_copy: Option<Callback<()>>,
) -> impl IntoView {
    let copied = Callback::new(move |()| {
        if let Some(on_copy) = on_copy {
            on_copy.run(());
        }
    });
    view! {
        <div class="code-block" on:copy=move |_| copied.run(())>
            <div class="code-tools">
                <span class="code-label">{label.clone()}</span>
                <CopyButton text=text on_copy=copied />
            </div>
            <pre tabindex="0" aria-label=label><code>{move || text.get()}</code></pre>
        </div>
    }
}

/// Formats JSON with line breaks. Other text is returned unchanged.
pub fn pretty_json(text: &str) -> String {
    domain::json::from_text::<serde_json::Value>(text)
        .ok()
        .and_then(|value| domain::json::to_pretty_text(&value).ok())
        .unwrap_or_else(|| text.to_owned())
}
