//! The signing secret and its rotation.

use super::form::weakness_of;
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::new_secret::{SecretOwner, use_new_secret};
use crate::query::{Mutation, Query};
use crate::rpc::webhooks as rpc;
use crate::time;
use domain::webhook::{RotateInput, Webhook};
use leptos::prelude::*;

/// The current secret, and the dialog that rotates it. During the overlap, receivers can verify by each of the secrets.
#[component]
pub fn RotateCard(webhook: ErasedMemo<Webhook>, query: Query<Webhook>) -> impl IntoView {
    let open = RwSignal::new(false);
    let previous_until = move || webhook.with(|w| w.previous_secrets_until.clone());
    view! {
        <section class="card stack tight">
            <h2>"Signing secret"</h2>
            <p>"Current secret: "<code>"…"{move || webhook.with(|w| w.secret_hint.clone())}</code></p>
            {move || {
                previous_until()
                    .into_iter()
                    .filter(|until| *until > time::now())
                    .map(|until| {
                        view! { <p class="muted">{format!("Previous secret also signs until {}.", intl::timestamp(until))}</p> }
                    })
                    .collect_view()
            }}
            {move || {
                webhook
                    .with(|w| w.public_key.clone())
                    .map(|key| {
                        view! {
                            <p>"Requests also carry a "<code>"v1a"</code>" signature. Verify it with this public key."</p>
                            <CodeBlock text=key label="Ed25519 public key" />
                        }
                    })
            }}
            <div>
                <Button on_click=Callback::new(move |()| open.set(true))><IconView icon=Icon::Key />"Rotate secret"</Button>
            </div>
        </section>
        <Dialog open=open title="Rotate signing secret">
            <RotateForm webhook=webhook query=query open=open />
        </Dialog>
    }
}

/// The form of a rotation. The layout shows the new secret.
#[component]
fn RotateForm(webhook: ErasedMemo<Webhook>, query: Query<Webhook>, open: RwSignal<bool>) -> impl IntoView {
    let (id, has_public_key) = webhook.with_untracked(|w| (w.id, w.public_key.is_some()));
    let overlap = RwSignal::new("24".to_owned());
    let own_secret = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let new_secret = use_new_secret();
    let rotate = Callback::new(move |()| {
        let secret = Some(own_secret.get_untracked().trim().to_owned()).filter(|s| !s.is_empty());
        let input = RotateInput { overlap_hours: overlap.get_untracked().parse().ok(), secret };
        mutation.run(rpc::rotate_secret(id, input), move |new| {
            open.set(false);
            let name = new.webhook.name.clone();
            new_secret.show(SecretOwner::Webhook { id, name, created: false }, new.secret);
            query.set(new.webhook);
        });
    });
    view! {
            <Form on_submit=rotate>
                <FormProblem problem=mutation.problem_except(&["secret", "overlap_hours"]) />
                <p>
                    "During the overlap, "<code>"webhook-signature"</code>" contains a signature by each secret. "
                    <code>"X-Webhook-Signature"</code>" changes at once."
                    {has_public_key.then_some(" The Ed25519 key is replaced too; copy the new public key afterwards.")}
                </p>
                <Select
                    label="Keep signing with the old secret for"
                    value=overlap
                    options=select_options([("0", "Revoke all now (compromised)"), ("1", "1 hour"), ("24", "24 hours"), ("168", "7 days")])
                    error=mutation.field_error("overlap_hours")
                />
                <TextInput
                    label="New secret"
                    value=own_secret
                    optional=true
                    mono=true
                    hint=move || own_secret.with(|secret| weakness_of(secret)).unwrap_or("Leave empty to generate one.")
                    error=mutation.field_error("secret")
                />
                <div class="dialog-actions">
                    <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                    <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Rotate secret"</Button>
                </div>
            </Form>
    }
}
