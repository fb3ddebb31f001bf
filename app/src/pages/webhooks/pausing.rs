//! Pausing and resuming of webhooks, with a toast that undoes it.

use crate::list::{BulkChange, BulkText, ChangeRow};
use crate::query::Mutation;
use crate::rpc::RpcError;
use crate::rpc::webhooks as rpc;
use crate::toast::Toasts;
use domain::id::WebhookId;
use domain::webhook::{ResumeInput, Webhook};
use std::pin::Pin;
use std::rc::Rc;

/// The name of one webhook and of several.
pub const NOUNS: [&str; 2] = ["webhook", "webhooks"];

/// Receives the new state of a webhook. It may be called after the screen was left, and must not read what belongs to it.
pub type OnChange = Rc<dyn Fn(Webhook)>;

async fn send(id: WebhookId, enable: bool) -> Result<Webhook, RpcError> {
    if enable { rpc::resume_webhook(id, ResumeInput::default()).await } else { rpc::pause_webhook(id).await }
}

fn done(enable: bool) -> &'static str {
    if enable { "Resumed" } else { "Paused" }
}

/// Pauses or resumes one webhook.
pub fn switch(mutation: Mutation, toasts: Toasts, webhook: &Webhook, enable: bool, on_change: OnChange) {
    let (id, name) = (webhook.id, webhook.name.clone());
    let request = async move { send(id, enable).await.inspect_err(|RpcError(problem)| toasts.show_problem(problem)) };
    mutation.run_to_end(request, move |new| {
        on_change(new);
        let text = format!("{} {name}.", done(enable));
        let undo = move || {
            let (name, on_change) = (name.clone(), on_change.clone());
            Box::pin(async move {
                on_change(send(id, !enable).await?);
                Ok(format!("{} {name}.", done(!enable)))
            }) as Pin<Box<dyn Future<Output = _>>>
        };
        toasts.show_undoable(text, Rc::new(undo));
    });
}

/// Pauses or resumes several webhooks.
pub fn set_enabled(change: BulkChange, webhooks: Vec<Webhook>, enable: bool, on_change: OnChange) {
    let set = |enable: bool| -> ChangeRow<Webhook> {
        let on_change = on_change.clone();
        Rc::new(move |webhook| {
            let on_change = on_change.clone();
            Box::pin(async move {
                on_change(send(webhook.id, enable).await?);
                Ok(())
            })
        })
    };
    let text = BulkText { done: [done(enable), ""], undone: Some([done(!enable), ""]), nouns: NOUNS };
    change.run(text, webhooks, |webhook| webhook.name.clone(), set(enable), set(!enable), Rc::new(|| {}));
}
