//! Times that update themselves.

use crate::{intl, time};
use chrono::{DateTime, Utc};
use gloo_timers::callback::Interval;
use leptos::prelude::*;

/// The clock of the page, which notifies its readers once a second.
#[derive(Clone, Copy)]
pub struct Ticker(Trigger);

impl Ticker {
    /// Starts the clock. It runs as long as the page.
    pub fn start() -> Self {
        let tick = Trigger::new();
        Interval::new(1_000, move || tick.notify()).forget();
        Self(tick)
    }

    /// The current time. Tracked. The time of the last tick would make an event between two ticks appear to be in the future.
    pub fn now(self) -> DateTime<Utc> {
        self.0.track();
        time::now()
    }
}

/// Returns the clock of the page.
pub fn use_ticker() -> Ticker {
    expect_context::<Ticker>()
}

/// The distance of a time from now, with the exact time as tooltip.
#[component]
pub fn RelativeTime(#[prop(into)] at: Signal<DateTime<Utc>>) -> impl IntoView {
    let ticker = use_ticker();
    view! {
        <time datetime=move || at.get().to_rfc3339() title=move || intl::exact_timestamp(at.get())>
            {move || intl::relative(at.get(), ticker.now())}
        </time>
    }
}

/// The time that is left until a time, with the exact time as tooltip.
#[component]
pub fn Countdown(#[prop(into)] at: Signal<DateTime<Utc>>) -> impl IntoView {
    let ticker = use_ticker();
    view! {
        <time datetime=move || at.get().to_rfc3339() title=move || intl::exact_timestamp(at.get())>
            {move || intl::countdown(at.get(), ticker.now())}
        </time>
    }
}
