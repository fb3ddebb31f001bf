//! The areas of the page. The browser loads the code of an area when somebody first opens one of its screens.
//!
//! With the feature `split`, `cargo xtask build --release` moves each area into WebAssembly modules of its own. Without it the page
//! is one module and each area is there at once, because `wasm_split` needs that additional step after compilation.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::pages;
use crate::pages::catalogue::TypesQuery;
use crate::pages::confirmation::ConfirmationForm;
use crate::pages::deliveries::Tab;
use crate::pages::reservation::RefusedExtension;
use crate::pages::webhooks::{DraftSource, FieldErrors, FormModel, SnippetSettings, TlsModel};
use crate::query::Query;
use crate::second_step::SecondStepForm;
use crate::window_event::next_event;
use domain::account::User;
use domain::change::Notification;
use domain::delivery::{Attempt, DeliveryFilter};
use domain::event::EventType;
use domain::id::{DeliveryId, ResourceId, WebhookId};
use domain::pagination::Page;
use domain::replay::{Replay, ReplaySource};
use domain::reservation::Reservation;
use domain::resource::{Resource, ResourceType};
use domain::second_factor::PendingLogIn;
use domain::webhook::Webhook;
use leptos::prelude::*;
use leptos::wasm_split::SplitLoaderError;
use leptos_router::ChooseView;
use std::pin::Pin;

/// A screen that is being loaded, or the failure to load it.
pub type LoadedScreen = Pin<Box<dyn Future<Output = Result<AnyView, SplitLoaderError>>>>;

