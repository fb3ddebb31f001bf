//! A week of one resource, hour by hour. A span is marked by dragging, by two clicks, or with the arrow keys and Enter.

use crate::components::*;
use crate::layout::use_session;
use crate::live::{LiveEvent, use_live};
use crate::load::load;
use crate::rpc::reservations;
use crate::time;
use crate::values::{Cell, Value, effect, on_change};
use chrono::{DateTime, Datelike as _, Duration, Local, NaiveDate, NaiveTime, Utc};
use domain::id::ResourceId;
use domain::reservation::{BusySpan, overlaps};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

/// Start and end.
pub type Span = (DateTime<Utc>, DateTime<Utc>);

/// Other people's changes are not told of; they are read this often.
const REREAD_S: i64 = 30;

fn monday(day: NaiveDate) -> NaiveDate {
    day - Duration::days(i64::from(day.weekday().num_days_from_monday()))
}

/// The hour that begins at this local time; on the day the clocks skip it, the one after.
fn hour(day: NaiveDate, hour: u32) -> Span {
    let naive = day.and_time(NaiveTime::from_hms_opt(hour, 0, 0).unwrap_or_default());
    let start = time::local(naive).unwrap_or_else(|| naive.and_utc());
    (start, start + Duration::hours(1))
}

/// What a slot of the calendar is.
#[derive(Clone, PartialEq)]
enum Slot {
    Free,
    Past,
    Busy { words: String, first: bool },
    Mine { words: String, first: bool },
}

fn slot(span: Span, busy: &[BusySpan], now: DateTime<Utc>, me: &str) -> Slot {
    if let Some(taken) = busy.iter().find(|b| overlaps((b.start_time, b.end_time), span)) {
        let first = taken.start_time >= span.0;
        let words = match (&taken.title, &taken.user_id) {
            (Some(title), _) if !title.is_empty() => title.clone(),
            (_, Some(user)) => user.clone(),
            _ => "Busy".to_owned(),
        };
        return if taken.user_id.as_deref() == Some(me) {
            Slot::Mine { words, first }
        } else {
            Slot::Busy { words, first }
        };
    }
    if span.1 <= now { Slot::Past } else { Slot::Free }
}

