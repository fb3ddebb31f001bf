//! Live updates: the server-sent events of `/api/v1/stream`.
//!
//! The page reconnects itself. The browser's own reconnection stops after an HTTP error and cannot be triggered.

use domain::change::{Notification, WebhookChange};
use domain::delivery::DeliverySummary;
use domain::reservation::Reservation;
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{EventSource, MessageEvent, VisibilityState};

/// The names of the server-sent events.
const EVENTS: [&str; 6] = ["hello", "delivery", "reservation", "webhook", "notification", "resync"];
/// The time after which a hidden page disconnects, in milliseconds.
const HIDDEN_TIMEOUT_MS: u32 = 10_000;
/// The delay before the first reconnection, in milliseconds. It doubles with each failure.
const MIN_RETRY_MS: u32 = 300;
/// The longest delay before a reconnection, in milliseconds.
const MAX_RETRY_MS: u32 = 8_000;

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveStatus {
    /// The first connection is being opened.
    Connecting,
    /// Connected.
    Live,
    /// The connection failed and is being opened again.
    Reconnecting,
}

/// A live update.
pub enum LiveEvent {
    /// A new or changed delivery.
    Delivery(DeliverySummary),
    /// A new or changed reservation.
    Reservation(Reservation),
    /// A new, changed or deleted webhook.
    Webhook(WebhookChange),
    /// A new notification of the user.
    Notification(Notification),
    /// Updates may be missing, so pages fetch their data again.
    Resync,
}

type Listener = Rc<dyn Fn(&LiveEvent)>;

/// The connection, its callbacks and timers. Dropping a timer cancels it.
#[derive(Default)]
struct Connection {
    listeners: BTreeMap<u64, Listener>,
    next_listener: u64,
    source: Option<EventSource>,
    on_message: Vec<Closure<dyn FnMut(MessageEvent)>>,
    on_error: Option<Closure<dyn FnMut()>>,
    reconnect_timer: Option<Timeout>,
    hidden_timer: Option<Timeout>,
    retry_ms: u32,
    is_enabled: bool,
}

impl Connection {
    fn disconnect(&mut self) {
        self.reconnect_timer = None;
        if let Some(source) = self.source.take() {
            source.close();
        }
    }
}

/// The live updates of the page, as a context.
#[derive(Clone, Copy)]
pub struct Live {
    /// The state of the connection.
    pub status: RwSignal<LiveStatus>,
    /// The number of failed connections since the last successful one.
    pub failures: RwSignal<u32>,
    connection: StoredValue<Rc<RefCell<Connection>>, LocalStorage>,
}

impl Live {
    /// Creates the updates, not connected yet.
    pub fn new() -> Self {
        let live = Self {
            status: RwSignal::new(LiveStatus::Connecting),
            failures: RwSignal::new(0),
            connection: StoredValue::new_local(Rc::default()),
        };
        for event in ["online", "visibilitychange", "focus"] {
            let listener = Closure::<dyn FnMut()>::new(move || live.on_visibility_or_network_change());
            let _ = window().add_event_listener_with_callback(event, listener.as_ref().unchecked_ref());
            // The listener lives as long as the page.
            listener.forget();
        }
        live
    }

    fn connection(self) -> Rc<RefCell<Connection>> {
        self.connection.get_value()
    }

    /// Calls `listener` on every update, until the current component is removed.
    pub fn on(self, listener: impl Fn(&LiveEvent) + 'static) {
        let connection = self.connection();
        let id = {
            let mut connection = connection.borrow_mut();
            connection.next_listener += 1;
            let id = connection.next_listener;
            connection.listeners.insert(id, Rc::new(listener));
            id
        };
        let connection = StoredValue::new_local(connection);
        on_cleanup(move || {
            connection.try_with_value(|connection| connection.borrow_mut().listeners.remove(&id));
        });
    }

    fn notify(self, event: &LiveEvent) {
        // A listener can add and remove listeners, so the connection must not stay borrowed.
        let listeners: Vec<Listener> = self.connection().borrow().listeners.values().cloned().collect();
        for listener in listeners {
            listener(event);
        }
    }

    /// Connects and stays connected until [`Live::close`].
    pub fn open(self) {
        self.connection().borrow_mut().is_enabled = true;
        self.connect();
    }

