//! The header and navigation around every page of a logged-in user.

use crate::components::*;
use crate::history_entry::HistoryEntry;
use crate::leave_dialog::LeaveDialog;
use crate::live::{LiveStatus, use_live};
use crate::log_in_dialog::LogInDialog;
use crate::new_secret::NewSecretDialog;
use crate::notification_menu::NotificationMenu;
use crate::pages::areas;
use crate::pages::confirmation::ConfirmationDialog;
use crate::query::Mutation;
use crate::rpc;
use crate::session::{Session, use_session};
use crate::shortcut_overview::ShortcutOverview;
use crate::theme::ThemeSwitch;
use crate::toast::ToastRegion;
use leptos::prelude::*;
use leptos_router::components::{A, Outlet};
use leptos_router::hooks::{use_location, use_navigate};

/// The header, the navigation and the current page.
#[component]
pub fn Layout() -> impl IntoView {
    let session = use_session();
    let menu_open = RwSignal::new(false);
    redirect_without_session(session);
    let location = use_location();
    let (path, search) = (location.pathname, location.search);
    let restore_scroll = move || {
        let entry = HistoryEntry::of(&path.get_untracked(), &search.get_untracked());
        match entry.filter(|entry| entry.scroll > 0.0) {
            Some(entry) => entry.restore_scroll(),
            None => HistoryEntry::scroll_to_top(),
        }
    };
    restore_scroll();
    Effect::watch(
        move || path.get(),
        move |_, _, _| {
            menu_open.set(false);
            restore_scroll();
            focus_title();
        },
        false,
    );
    view! {
        <Show when=move || session.is_logged_in() fallback=Skeleton>
            <a class="skip button" href="#main">"Skip to content"</a>
            <div class="layout">
                <Header menu_open=menu_open />
                <Navigation open=menu_open />
                <main class="main" id="main">
                    <Show when=move || !session.needs_second_factor() fallback=required_factor>
                        <Outlet />
                    </Show>
                </main>
            </div>
            <NewSecretDialog />
            <LogInDialog />
            <ConfirmationDialog />
            <LeaveDialog />
            <ShortcutOverview />
            <ToastRegion />
        </Show>
    }
}

/// The screen of a user who must set up a second factor, in place of every other one.
fn required_factor() -> impl IntoView {
    areas::show_part(areas::secondfactor::Screen::Required)
}

/// Goes to log-in or set-up while nobody is logged in. The log-in returns to the current address.
fn redirect_without_session(session: Session) {
    let location = use_location();
    let navigate = use_navigate();
    Effect::new(move |_| {
        if session.is_logged_in() {
            return;
        }
        if session.needs_setup.get() {
            return navigate("/setup", Default::default());
        }
        let (path, search) = (location.pathname.get_untracked(), location.search.get_untracked());
        let separator = if search.is_empty() { "" } else { "?" };
        let target = match format!("{path}{separator}{search}").as_str() {
            "/" => "/login".to_owned(),
            address => format!("/login?to={}", js_sys::encode_uri_component(address)),
        };
        navigate(&target, Default::default());
    });
}

/// The bar at the top.
#[component]
fn Header(menu_open: RwSignal<bool>) -> impl IntoView {
    let session = use_session();
    let log_out = Mutation::new();
    let on_log_out =
        Callback::new(move |()| log_out.run_to_end(rpc::session::log_out(), move |url| session.log_out(url)));
    view! {
        <header class="topbar">
            <button
                type="button"
                class="button quiet menu-button"
                aria-label="Menu"
                aria-expanded=move || menu_open.get().to_string()
                on:click=move |_| menu_open.update(|open| *open = !*open)
            >
                <IconView icon=Icon::Menu />
            </button>
            <a class="brand" href="/"><img src="/favicon.svg" alt="" />"Berth"</a>
            <span class="spacer"></span>
            <Show when=move || !session.needs_second_factor()>
                <LiveBadge />
                <Palette />
                <NotificationMenu />
            </Show>
            <ThemeSwitch />
            <span class="muted small username" title=move || session.username()>{move || session.username()}</span>
            <Show when=move || !session.expired.get()>
                <Button variant=ButtonVariant::Quiet pending=log_out.pending on_click=on_log_out>"Log out"</Button>
            </Show>
        </header>
    }
}

