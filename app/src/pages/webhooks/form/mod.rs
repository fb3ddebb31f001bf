//! The form for a new or existing webhook. The page validates the input by the same rules as the server.

mod advanced;
mod authentication;
mod endpoint;
mod events;
mod model;
mod second_service;

use super::{query_webhook, use_webhook_id};
use crate::components::*;
use crate::new_secret::{SecretOwner, use_new_secret};
use crate::query::{Mutation, Query};
use crate::rpc::{catalogue, webhooks as rpc};
use advanced::AdvancedFields;
pub use authentication::weakness_of;
use authentication::{AuthenticationFields, SecretFields};
use domain::endpoint::UrlPolicy;
use domain::id::WebhookId;
use domain::resource::ResourceType;
use domain::webhook::*;
use endpoint::{EndpointFields, PathFields};
use events::EventFields;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;
use model::{FieldErrors, FormModel, method_of, to_patch};
use second_service::SecondServiceWarning;
use std::sync::Arc;

/// `/settings/webhooks/new`
#[component]
pub fn WebhookNewPage() -> impl IntoView {
    let new_secret = use_new_secret();
    let navigate = use_navigate();
    let on_create = Callback::new(move |WebhookWithSecret { webhook, secret, .. }| {
        let id = webhook.id;
        navigate(&format!("/settings/webhooks/{id}"), Default::default());
        new_secret.show(SecretOwner::Webhook { id, name: webhook.name, created: true }, secret);
    });
    view! {
        <PageHeader title="Add New Webhook" lead="Notify your service when people reserve, so it can provision the resource." />
        <div class="narrow">
            <NewForm on_create=on_create />
        </div>
    }
}

/// `/settings/webhooks/:id/edit`: the form of the settings tab as a page, for links from elsewhere.
#[component]
pub fn WebhookEditPage() -> impl IntoView {
    let webhook = query_webhook(use_webhook_id());
    let navigate = use_navigate();
    webhook.view(move |webhook| {
        let webhook = webhook.get_untracked();
        let navigate = navigate.clone();
        let on_save =
            Callback::new(move |new: Webhook| navigate(&format!("/settings/webhooks/{}", new.id), Default::default()));
        view! {
            <PageHeader title=format!("Edit {}", webhook.name) />
            <div class="narrow">
                <EditForm webhook=webhook on_save=on_save />
            </div>
        }
    })
}

/// What the form needs from the server besides the webhook.
struct FormData {
    policy: UrlPolicy,
    types: Vec<ResourceType>,
    webhooks: Vec<Webhook>,
}

/// Fetches the data of the form, then shows `form`.
fn with_form_data<V: IntoView + 'static>(form: impl Fn(FormData) -> V + Send + Sync + 'static) -> impl IntoView {
    let policy = Query::new(rpc::url_policy);
    let types = Query::new(catalogue::list_types);
    let webhooks = Query::new(rpc::list_webhooks);
    let form = Arc::new(form);
    policy.view(move |policy| {
        let form = Arc::clone(&form);
        types.view(move |types| {
            let form = Arc::clone(&form);
            webhooks.view(move |webhooks| {
                form(FormData {
                    policy: policy.get_untracked(),
                    types: types.get_untracked().items,
                    webhooks: webhooks.get_untracked().items,
                })
            })
        })
    })
}

/// The form for a new webhook.
#[component]
fn NewForm(on_create: Callback<WebhookWithSecret>) -> impl IntoView {
    with_form_data(move |FormData { policy, types, webhooks }| {
        let policy = StoredValue::new(policy);
        let model = FormModel::new();
        let mutation = Mutation::new();
        let validate = move || policy.with_value(|policy| model.validate(policy, None));
        let errors = FieldErrors::new(Memo::new(move |_| validate().err()), mutation);
        let submit = Callback::new(move |()| {
            errors.submitted.set(true);
            match untrack(validate) {
                Err(_) => errors.reject(),
                Ok(input) => mutation.run(rpc::create_webhook(input), move |new| on_create.run(new)),
            }
        });
        view! {
            <Form on_submit=submit>
                <CommonFields model=model errors=errors types=types webhooks=webhooks edited=None />
                <SecretFields model=model errors=errors />
                <AdvancedFields model=model errors=errors />
                <FormProblem problem=mutation.problem_without_fields() />
                <div class="row">
                    <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save Webhook"</Button>
                    <a class="button quiet" href="/settings/webhooks">"Cancel"</a>
                </div>
            </Form>
        }
    })
}

/// The form for an existing webhook.
#[component]
pub fn EditForm(webhook: Webhook, on_save: Callback<Webhook>) -> impl IntoView {
    let id = webhook.id;
    let stored_method = method_of(&webhook.auth);
    with_form_data(move |FormData { policy, types, webhooks }| {
        let policy = StoredValue::new(policy);
        let model = FormModel::of(&webhook);
        let mutation = Mutation::new();
        let saved = RwSignal::new(false);
        let stored = StoredValue::new(webhook.clone());
        let validate =
            move || policy.with_value(|policy| stored.with_value(|webhook| model.validate(policy, Some(webhook))));
        let errors = FieldErrors::new(Memo::new(move |_| validate().err()), mutation);
        let submit = Callback::new(move |()| {
            errors.submitted.set(true);
            saved.set(false);
            match untrack(validate) {
                Err(_) => errors.reject(),
                Ok(input) => mutation.run(rpc::patch_webhook(id, to_patch(input)), move |new: Webhook| {
                    saved.set(true);
                    stored.set_value(new.clone());
                    on_save.run(new);
                }),
            }
        });
        view! {
            <Form on_submit=submit>
                <CommonFields model=model errors=errors types=types webhooks=webhooks edited=Some((id, stored_method)) />
                <AdvancedFields model=model errors=errors />
                <FormProblem problem=mutation.problem_without_fields() />
                <div class="row">
                    <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save Webhook"</Button>
                    <span role="status">{move || saved.get().then_some("Saved.")}</span>
                </div>
            </Form>
        }
    })
}

/// The fields that a new and an existing webhook have in common. `edited` is the existing webhook, with its method whose
/// credentials are stored.
#[component]
fn CommonFields(
    model: FormModel,
    errors: FieldErrors,
    types: Vec<ResourceType>,
    webhooks: Vec<Webhook>,
    edited: Option<(WebhookId, &'static str)>,
) -> impl IntoView {
    view! {
        <EndpointFields model=model errors=errors types=types />
        <SecondServiceWarning model=model webhooks=webhooks own=edited.map(|(id, _)| id) />
        <AuthenticationFields model=model.auth errors=errors stored_method=edited.map(|(_, method)| method) />
        <EventFields model=model errors=errors />
        <PathFields model=model errors=errors />
    }
}
