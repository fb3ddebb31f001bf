//! The operations part of the home page for administrators, auditors and owners; its metrics are also shown for one webhook.

mod attention;
mod metrics;
mod webhooks;

pub use metrics::Metrics;

use crate::pages::areas;
use crate::query::Query;
use crate::rpc;
use attention::Attention;
use leptos::prelude::*;
use webhooks::WebhookTable;

/// The operations: first the tasks for a person, then the metrics of all webhooks, then each webhook.
#[component]
pub fn Operations() -> impl IntoView {
    let webhooks = Query::new(rpc::webhooks::list_webhooks);
    view! {
        <div class="stack operations">
            <Attention webhooks=webhooks />
            {areas::show_part(areas::charts::Screen::Metrics)}
            <WebhookTable webhooks=webhooks />
        </div>
    }
}
