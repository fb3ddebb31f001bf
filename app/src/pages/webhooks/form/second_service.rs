//! The warning about a second webhook that provisions the same resource type.

use super::model::FormModel;
use crate::components::*;
use crate::erased::ErasedMemo;
use domain::id::WebhookId;
use domain::webhook::Webhook;
use leptos::prelude::*;

/// Names the first other webhook that provisions the selected type, and offers to listen only. `own` is the webhook that
/// the form edits.
#[component]
pub fn SecondServiceWarning(model: FormModel, webhooks: Vec<Webhook>, own: Option<WebhookId>) -> impl IntoView {
    let others: Vec<_> = webhooks.into_iter().filter(|other| Some(other.id) != own && !other.is_sample()).collect();
    let first = ErasedMemo::new(move |_| {
        let resource_type = model.resource_type.get();
        let slug = (!resource_type.is_empty()).then_some(resource_type.as_str());
        let drives = model.provisions.get() && model.selected_events().iter().any(|event| event.provisions());
        let first = others.iter().find(|other| other.drives(slug)).filter(|_| drives)?;
        Some((first.name.clone(), resource_type))
    });
    let listen_only = Callback::new(move |()| model.provisions.set(false));
    let warning = move || {
        let (name, resource_type) = first.get()?;
        let subject = if resource_type.is_empty() { "resources".to_owned() } else { resource_type };
        Some(view! {
            <div class="notice warning">
                <IconView icon=Icon::Warning />
                <div>
                    <strong class="wrap">{format!("{name} already provisions {subject}.")}</strong>
                    <p>
                        "A reservation becomes ready only when both services are ready, and fails if one of them fails. "
                        "If your service does not provision, let this webhook listen only: its responses are logged and change no reservation."
                    </p>
                    <Button on_click=listen_only>"Listen only"</Button>
                </div>
            </div>
        })
    };
    let listening = move || {
        (!model.provisions.get()).then(|| {
            view! { <p class="muted small">"Listen only: responses are logged and change no reservation. Change this under Advanced."</p> }
        })
    };
    view! { <div aria-live="polite">{warning}{listening}</div> }
}
