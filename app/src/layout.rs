//! The page's frame: who is here, where they can go, and the routes.

use crate::components::*;
use crate::live::{Live, LiveBadge, LiveEvent, use_live};
use crate::load::{Write, load};
use crate::pages;
use crate::prerendered_login;
use crate::rpc::{accounts, session};
use crate::values::{Cell, effect, on_change};
use domain::account::SessionInfo;
use domain::authorization::Role;
use domain::change::Severity;
use leptos::prelude::*;
use leptos_meta::provide_meta_context;
use leptos_router::components::{A, ParentRoute, Route, Router, Routes};
use leptos_router::hooks::{use_location, use_navigate};
use leptos_router::{PossibleRouteMatch, path};
use std::sync::Arc;

/// Who is logged in.
#[derive(Clone, Copy)]
pub struct Session {
    /// The session, once known.
    pub info: Cell<Option<SessionInfo>>,
    known: RwSignal<bool>,
    /// Whether Berth waits for its first administrator.
    pub needs_setup: RwSignal<bool>,
    /// Whether the visit comes from the machine itself.
    pub local: RwSignal<bool>,
}

impl Session {
    /// Remembers a log-in and opens the live feed.
    pub fn begin(self, info: SessionInfo) {
        self.info.set(Some(info));
        self.needs_setup.set(false);
        self.known.set(true);
        prerendered_login::close();
        use_live_of(self).open();
    }

    /// Forgets it.
    pub fn end(self) {
        self.info.set(None);
        use_live_of(self).close();
    }

    /// Whether an administrator is here.
    pub fn is_admin(self) -> bool {
        self.info.with(|info| info.as_ref().is_some_and(|info| info.user.role == Role::Administrator))
    }

    /// The person's login name.
    pub fn username(self) -> String {
        self.info.with(|info| info.as_ref().map(|info| info.user.username.clone()).unwrap_or_default())
    }
}

/// The feed that goes with a session. Kept apart because event handlers run outside the component tree.
fn use_live_of(_: Session) -> Live {
    LIVE.with(|live| live.get()).unwrap_or_else(use_live)
}

thread_local! {
    static LIVE: std::cell::Cell<Option<Live>> = const { std::cell::Cell::new(None) };
}

/// Who is here.
pub fn use_session() -> Session {
    expect_context::<Session>()
}

