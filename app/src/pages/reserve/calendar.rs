//! The calendar of one resource: one week, hour by hour.
//!
//! The user selects a span by dragging, by two clicks, or with the arrow keys and Enter.

use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::live::{LiveEvent, use_live};
use crate::query::Query;
use crate::rpc::reservations;
use crate::session::use_session;
use crate::{intl, time};
use chrono::{DateTime, Duration, Local, NaiveDate, Utc};
use domain::id::ResourceId;
use domain::reservation::{BusySpan, overlaps};
use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

/// The start and end of a span.
pub type Span = (DateTime<Utc>, DateTime<Utc>);

/// A full hour of a day: the date, and the hour from 0 to 23.
type Hour = (NaiveDate, u32);

/// The interval at which the calendar polls. Users receive no live updates of other users' reservations.
const POLL_INTERVAL_S: i64 = 30;
/// The number of days in the calendar.
const DAYS: i64 = 7;
/// The hour at the top of the calendar, which the user can scroll.
const FIRST_VISIBLE_HOUR: i32 = 7;
/// The height of an hour in CSS pixels (`style/pages.css`).
const HOUR_HEIGHT: i32 = 28;
/// The hour that first has the keyboard focus.
const FIRST_FOCUSED_HOUR: u32 = 9;

fn first_day_of_week(day: NaiveDate) -> NaiveDate {
    day.week(intl::first_weekday()).first_day()
}

fn today() -> NaiveDate {
    Local::now().date_naive()
}

/// The span of an hour.
fn span_of((day, hour): Hour) -> Span {
    let start = time::hour_of(day, hour);
    (start, start + Duration::hours(1))
}

/// The content of a slot, which is one hour in the calendar.
#[derive(Clone, PartialEq)]
enum Slot {
    Free,
    Past,
    /// Reserved, with the title or the user.
    Reserved {
        label: String,
        is_own: bool,
        is_first: bool,
    },
}

impl Slot {
    fn new(span: Span, busy: &[BusySpan], now: DateTime<Utc>, username: &str) -> Self {
        let Some(reserved) = busy.iter().find(|b| overlaps((b.start_time, b.end_time), span)) else {
            return if span.1 <= now { Self::Past } else { Self::Free };
        };
        let title = reserved.title.clone().filter(|title| !title.is_empty());
        Self::Reserved {
            // Only the owner and administrators receive the title and the user.
            label: title.or_else(|| reserved.user_id.clone()).unwrap_or_default(),
            is_own: reserved.user_id.as_deref() == Some(username),
            is_first: reserved.start_time >= span.0,
        }
    }

    fn class(&self, is_selected: bool) -> &'static str {
        match self {
            Self::Reserved { is_own: false, .. } => "slot busy",
            Self::Reserved { is_own: true, .. } => "slot own",
            _ if is_selected => "slot selected",
            Self::Past => "slot past",
            Self::Free => "slot",
        }
    }

    /// The text for assistive technology.
    fn description(&self, is_selected: bool) -> String {
        match self {
            Self::Free if is_selected => "selected".to_owned(),
            Self::Free => "free".to_owned(),
            Self::Past => "past".to_owned(),
            Self::Reserved { label, is_own: true, .. } => format!("your booking: {label}"),
            Self::Reserved { label, .. } if label.is_empty() => "busy".to_owned(),
            Self::Reserved { label, .. } => format!("busy: {label}"),
        }
    }

    /// The visible text, in the first slot of a reservation.
    fn text(&self) -> String {
        match self {
            Self::Reserved { label, is_first: true, .. } if label.is_empty() => "Busy".to_owned(),
            Self::Reserved { label, is_first: true, .. } => label.clone(),
            _ => String::new(),
        }
    }
}

/// The state of the calendar.
#[derive(Clone, Copy)]
struct CalendarState {
    /// The first day of the visible week.
    week: ErasedSignal<NaiveDate>,
    /// The reserved spans of the resource.
    busy: ErasedMemo<Vec<BusySpan>>,
    /// The current time to the minute.
    now: Memo<DateTime<Utc>>,
    /// Whether the user may reserve the resource.
    bookable: Signal<bool>,
    /// The selected span.
    selected: ErasedSignal<Option<Span>>,
    /// The hour in which the pointer was pressed, while it is.
    pressed: ErasedSignal<Option<Hour>>,
    /// The first of two clicked hours.
    clicked: ErasedSignal<Option<Hour>>,
    /// The hour that the Tab key focuses.
    focused: ErasedSignal<Hour>,
}

impl CalendarState {
    fn is_free(self, hour: Hour) -> bool {
        let slot = self.busy.with_untracked(|busy| Slot::new(span_of(hour), busy, self.now.get_untracked(), ""));
        slot == Slot::Free
    }

