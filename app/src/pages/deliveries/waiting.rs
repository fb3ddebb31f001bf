//! The reason why an open delivery is not being sent.

use crate::components::*;
use domain::delivery::{DeliverySummary, DeliveryWait, WaitReason};
use leptos::prelude::*;

/// The reason, with a link to its remedy.
#[component]
pub fn Waiting(wait: DeliveryWait, delivery: DeliverySummary) -> impl IntoView {
    let webhook = format!("/settings/webhooks/{}", delivery.webhook_id);
    let settings = format!("{webhook}?tab=settings");
    let name = delivery.webhook_name;
    let limit = wait.limit.unwrap_or_default();
    let content = match wait.reason {
        WaitReason::Paused => view! {
            <p><strong>"Waits because "{name}" is paused."</strong>" It is sent when somebody resumes the webhook."</p>
            <a href=webhook>"Open the webhook"</a>
        }
        .into_any(),
        WaitReason::Disabled => view! {
            <p><strong>"Waits because "{name}" was disabled by a response 410 Gone."</strong>" Resume it when its service is back."</p>
            <a href=webhook>"Open the webhook"</a>
        }
        .into_any(),
        WaitReason::EarlierEvent => {
            let id = wait.behind.map(|id| id.to_string()).unwrap_or_default();
            view! {
                <p>
                    <strong>"Waits for an earlier event of the same reservation."</strong>
                    " Events of one reservation are sent in order."
                </p>
                <a href=format!("/deliveries/{id}")>"Open the earlier delivery"</a>
            }
            .into_any()
        }
        WaitReason::ScheduledRetry => view! {
            <p><strong>"Waits for its next attempt"</strong>{wait.until.map(|at| view! { ", "<Countdown at=at /> })}"."</p>
            <a href=settings>"Retry settings"</a>
        }
        .into_any(),
        WaitReason::CircuitOpen => view! {
            <p>
                <strong>"Waits because the receiver does not respond."</strong>
                " One request at a time probes it; the others follow when it responds."
            </p>
            <a href=webhook>"Open the webhook"</a>
        }
        .into_any(),
        WaitReason::ConcurrencyLimit => {
            let requests = if limit == 1 { "1 request is".to_owned() } else { format!("{limit} requests are") };
            view! {
                <p><strong>"Waits for the concurrency limit: "{requests}" in flight."</strong>" It is sent when one of them ends."</p>
                <a href=settings>"Change the limit"</a>
            }
            .into_any()
        }
        WaitReason::RateLimit => view! {
            <p><strong>"Waits for the rate limit of "{limit}" per second."</strong></p>
            <a href=settings>"Change the limit"</a>
        }
        .into_any(),
        WaitReason::NoListener => view! {
            <p><strong>"Waits for the local listener of "{name}"."</strong>" It is sent when `berth listen` connects."</p>
            <a href=webhook>"Open the webhook"</a>
        }
        .into_any(),
        WaitReason::Queued => view! { <p><strong>"Due now."</strong>" The next free dispatcher sends it."</p> }.into_any(),
    };
    view! {
        <div class="notice waiting" role="status">
            <IconView icon=Icon::Clock />
            <div>{content}</div>
        </div>
    }
}
