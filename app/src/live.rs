//! Live updates: the server-sent events of `/api/v1/stream`.
//!
//! A shared worker (`frontend/feed.js`) holds one connection for all visible pages of the browser. It also reconnects.

use domain::change::{Notification, WebhookChange};
use domain::delivery::DeliverySummary;
use domain::reservation::Reservation;
use gloo_timers::callback::{Interval, Timeout};
use leptos::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{MessageEvent, MessagePort, SharedWorker, VisibilityState, Worker};

/// The script of the worker.
const WORKER: &str = "/feed.js";
/// The name of the shared worker. Pages of different versions do not share one.
const WORKER_NAME: &str = env!("CARGO_PKG_VERSION");
/// The time after which a hidden page leaves the feed, in milliseconds. A short look at another page does not interrupt it.
const HIDDEN_TIMEOUT_MS: u32 = 10_000;
/// The interval at which a page tells the worker that it still wants the feed, in milliseconds.
const WANT_INTERVAL_MS: u32 = 15_000;
/// The time without a message after which the worker is replaced, in milliseconds. It answers each "want".
const WORKER_TIMEOUT_MS: f64 = 40_000.0;
/// The delay before a worker that could not be loaded is loaded again, in milliseconds.
const WORKER_RETRY_MS: u32 = 10_000;

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveStatus {
    /// The connection is being opened.
    Connecting,
    /// Connected.
    Live,
    /// The connection failed and is being opened again.
    Reconnecting,
    /// The server rejected the session.
    LoggedOut,
}

/// A live update.
pub enum LiveEvent {
    /// A new or changed delivery.
    Delivery(DeliverySummary),
    /// A new or changed reservation.
    Reservation(Box<Reservation>),
    /// A new, changed or deleted webhook.
    Webhook(WebhookChange),
    /// A new notification of the user.
    Notification(Notification),
    /// Updates may be missing. Queries fetch their data again.
    Resync,
}

type Listener = Rc<dyn Fn(&LiveEvent)>;

/// The worker that holds the connection.
enum FeedWorker {
    Shared(SharedWorker, MessagePort),
    /// In browsers without shared workers.
    OfPage(Worker),
}

impl FeedWorker {
    fn start(on_message: &js_sys::Function, on_error: &js_sys::Function) -> Result<Self, JsValue> {
        if let Ok(worker) = SharedWorker::new_with_str(WORKER, WORKER_NAME) {
            worker.set_onerror(Some(on_error));
            let port = worker.port();
            port.set_onmessage(Some(on_message));
            return Ok(Self::Shared(worker, port));
        }
        let worker = Worker::new(WORKER)?;
        worker.set_onerror(Some(on_error));
        worker.set_onmessage(Some(on_message));
        Ok(Self::OfPage(worker))
    }

    fn send(&self, message: &str) {
        let message = JsValue::from_str(message);
        let _ = match self {
            Self::Shared(_, port) => port.post_message(&message),
            Self::OfPage(worker) => worker.post_message(&message),
        };
    }
}

impl Drop for FeedWorker {
    fn drop(&mut self) {
        match self {
            Self::Shared(worker, port) => {
                worker.set_onerror(None);
                port.close();
            }
            Self::OfPage(worker) => worker.terminate(),
        }
    }
}

/// The callbacks of the worker: for a message, and for its failure.
type PortCallbacks = (Closure<dyn FnMut(MessageEvent)>, Closure<dyn FnMut()>);

/// The worker, its callbacks and timers. Dropping a timer cancels it.
#[derive(Default)]
struct Connection {
    listeners: BTreeMap<u64, Listener>,
    next_listener: u64,
    worker: Option<FeedWorker>,
    callbacks: Option<PortCallbacks>,
    /// Runs while the page takes part in the feed.
    interval: Option<Interval>,
    hidden_timer: Option<Timeout>,
    restart_timer: Option<Timeout>,
    /// The time of the last message of the worker.
    heard: f64,
    is_enabled: bool,
}

/// The live updates of the page, as a context.
#[derive(Clone, Copy)]
pub struct Live {
    /// The state of the connection.
    pub status: RwSignal<LiveStatus>,
    connection: StoredValue<Rc<RefCell<Connection>>, LocalStorage>,
}

/// Calls `listener` on an event for as long as the page exists.
fn listen(target: &web_sys::EventTarget, event: &str, listener: impl Fn() + 'static) {
    let listener = Closure::<dyn Fn()>::new(listener);
    let _ = target.add_event_listener_with_callback(event, listener.as_ref().unchecked_ref());
    listener.forget();
}

impl Live {
    /// Creates the updates, not connected yet.
    pub fn new() -> Self {
        let live =
            Self { status: RwSignal::new(LiveStatus::Connecting), connection: StoredValue::new_local(Rc::default()) };
        listen(&document(), "visibilitychange", move || live.on_visibility_change());
        // A page that the browser restores from its cache.
        listen(&window(), "pageshow", move || live.on_visibility_change());
        listen(&window(), "pagehide", move || live.leave());
        listen(&window(), "online", move || live.reconnect());
        listen(&window(), "offline", move || {
            if live.is_joined() {
                live.status.set(LiveStatus::Reconnecting);
            }
        });
        live
    }