    /// Disconnects, on log-out.
    pub fn close(self) {
        let connection = self.connection();
        let mut connection = connection.borrow_mut();
        connection.is_enabled = false;
        connection.disconnect();
        self.status.set(LiveStatus::Connecting);
    }

    /// Disconnects a hidden page after a while, and reconnects a visible one at once.
    fn on_visibility_or_network_change(self) {
        if document().visibility_state() == VisibilityState::Hidden {
            return self.disconnect_soon();
        }
        self.connection().borrow_mut().hidden_timer = None;
        if self.status.get_untracked() == LiveStatus::Reconnecting {
            self.connect();
        }
    }

    /// Starts the timer of a hidden page. With HTTP/1.1 a browser opens only six connections to a server, and a few pages in the
    /// background would occupy them all.
    fn disconnect_soon(self) {
        let timer = Timeout::new(HIDDEN_TIMEOUT_MS, move || {
            let connection = self.connection();
            let mut connection = connection.borrow_mut();
            let was_connected = connection.source.is_some();
            connection.disconnect();
            if was_connected {
                self.status.set(LiveStatus::Reconnecting);
            }
        });
        self.connection().borrow_mut().hidden_timer = Some(timer);
    }

    fn connect(self) {
        let connection = self.connection();
        let mut connection = connection.borrow_mut();
        if !connection.is_enabled {
            return;
        }
        connection.disconnect();
        let Ok(source) = EventSource::new("/api/v1/stream") else {
            drop(connection);
            return self.reconnect_later();
        };
        connection.on_message.clear();
        for name in EVENTS {
            let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
                self.receive(name, &message.data().as_string().unwrap_or_default());
            });
            let _ = source.add_event_listener_with_callback(name, on_message.as_ref().unchecked_ref());
            connection.on_message.push(on_message);
        }
        let on_error = Closure::<dyn FnMut()>::new(move || self.reconnect_later());
        source.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        connection.on_error = Some(on_error);
        connection.source = Some(source);
    }

    /// Reconnects with exponential backoff.
    fn reconnect_later(self) {
        let connection = self.connection();
        let mut connection = connection.borrow_mut();
        // The callbacks stay, because this runs inside one of them.
        if let Some(source) = &connection.source {
            source.close();
        }
        if !connection.is_enabled {
            return;
        }
        let delay = connection.retry_ms.max(MIN_RETRY_MS);
        connection.retry_ms = (delay * 2).min(MAX_RETRY_MS);
        connection.reconnect_timer = Some(Timeout::new(delay, move || self.connect()));
        self.status.set(LiveStatus::Reconnecting);
        self.failures.update(|failures| *failures += 1);
    }

    /// Handles a server-sent event.
    fn receive(self, name: &str, data: &str) {
        let event = match name {
            "hello" => {
                self.connection().borrow_mut().retry_ms = 0;
                self.failures.set(0);
                self.status.set(LiveStatus::Live);
                // After the first connection too: data fetched before it may be outdated.
                Some(LiveEvent::Resync)
            }
            "resync" => Some(LiveEvent::Resync),
            "delivery" => domain::json::from_text(data).ok().map(LiveEvent::Delivery),
            "reservation" => domain::json::from_text(data).ok().map(LiveEvent::Reservation),
            "webhook" => domain::json::from_text(data).ok().map(LiveEvent::Webhook),
            "notification" => domain::json::from_text(data).ok().map(LiveEvent::Notification),
            _ => None,
        };
        if let Some(event) = event {
            self.notify(&event);
        }
    }
}

/// Returns the live updates of the page.
pub fn use_live() -> Live {
    expect_context::<Live>()
}

/// The state of the connection as text.
#[component]
pub fn LiveBadge() -> impl IntoView {
    let live = use_live();
    let class = move || match live.status.get() {
        LiveStatus::Connecting => "live-badge connecting",
        LiveStatus::Live => "live-badge live",
        LiveStatus::Reconnecting => "live-badge off",
    };
    let label = move || match live.status.get() {
        LiveStatus::Connecting => "Connecting",
        LiveStatus::Live => "Live",
        LiveStatus::Reconnecting => "Offline, reconnecting",
    };
    view! {
        <span class=class role="status">
            <span class="dot" aria-hidden="true"></span>
            <span class="live-label">{label}</span>
        </span>
    }
}
