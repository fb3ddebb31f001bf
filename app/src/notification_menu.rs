//! The button and the popover of the notifications.

use crate::components::*;
use crate::live::{LiveEvent, use_live};
use crate::pages::areas;
use crate::query::{Mutation, Query};
use crate::rpc::accounts;
use leptos::html;
use leptos::prelude::*;

/// The number of notifications that the page keeps.
const MAX_NOTIFICATIONS: usize = 100;

/// The button with the number of unread notifications, and the popover with their causes, whose content is loaded when it first opens.
#[component]
pub fn NotificationMenu() -> impl IntoView {
    let notifications = Query::new(accounts::list_notifications);
    let popover = NodeRef::<html::Section>::new();
    let opened = RwSignal::new(false);
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
    let unread = Memo::new(move |_| notifications.get().map_or(0, |all| all.iter().filter(|n| !n.read).count()));
    let label = move || match unread.get() {
        0 => "Notifications".to_owned(),
        n => format!("Notifications, {n} new"),
    };
    let mutation = Mutation::new();
    let mark_all = Callback::new(move |()| {
        let newest = notifications.get_untracked().and_then(|all| all.iter().map(|n| n.id).max());
        if let Some(newest) = newest {
            mutation.run(accounts::mark_read(newest), move |()| {
                notifications.update(|all| all.iter_mut().for_each(|n| n.read = true));
            });
        }
    });
    let close = Callback::new(move |()| {
        if let Some(popover) = popover.get_untracked() {
            let _ = popover.hide_popover();
        }
    });
    view! {
        <button
            type="button"
            class="button quiet notifications-button"
            aria-label=label
            aria-haspopup="dialog"
            popovertarget="notifications"
        >
            <IconView icon=Icon::Bell />
            <Show when=move || unread.get() != 0>
                <span class="count" aria-hidden="true">{move || unread.get()}</span>
            </Show>
        </button>
        <section id="notifications" class="popover" role="dialog" aria-label="Notifications" popover="auto" node_ref=popover on:toggle=move |_| opened.set(true)>
            <div class="row between popover-head">
                <h2 tabindex="-1" autofocus=true>"Notifications"</h2>
                <Show when=move || unread.get() != 0>
                    <Button variant=ButtonVariant::Quiet pending=mutation.pending on_click=mark_all>"Mark all as read"</Button>
                </Show>
            </div>
            <Show when=move || opened.get()>
                {areas::show_part(areas::overlays::Screen::Notifications(notifications, close))}
            </Show>
        </section>
    }
}
