//! The signing secret: its only display, and its rotation.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::query::{Mutation, Query};
use crate::rpc::webhooks as rpc;
use crate::time;
use domain::webhook::{RotateInput, Webhook};
use leptos::prelude::*;

/// A new secret. The page cannot show it again.
#[component]
pub fn NewSecret(secret: String) -> impl IntoView {
    view! {
        <Notice kind=NoticeKind::Warning>
            <p>
                <strong>"Copy the secret now. It is not shown again."</strong>
            </p>
            <p>"Your service verifies requests with it. If you lose it, rotate it."</p>
        </Notice>
        <CodeBlock text=secret label="Signing secret" />
    }
}

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

/// The form of a rotation, then the new secret.
#[component]
fn RotateForm(webhook: ErasedMemo<Webhook>, query: Query<Webhook>, open: RwSignal<bool>) -> impl IntoView {
    let (id, has_public_key) = webhook.with_untracked(|w| (w.id, w.public_key.is_some()));
    let overlap = RwSignal::new("24".to_owned());
    let own_secret = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let new_secret = RwSignal::new(None::<String>);
    let rotate = Callback::new(move |()| {
        let secret = Some(own_secret.get_untracked().trim().to_owned()).filter(|s| !s.is_empty());
        let input = RotateInput { overlap_hours: overlap.get_untracked().parse().ok(), secret };
        mutation.run(rpc::rotate_secret(id, input), move |new| {
            new_secret.set(Some(new.secret));
            query.set(new.webhook);
        });
    });
    let close = Callback::new(move |()| open.set(false));
    move || {
        match new_secret.get() {
        Some(secret) => view! {
            <NewSecret secret=secret />
            <div class="dialog-actions"><Button variant=ButtonVariant::Primary on_click=close>"Done"</Button></div>
        }
        .into_any(),
        None => view! {
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
                    hint="Leave empty to generate one."
                    error=mutation.field_error("secret")
                />
                <div class="dialog-actions">
                    <Button on_click=close>"Cancel"</Button>
                    <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Rotate secret"</Button>
                </div>
            </Form>
        }
        .into_any(),
    }
    }
}