    /// Selects the hours from one to the other, if none is reserved. Returns whether it did.
    fn select(self, one: Hour, other: Hour) -> bool {
        let (start, end) = (span_of(one.min(other)).0, span_of(one.max(other)).1);
        let is_reserved =
            self.busy.with_untracked(|busy| busy.iter().any(|b| overlaps((b.start_time, b.end_time), (start, end))));
        if is_reserved {
            return false;
        }
        // A reservation cannot start in the past, so the current hour starts now.
        self.selected.set(Some((start.max(self.now.get_untracked()), end)));
        true
    }

    /// Selects an hour, or the span from the hour of the previous click.
    fn click(self, hour: Hour) {
        self.focused.set(hour);
        let first = self.clicked.get_untracked();
        self.clicked.set(None);
        if !self.bookable.get_untracked() || first.is_some_and(|first| first != hour && self.select(first, hour)) {
            return;
        }
        if self.is_free(hour) && self.select(hour, hour) {
            self.clicked.set(Some(hour));
        }
    }

    /// Starts to drag.
    fn press(self, hour: Hour) {
        let can_select = self.bookable.get_untracked() && self.is_free(hour);
        self.pressed.set(can_select.then_some(hour));
    }

    /// Extends the span while the pointer is pressed.
    fn drag_to(self, hour: Hour) {
        if let Some(first) = self.pressed.get_untracked().filter(|first| *first != hour)
            && self.select(first, hour)
        {
            self.clicked.set(None);
        }
    }

    /// Shows another week, and keeps the focused hour in it.
    fn show_week(self, first_day: NaiveDate) {
        self.week.set(first_day);
        let day = self.focused.get_untracked().0;
        if !(first_day..first_day + Duration::days(DAYS)).contains(&day) {
            self.focused.update(|focused| focused.0 = first_day);
        }
    }

    fn move_weeks(self, weeks: i64) {
        self.show_week(self.week.get_untracked() + Duration::days(weeks * DAYS));
    }

    /// Moves the focus with the arrow keys, Home and End.
    fn on_key(self, event: &KeyboardEvent) {
        let (day, hour) = self.focused.get_untracked();
        let next = match event.key().as_str() {
            "ArrowUp" if hour > 0 => (day, hour - 1),
            "ArrowDown" if hour < 23 => (day, hour + 1),
            "ArrowLeft" => (day - Duration::days(1), hour),
            "ArrowRight" => (day + Duration::days(1), hour),
            "Home" => (day, 0),
            "End" => (day, 23),
            _ => return,
        };
        event.prevent_default();
        self.focused.set(next);
        let week = first_day_of_week(next.0);
        if week != self.week.get_untracked() {
            self.week.set(week);
        }
        request_animation_frame(|| {
            if let Ok(Some(slot)) = document().query_selector(".slot[tabindex=\"0\"]")
                && let Ok(slot) = slot.dyn_into::<web_sys::HtmlElement>()
            {
                let _ = slot.focus();
            }
        });
    }

    /// The days of the visible week. Tracked.
    fn days(self) -> Vec<NaiveDate> {
        self.week.get().iter_days().take(DAYS as usize).collect()
    }
}

/// Reads the reserved spans of a resource in the visible week, and polls them.
fn query_busy_spans(
    resource: ResourceId,
    resource_type: String,
    week: ErasedSignal<NaiveDate>,
) -> ErasedMemo<Vec<BusySpan>> {
    let ticker = use_ticker();
    let busy = Query::new(move || {
        let start = time::hour_of(week.get(), 0);
        // One hour more: the week in which the clocks are set back is longer.
        let end = start + Duration::days(DAYS) + Duration::hours(1);
        reservations::busy(Some(resource_type.clone()), start, end)
    });
    let poll = Memo::new(move |_| ticker.now().timestamp() / POLL_INTERVAL_S);
    Effect::watch(move || poll.get(), move |_, _, _| busy.refetch(), false);
    use_live().on(move |event| match event {
        LiveEvent::Reservation(changed) if changed.resource_id == resource => busy.refetch(),
        LiveEvent::Resync => busy.refetch(),
        _ => {}
    });
    ErasedMemo::new(move |_| {
        let mut spans = busy.get().unwrap_or_default();
        spans.retain(|span| span.resource_id == resource);
        spans
    })
}

