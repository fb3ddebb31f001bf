//! Times that keep themselves right.

use crate::time;
use chrono::{DateTime, Utc};
use gloo_timers::callback::Interval;
use leptos::prelude::*;

/// The present time, once a second, for everything on the page that shows it.
#[derive(Clone, Copy)]
pub struct Ticker(Trigger);

impl Ticker {
    /// Starts it, for as long as the page lives.
    pub fn start() -> Self {
        let tick = Trigger::new();
        Interval::new(1_000, move || tick.notify()).forget();
        Self(tick)
    }

    /// The present time; tracked. Not that of the last tick: what comes between two ticks would seem further off than it is.
    pub fn now(self) -> DateTime<Utc> {
        self.0.track();
        time::now()
    }
}

/// The page's clock.
pub fn use_ticker() -> Ticker {
    expect_context::<Ticker>()
}

/// `3 min ago`, with the exact time on hover.
#[component]
pub fn Ago(#[prop(into)] at: Signal<DateTime<Utc>>) -> impl IntoView {
    let ticker = use_ticker();
    view! {
        <time datetime=move || at.get().to_rfc3339() title=move || time::exact(at.get())>
            {move || time::relative(at.get(), ticker.now())}
        </time>
    }
}

/// `retries in 3 s`, counting down.
#[component]
pub fn Countdown(#[prop(into)] at: Signal<DateTime<Utc>>) -> impl IntoView {
    let ticker = use_ticker();
    let words = move || {
        let left = (at.get() - ticker.now()).num_milliseconds();
        match left {
            ..=0 => "now".to_owned(),
            1..=59_999 => format!("in {} s", (left + 999) / 1_000),
            60_000..=3_599_999 => format!("in {} min", left / 60_000),
            _ => time::relative(at.get(), ticker.now()),
        }
    };
    view! { <time datetime=move || at.get().to_rfc3339() title=move || time::exact(at.get())>{words}</time> }
}
