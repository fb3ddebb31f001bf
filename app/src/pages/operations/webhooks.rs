//! The webhooks with their last 24 hours.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::query::Query;
use crate::session::ForWebhookManagers;
use domain::pagination::Page;
use domain::webhook::{Webhook, WebhookState};
use leptos::prelude::*;

/// A table of all webhooks.
#[component]
pub fn WebhookTable(webhooks: Query<Page<Webhook>>) -> impl IntoView {
    view! {
        <section class="stack tight">
            <div class="row between">
                <h2>"Webhooks, last 24 hours"</h2>
                <a href="/settings/webhooks">"All webhooks"</a>
            </div>
            {webhooks.view(|page| {
                let items = ErasedMemo::derive(move || page.get().items);
                view! {
                    <Show when=move || !items.with(Vec::is_empty) fallback=NoWebhooks>
                        <ScrollableTable label="Webhooks">
                            <table class="cards-on-phone">
                                <thead>
                                    <tr>
                                        <th>"Webhook"</th>
                                        <th class="number">"Deliveries"</th>
                                        <th class="number">"Success"</th>
                                        <th class="number">"p95"</th>
                                        <th class="number">"Queued"</th>
                                        <th>"Health"</th>
                                    </tr>
                                </thead>
                                <tbody>{move || items.get().into_iter().map(row).collect_view()}</tbody>
                            </table>
                        </ScrollableTable>
                    </Show>
                }
            })}
        </section>
    }
}

#[component]
fn NoWebhooks() -> impl IntoView {
    view! {
        <p class="card">
            "No webhooks yet. " <ForWebhookManagers><a href="/settings/webhooks/new">"Add a webhook"</a></ForWebhookManagers>
            " to notify your service when people reserve."
        </p>
    }
}

fn row(webhook: Webhook) -> impl IntoView {
    let summary = webhook.summary;
    let health = match webhook.state {
        WebhookState::Enabled => view! { <Badge status=summary.health /> }.into_any(),
        state => view! { <Badge status=state /> }.into_any(),
    };
    view! {
        <tr>
            <td data-label="Webhook" class="wrap"><a href=format!("/settings/webhooks/{}", webhook.id)>{webhook.name}</a></td>
            <td data-label="Deliveries" class="number">{intl::number(summary.deliveries)}</td>
            <td data-label="Success" class="number">{summary.success_rate.map_or_else(|| "–".to_owned(), intl::percent)}</td>
            <td data-label="p95" class="number">{summary.p95_ms.map_or_else(|| "–".to_owned(), intl::duration)}</td>
            <td data-label="Queued" class="number">{intl::number(summary.waiting)}</td>
            <td data-label="Health">{health}</td>
        </tr>
    }
}
