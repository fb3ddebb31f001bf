//! The settings tab of a webhook: its form, its secret, and its deletion.

use super::form::EditForm;
use super::secret::RotateCard;
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::query::{Mutation, Query};
use crate::rpc::webhooks as rpc;
use crate::session::{ForWebhookManagers, use_session};
use domain::webhook::Webhook;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

/// The settings tab.
#[component]
pub fn SettingsTab(#[prop(into)] webhook: ErasedMemo<Webhook>, query: Query<Webhook>) -> impl IntoView {
    let current = webhook.get_untracked();
    let delete_open = RwSignal::new(false);
    let session = use_session();
    view! {
        <div class="stack narrow">
            <section class="card">
                <h2>"Settings"</h2>
                <fieldset disabled=move || !session.manages_webhooks()>
                    <EditForm webhook=current.clone() on_save=Callback::new(move |new| query.set(new)) />
                </fieldset>
            </section>
            <ForWebhookManagers>
                <RotateCard webhook=webhook query=query />
                <section class="card stack tight">
                    <h2>"Delete"</h2>
                    <p class="muted">"Stops all deliveries and cancels queued ones. History is kept."</p>
                    <div>
                        <Button variant=ButtonVariant::Danger on_click=Callback::new(move |()| delete_open.set(true))>
                            <IconView icon=Icon::Trash />
                            "Delete webhook"
                        </Button>
                    </div>
                </section>
            </ForWebhookManagers>
        </div>
        <DeleteDialog webhook=current open=delete_open />
    }
}

#[component]
fn DeleteDialog(webhook: Webhook, open: RwSignal<bool>) -> impl IntoView {
    let navigate = use_navigate();
    let mutation = Mutation::new();
    let delete = Callback::new(move |()| {
        let navigate = navigate.clone();
        mutation.run(rpc::delete_webhook(webhook.id), move |()| navigate("/settings/webhooks", Default::default()));
    });
    view! {
        <Dialog open=open title="Delete this webhook?">
            <p><strong>{webhook.name.clone()}</strong>" will stop receiving events. This cannot be undone."</p>
            <FormProblem problem=mutation.problem />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Keep webhook"</Button>
                <Button variant=ButtonVariant::Danger pending=mutation.pending on_click=delete>"Delete webhook"</Button>
            </div>
        </Dialog>
    }
}