/// The button and the shortcut of the command palette, whose code is loaded when it opens.
#[component]
fn Palette() -> impl IntoView {
    let open = RwSignal::new(false);
    let listener = window_event_listener(leptos::ev::keydown, move |event| {
        let is_shortcut = (event.ctrl_key() || event.meta_key()) && !event.shift_key() && event.key() == "k";
        // Another dialog keeps the keyboard.
        if is_shortcut && matches!(document().query_selector("dialog[open]"), Ok(None)) {
            event.prevent_default();
            open.set(true);
        }
    });
    on_cleanup(move || listener.remove());
    view! {
        <button
            type="button"
            class="button quiet palette-button"
            aria-label="Commands"
            title="Commands (Ctrl K)"
            aria-keyshortcuts="Control+K Meta+K"
            on:click=move |_| open.set(true)
        >
            <IconView icon=Icon::Search />
        </button>
        <Dialog open=open title="Commands">{areas::show_part(areas::overlays::Screen::Palette(open))}</Dialog>
    }
}

/// The state of the live updates as text, or the way to log in again.
#[component]
fn LiveBadge() -> impl IntoView {
    let session = use_session();
    let live = use_live();
    let class = move || match live.status.get() {
        LiveStatus::Connecting | LiveStatus::LoggedOut => "live-badge connecting",
        LiveStatus::Live => "live-badge live",
        LiveStatus::Reconnecting => "live-badge off",
    };
    let label = move || match live.status.get() {
        LiveStatus::Connecting => "Connecting",
        LiveStatus::Live => "Live",
        LiveStatus::Reconnecting => "Reconnecting",
        LiveStatus::LoggedOut => "Session expired",
    };
    let badge = move || {
        view! {
            <span class=class role="status">
                <span class="dot" aria-hidden="true"></span>
                <span class="live-label">{label}</span>
            </span>
        }
    };
    let log_in = Callback::new(move |()| session.asks.set(true));
    view! {
        <Show when=move || session.expired.get() fallback=badge>
            <span class="live-badge off" role="status">
                <span class="dot" aria-hidden="true"></span>
                <span class="live-label">"Session expired"</span>
            </span>
            <Button on_click=log_in>"Log in"</Button>
        </Show>
    }
}

/// The navigation. On a phone it is shown only while `open`.
#[component]
fn Navigation(open: RwSignal<bool>) -> impl IntoView {
    let session = use_session();
    view! {
        <nav class="nav" class:open=move || open.get() aria-label="Main">
            <div>
                <ul>
                    <NavItem href="/" icon=Icon::Home label="Home" exact=true />
                    <NavItem href="/reserve" icon=Icon::Calendar label="Reserve" />
                    <NavItem href="/reservations" icon=Icon::List label="Reservations" />
                    <NavItem href="/access-requests" icon=Icon::Lock label="Access requests" />
                    <Show when=move || session.reads_webhooks()>
                        <NavItem href="/deliveries" icon=Icon::Send label="Deliveries" />
                        <NavItem href="/alerts" icon=Icon::Bell label="Alerts" />
                    </Show>
                </ul>
                <div>
                    <h2>"Settings"</h2>
                    <ul>
                        <Show when=move || session.reads_webhooks()>
                            <NavItem href="/settings/webhooks" icon=Icon::Webhook label="Webhook Integrations" />
                        </Show>
                        <Show when=move || session.reads_everything() || session.is_owner()>
                            <NavItem href="/settings/catalogue" icon=Icon::Stack label="Catalogue" />
                        </Show>
                        <Show when=move || session.reads_everything()>
                            <NavItem href="/settings/users" icon=Icon::Person label="Users" />
                            <NavItem href="/settings/groups" icon=Icon::People label="Groups" />
                            <NavItem href="/settings/audit" icon=Icon::Clock label="Audit log" />
                        </Show>
                        <NavItem href="/settings/tokens" icon=Icon::Key label="API tokens" />
                        <NavItem href="/settings/account" icon=Icon::Settings label="Account" />
                    </ul>
                </div>
            </div>
        </nav>
    }
}

/// A link in the navigation, marked while its page is open.
#[component]
fn NavItem(href: &'static str, icon: Icon, label: &'static str, #[prop(optional)] exact: bool) -> impl IntoView {
    view! {
        <li>
            <A href=href exact=exact>
                <IconView icon=icon />
                {label}
            </A>
        </li>
    }
}
