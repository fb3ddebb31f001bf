//! The signing secret: shown once, renewed with an overlap.

use crate::components::*;
use crate::load::{Load, Write};
use crate::rpc::webhooks as rpc;
use crate::time;
use crate::values::Value;
use domain::webhook::{RotateInput, Webhook};
use leptos::prelude::*;

/// A secret, this once.
#[component]
pub fn SecretShown(secret: String) -> impl IntoView {
    view! {
        <Notice kind="warning">
            <p>
                <strong>"Copy the secret now. It is not shown again."</strong>
            </p>
            <p>"Your service verifies requests with it. If you lose it, rotate it."</p>
        </Notice>
        <CodeBlock text=secret label="Signing secret" />
    }
}

/// Makes a new secret; the old one signs too for a while, so that receivers can change over.
#[component]
pub fn RotateCard(webhook: Value<Webhook>, changed: Load<Webhook>) -> impl IntoView {
    let open = RwSignal::new(false);
    let id = webhook.with_untracked(|w| w.id);
    let overlap = RwSignal::new("24".to_owned());
    let own = RwSignal::new(String::new());
    let write = Write::new();
    let made = RwSignal::new(None::<String>);
    let rotate = Callback::new(move |()| {
        let secret = Some(own.get_untracked().trim().to_owned()).filter(|s| !s.is_empty());
        let input = RotateInput { overlap_hours: overlap.get_untracked().parse().ok(), secret };
        write.run(rpc::rotate_secret(id, input), move |new| {
            made.set(Some(new.secret));
            changed.set(new.webhook);
        });
    });
    let start = Callback::new(move |()| {
        made.set(None);
        own.set(String::new());
        open.set(true);
    });
    let close = Callback::new(move |()| open.set(false));
    let until = move || webhook.with(|w| w.previous_secret_until.filter(|until| *until > time::now()));
    view! {
        <section class="card stack tight">
            <h2>"Signing secret"</h2>
            <p>"Current secret: "<code>"…"{move || webhook.with(|w| w.secret_hint.clone())}</code></p>
            {move || until().map(|until| view! { <p class="muted">{format!("Previous secret also signs until {}.", time::absolute(until))}</p> }.into_any())}
            {move || webhook.with(|w| w.public_key.clone()).map(|key| view! {
                <p>"Requests also carry a "<code>"v1a"</code>" signature. Verify it with this public key."</p>
                <CodeBlock text=key label="Ed25519 public key" />
            }.into_any())}
            <div><Button on_click=start><IconView icon=Icon::Key />"Rotate secret"</Button></div>
        </section>
        <Dialog open=open title="Rotate signing secret">
            {move || match made.get() {
                Some(secret) => view! {
                    <SecretShown secret=secret />
                    <div class="dialog-actions"><Button look=Look::Primary on_click=close>"Done"</Button></div>
                }
                .into_any(),
                None => view! {
                    <Form on_submit=rotate>
                        <FormProblem problem=write.other_than(&["secret", "overlap_hours"]) />
                        <p>"During the overlap, "<code>"webhook-signature"</code>" contains a signature by each secret. "<code>"X-Webhook-Signature"</code>" changes at once."
                            {webhook.with_untracked(|w| w.public_key.is_some()).then_some(" The Ed25519 key is replaced too; copy the new public key afterwards.")}
                        </p>
                        <Select
                            label="Keep signing with the old secret for"
                            value=overlap
                            options=words([("0", "Revoke now (compromised)"), ("1", "1 hour"), ("24", "24 hours"), ("168", "7 days")])
                            error=write.message("overlap_hours")
                        />
                        <TextInput label="New secret" value=own optional=true mono=true hint="Leave empty to generate one." error=write.message("secret") />
                        <div class="dialog-actions">
                            <Button on_click=close>"Cancel"</Button>
                            <Button look=Look::Primary submit=true busy=write.busy>"Rotate secret"</Button>
                        </div>
                    </Form>
                }
                .into_any(),
            }}
        </Dialog>
    }
}
