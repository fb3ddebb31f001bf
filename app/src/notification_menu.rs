//! The notifications of the user.

use crate::components::*;
use crate::live::{LiveEvent, use_live};
use crate::query::{Mutation, Query};
use crate::rpc::accounts;
use domain::change::{Notification, Severity};
use leptos::prelude::*;

/// The number of notifications that the page keeps.
const MAX_NOTIFICATIONS: usize = 100;

/// The button with the number of unread notifications, and their list.
#[component]
pub fn NotificationMenu() -> impl IntoView {
    let notifications = Query::new(accounts::list_notifications);
    let open = RwSignal::new(false);
    use_live().on(move |event| {
        if let LiveEvent::Notification(new) = event {
            let new = new.clone();
            notifications.update(move |all| {
                all.retain(|old| old.id != new.id);
                all.insert(0, new);
                all.truncate(MAX_NOTIFICATIONS);
            });
        }
    });
    let unread = move || notifications.get().map_or(0, |all| all.iter().filter(|n| !n.read).count());
    // Closing the list marks its notifications as read.
    Effect::watch(
        move || open.get(),
        move |open, _, _| {
            let newest = notifications.get_untracked().and_then(|all| all.iter().map(|n| n.id).max());
            if let Some(newest) = newest.filter(|_| !open) {
                Mutation::new().run(accounts::mark_read(newest), move |()| {
                    notifications.update(|all| all.iter_mut().for_each(|n| n.read = true));
                });
            }
        },
        false,
    );
    let label = move || match unread() {
        0 => "Notifications".to_owned(),
        n => format!("Notifications, {n} new"),
    };
    view! {
        <button type="button" class="button quiet notifications-button" aria-label=label on:click=move |_| open.set(true)>
            <IconView icon=Icon::Bell />
            <Show when=move || unread() != 0>
                <span class="count" aria-hidden="true">{unread}</span>
            </Show>
        </button>
        <Dialog open=open title="Notifications">
            {move || {
                let all = notifications.get().unwrap_or_default();
                if all.is_empty() {
                    return view! { <p class="muted">"No notifications yet."</p> }.into_any();
                }
                let item = |notification| view! { <NotificationItem notification=notification open=open /> };
                view! { <ul class="notifications">{all.into_iter().map(item).collect_view()}</ul> }.into_any()
            }}
        </Dialog>
    }
}

/// A notification. Its link closes the list.
#[component]
fn NotificationItem(notification: Notification, open: RwSignal<bool>) -> impl IntoView {
    let (icon, severity) = match notification.severity {
        Severity::Info => (Icon::Info, "Information"),
        Severity::Warning => (Icon::Warning, "Warning"),
        Severity::Error => (Icon::Cross, "Error"),
    };
    let text = notification.message;
    view! {
        <li class:unread=!notification.read>
            <IconView icon=icon />
            <div class="wrap">
                <span class="visually-hidden">{severity}": "</span>
                {match notification.link {
                    Some(link) => view! { <a href=link on:click=move |_| open.set(false)>{text}</a> }.into_any(),
                    None => view! { <span>{text}</span> }.into_any(),
                }}
                <div class="muted small"><RelativeTime at=notification.at /></div>
            </div>
        </li>
    }
}