/// Declares an area: a module with an enum of its screens, which are views for routes. A part of a screen may have
/// parameters. The name of an area contains no `_`, which separates areas in the names of files.
macro_rules! area {
    ($(#[$doc:meta])* $area:ident { $($screen:ident $(($($name:ident: $type:ty),*))? => $view:expr,)* }) => {
        $(#[$doc])*
        pub mod $area {
            use super::*;

            /// A screen of the area.
            #[derive(Clone, Copy)]
            pub enum Screen {
                $(#[doc = concat!("`", stringify!($view), "`")] $screen $(($($type),*))?,)*
            }

            #[cfg(feature = "split")]
            #[leptos::wasm_split::wasm_split($area, wasm_split_path = leptos::wasm_split, fallible)]
            fn open(screen: Screen) -> Result<AnyView, SplitLoaderError> {
                Ok(view(screen))
            }

            #[cfg(not(feature = "split"))]
            async fn open(screen: Screen) -> Result<AnyView, SplitLoaderError> {
                Ok(view(screen))
            }

            fn view(screen: Screen) -> AnyView {
                match screen {
                    $(Screen::$screen $(($($name),*))? => $view.into_any(),)*
                }
            }

            impl From<Screen> for LoadedScreen {
                fn from(screen: Screen) -> Self {
                    Box::pin(open(screen))
                }
            }
        }
    };
}

area! {
    /// Reserving.
    reserve {
        Reserve => pages::reserve::ReservePage(),
    }
}

area! {
    /// The list of reservations.
    reservations {
        List => pages::reservations::ReservationsPage(),
    }
}

area! {
    /// One reservation.
    reservation {
        Detail => pages::reservation::ReservationPage(),
        Extend(
            reservation: StoredValue<Reservation>,
            refused: StoredValue<Option<RefusedExtension>>,
            open: RwSignal<bool>
        ) => {
            let (reservation, refused) = (reservation.get_value(), refused.get_value());
            view! { <pages::reservation::ExtendForm reservation=reservation refused=refused open=open /> }
        },
        End(reservation: StoredValue<Reservation>, open: RwSignal<bool>) => {
            view! { <pages::reservation::EndForm reservation=reservation.get_value() open=open /> }
        },
    }
}

area! {
    /// The delivery log.
    deliveries {
        List => pages::deliveries::DeliveriesPage(),
        OfWebhook(webhook: WebhookId) => view! { <pages::deliveries::DeliveryList webhook=webhook /> },
    }
}

area! {
    /// One delivery, as a page or as a pane beside the log, and one attempt.
    delivery {
        Page => pages::deliveries::DeliveryPage(),
        Pane(id: Memo<String>, tab: RwSignal<Tab>, open: Callback<DeliveryId>, close: Callback<()>) => {
            view! { <pages::deliveries::Delivery id=id tab=tab open=open close=close /> }
        },
        Attempt(event: EventType, attempt: StoredValue<Attempt>) => {
            view! { <pages::deliveries::AttemptView event=event attempt=attempt.get_value() /> }
        },
    }
}

area! {
    /// Failures by cause, and replays of many deliveries.
    recovery {
        Failures(filter: ErasedMemo<DeliveryFilter>, q: RwSignal<String>) => {
            view! { <pages::deliveries::FailureGroups filter=filter q=q /> }
        },
        Replay(source: ReplaySource, filter: StoredValue<DeliveryFilter>, open: RwSignal<bool>, on_done: Callback<()>) => {
            view! { <pages::deliveries::ReplayDialog source=source filter=filter.get_value() open=open on_done=on_done /> }
        },
        OpenReplays(replays: Query<Page<Replay>>) => view! { <pages::deliveries::OpenReplays replays=replays /> },
    }
}

area! {
    /// Charts: the histogram of the delivery log, and the metrics of all webhooks or of one.
    charts {
        Histogram(filter: ErasedMemo<DeliveryFilter>) => view! { <pages::deliveries::Histogram filter=filter /> },
        Metrics => view! { <pages::operations::Metrics /> },
        MetricsOf(webhook: WebhookId) => view! { <pages::operations::Metrics webhook=webhook /> },
    }
}

area! {
    /// The operations of the home page.
    operations {
        Home => pages::operations::Operations(),
    }
}

area! {
    /// The list of webhooks.
    webhooks {
        List => pages::webhooks::WebhooksPage(),
    }
}

area! {
    /// One webhook, without the form that changes it, and the event catalogue.
    webhook {
        Detail => pages::webhooks::WebhookPage(),
    }
}

area! {
    /// The form for a webhook.
    webhookform {
        New => pages::webhooks::WebhookNewPage(),
        Edit => pages::webhooks::WebhookEditPage(),
        SettingsTab(webhook: ErasedMemo<Webhook>, query: Query<Webhook>) => {
            view! { <pages::webhooks::SettingsTab webhook=webhook query=query /> }
        },
    }
}

area! {
    /// The test of a webhook.
    webhooktest {
        Test(webhook: StoredValue<Webhook>) => view! { <pages::webhooks::TestPanel webhook=webhook /> },
    }
}

area! {
    /// The advanced fields and the TLS fields of the form for a webhook.
    webhookadvanced {
        Fields(model: StoredValue<FormModel>, errors: FieldErrors) => {
            view! { <pages::webhooks::AdvancedFields model=model.get_value() errors=errors /> }
        },
        Tls(model: TlsModel, errors: FieldErrors) => view! { <pages::webhooks::TlsFields model=model errors=errors /> },
    }
}

area! {
    /// Tools around a webhook: receiver snippets, checks before it is saved, certification, and rotation of its secret.
    webhooktools {
        Certification(webhook: WebhookId) => view! { <pages::webhooks::CertificationPanel webhook=webhook /> },
        Checklist(draft: DraftSource) => view! { <pages::webhooks::Checklist draft=draft /> },
        Rotation(webhook: ErasedMemo<Webhook>, query: Query<Webhook>, open: RwSignal<bool>) => {
            view! { <pages::webhooks::RotateForm webhook=webhook query=query open=open /> }
        },
        Snippets(settings: ErasedMemo<SnippetSettings>) => view! { <pages::webhooks::Snippets settings=settings /> },
    }
}

area! {
    /// The signature checker.
    signaturecheck {
        Page => pages::webhooks::SignatureCheckPage(),
    }
}

area! {
    /// Alerts, and the health tab of a webhook.
    alerts {
        List => pages::alerts::AlertsPage(),
        OfWebhook(webhook: ErasedMemo<Webhook>, query: Query<Webhook>) => {
            view! { <pages::alerts::HealthTab webhook=webhook webhook_query=query /> }
        },
    }
}

area! {
    /// Contents of the header and of dialogs on every screen: the command palette, the overview of keyboard shortcuts, the notifications,
    /// and the question before unsaved input is discarded.
    overlays {
        Palette(open: RwSignal<bool>) => view! { <pages::palette::CommandPalette open=open /> },
        Shortcuts => pages::shortcut_list::ShortcutList(),
        Notifications(notifications: Query<Vec<Notification>>, close: Callback<()>) => {
            view! { <pages::notification_list::NotificationList notifications=notifications close=close /> }
        },
        Leave(stay: Callback<()>, discard: Callback<()>) => view! { <pages::leave_question::LeaveQuestion stay=stay discard=discard /> },
    }
}

area! {
    /// The audit log.
    audit {
        List => pages::audit::AuditPage(),
        OfWebhook(webhook: WebhookId) => view! { <pages::audit::WebhookChanges webhook=webhook /> },
    }
}

area! {
    /// Second factors: their set-up, the screen that requires it, the second step of a log-in, and confirmations.
    secondfactor {
        SecondStep(pending: PendingLogIn) => view! { <SecondStepForm pending=pending /> },
        Confirmation => ConfirmationForm(),
        Own => pages::second_factors::OwnFactors(),
        Required => pages::second_factors::RequiredPage(),
    }
}

area! {
    /// Groups of users, and the owners of resource types and resources.
    groups {
        List => pages::groups::GroupsPage(),
        OwnersOfType(slug: StoredValue<String>, open: RwSignal<bool>) => {
            view! { <pages::groups::OwnersForm object=pages::groups::OwnedItem::Type(slug.get_value()) open=open /> }
        },
        OwnersOfResource(id: ResourceId, open: RwSignal<bool>) => {
            view! { <pages::groups::OwnersForm object=pages::groups::OwnedItem::Resource(id) open=open /> }
        },
    }
}

area! {
    /// The catalogue, without the forms that change it.
    catalogue {
        Catalogue => pages::catalogue::CataloguePage(),
    }
}

area! {
    /// The forms for resource types and resources.
    catalogueforms {
        Type(old: StoredValue<Option<ResourceType>>, types: TypesQuery, open: RwSignal<bool>) => {
            view! { <pages::catalogue::TypeForm old=old.get_value() types=types open=open /> }
        },
        Resource(old: StoredValue<Option<Resource>>, types: TypesQuery, on_done: Callback<()>, open: RwSignal<bool>) => {
            view! { <pages::catalogue::ResourceForm old=old.get_value() types=types on_done=on_done open=open /> }
        },
    }
}

area! {
    /// Access to resources.
    access {
        Requests => pages::access::AccessRequestsPage(),
    }
}

area! {
    /// Users, without the forms that change them.
    users {
        List => pages::users::UsersPage(),
    }
}

area! {
    /// The forms for users.
    userforms {
        Create(open: RwSignal<bool>, on_done: Callback<()>) => {
            view! { <pages::users::CreateForm open=open on_done=on_done /> }
        },
        Edit(user: StoredValue<User>, open: RwSignal<bool>, on_done: Callback<()>) => {
            view! { <pages::users::EditDialog user=user.get_value() open=open on_done=on_done /> }
        },
    }
}

area! {
    /// The reader's account and API tokens.
    account {
        Tokens => pages::tokens::TokensPage(),
        Account => pages::account::AccountPage(),
    }
}

/// The view of a route. All routes have this type, so that the router's code is compiled once.
#[derive(Clone, Copy)]
pub enum RouteView {
    /// A view of the main module.
    Main(fn() -> AnyView),
    /// A screen of an area.
    Area(fn() -> LoadedScreen),
}

impl ChooseView for RouteView {
    async fn choose(self) -> AnyView {
        match self {
            Self::Main(view) => view(),
            Self::Area(load) => show(Box::new(load), true),
        }
    }

    async fn preload(&self) {}
}

/// Shows a part of a screen, which belongs to another area than the screen.
pub fn show_part(part: impl Into<LoadedScreen> + Copy + 'static) -> AnyView {
    show(Box::new(move || part.into()), false)
}

/// Shows grey bars until a screen is loaded. A failed load is repeated when the browser is online again.
fn show(load: Box<dyn Fn() -> LoadedScreen>, has_title: bool) -> AnyView {
    let loaded = RwSignal::new_local(None);
    leptos::task::spawn_local_scoped_with_cancellation(async move {
        loop {
            match load().await {
                Ok(view) => {
                    loaded.set(Some(view));
                    return focus_loaded_field();
                }
                Err(_) => loaded.set(Some(view! { <LoadFailed has_title=has_title /> }.into_any())),
            }
            next_event(&["online"]).await;
        }
    });
    let content = move || {
        loaded.track();
        loaded.write_untracked().take().unwrap_or_else(|| view! { <Skeleton /> }.into_any())
    };
    content.into_any()
}

/// Reports an area that could not be loaded: the connection failed, or a new release replaced its files.
#[component]
fn LoadFailed(has_title: bool) -> impl IntoView {
    let reload = Callback::new(|()| {
        let _ = window().location().reload();
    });
    view! {
        {has_title.then(|| view! { <PageHeader title="Page not loaded" /> })}
        <div class="notice error" role="alert">
            <IconView icon=Icon::Warning />
            <div>
                <strong>"This page could not be loaded"</strong>
                <p>"The connection failed, or Berth was updated. Check your connection, then reload."</p>
                <Button on_click=reload>"Reload page"</Button>
            </div>
        </div>
    }
}