/// The calendar of a resource. `selected` is the selected span.
#[component]
pub fn Calendar(
    resource: ResourceId,
    resource_type: String,
    selected: ErasedSignal<Option<Span>>,
    bookable: Signal<bool>,
) -> impl IntoView {
    let ticker = use_ticker();
    // Slots change at most once a minute.
    let minute = Memo::new(move |_| ticker.now().timestamp() / 60);
    let week = ErasedSignal::new(first_day_of_week(today()));
    let state = CalendarState {
        week,
        busy: query_busy_spans(resource, resource_type, week),
        now: Memo::new(move |_| DateTime::from_timestamp(minute.get() * 60, 0).unwrap_or_default()),
        bookable,
        selected,
        pressed: ErasedSignal::new(None),
        clicked: ErasedSignal::new(None),
        focused: ErasedSignal::new((today(), FIRST_FOCUSED_HOUR)),
    };
    let release = move |_: PointerEvent| state.pressed.set(None);
    view! {
        <div class="calendar" on:pointerup=release on:pointercancel=release on:pointerleave=release>
            <Toolbar state=state />
            <Grid state=state />
            <div class="legend">
                <span><i></i>"free"</span>
                <span><i class="busy"></i>"busy"</span>
                <span><i class="own"></i>"your booking"</span>
                <span><i class="selected"></i>"selected"</span>
                <span>"Click a start and end hour, or drag."</span>
            </div>
        </div>
    }
}

/// The buttons that change the week, and its dates.
#[component]
fn Toolbar(state: CalendarState) -> impl IntoView {
    let dates = move || {
        let first = state.week.get();
        intl::day_range(first, first + Duration::days(DAYS - 1))
    };
    view! {
        <div class="calendar-tools">
            <div class="row">
                <button
                    type="button"
                    class="button small back"
                    aria-label="Previous week"
                    on:click=move |_| state.move_weeks(-1)
                >
                    <IconView icon=Icon::Chevron />
                </button>
                <button
                    type="button"
                    class="button small"
                    on:click=move |_| state.show_week(first_day_of_week(today()))
                >
                    "Today"
                </button>
                <button type="button" class="button small" aria-label="Next week" on:click=move |_| state.move_weeks(1)>
                    <IconView icon=Icon::Chevron />
                </button>
            </div>
            <strong aria-live="polite">{dates}</strong>
        </div>
    }
}

#[component]
fn Grid(state: CalendarState) -> impl IntoView {
    let body = NodeRef::<leptos::html::Div>::new();
    Effect::new(move |_| {
        if let Some(body) = body.get() {
            request_animation_frame(move || body.set_scroll_top(HOUR_HEIGHT * FIRST_VISIBLE_HOUR));
        }
    });
    let day_header = |day: NaiveDate| {
        view! {
            <th scope="col" class:today=day == today()>
                {intl::weekday(day)}<br />{intl::day(day)}
            </th>
        }
    };
    // Clocks change on weekends, so the labels use a day in the middle of the week.
    let label = move |hour| intl::hour(time::hour_of(state.week.get() + Duration::days(DAYS / 2), hour));
    let row = move |hour: u32| {
        view! {
            <tr>
                <th scope="row">{move || label(hour)}</th>
                {move || {
                    state.days().into_iter().map(|day| view! { <SlotCell state=state hour=(day, hour) /> }).collect_view()
                }}
            </tr>
        }
    };
    view! {
        <div class="calendar-scroll" node_ref=body tabindex="-1">
            <table>
                <caption class="visually-hidden">
                    "Free and busy hours. Move with the arrow keys; press Enter on a start and an end hour."
                </caption>
                <thead>
                    <tr>
                        <th scope="col"><span class="visually-hidden">"Hour"</span></th>
                        {move || state.days().into_iter().map(day_header).collect_view()}
                    </tr>
                </thead>
                <tbody on:keydown=move |event| state.on_key(&event)>{(0..24).map(row).collect_view()}</tbody>
            </table>
        </div>
    }
}

/// One hour of one day.
#[component]
fn SlotCell(state: CalendarState, hour: Hour) -> impl IntoView {
    let session = use_session();
    let span = span_of(hour);
    let slot =
        ErasedMemo::new(move |_| state.busy.with(|busy| Slot::new(span, busy, state.now.get(), &session.username())));
    let is_selected = Memo::new(move |_| state.selected.get().is_some_and(|selected| overlaps(selected, span)));
    let name = intl::hour_of_day(span.0);
    let on_pointer_down = move |event: PointerEvent| {
        // A finger scrolls; only the main mouse button selects.
        if event.button() == 0 && event.pointer_type() == "mouse" {
            state.press(hour);
        }
    };
    view! {
        <td>
            <button
                type="button"
                class=move || slot.with(|slot| slot.class(is_selected.get()))
                aria-label=move || format!("{name}, {}", slot.with(|slot| slot.description(is_selected.get())))
                aria-pressed=move || is_selected.get().to_string()
                aria-disabled=move || (!state.bookable.get() || slot.get() != Slot::Free).to_string()
                tabindex=move || if state.focused.get() == hour { "0" } else { "-1" }
                on:pointerdown=on_pointer_down
                on:pointerenter=move |_| state.drag_to(hour)
                on:click=move |_| state.click(hour)
            >
                {move || slot.with(Slot::text)}
            </button>
        </td>
    }
}
