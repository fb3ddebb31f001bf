//! The session of the user.
//!
//! When it ends on the server, the page stays: a dialog asks for the password, and requests wait for it (`app/src/rpc/fetch.rs`).

use crate::confirmation::Confirmation;
use crate::erased::ErasedSignal;
use crate::live::{Live, LiveStatus};
use crate::prerendered_login;
use crate::rpc;
use domain::account::SessionInfo;
use domain::authorization::Role;
use domain::ownership::ResourceKey;
use domain::second_factor::PendingLogIn;
use gloo_timers::future::TimeoutFuture;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;
use web_sys::{BroadcastChannel, MessageEvent};

/// The name of the channel between the pages of a browser.
const CHANNEL: &str = "berth-session";
/// The message after a log-in.
const STARTED: &str = "started";
/// The message after a log-out.
const ENDED: &str = "ended";

/// The delay before the live updates are opened again although they were rejected, in milliseconds.
const FEED_RETRY_MS: u32 = 5_000;

/// The session of the user, as a context.
#[derive(Clone, Copy)]
pub struct Session {
    /// The user. `None` if nobody is logged in.
    pub info: ErasedSignal<Option<SessionInfo>>,
    /// Whether the server has reported the session.
    pub known: RwSignal<bool>,
    /// Whether no account exists yet.
    pub needs_setup: RwSignal<bool>,
    /// Whether the request comes from the server's own machine, so that set-up needs no code.
    pub local: RwSignal<bool>,
    /// A log-in that needs a second factor.
    pub second_step: ErasedSignal<Option<PendingLogIn>>,
    /// The requests that wait for a confirmation.
    pub confirmation: Confirmation,
    /// Whether the session has ended while the page was open.
    pub expired: RwSignal<bool>,
    /// Whether the dialog for a new log-in is open.
    pub asks: RwSignal<bool>,
    live: Live,
    /// Continues or gives up the requests that wait for a log-in.
    waiting: StoredValue<Vec<js_sys::Function>, LocalStorage>,
    channel: StoredValue<Option<BroadcastChannel>, LocalStorage>,
}

impl Session {
    /// Creates a session that is not known yet. It opens and closes `live`.
    pub fn new(live: Live) -> Self {
        let session = Self {
            info: ErasedSignal::new(None),
            known: RwSignal::new(false),
            needs_setup: RwSignal::new(false),
            local: RwSignal::new(false),
            second_step: ErasedSignal::new(None),
            confirmation: Confirmation::new(),
            expired: RwSignal::new(false),
            asks: RwSignal::new(false),
            live,
            waiting: StoredValue::new_local(Vec::new()),
            channel: StoredValue::new_local(BroadcastChannel::new(CHANNEL).ok()),
        };
        session.listen();
        rpc::set_log_in_handler(move || session.wait_for_log_in());
        Effect::new(move |_| {
            if live.status.get() == LiveStatus::LoggedOut {
                spawn_local(session.check());
            }
        });
        // The requests that wait are given up when the user closes the dialog.
        Effect::new(move |_| {
            if !session.asks.get() {
                session.continue_requests(false);
            }
        });
        session
    }

    /// Stores a log-in and opens the live updates.
    pub fn start(self, info: SessionInfo) {
        let is_other =
            self.info.with_untracked(|old| old.as_ref().is_some_and(|old| old.user.username != info.user.username));
        if is_other {
            // Everything on the page belongs to another user.
            let _ = window().location().reload();
            return;
        }
        let needs_second_factor = info.needs_second_factor;
        self.info.set(Some(info));
        self.second_step.set(None);
        self.needs_setup.set(false);
        self.known.set(true);
        self.expired.set(false);
        self.continue_requests(true);
        self.asks.set(false);
        prerendered_login::close();
        // A user who must set up a second factor may not read the live updates.
        if !needs_second_factor {
            self.live.open();
        }
        // A log-in also confirms, e.g. one at an identity provider in another window.
        self.confirmation.finish();
    }

    /// Stores a log-in that the user has just made, also for the other pages of the browser.
    pub fn log_in(self, info: SessionInfo) {
        let needs_second_factor = info.needs_second_factor;
        self.start(info);
        if !needs_second_factor {
            self.live.reconnect();
        }
        self.announce(STARTED);
    }

    /// Removes the user and closes the live updates, after a log-out.
    pub fn end(self) {
        self.info.set(None);
        self.expired.set(false);
        self.asks.set(false);
        self.live.close();
        self.announce(ENDED);
    }

    /// Removes the user after a log-out, and continues at the identity provider if the log-out must end the session there too.
    pub fn log_out(self, provider_url: Option<String>) {
        self.end();
        if let Some(url) = provider_url {
            let _ = window().location().assign(&url);
        }
    }

    /// Asks for a new log-in: the server has ended the session.
    pub fn expire(self) {
        if self.info.with_untracked(Option::is_some) && !self.expired.get_untracked() {
            self.expired.set(true);
            self.asks.set(true);
        }
    }

    /// Finds out whether the session has ended, after the live updates were rejected. Otherwise another page of the browser has logged
    /// in meanwhile, or something between browser and server rejected them.
    async fn check(self) {
        if rpc::session::visit().await.is_ok_and(|visit| visit.session.is_none()) {
            return self.expire();
        }
        TimeoutFuture::new(FEED_RETRY_MS).await;
        self.live.reconnect();
    }

    /// Asks for a new log-in. Resolves to whether the user has logged in.
    fn wait_for_log_in(self) -> js_sys::Promise {
        if self.info.with_untracked(Option::is_none) {
            return js_sys::Promise::resolve(&JsValue::FALSE);
        }
        self.expired.set(true);
        self.asks.set(true);
        js_sys::Promise::new(&mut |resolve, _| self.waiting.update_value(|waiting| waiting.push(resolve)))
    }

