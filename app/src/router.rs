//! The start of the page, and its routes.

use crate::components::{Skeleton, Ticker};
use crate::layout::Layout;
use crate::live::Live;
use crate::new_secret::NewSecret;
use crate::pages::{self, areas};
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

#[component]
fn AppRoutes() -> impl IntoView {
    view! {
        <Router>
            <Routes fallback=pages::not_found::NotFound>
                <Route path=path!("/login") view=pages::login::LoginPage />
                <Route path=path!("/setup") view=pages::login::SetupPage />
                <ParentRoute path=path!("") view=Layout>
                    <Route path=path!("") view=pages::home::HomePage />
                    <Route path=path!("/reserve") view=areas::reserve::Screen::Reserve />
                    <Route path=path!("/reservations") view=areas::reservations::Screen::List />
                    <Route path=path!("/reservations/:id") view=areas::reservations::Screen::Detail />
                    <Route path=path!("/access-requests") view=areas::catalogue::Screen::AccessRequests />
                    <Route path=path!("/deliveries") view=areas::deliveries::Screen::List />
                    <Route path=path!("/deliveries/:id") view=areas::delivery::Screen::Page />
                    <Route path=path!("/alerts") view=areas::alerts::Screen::List />
                    <Route path=path!("/settings/webhooks") view=areas::webhooks::Screen::List />
                    <Route path=path!("/settings/webhooks/new") view=areas::webhookform::Screen::New />
                    <Route path=path!("/settings/webhooks/:id") view=areas::webhooks::Screen::Detail />
                    <Route path=path!("/settings/webhooks/:id/edit") view=areas::webhookform::Screen::Edit />
                    <Route path=path!("/settings/tokens") view=areas::accounts::Screen::Tokens />
                    <Route path=path!("/settings/account") view=areas::accounts::Screen::Account />
                    <Route path=path!("/settings/users") view=areas::accounts::Screen::Users />
                    <Route path=path!("/settings/groups") view=areas::groups::Screen::List />
                    <Route path=path!("/settings/audit") view=areas::audit::Screen::List />
                    <Route path=path!("/settings/catalogue") view=areas::catalogue::Screen::Catalogue />
                    <Route path=path!("/*any") view=pages::not_found::NotFound />
                </ParentRoute>
            </Routes>
        </Router>
    }
}
