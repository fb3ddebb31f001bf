//! The signing secret and its rotation.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::pages::areas;
use crate::query::{Mutation, Query};
use crate::rpc::webhooks as rpc;
use crate::time;
use domain::webhook::{SecretUse, Webhook};
use leptos::prelude::*;

/// The current secret, and the dialog that rotates it. During the overlap, receivers can verify by each of the secrets.
#[component]
pub fn RotateCard(webhook: ErasedMemo<Webhook>, query: Query<Webhook>) -> impl IntoView {
    let open = RwSignal::new(false);
    let revoke_open = RwSignal::new(false);
    let previous_until = move || {
        let mut until = webhook.with(|w| w.previous_secrets_until.clone());
        until.retain(|until| *until > time::now());
        until
    };
    let changed_at = Signal::derive(move || webhook.with(|w| w.secret_changed_at.unwrap_or(w.created_at)));
    let revoke = move || {
        (!previous_until().is_empty()).then(|| {
            view! {
                <Button variant=ButtonVariant::Danger on_click=Callback::new(move |()| revoke_open.set(true))>
                    "Revoke previous secret"
                </Button>
            }
        })
    };
    view! {
        <section class="card stack tight">
            <h2>"Signing secret"</h2>
            <p>
                "Current secret: "<code>"…"{move || webhook.with(|w| w.secret_hint.clone())}</code>
                <span class="muted">" since "<RelativeTime at=changed_at /></span>
            </p>
            {move || {
                previous_until()
                    .into_iter()
                    .map(|until| {
                        view! { <p class="muted">{format!("Previous secret also signs until {}.", intl::timestamp(until))}</p> }
                    })
                    .collect_view()
            }}
            {move || webhook.with(|w| w.secret_use).map(|used| view! { <p>{describe_use(used)}</p> })}
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
            <div class="row">
                <Button on_click=Callback::new(move |()| open.set(true))><IconView icon=Icon::Key />"Rotate secret"</Button>
                {revoke}
            </div>
        </section>
        <Dialog open=open title="Rotate signing secret">
            {areas::show_part(areas::webhooktools::Screen::Rotation(webhook, query, open))}
        </Dialog>
        <Dialog open=revoke_open title="Revoke previous secret?">
            <RevokeForm webhook=webhook query=query open=revoke_open />
        </Dialog>
    }
}

/// The confirmation of the last step of a rotation.
#[component]
fn RevokeForm(webhook: ErasedMemo<Webhook>, query: Query<Webhook>, open: RwSignal<bool>) -> impl IntoView {
    let mutation = Mutation::new();
    let id = webhook.with_untracked(|w| w.id);
    let revoke = Callback::new(move |()| {
        mutation.run(rpc::revoke_secrets(id), move |new| {
            open.set(false);
            query.set(new);
        });
    });
    let in_use = webhook.with_untracked(|w| w.secret_use.is_some_and(|used| used.previous > 0));
    view! {
        {in_use
            .then(|| {
                view! {
                    <Notice kind=NoticeKind::Warning>
                        <p>"The service has verified requests with the previous secret since the rotation."</p>
                    </Notice>
                }
            })}
        <p>"Only the current secret signs afterwards. A service that still has the previous one rejects every event."</p>
        <FormProblem problem=mutation.problem />
        <div class="dialog-actions">
            <Button on_click=Callback::new(move |()| open.set(false))>"Keep previous secret"</Button>
            <Button variant=ButtonVariant::Danger pending=mutation.pending on_click=revoke>"Revoke previous secret"</Button>
        </div>
    }
}

/// Whether the old secrets are still needed, in words.
fn describe_use(used: SecretUse) -> String {
    let SecretUse { deliveries, current, previous } = used;
    match (deliveries, current + previous) {
        (0, _) => "No delivery has succeeded since the rotation.".to_owned(),
        (_, 0) => "The service does not report which secret it uses (header X-Webhook-Secret-Used).".to_owned(),
        _ => {
            let advice = match previous {
                0 if current == deliveries => "The old secret can be revoked.",
                0 => "The others do not report it.",
                _ => "The old secret is still in use.",
            };
            format!(
                "Verified with the new secret by {} of the last {} deliveries. {advice}",
                intl::number(current),
                intl::number(deliveries)
            )
        }
    }
}