    fn connection(self) -> Rc<RefCell<Connection>> {
        self.connection.get_value()
    }

    fn is_joined(self) -> bool {
        self.connection().borrow().interval.is_some()
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

    /// Connects, and stays connected while the page is visible, until [`Live::close`].
    pub fn open(self) {
        self.connection().borrow_mut().is_enabled = true;
        self.join();
    }

    /// Disconnects, on log-out.
    pub fn close(self) {
        self.connection().borrow_mut().is_enabled = false;
        self.leave();
    }

    /// Connects again at once: the network or the session has changed.
    pub fn reconnect(self) {
        self.join();
        if let Some(worker) = self.connection().borrow().worker.as_ref().filter(|_| self.is_joined()) {
            worker.send("reconnect");
        }
    }

    /// A hidden page leaves the feed after a while. A visible one joins it at once.
    fn on_visibility_change(self) {
        let timer = (document().visibility_state() == VisibilityState::Hidden)
            .then(|| Timeout::new(HIDDEN_TIMEOUT_MS, move || self.leave()));
        let is_visible = timer.is_none();
        self.connection().borrow_mut().hidden_timer = timer;
        if is_visible {
            self.join();
        }
    }

    /// Takes part in the feed, unless the page is hidden.
    fn join(self) {
        let connection = self.connection();
        let mut connection = connection.borrow_mut();
        if !connection.is_enabled || document().visibility_state() == VisibilityState::Hidden {
            return;
        }
        if connection.worker.is_none() {
            let (on_message, on_error) = connection.callbacks.get_or_insert_with(|| self.callbacks());
            let started = FeedWorker::start(on_message.as_ref().unchecked_ref(), on_error.as_ref().unchecked_ref());
            let Ok(worker) = started else {
                drop(connection);
                return self.restart_later();
            };
            connection.worker = Some(worker);
        }
        if connection.interval.is_none() {
            connection.heard = js_sys::Date::now();
            connection.interval = Some(Interval::new(WANT_INTERVAL_MS, move || self.check_worker()));
        }
        if let Some(worker) = &connection.worker {
            worker.send("want");
        }
    }

    fn callbacks(self) -> PortCallbacks {
        let on_message = Closure::new(move |message: MessageEvent| {
            let message = js_sys::Array::from(&message.data());
            let part = |index| message.get(index).as_string().unwrap_or_default();
            self.receive(&part(0), &part(1));
        });
        (on_message, Closure::new(move || self.restart_later()))
    }

    fn leave(self) {
        let connection = self.connection();
        let mut connection = connection.borrow_mut();
        connection.restart_timer = None;
        if connection.interval.take().is_some() {
            if let Some(worker) = &connection.worker {
                worker.send("leave");
            }
            self.status.set(LiveStatus::Connecting);
        }
    }

    /// Renews the participation, and replaces a worker that does not answer.
    fn check_worker(self) {
        let is_silent = js_sys::Date::now() - self.connection().borrow().heard > WORKER_TIMEOUT_MS;
        if is_silent {
            self.connection().borrow_mut().worker = None;
            self.status.set(LiveStatus::Reconnecting);
            // The interval is younger than the worker's silence, so it starts again.
            self.connection().borrow_mut().heard = js_sys::Date::now();
        }
        self.join();
    }

    /// Loads the worker again after a while. During an upgrade, a replica of the last version does not have it.
    fn restart_later(self) {
        let connection = self.connection();
        let mut connection = connection.borrow_mut();
        connection.worker = None;
        connection.interval = None;
        connection.restart_timer = Some(Timeout::new(WORKER_RETRY_MS, move || self.join()));
        self.status.set(LiveStatus::Reconnecting);
    }

    /// Handles a message of the worker.
    fn receive(self, name: &str, data: &str) {
        self.connection().borrow_mut().heard = js_sys::Date::now();
        if !self.is_joined() {
            return;
        }
        let event = match name {
            "hello" => {
                self.status.set(LiveStatus::Live);
                // After the first connection too: data fetched before it may be outdated.
                Some(LiveEvent::Resync)
            }
            "reconnecting" => {
                self.status.set(LiveStatus::Reconnecting);
                None
            }
            "unauthenticated" => {
                // Also when it is repeated, so that the session is checked again.
                self.status.set(LiveStatus::LoggedOut);
                None
            }
            "resync" => Some(LiveEvent::Resync),
            "delivery" => domain::json::from_text(data).ok().map(LiveEvent::Delivery),
            "reservation" => domain::json::from_text(data).ok().map(|new| LiveEvent::Reservation(Box::new(new))),
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
