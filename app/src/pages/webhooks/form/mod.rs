//! The form for a new or existing webhook. The page validates the input by the same rules as the server.

mod advanced;
mod authentication;
mod draft;
mod endpoint;
mod events;
mod model;
mod second_service;
mod steps;
mod tls;

pub use advanced::AdvancedFields;
pub use model::{FieldErrors, FormModel, TlsModel};
pub use tls::TlsFields;

use super::tools::DraftSource;
use super::{query_webhook, use_webhook_id};
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::new_secret::{SecretOwner, use_new_secret};
use crate::pages::areas;
use crate::query::{Mutation, Query};
use crate::rpc::{catalogue, webhooks as rpc};
use crate::session::use_session;
use advanced::AdvancedSection;
use authentication::{CredentialFields, MethodField, SecretFields};
use domain::Problem;
use domain::draft_check::{DraftCheck, DraftCheckInput};
use domain::endpoint::UrlPolicy;
use domain::id::WebhookId;
use domain::resource::ResourceType;
use domain::webhook::*;
use draft::StoredDraft;
use endpoint::{EndpointFields, PathFields};
use events::EventFields;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;
use model::{method_of, to_patch};
use second_service::SecondServiceWarning;
use std::sync::Arc;
use steps::{Step, StepList};
use tls::TlsSection;

/// `/settings/webhooks/new`
#[component]
pub fn WebhookNewPage() -> impl IntoView {
    view! {
        <PageHeader title="Add New Webhook" lead="Notify your service when people reserve, so it can provision the resource." />
        <div class="narrow">
            <NewForm />
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
    /// The resource types whose webhooks the user sees.
    types: Vec<ResourceType>,
    webhooks: Vec<Webhook>,
}

/// Fetches the data of the form, then shows `form`.
fn with_form_data<V: IntoView + 'static>(form: impl Fn(FormData) -> V + Send + Sync + 'static) -> impl IntoView {
    let session = use_session();
    let policy = Query::new(rpc::url_policy);
    let types = Query::new(catalogue::list_types);
    let webhooks = Query::new(rpc::list_webhooks);
    let form = Arc::new(form);
    policy.view(move |policy| {
        let form = Arc::clone(&form);
        types.view(move |types| {
            let form = Arc::clone(&form);
            webhooks.view(move |webhooks| {
                let mut types = types.get_untracked().items;
                types.retain(|t| untrack(|| session.reads_webhooks_of(Some(&t.slug))));
                form(FormData { policy: policy.get_untracked(), types, webhooks: webhooks.get_untracked().items })
            })
        })
    })
}

/// The check of the settings. `webhook` is the stored one that they change.
fn draft_source(
    model: FormModel,
    errors: FieldErrors,
    input: impl Fn() -> Result<WebhookInput, Problem> + Send + Sync + 'static,
    webhook: Option<WebhookId>,
    outcome: RwSignal<String>,
) -> DraftSource {
    let titles =
        ErasedMemo::new(move |_| DraftCheck::titles(model.auth.method.get() == "oauth2", &model.selected_events()));
    let input = ErasedMemo::new(move |_| Some(DraftCheckInput { webhook: input().ok()?, webhook_id: webhook }));
    let reject = Callback::new(move |()| {
        errors.submitted.set(true);
        errors.reject();
    });
    DraftSource { input, titles, reject, outcome }
}

