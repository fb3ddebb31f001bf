//! The notifications of the user, grouped by cause.

use crate::components::*;
use crate::query::{Mutation, Query};
use crate::rpc::accounts;
use domain::change::{Notification, Severity};
use domain::notification_group::{NotificationGroup, group_by_cause};
use leptos::prelude::*;

/// The content of the popover.
#[component]
pub fn NotificationList(notifications: Query<Vec<Notification>>, close: Callback<()>) -> impl IntoView {
    move || {
        let groups = notifications.get().map(|all| group_by_cause(&all)).unwrap_or_default();
        if groups.is_empty() {
            return view! { <p class="muted">"No notifications yet."</p> }.into_any();
        }
        let item = |group| view! { <Cause group=group notifications=notifications close=close /> };
        view! { <ul class="notifications">{groups.into_iter().map(item).collect_view()}</ul> }.into_any()
    }
}

/// The notifications of one cause. Their link closes the popover and marks them as read.
#[component]
fn Cause(group: NotificationGroup, notifications: Query<Vec<Notification>>, close: Callback<()>) -> impl IntoView {
    let NotificationGroup { newest, first_at, count, unread } = group;
    let (icon, severity) = match newest.severity {
        Severity::Info => (Icon::Info, "Information"),
        Severity::Warning => (Icon::Warning, "Warning"),
        Severity::Error => (Icon::Cross, "Error"),
    };
    let is_unread = !unread.is_empty();
    let unread = StoredValue::new(unread);
    let mutation = Mutation::new();
    let mark = Callback::new(move |()| {
        let ids = unread.get_value();
        if ids.is_empty() {
            return;
        }
        // A link leaves the screen, but not the header with this list.
        mutation.run_to_end(accounts::mark_each_read(ids.clone()), move |()| {
            notifications.update(|all| all.iter_mut().filter(|n| ids.contains(&n.id)).for_each(|n| n.read = true));
        });
    });
    let follow = move |_| {
        mark.run(());
        close.run(());
    };
    let text = newest.message;
    // Not part of the label of the button: a text that names a field would be found as its label.
    let text_id = format!("notification-{}", newest.id);
    let described_by = text_id.clone();
    view! {
        <li class:unread=is_unread>
            <IconView icon=icon />
            <div class="wrap" id=text_id>
                <span class="visually-hidden">{severity}": "</span>
                {match newest.link {
                    Some(link) => view! { <a href=link on:click=follow>{text}</a> }.into_any(),
                    None => view! { <span>{text}</span> }.into_any(),
                }}
                <div class="muted small">
                    {(count > 1).then(|| format!("{count} times, last "))} <RelativeTime at=newest.at />
                    {(count > 1).then(|| view! { ", first "<RelativeTime at=first_at /> })}
                </div>
            </div>
            {is_unread
                .then(|| {
                    view! {
                        <Button
                            variant=ButtonVariant::Quiet
                            pending=mutation.pending
                            label="Mark as read"
                            on_click=mark
                            attr:aria-describedby=described_by
                        >
                            <IconView icon=Icon::Check />
                        </Button>
                    }
                })}
        </li>
    }
}
