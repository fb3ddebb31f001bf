//! The live feed in the page: server-sent events to callbacks; connects again by itself for ever, and says when it is not
//! live.

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

/// How long a page that nobody sees stays connected.
const HIDDEN_MS: u32 = 10_000;

/// Whether the page follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveStatus {
    /// The first connection is being made.
    Connecting,
    /// Changes come as they commit.
    Live,
    /// The connection broke; it is being made again.
    Reconnecting,
}

/// A change, as the feed tells it.
pub enum LiveEvent {
    /// A delivery.
    Delivery(DeliverySummary),
    /// A reservation.
    Reservation(Reservation),
    /// A webhook.
    Webhook(WebhookChange),
    /// A message to the person.
    Notification(Notification),
    /// Changes were missed: read again.
    Resync,
}

type Listener = Rc<dyn Fn(&LiveEvent)>;

#[derive(Default)]
struct State {
    listeners: BTreeMap<u64, Listener>,
    next: u64,
    source: Option<EventSource>,
    handlers: Vec<Closure<dyn FnMut(MessageEvent)>>,
    failed: Option<Closure<dyn FnMut()>>,
    retry: Option<Timeout>,
    /// Closes the feed of a page that nobody sees.
    hidden: Option<Timeout>,
    wait_ms: u32,
    wanted: bool,
}

/// The feed, as a context.
#[derive(Clone, Copy)]
pub struct Live {
    /// Whether the page follows.
    pub status: RwSignal<LiveStatus>,
    /// Connections that failed since the last that was live.
    pub failures: RwSignal<u32>,
    state: StoredValue<Rc<RefCell<State>>, LocalStorage>,
}

impl Live {
    /// A feed that is not connected yet.
    pub fn new() -> Self {
        let live = Self {
            status: RwSignal::new(LiveStatus::Connecting),
            failures: RwSignal::new(0),
            state: StoredValue::new_local(Rc::default()),
        };
        // Coming back to the page or to the network is the time to try at once.
        for event in ["online", "visibilitychange", "focus"] {
            let again = Closure::<dyn FnMut()>::new(move || {
                let document = web_sys::window().and_then(|window| window.document());
                if document.is_some_and(|document| document.visibility_state() == VisibilityState::Hidden) {
                    return live.hide();
                }
                live.state().borrow_mut().hidden = None;
                if live.status.get_untracked() == LiveStatus::Reconnecting {
                    live.connect();
                }
            });
            if let Some(window) = web_sys::window() {
                let _ = window.add_event_listener_with_callback(event, again.as_ref().unchecked_ref());
            }
            // It lives as long as the page.
            again.forget();
        }
        live
    }

    fn state(self) -> Rc<RefCell<State>> {
        self.state.get_value()
    }

    /// Calls back on every change until the calling component goes.
    pub fn on(self, listener: impl Fn(&LiveEvent) + 'static) {
        let state = self.state();
        let id = {
            let mut state = state.borrow_mut();
            state.next += 1;
            let id = state.next;
            state.listeners.insert(id, Rc::new(listener));
            id
        };
        let owner = StoredValue::new_local(state);
        on_cleanup(move || {
            owner.try_with_value(|state| state.borrow_mut().listeners.remove(&id));
        });
    }

    fn tell(self, event: &LiveEvent) {
        let listeners: Vec<Listener> = self.state().borrow().listeners.values().cloned().collect();
        for listener in listeners {
            listener(event);
        }
    }

    /// Opens the feed; it stays open until [`Live::close`].
    pub fn open(self) {
        self.state().borrow_mut().wanted = true;
        self.connect();
    }

    /// Closes the feed (on log-out).
    pub fn close(self) {
        let state = self.state();
        let mut state = state.borrow_mut();
        state.wanted = false;
        state.retry = None;
        if let Some(source) = state.source.take() {
            source.close();
        }
        self.status.set(LiveStatus::Connecting);
    }

    /// Nobody sees the page: soon its connection is given up, for a browser has only six of them for one server, which a few
    /// pages in the background would use up. Whoever looks again gets what was missed.
    fn hide(self) {
        let later = Timeout::new(HIDDEN_MS, move || {
            let state = self.state();
            let mut state = state.borrow_mut();
            state.retry = None;
            if let Some(source) = state.source.take() {
                source.close();
                self.status.try_set(LiveStatus::Reconnecting);
            }
        });
        self.state().borrow_mut().hidden = Some(later);
    }

    fn connect(self) {
        let state = self.state();
        let mut state = state.borrow_mut();
        if !state.wanted {
            return;
        }
        if let Some(source) = state.source.take() {
            source.close();
        }
        state.retry = None;
        let Ok(source) = EventSource::new("/api/v1/stream") else {
            drop(state);
            return self.later();
        };
        state.handlers.clear();
        for name in ["hello", "delivery", "reservation", "webhook", "notification", "resync"] {
            let handler = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
                let data = message.data().as_string().unwrap_or_default();
                self.received(name, &data);
            });
            let _ = source.add_event_listener_with_callback(name, handler.as_ref().unchecked_ref());
            state.handlers.push(handler);
        }
        let failed = Closure::<dyn FnMut()>::new(move || self.later());
        source.set_onerror(Some(failed.as_ref().unchecked_ref()));
        state.failed = Some(failed);
        state.source = Some(source);
    }

    /// The browser's own reconnecting gives up on HTTP errors and cannot be hurried; ours does neither.
    fn later(self) {
        let state = self.state();
        let wait = {
            let mut state = state.borrow_mut();
            if let Some(source) = &state.source {
                source.close();
            }
            if !state.wanted {
                return;
            }
            let wait = state.wait_ms.max(300);
            state.wait_ms = (wait * 2).min(8_000);
            wait
        };
        self.status.try_set(LiveStatus::Reconnecting);
        self.failures.try_update(|failures| *failures += 1);
        let timeout = Timeout::new(wait, move || self.connect());
        state.borrow_mut().retry = Some(timeout);
    }

    fn received(self, name: &str, data: &str) {
        let event = match name {
            "hello" => {
                self.state().borrow_mut().wait_ms = 0;
                self.failures.set(0);
                self.status.set(LiveStatus::Live);
                // The first time too: what was read while the connection was being made may be old by now.
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
            self.tell(&event);
        }
    }
}

/// The feed of this page.
pub fn use_live() -> Live {
    expect_context::<Live>()
}

/// The feed's state in words.
#[component]
pub fn LiveBadge() -> impl IntoView {
    let live = use_live();
    let words = move || match live.status.get() {
        LiveStatus::Connecting => ("live-badge connecting", "Connecting"),
        LiveStatus::Live => ("live-badge live", "Live"),
        LiveStatus::Reconnecting => ("live-badge off", "Offline, reconnecting"),
    };
    view! {
        <span class=move || words().0 role="status">
            <span class="dot" aria-hidden="true"></span>
            <span class="words">{move || words().1}</span>
        </span>
    }
}