/// The form for a new webhook.
#[component]
fn NewForm() -> impl IntoView {
    let session = use_session();
    let new_secret = use_new_secret();
    let navigate = StoredValue::new_local(use_navigate());
    with_form_data(move |FormData { policy, types, webhooks }| {
        let policy = StoredValue::new(policy);
        let model = FormModel::new();
        // Only administrators register a webhook of all types.
        if let Some(first) = types.first().filter(|_| !untrack(|| session.is_admin())) {
            model.resource_type.set(first.slug.clone());
        }
        let stored_draft = StoredDraft::follow(model);
        let mutation = Mutation::new();
        let validate = move || policy.with_value(|policy| model.validate(policy, None));
        let errors = FieldErrors::new(Memo::new(move |_| validate().err()), mutation);
        let outcome = RwSignal::new(String::new());
        let draft = draft_source(model, errors, validate, None, outcome);
        let submit = Callback::new(move |()| {
            errors.submitted.set(true);
            match untrack(validate) {
                Err(_) => errors.reject(),
                Ok(input) => {
                    let draft_key = stored_draft.key();
                    mutation.run_to_end(
                        rpc::create_webhook(input),
                        move |WebhookWithSecret { webhook, secret, .. }| {
                            let id = webhook.id;
                            stored_draft.finish(&draft_key);
                            // A user who has left the form stays where they are.
                            navigate.try_with_value(|navigate| {
                                navigate(&format!("/settings/webhooks/{id}"), Default::default());
                            });
                            new_secret.show(SecretOwner::Webhook { id, name: webhook.name, created: true }, secret);
                        },
                    );
                }
            }
        });
        view! {
            <Form on_submit=submit unguarded=true>
                <StepList errors=errors outcome=outcome />
                <Show when=move || stored_draft.restored.get()>
                    <Notice>
                        <p>"Your draft was restored. Secrets are not part of it: enter your own again."</p>
                        <Button on_click=Callback::new(move |()| stored_draft.discard())>"Discard draft"</Button>
                    </Notice>
                </Show>
                <EndpointStep model=model errors=errors types=types webhooks=webhooks own=None />
                <Step number=2 title="Security">
                    <CredentialFields model=model.auth errors=errors stored_method=None />
                    <SecretFields model=model errors=errors />
                    <TlsSection model=model.tls errors=errors />
                    <ReceiverSnippets model=model is_new=true />
                </Step>
                <AdvancedSection model=model errors=errors />
                <Step number=3 title="Test before saving">{areas::show_part(areas::webhooktools::Screen::Checklist(draft))}</Step>
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
    let is_local = webhook.is_local();
    with_form_data(move |FormData { policy, types, webhooks }| {
        let policy = StoredValue::new(policy);
        let model = FormModel::of(&webhook);
        let mutation = Mutation::new();
        let saved = RwSignal::new(false);
        let stored = StoredValue::new(webhook.clone());
        let validate =
            move || policy.with_value(|policy| stored.with_value(|webhook| model.validate(policy, Some(webhook))));
        let errors = FieldErrors::new(Memo::new(move |_| validate().err()), mutation);
        let outcome = RwSignal::new(String::new());
        let draft = draft_source(model, errors, validate, Some(id), outcome);
        let submit = Callback::new(move |()| {
            errors.submitted.set(true);
            saved.set(false);
            match untrack(validate) {
                Err(_) => errors.reject(),
                Ok(input) => mutation.run(rpc::patch_webhook(id, to_patch(input)), move |new: Webhook| {
                    saved.set(true);
                    model.tls.show(new.tls.as_ref());
                    stored.set_value(new.clone());
                    on_save.run(new);
                }),
            }
        });
        view! {
            <Form on_submit=submit>
                <StepList errors=errors outcome=outcome />
                <EndpointStep model=model errors=errors types=types webhooks=webhooks own=Some(id) />
                <Step number=2 title="Security">
                    <CredentialFields model=model.auth errors=errors stored_method=Some(stored_method) />
                    {(!is_local).then(|| view! { <TlsSection model=model.tls errors=errors /> })}
                    <ReceiverSnippets model=model is_new=false />
                </Step>
                <AdvancedSection model=model errors=errors />
                // Berth never calls the endpoint of a local webhook.
                {(!is_local)
                    .then(|| {
                        let checklist = areas::show_part(areas::webhooktools::Screen::Checklist(draft));
                        view! { <Step number=3 title="Test before saving">{checklist}</Step> }
                    })}
                <FormProblem problem=mutation.problem_without_fields() />
                <div class="row">
                    <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save Webhook"</Button>
                    <span role="status">{move || saved.get().then_some("Saved.")}</span>
                </div>
            </Form>
        }
    })
}

/// The first step: the fields of the guide in its order, and the paths. `own` is the webhook that the form edits.
#[component]
fn EndpointStep(
    model: FormModel,
    errors: FieldErrors,
    types: Vec<ResourceType>,
    webhooks: Vec<Webhook>,
    own: Option<WebhookId>,
) -> impl IntoView {
    view! {
        <Step number=1 title="Endpoint">
            <EndpointFields model=model errors=errors types=types />
            <SecondServiceWarning model=model webhooks=webhooks own=own />
            <MethodField model=model.auth />
            <EventFields model=model errors=errors />
            <PathFields model=model errors=errors />
        </Step>
    }
}

/// The receiver snippets, collapsed until the user opens them.
#[component]
fn ReceiverSnippets(model: FormModel, is_new: bool) -> impl IntoView {
    let settings = ErasedMemo::new(move |_| model.snippet_settings(is_new));
    let open = RwSignal::new(false);
    view! {
        <details class="advanced" on:toggle=move |_| open.set(true)>
            <summary>"Receiver to start from: Python, Node, Go, Rust, curl"</summary>
            <Show when=move || open.get()>{areas::show_part(areas::webhooktools::Screen::Snippets(settings))}</Show>
        </details>
    }
}