/// Puts the app in its place, instead of what stood there while it was on its way.
pub fn mount() {
    use wasm_bindgen::JsCast as _;
    let place = document().get_element_by_id("app").and_then(|place| place.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(place) = place {
        place.set_text_content(None);
        // The script of the pre-rendered log-in form reads this attribute (frontend/index.html).
        let _ = place.set_attribute("data-mounted", "");
        leptos::mount::mount_to(place, App).forget();
    }
}

/// The whole page.
#[component]
fn App() -> impl IntoView {
    provide_meta_context();
    provide_context(Ticker::start());
    let live = Live::new();
    LIVE.with(|cell| cell.set(Some(live)));
    provide_context(live);
    let session = Session {
        info: Cell::new(None),
        known: RwSignal::new(false),
        needs_setup: RwSignal::new(false),
        local: RwSignal::new(false),
    };
    provide_context(session);
    let visit = load(session::visit);
    effect(move || {
        let Some(visit) = visit.get() else { return };
        session.local.set(visit.local);
        session.needs_setup.set(visit.needs_setup);
        match visit.session {
            Some(info) => session.begin(info),
            None => session.known.set(true),
        }
    });
    // The browser does not tell why the feed fails: it may be that the session has ended.
    effect(move || {
        if live.failures.get() >= 2 && session.info.with_untracked(Option::is_some) {
            leptos::task::spawn_local(async move {
                if session::visit().await.is_ok_and(|visit| visit.session.is_none()) {
                    session.end();
                }
            });
        }
    });
    let routes = move || {
        view! {
            <Router>
                <Routes fallback=pages::not_found::NotFound>
                    <Route path=at(path!("/login")) view=pages::login::LoginPage />
                    <Route path=at(path!("/setup")) view=pages::login::SetupPage />
                    <ParentRoute path=at(path!("")) view=Frame>
                        <Route path=at(path!("")) view=pages::home::HomePage />
                        <Route path=at(path!("/reserve")) view=pages::reserve::ReservePage />
                        <Route path=at(path!("/reservations")) view=pages::reservations::ReservationsPage />
                        <Route path=at(path!("/reservations/:id")) view=pages::reservation::ReservationPage />
                        <Route path=at(path!("/access-requests")) view=pages::access::AccessRequestsPage />
                        <Route path=at(path!("/deliveries")) view=pages::deliveries::DeliveriesPage />
                        <Route path=at(path!("/deliveries/:id")) view=pages::deliveries::DeliveryPage />
                        <Route path=at(path!("/settings/webhooks")) view=pages::webhooks::WebhooksPage />
                        <Route path=at(path!("/settings/webhooks/new")) view=pages::webhooks::WebhookNewPage />
                        <Route path=at(path!("/settings/webhooks/:id")) view=pages::webhooks::WebhookPage />
                        <Route path=at(path!("/settings/webhooks/:id/edit")) view=pages::webhooks::WebhookEditPage />
                        <Route path=at(path!("/settings/tokens")) view=pages::tokens::TokensPage />
                        <Route path=at(path!("/settings/account")) view=pages::account::AccountPage />
                        <Route path=at(path!("/settings/users")) view=pages::users::UsersPage />
                        <Route path=at(path!("/settings/catalogue")) view=pages::catalogue::CataloguePage />
                        <Route path=at(path!("/*any")) view=pages::not_found::NotFound />
                    </ParentRoute>
                </Routes>
            </Router>
        }
        .into_any()
    };
    visit.show(move |_| {
        view! {
            <When when=move || session.known.get() fallback=Skeleton>
                {routes()}
            </When>
        }
    })
}

/// A path of one type, whatever its segments: the router's code is there once for each.
fn at(path: impl PossibleRouteMatch + Send + Sync + 'static) -> Arc<dyn PossibleRouteMatch + Send + Sync> {
    Arc::new(path)
}

/// A way in the navigation.
#[component]
fn Way(href: &'static str, icon: Icon, words: &'static str, #[prop(optional)] exact: bool) -> impl IntoView {
    view! {
        <li>
            <A href=href exact=exact>
                <IconView icon=icon />
                {words}
            </A>
        </li>
    }
}

/// What surrounds every page for people who are logged in.
#[component]
fn Frame() -> impl IntoView {
    let session = use_session();
    let navigate = use_navigate();
    let location = use_location();
    let open = RwSignal::new(false);
    // Whoever is not logged in goes to where that can be mended, and comes back afterwards.
    let (path, search) = (location.pathname, location.search);
    let leave = navigate.clone();
    effect(move || {
        if session.info.with(Option::is_none) {
            if session.needs_setup.get() {
                leave("/setup", Default::default());
            } else {
                let search = search.get_untracked();
                let question = if search.is_empty() { "" } else { "?" };
                let back = format!("{}{question}{search}", path.get_untracked());
                let target = if back == "/" {
                    "/login".to_owned()
                } else {
                    format!("/login?to={}", js_sys::encode_uri_component(&back))
                };
                leave(&target, Default::default());
            }
        }
    });
    // A new page starts with its title: where a screen reader reads on, and where the menu is out of the way.
    on_change(
        move || path.get(),
        move |_| {
            open.set(false);
            request_animation_frame(|| {
                if let Some(window) = web_sys::window() {
                    window.scroll_to_with_x_and_y(0.0, 0.0);
                    if let Some(title) = window.document().and_then(|d| d.query_selector("#app h1").ok().flatten()) {
                        use wasm_bindgen::JsCast as _;
                        if let Ok(title) = title.dyn_into::<web_sys::HtmlElement>() {
                            let _ = title.focus();
                        }
                    }
                }
            });
        },
    );
    let log_out = Write::new();
    let out = Callback::new(move |()| log_out.run(session::log_out(), move |()| session.end()));
    view! {
        <When when=move || session.info.with(Option::is_some) fallback=Skeleton>
            <a class="skip button" href="#main">"Skip to content"</a>
            <div class="shell">
                <header class="topbar">
                    <button
                        type="button"
                        class="button quiet menu-button"
                        aria-label="Menu"
                        aria-expanded=move || open.get().to_string()
                        on:click=move |_| open.update(|open| *open = !*open)
                    >
                        <IconView icon=Icon::Menu />
                    </button>
                    <a class="brand" href="/"><img src="/favicon.svg" alt="" />"Berth"</a>
                    <span class="spacer"></span>
                    <LiveBadge />
                    <Bell />
                    <ThemeSwitch />
                    <span class="muted small who">{move || session.username()}</span>
                    <Button look=Look::Quiet busy=log_out.busy on_click=out>"Log out"</Button>
                </header>
                <nav class="nav" class:open=move || open.get() aria-label="Main">
                    <div>
                        <ul>
                            <Way href="/" icon=Icon::Home words="Home" exact=true />
                            <Way href="/reserve" icon=Icon::Calendar words="Reserve" />
                            <Way href="/reservations" icon=Icon::List words="Reservations" />
                            <Way href="/access-requests" icon=Icon::Lock words="Access requests" />
                            <When when=move || session.is_admin()>
                                <Way href="/deliveries" icon=Icon::Send words="Deliveries" />
                            </When>
                        </ul>
                        <div>
                            <h2>"Settings"</h2>
                            <ul>
                                <When when=move || session.is_admin()>
                                    <Way href="/settings/webhooks" icon=Icon::Webhook words="Webhook Integrations" />
                                    <Way href="/settings/catalogue" icon=Icon::Stack words="Catalogue" />
                                    <Way href="/settings/users" icon=Icon::Person words="Users" />
                                </When>
                                <Way href="/settings/tokens" icon=Icon::Key words="API tokens" />
                                <Way href="/settings/account" icon=Icon::Settings words="Account" />
                            </ul>
                        </div>
                    </div>
                </nav>
                <main class="main" id="main">
                    <leptos_router::components::Outlet />
                </main>
            </div>
        </When>
    }
}

/// Light or dark, remembered in this browser.
#[component]
fn ThemeSwitch() -> impl IntoView {
    let root = || web_sys::window().and_then(|w| w.document()).and_then(|d| d.document_element());
    let system_dark = || {
        let query = web_sys::window().and_then(|w| w.match_media("(prefers-color-scheme: dark)").ok().flatten());
        query.is_some_and(|query| query.matches())
    };
    let chosen = root().and_then(|root| root.get_attribute("data-theme"));
    let dark = RwSignal::new(chosen.map_or_else(system_dark, |theme| theme == "dark"));
    let flip = move |_| {
        dark.update(|dark| *dark = !*dark);
        let theme = if dark.get_untracked() { "dark" } else { "light" };
        if let Some(root) = root() {
            let _ = root.set_attribute("data-theme", theme);
        }
        if let Some(storage) = web_sys::window().and_then(|w| w.local_storage().ok().flatten()) {
            let _ = storage.set_item("theme", theme);
        }
    };
    view! {
        <button
            type="button"
            class="button quiet"
            aria-label=move || if dark.get() { "Switch to light theme" } else { "Switch to dark theme" }
            on:click=flip
        >
            {move || view! { <IconView icon=if dark.get() { Icon::Sun } else { Icon::Moon } /> }.into_any()}
        </button>
    }
}

/// Messages, with how many are new.
#[component]
fn Bell() -> impl IntoView {
    let messages = load(accounts::list_notifications);
    let open = RwSignal::new(false);
    use_live().on(move |event| match event {
        LiveEvent::Notification(new) => {
            let new = new.clone();
            messages.update(move |all| {
                all.retain(|old| old.id != new.id);
                all.insert(0, new);
                all.truncate(100);
            });
        }
        LiveEvent::Resync => messages.again(),
        _ => {}
    });
    let unread = move || messages.get().map_or(0, |all| all.iter().filter(|m| !m.read).count());
    let show = move |_| open.set(true);
    on_change(
        move || open.get(),
        move |open| {
            // Closing the list is the sign that it was read.
            if open {
                return;
            }
            let newest = messages.get().and_then(|all| all.iter().map(|m| m.id).max());
            if let Some(newest) = newest {
                Write::new().run(accounts::mark_read(newest), move |()| {
                    messages.update(|all| all.iter_mut().for_each(|m| m.read = true));
                });
            }
        },
    );
    view! {
        <button
            type="button"
            class="button quiet bell"
            aria-label=move || match unread() {
                0 => "Notifications".to_owned(),
                n => format!("Notifications, {n} new"),
            }
            on:click=show
        >
            <IconView icon=Icon::Bell />
            <When when=move || unread() != 0>
                <span class="count" aria-hidden="true">{unread}</span>
            </When>
        </button>
        <Dialog open=open title="Notifications">
            {move || {
                let all = messages.get().unwrap_or_default();
                if all.is_empty() {
                    return view! { <p class="muted">"No notifications yet."</p> }.into_any();
                }
                let item = |message: domain::change::Notification| {
                    let (icon, word) = match message.severity {
                        Severity::Info => (Icon::Info, "Information"),
                        Severity::Warning => (Icon::Warning, "Warning"),
                        Severity::Error => (Icon::Cross, "Error"),
                    };
                    let text = message.message.clone();
                    view! {
                        <li class:unread=!message.read>
                            <IconView icon=icon />
                            <div class="wrap">
                                <span class="visually-hidden">{word}": "</span>
                                {match message.link {
                                    Some(link) => {
                                        view! { <a href=link on:click=move |_| open.set(false)>{text}</a> }.into_any()
                                    }
                                    None => view! { <span>{text}</span> }.into_any(),
                                }}
                                <div class="muted small"><Ago at=message.at /></div>
                            </div>
                        </li>
                    }.into_any()
                };
                view! { <ul class="notifications">{all.into_iter().map(item).collect_view()}</ul> }.into_any()
            }}
        </Dialog>
    }
}
