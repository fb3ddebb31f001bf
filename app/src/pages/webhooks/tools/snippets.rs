//! Receivers to start from, with the URL and the secret of the form.

use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use domain::event::EventType;
use domain::receiver_snippet::{SnippetCredentials, SnippetLanguage, SnippetTarget, receiver_snippet};
use domain::routing::DeliveryPaths;
use domain::webhook::AuthInput;
use leptos::prelude::*;

/// The settings that the snippets contain.
#[derive(Clone, PartialEq)]
pub struct SnippetSettings {
    /// The endpoint URL.
    pub endpoint_url: String,
    /// The delivery paths.
    pub paths: DeliveryPaths,
    /// The selected events.
    pub events: Vec<EventType>,
    /// The slug of the resource type; `None` for all types.
    pub resource_type: Option<String>,
    /// The signing secret; `None` if the page does not know it.
    pub secret: Option<String>,
    /// The authentication, whose API key the request of curl contains.
    pub auth: AuthInput,
}

impl SnippetSettings {
    fn text(&self, language: SnippetLanguage) -> String {
        let credentials = match &self.auth {
            AuthInput::None => SnippetCredentials::None,
            AuthInput::ApiKey { header, key } => SnippetCredentials::ApiKey { header, key },
            AuthInput::Oauth2 { .. } => SnippetCredentials::AccessToken,
        };
        let endpoint_url = match self.endpoint_url.as_str() {
            "" => "https://your-service.com/api/webhook",
            url => url,
        };
        let target = SnippetTarget {
            endpoint_url,
            paths: &self.paths,
            events: &self.events,
            resource_type: self.resource_type.as_deref(),
            secret: self.secret.as_deref(),
            credentials,
        };
        receiver_snippet(language, &target)
    }
}

/// The snippet of the selected language.
#[component]
pub fn Snippets(settings: ErasedMemo<SnippetSettings>) -> impl IntoView {
    let selected = ErasedSignal::new(SnippetLanguage::Python);
    let choice = move |language: SnippetLanguage| {
        view! {
            <button
                type="button"
                class="button small"
                aria-pressed=move || (selected.get() == language).to_string()
                on:click=move |_| selected.set(language)
            >
                {language.label()}
            </button>
        }
    };
    let text = Signal::derive(move || settings.with(|settings| settings.text(selected.get())));
    view! {
        <div class="stack tight">
            <div class="row choices" role="group" aria-label="Language">
                {SnippetLanguage::ALL.iter().map(|language| choice(*language)).collect_view()}
            </div>
            {move || {
                view! { <CodeBlock text=text label=selected.get().file_name() /> }
            }}
        </div>
    }
}
