//! The start of the page, and its routes.

use crate::components::{Skeleton, Ticker};
use crate::layout::Layout;
use crate::live::Live;
use crate::new_secret::NewSecret;
use crate::pages;
use crate::pages::areas::{self, RouteView};
use crate::query::Query;
use crate::rpc;
use crate::session::Session;
use crate::shortcuts::Shortcuts;
use crate::toast::Toasts;
use crate::{focus, history_entry, unsaved};
use leptos::prelude::*;
use leptos_meta::provide_meta_context;
use leptos_router::components::{ParentRoute, Route, Router, Routes};
use leptos_router::path;
use wasm_bindgen::JsCast as _;

/// Mounts the page in the element `app`, in place of the skeleton from `index.html`.
pub fn mount() {
    let parent = document().get_element_by_id("app").and_then(|parent| parent.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(parent) = parent {
        parent.set_text_content(None);
        // The script of the pre-rendered log-in form reads this attribute (frontend/index.html).
        let _ = parent.set_attribute("data-mounted", "");
        leptos::mount::mount_to(parent, App).forget();
    }
}

/// The whole page. Reads the session, then shows the route.
#[component]
fn App() -> impl IntoView {
    provide_meta_context();
    focus::track();
    history_entry::track_scrolling();
    provide_context(Ticker::start());
    provide_context(NewSecret::new());
    provide_context(Toasts::new());
    provide_context(Shortcuts::new());
    unsaved::guard();
    let live = Live::new();
    let session = Session::new(live);
    provide_context(session);
    // Without the context of the live updates, because the session is read once.
    let visit = Query::new(rpc::session::visit);
    provide_context(live);
    Effect::new(move |_| {
        let Some(visit) = visit.get() else { return };
        session.local.set(visit.local);
        session.needs_setup.set(visit.needs_setup);
        match visit.session {
            Some(info) => session.start(info),
            None => {
                session.second_step.set(visit.second_step);
                session.known.set(true);
            }
        }
    });
    visit.view(move |_| {
        view! {
            <Show when=move || session.known.get() fallback=Skeleton>
                <AppRoutes />
            </Show>
        }
    })
}

/// The view of a route that shows a screen of an area.
macro_rules! area {
    ($area:ident, $screen:ident) => {
        RouteView::Area(|| areas::$area::Screen::$screen.into())
    };
}

#[component]
fn AppRoutes() -> impl IntoView {
    let main = RouteView::Main;
    view! {
        <Router>
            <Routes fallback=pages::not_found::NotFound>
                <Route path=path!("/login") view=main(|| pages::login::LoginPage().into_any()) />
                <Route path=path!("/setup") view=main(|| pages::login::SetupPage().into_any()) />
                <ParentRoute path=path!("") view=main(|| Layout().into_any())>
                    <Route path=path!("") view=main(|| pages::home::HomePage().into_any()) />
                    <Route path=path!("/reserve") view=area!(reserve, Reserve) />
                    <Route path=path!("/reservations") view=area!(reservations, List) />
                    <Route path=path!("/reservations/:id") view=area!(reservation, Detail) />
                    <Route path=path!("/access-requests") view=area!(access, Requests) />
                    <Route path=path!("/deliveries") view=area!(deliveries, List) />
                    <Route path=path!("/deliveries/:id") view=area!(delivery, Page) />
                    <Route path=path!("/alerts") view=area!(alerts, List) />
                    <Route path=path!("/settings/webhooks") view=area!(webhooks, List) />
                    <Route path=path!("/settings/webhooks/new") view=area!(webhookform, New) />
                    <Route path=path!("/settings/webhooks/:id") view=area!(webhook, Detail) />
                    <Route path=path!("/settings/webhooks/:id/edit") view=area!(webhookform, Edit) />
                    <Route path=path!("/settings/tokens") view=area!(account, Tokens) />
                    <Route path=path!("/settings/account") view=area!(account, Account) />
                    <Route path=path!("/settings/users") view=area!(users, List) />
                    <Route path=path!("/settings/groups") view=area!(groups, List) />
                    <Route path=path!("/settings/audit") view=area!(audit, List) />
                    <Route path=path!("/settings/catalogue") view=area!(catalogue, Catalogue) />
                    <Route path=path!("/*any") view=main(|| pages::not_found::NotFound().into_any()) />
                </ParentRoute>
            </Routes>
        </Router>
    }
}