    fn continue_requests(self, logged_in: bool) {
        let waiting = self.waiting.try_update_value(std::mem::take).unwrap_or_default();
        for resolve in waiting {
            let _ = resolve.call1(&JsValue::UNDEFINED, &JsValue::from_bool(logged_in));
        }
    }

    /// Follows the log-ins and log-outs of the browser's other pages.
    fn listen(self) {
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |message: MessageEvent| {
            if message.data().as_string().as_deref() == Some(ENDED) {
                return self.expire();
            }
            self.confirmation.finish();
            if self.expired.get_untracked() || self.info.with_untracked(Option::is_none) {
                spawn_local(async move {
                    if let Ok(rpc::session::Visit { session: Some(info), .. }) = rpc::session::visit().await {
                        self.start(info);
                        self.live.reconnect();
                    }
                });
            }
        });
        self.channel.with_value(|channel| {
            if let Some(channel) = channel {
                channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
            }
        });
        // The listener lives as long as the page.
        on_message.forget();
    }

    fn announce(self, message: &str) {
        self.channel.with_value(|channel| {
            if let Some(channel) = channel {
                let _ = channel.post_message(&JsValue::from_str(message));
            }
        });
    }

    /// Reads the session again, after the user has set up a second factor that was required.
    pub async fn refresh(self) {
        if let Ok(rpc::session::Visit { session: Some(info), .. }) = rpc::session::visit().await {
            self.start(info);
        }
    }

    /// Whether the user may do nothing but set up a second factor. Tracked.
    pub fn needs_second_factor(self) -> bool {
        self.info.with(|info| info.as_ref().is_some_and(|info| info.needs_second_factor))
    }

    /// Whether the user may do nothing but set up a second factor. Not tracked.
    pub fn needs_second_factor_untracked(self) -> bool {
        untrack(|| self.needs_second_factor())
    }

    /// Whether somebody is logged in. Tracked.
    pub fn is_logged_in(self) -> bool {
        self.info.with(Option::is_some)
    }

    /// Whether the user is an administrator. Tracked.
    pub fn is_admin(self) -> bool {
        self.info.with(|info| info.as_ref().is_some_and(|info| info.user.role == Role::Administrator))
    }

    /// Whether the user sees everything: administrators and auditors. Tracked.
    pub fn reads_everything(self) -> bool {
        self.info.with(|info| info.as_ref().is_some_and(|info| info.user.role.reads_everything()))
    }

    /// Whether the user manages a resource: as an administrator, or as an owner of the resource or of its type. Tracked.
    pub fn manages(self, resource: ResourceKey<'_>) -> bool {
        self.info.with(|info| info.as_ref().is_some_and(|info| info.manages(resource)))
    }

    /// Whether the user manages some resources: as an administrator or as an owner. Tracked.
    pub fn manages_resources(self) -> bool {
        self.is_admin() || self.is_owner()
    }

    /// Whether the user manages the webhooks of all resource types, as an administrator, or of some, as an owner. Tracked.
    pub fn manages_webhooks(self) -> bool {
        self.is_admin() || self.owns_types()
    }

    /// Whether the user sees some webhooks and their deliveries. Tracked.
    pub fn reads_webhooks(self) -> bool {
        self.reads_everything() || self.owns_types()
    }

    /// Whether the user sees the webhooks of a resource type; `None` stands for every type. Tracked.
    pub fn reads_webhooks_of(self, resource_type: Option<&str>) -> bool {
        self.reads_everything()
            || self.info.with(|info| info.as_ref().is_some_and(|info| info.manages_webhooks_of(resource_type)))
    }

    /// Whether the user owns something. Tracked.
    pub fn is_owner(self) -> bool {
        self.info.with(|info| info.as_ref().is_some_and(|info| !info.owns.is_empty()))
    }

    fn owns_types(self) -> bool {
        self.info.with(|info| info.as_ref().is_some_and(|info| !info.owns.resource_types.is_empty()))
    }

    /// Whether the user reads everything and changes nothing. Tracked.
    pub fn is_auditor(self) -> bool {
        self.reads_everything() && !self.is_admin()
    }

    /// Whether the user is an administrator. Not tracked.
    pub fn is_admin_untracked(self) -> bool {
        untrack(|| self.is_admin())
    }

    /// The user name, or an empty text. Tracked.
    pub fn username(self) -> String {
        self.info.with(|info| info.as_ref().map(|info| info.user.username.clone()).unwrap_or_default())
    }

    /// The user name, or an empty text. Not tracked.
    pub fn username_untracked(self) -> String {
        untrack(|| self.username())
    }
}

/// Returns the session.
pub fn use_session() -> Session {
    expect_context::<Session>()
}

/// The content that only administrators see.
#[component]
pub fn ForAdministrators(children: ChildrenFn) -> impl IntoView {
    let session = use_session();
    view! { <Show when=move || session.is_admin()>{children()}</Show> }
}

/// The content that only those see who manage webhooks: administrators and owners of resource types.
#[component]
pub fn ForWebhookManagers(children: ChildrenFn) -> impl IntoView {
    let session = use_session();
    view! { <Show when=move || session.manages_webhooks()>{children()}</Show> }
}

/// The content that everybody but auditors sees: what changes something.
#[component]
pub fn ExceptAuditors(children: ChildrenFn) -> impl IntoView {
    let session = use_session();
    view! { <Show when=move || !session.is_auditor()>{children()}</Show> }
}