/// The calendar; what is marked goes to `chosen`.
#[component]
pub fn Calendar(
    resource: ResourceId,
    resource_type: String,
    chosen: Cell<Option<Span>>,
    bookable: Signal<bool>,
) -> impl IntoView {
    let session = use_session();
    let ticker = use_ticker();
    let today = Local::now().date_naive();
    let week = Cell::new(monday(today));
    let slug = StoredValue::new(resource_type);
    let busy = load(move || {
        let from = hour(week.get(), 0).0;
        reservations::busy(Some(slug.get_value()), from, from + Duration::days(7) + Duration::hours(1))
    });
    let turn = Memo::new(move |_| ticker.now().timestamp() / REREAD_S);
    on_change(move || turn.get(), move |_| busy.again());
    use_live().on(move |event| match event {
        LiveEvent::Reservation(changed) if changed.resource_id == resource => busy.again(),
        LiveEvent::Resync => busy.again(),
        _ => {}
    });
    let spans = Value::memo(move || {
        let mut spans = busy.get().unwrap_or_default();
        spans.retain(|span| span.resource_id == resource);
        spans
    });
    // To the minute: slots do not change faster.
    let minute = Memo::new(move |_| ticker.now().timestamp() / 60);
    let now = move || DateTime::from_timestamp(minute.get() * 60, 0).unwrap_or_default();
    // Where a drag began, the first of two clicks, and the slot that the keyboard is at.
    let pressed = Cell::new(None::<(NaiveDate, u32)>);
    let clicked = Cell::new(None::<(NaiveDate, u32)>);
    let at = Cell::new((today, 9_u32));
    let free = move |span: Span| slot(span, &spans.get_untracked(), now(), "") == Slot::Free;
    let mark = move |from: (NaiveDate, u32), to: (NaiveDate, u32)| {
        let (from, to) = if from <= to { (from, to) } else { (to, from) };
        let span = (hour(from.0, from.1).0, hour(to.0, to.1).1);
        let taken = untrack(|| spans.with(|spans| spans.iter().any(|b| overlaps((b.start_time, b.end_time), span))));
        if taken {
            return false;
        }
        // The hour under way begins now.
        let start = span.0.max(now());
        chosen.set(Some((start, span.1)));
        true
    };
    let click = move |slot: (NaiveDate, u32)| {
        at.set(slot);
        // The second of two clicks ends the span that the first began, where nothing is in between.
        let first = clicked.get_untracked();
        clicked.set(None);
        if !bookable.get_untracked() || first.is_some_and(|first| first != slot && mark(first, slot)) {
            return;
        }
        if free(hour(slot.0, slot.1)) && mark(slot, slot) {
            clicked.set(Some(slot));
        }
    };
    let press = move |slot: (NaiveDate, u32)| {
        pressed.set(Some(slot).filter(|slot| bookable.get_untracked() && free(hour(slot.0, slot.1))));
    };
    let enter = move |slot: (NaiveDate, u32)| {
        if let Some(from) = pressed.get_untracked().filter(|from| *from != slot)
            && mark(from, slot)
        {
            clicked.set(None);
        }
    };
    let release = move |_| pressed.set(None);
    let step = move |days: i64| {
        week.update(|week| *week += Duration::days(days));
        let first = week.get_untracked();
        if at.get_untracked().0 < first || at.get_untracked().0 > first + Duration::days(6) {
            at.update(|at| at.0 = first);
        }
    };
    let focus = move |day: NaiveDate, h: u32| {
        at.set((day, h));
        if monday(day) != week.get_untracked() {
            week.set(monday(day));
        }
        request_animation_frame(move || {
            let slot = web_sys::window()
                .and_then(|window| window.document())
                .and_then(|document| document.query_selector(".slot[tabindex=\"0\"]").ok().flatten())
                .and_then(|slot| slot.dyn_into::<web_sys::HtmlElement>().ok());
            if let Some(slot) = slot {
                let _ = slot.focus();
            }
        });
    };
    let key = move |event: leptos::ev::KeyboardEvent| {
        let (day, h) = at.get_untracked();
        let next = match event.key().as_str() {
            "ArrowUp" if h > 0 => (day, h - 1),
            "ArrowDown" if h < 23 => (day, h + 1),
            "ArrowLeft" => (day - Duration::days(1), h),
            "ArrowRight" => (day + Duration::days(1), h),
            "Home" => (day, 0),
            "End" => (day, 23),
            _ => return,
        };
        event.prevent_default();
        focus(next.0, next.1);
    };
    let body = NodeRef::<leptos::html::Div>::new();
    // People work by day: the morning is at the top.
    effect(move || {
        if let Some(body) = body.get() {
            request_animation_frame(move || body.set_scroll_top(28 * 7));
        }
    });
    let days = move || (0..7).map(|n| week.get() + Duration::days(n)).collect::<Vec<_>>();
    let head = move |day: NaiveDate| {
        view! {
            <th scope="col" class:today=day == today>
                {time::short(time::weekday(&day))}<br />{time::day(&day)}
            </th>
        }
        .into_any()
    };
    let cell = move |day: NaiveDate, h: u32| {
        let span = hour(day, h);
        let state = Value::memo(move || spans.with(|spans| slot(span, spans, now(), &session.username())));
        let marked = Memo::new(move |_| chosen.get().is_some_and(|chosen| overlaps(chosen, span)));
        let class = move || match (marked.get(), state.get()) {
            (_, Slot::Busy { .. }) => "slot busy",
            (_, Slot::Mine { .. }) => "slot mine",
            (true, _) => "slot chosen",
            (_, Slot::Past) => "slot past",
            _ => "slot",
        };
        let when = format!("{} {} {} {h:02}:00", time::weekday(&day), day.day(), time::month(&day));
        let label = move || {
            let words = match state.get() {
                Slot::Free if marked.get() => "selected".to_owned(),
                Slot::Free => "free".to_owned(),
                Slot::Past => "past".to_owned(),
                Slot::Busy { words, .. } if words == "Busy" => "busy".to_owned(),
                Slot::Busy { words, .. } => format!("busy: {words}"),
                Slot::Mine { words, .. } => format!("your booking: {words}"),
            };
            format!("{when}, {words}")
        };
        let text = move || match state.get() {
            Slot::Busy { words, first: true } | Slot::Mine { words, first: true } => words,
            _ => String::new(),
        };
        view! {
            <td>
                <button
                    type="button"
                    class=class
                    aria-label=label
                    aria-pressed=move || marked.get().to_string()
                    aria-disabled=move || (!bookable.get() || state.get() != Slot::Free).to_string()
                    tabindex=move || if at.get() == (day, h) { "0" } else { "-1" }
                    on:pointerdown=move |event| {
                        if event.button() == 0 && event.pointer_type() == "mouse" {
                            press((day, h));
                        }
                    }
                    on:pointerenter=move |_| enter((day, h))
                    on:click=move |_| click((day, h))
                >
                    {text}
                </button>
            </td>
        }
        .into_any()
    };
    let row = move |h: u32| {
        view! {
            <tr>
                <th scope="row">{format!("{h:02}:00")}</th>
                {days().into_iter().map(|day| cell(day, h)).collect_view()}
            </tr>
        }
        .into_any()
    };
    let range = move || {
        let (first, last) = (week.get(), week.get() + Duration::days(6));
        format!("{} – {} {}", time::day(&first), time::day(&last), last.year())
    };
    view! {
        <div class="calendar" on:pointerup=release on:pointercancel=release on:pointerleave=release>
            <div class="calendar-tools">
                <div class="row">
                    <button type="button" class="button small back" aria-label="Previous week" on:click=move |_| step(-7)>
                        <IconView icon=Icon::Chevron />
                    </button>
                    <button type="button" class="button small" on:click=move |_| week.set(monday(today))>"Today"</button>
                    <button type="button" class="button small" aria-label="Next week" on:click=move |_| step(7)>
                        <IconView icon=Icon::Chevron />
                    </button>
                </div>
                <strong aria-live="polite">{range}</strong>
            </div>
            <div class="calendar-scroll" node_ref=body tabindex="-1">
                <table>
                    <caption class="visually-hidden">"Free and busy hours. Move with the arrow keys; press Enter on a start and an end hour."</caption>
                    <thead>
                        <tr>
                            <th scope="col"><span class="visually-hidden">"Hour"</span></th>
                            {move || days().into_iter().map(head).collect_view()}
                        </tr>
                    </thead>
                    <tbody on:keydown=key>{move || (0..24).map(row).collect_view()}</tbody>
                </table>
            </div>
            <div class="legend">
                <span><i></i>"free"</span>
                <span><i class="busy"></i>"busy"</span>
                <span><i class="mine"></i>"your booking"</span>
                <span><i class="chosen"></i>"selected"</span>
                <span>"Click a start and end hour, or drag."</span>
            </div>
        </div>
    }
}
