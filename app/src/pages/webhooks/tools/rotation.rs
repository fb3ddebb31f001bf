//! The guided rotation of a signing secret: a new secret, a test with it, and the start of the overlap.

use super::super::random;
use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::new_secret::{SecretOwner, use_new_secret};
use crate::query::{Mutation, Query};
use crate::rpc::webhooks as rpc;
use domain::conformance::Verdict;
use domain::draft_check::{DraftCheck, DraftCheckInput, DraftReport, DraftResult};
use domain::signature::Secret;
use domain::webhook::{RotateInput, Webhook};
use leptos::prelude::*;

/// The form of a rotation. The layout shows the new secret once more.
#[component]
pub fn RotateForm(webhook: ErasedMemo<Webhook>, query: Query<Webhook>, open: RwSignal<bool>) -> impl IntoView {
    let (id, has_public_key) = webhook.with_untracked(|w| (w.id, w.public_key.is_some()));
    let overlap = RwSignal::new("24".to_owned());
    let secret = RwSignal::new(random::new_secret());
    let mutation = Mutation::new();
    let new_secret = use_new_secret();
    let entered = move || Some(secret.get().trim().to_owned()).filter(|secret| !secret.is_empty());
    let rotate = Callback::new(move |()| {
        let input = RotateInput { overlap_hours: overlap.get_untracked().parse().ok(), secret: untrack(entered) };
        mutation.run_to_end(rpc::rotate_secret(id, input), move |new| {
            open.set(false);
            let name = new.webhook.name.clone();
            new_secret.show(SecretOwner::Webhook { id, name, created: false }, new.secret);
            query.set(new.webhook);
        });
    });
    let hint = move || {
        let weakness = secret.with(|secret| Secret::parse(secret.trim()).ok().and_then(|secret| secret.weakness()));
        weakness.unwrap_or("Generated. You can replace it, or leave it empty so that the server generates one.")
    };
    view! {
        <Form on_submit=rotate>
            <FormProblem problem=mutation.problem_except(&["secret", "overlap_hours"]) />
            <section class="stack tight">
                <h3>"1. Add the new secret to your service"</h3>
                <TextInput label="New secret" value=secret mono=true hint=hint error=mutation.field_error("secret") />
                <div><CopyButton text=secret label="Copy new secret" /></div>
                <p class="muted">
                    "A service that can hold two secrets accepts both until the rotation is complete. "
                    "It can report which one verified a request in the response header "<code>"X-Webhook-Secret-Used"</code>"."
                </p>
            </section>
            <section class="stack tight">
                <h3>"2. Test with the new secret"</h3>
                <TestWithSecret webhook=webhook secret=Signal::derive(entered) />
            </section>
            <section class="stack tight">
                <h3>"3. Switch"</h3>
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
            </section>
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Rotate secret"</Button>
            </div>
        </Form>
    }
}

/// Sends test events that the new secret signs, before the rotation.
#[component]
fn TestWithSecret(webhook: ErasedMemo<Webhook>, secret: Signal<Option<String>>) -> impl IntoView {
    let mutation = Mutation::new();
    let tested = ErasedSignal::new(None::<(Option<String>, DraftReport)>);
    let test = Callback::new(move |()| {
        let new = secret.get_untracked();
        let (settings, id) = webhook.with_untracked(|w| (w.settings(), w.id));
        let settings = domain::webhook::WebhookInput { secret: new.clone(), ..settings };
        tested.set(None);
        let input = DraftCheckInput { webhook: settings, webhook_id: Some(id) };
        mutation.run(rpc::check_webhook(input), move |report| tested.set(Some((new, report))));
    });
    let result = move || {
        // Another secret makes the result invalid.
        let (_, report) = tested.get().filter(|(tested, _)| *tested == secret.get())?;
        let row = report.checks.into_iter().find(|row| match row.verdict {
            Verdict::Failed => row.check != DraftCheck::RejectsWrongSignature,
            _ => row.check == DraftCheck::AcceptsSignature,
        })?;
        Some(view! { <TestResult row=row /> })
    };
    view! {
        <div>
            <Button
                pending=mutation.pending
                disabled=Signal::derive(move || secret.with(Option::is_none))
                on_click=test
            >
                <IconView icon=Icon::Send />
                "Test new secret"
            </Button>
        </div>
        <FormProblem problem=mutation.problem />
        <div aria-live="polite">{result}</div>
    }
}

#[component]
fn TestResult(row: DraftResult) -> impl IntoView {
    if row.verdict == Verdict::Passed {
        return view! {
            <Notice kind=NoticeKind::Success>
                <p>"Your service accepts the new secret. You can switch."</p>
            </Notice>
        }
        .into_any();
    }
    let DraftResult { check, remedy, received, .. } = row;
    let advice = (check == DraftCheck::AcceptsSignature).then_some(
        "If your service holds only one secret, it accepts the new one only after you have replaced it: switch, and replace it at once.",
    );
    view! {
        <Notice kind=NoticeKind::Warning>
            <p><strong>{received}</strong></p>
            <p>{remedy}</p>
            {advice.map(|advice| view! { <p>{advice}</p> })}
        </Notice>
    }
    .into_any()
}
