//! The time that a request has taken so far.

use crate::intl;
use leptos::prelude::*;
use std::time::Duration;

/// The interval between two updates.
const STEP: Duration = Duration::from_millis(100);
/// See [`STEP`], in milliseconds.
const STEP_MS: f64 = 100.0;

/// The time since the component appeared. Screen readers ignore it: a time that changes ten times per second would
/// interrupt them.
#[component]
pub fn Elapsed() -> impl IntoView {
    let steps = RwSignal::new(0_u32);
    if let Ok(interval) = set_interval_with_handle(move || steps.update(|steps| *steps += 1), STEP) {
        on_cleanup(move || interval.clear());
    }
    view! { <span class="mono" aria-hidden="true">{move || intl::duration(f64::from(steps.get()) * STEP_MS)}</span> }
}
