//! The calendar of one resource: a time grid of some days with a precision of 15 minutes.
//!
//! The user selects a span by dragging, by two clicks, or with the arrow keys and Enter.

use super::draft::Draft;
use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::live::{LiveEvent, use_live};
use crate::query::Query;
use crate::rpc::reservations;
use crate::session::{Session, use_session};
use crate::{intl, time};
use chrono::{DateTime, Duration, NaiveDate, Utc};
use domain::id::ResourceId;
use domain::local_time::{GridDay, SLOT_MINUTES, TimeGrid};
use domain::reservation::{BusySpan, overlaps};
use leptos::ev::{self, KeyboardEvent, MouseEvent, PointerEvent};
use leptos::html;
use leptos::prelude::*;

/// The start and end of a span.
pub type Span = (DateTime<Utc>, DateTime<Utc>);

/// The interval at which the calendar polls. Users receive no live updates of other users' reservations.
const POLL_INTERVAL_S: i64 = 30;
/// The number of days that are loaded from the first visible one.
const LOADED_DAYS: i64 = 31;
/// The number of days in the calendar: a week, or fewer if the window is narrow.
const WEEK: i64 = 7;
const NARROW_DAYS: i64 = 3;
/// The width up to which a window is narrow, in CSS pixels.
const NARROW: f64 = 900.0;
/// The hour at the top of the calendar, which the user can scroll.
const FIRST_VISIBLE_HOUR: u32 = 7;
/// The length of a span that one click selects.
const CLICK_LENGTH: Duration = Duration::hours(1);
/// The length of the suggested span.
const SUGGESTED_LENGTH: Duration = Duration::hours(2);

const IN_THE_PAST: &str = "This time is in the past.";

/// The reserved spans of the resource between two times.
#[derive(Clone, PartialEq)]
struct Loaded {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    spans: Vec<BusySpan>,
}

fn span_of(busy: &BusySpan) -> Span {
    (busy.start_time, busy.end_time)
}

/// The visible name of a reservation. Only the owner and administrators receive its title and user.
fn label_of(busy: &BusySpan) -> Option<String> {
    busy.title.clone().filter(|title| !title.is_empty()).or_else(|| busy.user_id.clone())
}

fn range_text((start, end): Span) -> String {
    format!("{} – {}", intl::clock(start), intl::clock(end))
}

/// The state of the calendar.
#[derive(Clone, Copy)]
pub struct Calendar {
    draft: Draft,
    session: Session,
    /// Whether the user may reserve the resource.
    bookable: Signal<bool>,
    /// The reserved spans, once they are loaded.
    busy: Query<Loaded>,
    /// The first visible day.
    first: ErasedSignal<NaiveDate>,
    /// The number of visible days.
    count: RwSignal<i64>,
    grid: ErasedMemo<TimeGrid>,
    /// The current time to the minute.
    now: ErasedMemo<DateTime<Utc>>,
    /// The quarter hour in which the pointer was pressed, while it is.
    pressed: ErasedSignal<Option<DateTime<Utc>>>,
    /// Whether the pointer has been dragged since it was pressed.
    dragged: StoredValue<bool>,
    /// The quarter hour below the mouse.
    hovered: ErasedSignal<Option<DateTime<Utc>>>,
    /// The first of two clicked quarter hours.
    clicked: ErasedSignal<Option<DateTime<Utc>>>,
    /// The quarter hour that the keyboard has reached.
    cursor: ErasedSignal<DateTime<Utc>>,
    /// Why a selection was refused or shortened.
    message: RwSignal<String>,
}

impl Calendar {
    /// Starts to load the reserved spans of a resource.
    pub fn new(resource: ResourceId, draft: Draft, bookable: Signal<bool>) -> Self {
        let ticker = use_ticker();
        // The calendar changes at most once a minute.
        let minute = Memo::new(move |_| ticker.now().timestamp() / 60);
        let now = ErasedMemo::new(move |_| DateTime::from_timestamp(minute.get() * 60, 0).unwrap_or_default());
        let count = RwSignal::new(days_in_window());
        let first = ErasedSignal::new(first_day(time::date(now.get_untracked()), count.get_untracked()));
        let state = Self {
            draft,
            session: use_session(),
            bookable,
            busy: query_busy_spans(resource, first),
            first,
            count,
            grid: ErasedMemo::new(move |_| time::grid(first.get(), count.get() as usize)),
            now,
            pressed: ErasedSignal::new(None),
            dragged: StoredValue::new(false),
            hovered: ErasedSignal::new(None),
            clicked: ErasedSignal::new(None),
            cursor: ErasedSignal::new(time::next_full_hour(now.get_untracked())),
            message: RwSignal::new(String::new()),
        };
        state.watch_window();
        state.suggest_once();
        state.follow_draft();
        state
    }

    /// Shows as many days as the window has room for.
    fn watch_window(self) {
        let listener = window_event_listener(ev::resize, move |_| {
            let count = days_in_window();
            if count != self.count.get_untracked() {
                self.count.set(count);
                self.show(time::date(self.cursor.get_untracked()));
            }
        });
        on_cleanup(move || listener.remove());
    }

    /// Enters the first free span once the reserved spans are known, unless the user has entered one.
    fn suggest_once(self) {
        Effect::new(move |done: Option<bool>| {
            if done == Some(true) {
                return true;
            }
            let Some(loaded) = self.busy.get() else { return false };
            let mut start = time::next_full_hour(self.now.get_untracked());
            for span in loaded.spans.iter().map(BusySpan::busy) {
                if overlaps(span, (start, start + SUGGESTED_LENGTH)) {
                    start = time::next_quarter(span.1);
                }
            }
            let end = start + SUGGESTED_LENGTH;
            if end <= loaded.to {
                self.draft.suggest((start, end));
            }
            true
        });
    }

    /// Shows the day of the entered start.
    fn follow_draft(self) {
        Effect::new(move |_| {
            let Some((start, _)) = self.draft.span() else { return };
            // A year that is only half typed.
            if (start - self.now.get_untracked()).num_days().abs() > 3_660 {
                return;
            }
            if self.grid.with_untracked(|grid| grid.day_of(start).is_none()) {
                self.show(time::date(start));
                self.cursor.set(time::quarter(start));
            }
        });
    }

    /// The reserved spans that are known. Tracked.
    fn spans(self) -> Vec<BusySpan> {
        self.busy.get().map(|loaded| loaded.spans).unwrap_or_default()
    }

    /// Whether the resource stays free around a reservation. Tracked.
    fn has_turnaround(self) -> bool {
        self.spans().iter().any(|busy| busy.busy() != span_of(busy))
    }

    /// Whether the reserved spans in a span are known. Tracked.
    fn is_loaded(self, (start, end): Span) -> bool {
        self.busy.get().is_some_and(|loaded| loaded.from <= start && end <= loaded.to)
    }

    /// The first reservation that overlaps a span, with its turnaround time. Tracked.
    pub fn conflict(self, span: Span) -> Option<Span> {
        self.spans().iter().map(BusySpan::busy).find(|busy| overlaps(*busy, span))
    }

    /// Why a quarter hour cannot be selected.
    fn obstacle(self, start: DateTime<Utc>) -> Option<String> {
        if !self.bookable.get_untracked() {
            return Some("You cannot reserve this resource now.".to_owned());
        }
        let slot = (start, start + time::QUARTER);
        if !untrack(|| self.is_loaded(slot)) {
            return Some("The reservations of this day are not loaded yet.".to_owned());
        }
        if let Some(busy) = untrack(|| self.conflict(slot)) {
            return Some(format!("Reserved: {}.", intl::span(busy.0, busy.1)));
        }
        (slot.1 <= self.now.get_untracked()).then(|| IN_THE_PAST.to_owned())
    }

    /// Selects the span between two times. The first one is free. A reservation between them limits the span.
    fn select(self, from: DateTime<Utc>, to: DateTime<Utc>) {
        // A reservation cannot start in the past, so the current quarter hour starts now.
        let (mut start, mut end) = (from.min(to).max(self.now.get_untracked()), from.max(to));
        let mut limit = None;
        for busy in untrack(|| self.spans()).iter().map(BusySpan::busy) {
            if overlaps(busy, (start, end)) {
                limit = Some(busy);
                if busy.0 >= from {
                    end = busy.0;
                } else {
                    start = busy.1;
                }
            }
        }
        let is_valid = start < end;
        if is_valid {
            self.draft.set_span((start, end));
        }
        self.message.set(match limit {
            Some((start, end)) => format!("Limited by a reservation: {}.", intl::span(start, end)),
            None if is_valid => String::new(),
            None => IN_THE_PAST.to_owned(),
        });
    }

    /// Selects an hour from a quarter hour, or the span from the one that was clicked before to `end`.
    fn click(self, start: DateTime<Utc>, end: DateTime<Utc>) {
        self.cursor.set(start);
        match self.clicked.get_untracked() {
            Some(first) if end != first => {
                self.clicked.set(None);
                self.select(first, end);
            }
            _ => match self.obstacle(start) {
                Some(obstacle) => self.message.set(obstacle),
                None => {
                    self.clicked.set(Some(start));
                    self.select(start, start + CLICK_LENGTH);
                }
            },
        }
    }

    /// The start of the quarter hour at the pointer, and the quarter hour's boundary that is nearest to it.
    fn at_pointer(self, column: usize, event: &MouseEvent) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        // The content of a column ignores the pointer, so the column is the target.
        let height = event_target::<web_sys::HtmlElement>(event).client_height().max(1);
        let offset = event.offset_y().clamp(0, height - 1) as u32;
        self.grid.with_untracked(|grid| {
            let minutes = offset * grid.height() * SLOT_MINUTES / height as u32;
            let start = grid.days.get(column)?.time_at(minutes / SLOT_MINUTES)?;
            let is_lower_half = minutes % SLOT_MINUTES > SLOT_MINUTES / 2;
            Some((start, if is_lower_half { start + time::QUARTER } else { start }))
        })
    }

    /// Starts to drag. A finger scrolls instead; only the main mouse button drags.
    fn on_press(self, column: usize, event: &PointerEvent) {
        self.dragged.set_value(false);
        let is_drag = event.button() == 0 && event.pointer_type() == "mouse";
        let start = self.at_pointer(column, event).filter(|_| is_drag).map(|(start, _)| start);
        self.pressed.set(start.filter(|start| self.obstacle(*start).is_none()));
    }

    fn on_move(self, column: usize, event: &PointerEvent) {
        if event.pointer_type() != "mouse" {
            return;
        }
        let point = self.at_pointer(column, event);
        self.hover(point.map(|(start, _)| start));
        if let Some((_, end)) = point {
            self.drag_to(end);
        }
    }

    fn hover(self, start: Option<DateTime<Utc>>) {
        if self.hovered.get_untracked() != start {
            self.hovered.set(start);
        }
    }

    fn on_click(self, column: usize, event: &MouseEvent) {
        if self.dragged.get_value() {
            return;
        }
        match self.at_pointer(column, event) {
            Some((start, end)) => self.click(start, end),
            None => self.message.set("This time does not exist on this day, because the clocks change.".to_owned()),
        }
    }

    /// Extends the span while the mouse is pressed.
    fn drag_to(self, end: DateTime<Utc>) {
        if let Some(first) = self.pressed.get_untracked().filter(|first| *first != end) {
            self.dragged.set_value(true);
            self.clicked.set(None);
            self.select(first, end);
        }
    }

    /// Shows the days around a day.
    fn show(self, day: NaiveDate) {
        self.first.set(first_day(day, self.count.get_untracked()));
    }

    /// Shows other days, and keeps the cursor in them.
    fn move_days(self, days: i64) {
        self.first.update(|first| *first += Duration::days(days));
        self.cursor.update(|cursor| *cursor = time::add_days(*cursor, days));
    }

    fn show_today(self) {
        let now = self.now.get_untracked();
        self.show(time::date(now));
        self.cursor.set(time::quarter(now));
    }

    /// Moves the cursor with the keyboard. Returns whether it did.
    fn move_cursor(self, key: &str) -> bool {
        let (cursor, week) = (self.cursor.get_untracked(), self.count.get_untracked());
        let day = time::date(cursor);
        let next = match key {
            "ArrowUp" => cursor - time::QUARTER,
            "ArrowDown" => cursor + time::QUARTER,
            "ArrowLeft" => time::add_days(cursor, -1),
            "ArrowRight" => time::add_days(cursor, 1),
            "PageUp" => time::add_days(cursor, -week),
            "PageDown" => time::add_days(cursor, week),
            "Home" => time::day_start(day),
            "End" => time::day_start(day + Duration::days(1)) - time::QUARTER,
            _ => return false,
        };
        self.cursor.set(next);
        if self.grid.with_untracked(|grid| grid.day_of(next).is_none()) {
            self.show(time::date(next));
        }
        true
    }

    fn is_own(self, busy: &BusySpan) -> bool {
        busy.user_id.as_ref() == Some(&self.session.username_untracked())
    }

    /// The content of a quarter hour as text. Tracked.
    fn describe(self, start: DateTime<Utc>) -> String {
        let slot = (start, start + time::QUARTER);
        let busy = self.spans().into_iter().find(|busy| overlaps(span_of(busy), slot));
        match busy {
            Some(busy) => {
                let kind = if self.is_own(&busy) { "your booking" } else { "busy" };
                label_of(&busy).map_or_else(|| kind.to_owned(), |label| format!("{kind}: {label}"))
            }
            None if self.conflict(slot).is_some() => "turnaround".to_owned(),
            None if self.draft.span().is_some_and(|span| overlaps(span, slot)) => "selected".to_owned(),
            None if slot.1 <= self.now.get() => "past".to_owned(),
            None => "free".to_owned(),
        }
    }
}

fn days_in_window() -> i64 {
    let width = window().inner_width().ok().and_then(|width| width.as_f64());
    if width.is_some_and(|width| width <= NARROW) { NARROW_DAYS } else { WEEK }
}

/// The first visible day, so that a day is visible: of a week, the one on which weeks start.
fn first_day(day: NaiveDate, count: i64) -> NaiveDate {
    if count == WEEK { day.week(intl::first_weekday()).first_day() } else { day }
}

/// Reads the reserved spans of a resource from the first visible day on, and polls them.
fn query_busy_spans(resource: ResourceId, first: ErasedSignal<NaiveDate>) -> Query<Loaded> {
    let ticker = use_ticker();
    let busy = Query::new(move || {
        let first = first.get();
        let (from, to) = (time::day_start(first), time::day_start(first + Duration::days(LOADED_DAYS)));
        let spans = reservations::busy(resource, from, to);
        async move { Ok(Loaded { from, to, spans: spans.await? }) }
    });
    let poll = Memo::new(move |_| ticker.now().timestamp() / POLL_INTERVAL_S);
    Effect::watch(move || poll.get(), move |_, _, _| busy.refetch(), false);
    use_live().on(move |event| match event {
        LiveEvent::Reservation(changed) if changed.resource_id == resource => busy.refetch(),
        LiveEvent::Resync => busy.refetch(),
        _ => {}
    });
    busy
}

/// The calendar.
#[component]
pub fn CalendarView(state: Calendar) -> impl IntoView {
    let release = move |_: PointerEvent| state.pressed.set(None);
    view! {
        <div class="calendar" on:pointerup=release on:pointercancel=release on:pointerleave=release>
            <Toolbar state=state />
            <div class="calendar-body">{state.busy.view(move |_| view! { <Grid state=state /> })}</div>
            <p class="calendar-message" role="status">{move || state.message.get()}</p>
            <div class="legend">
                <span><i></i>"free"</span>
                <span><i class="busy"></i>"busy"</span>
                <span><i class="own"></i>"your booking"</span>
                <Show when=move || state.has_turnaround()>
                    <span><i class="turnaround"></i>"turnaround"</span>
                </Show>
                <span><i class="selected"></i>"selected"</span>
                <span>"Select a start and an end, or drag."</span>
            </div>
        </div>
    }
}

/// The buttons that change the visible days, and their dates.
#[component]
fn Toolbar(state: Calendar) -> impl IntoView {
    let dates = move || {
        let first = state.first.get();
        intl::day_range(first, first + Duration::days(state.count.get() - 1))
    };
    let step = move |direction: &'static str, sign: i64| {
        let unit = move || if state.count.get() == WEEK { "week" } else { "days" };
        let class = if sign < 0 { "button small back" } else { "button small" };
        view! {
            <button
                type="button"
                class=class
                aria-label=move || format!("{direction} {}", unit())
                on:click=move |_| state.move_days(sign * state.count.get_untracked())
            >
                <IconView icon=Icon::Chevron />
            </button>
        }
    };
    view! {
        <div class="calendar-tools">
            <div class="row">
                {step("Previous", -1)}
                <button type="button" class="button small" on:click=move |_| state.show_today()>"Today"</button>
                {step("Next", 1)}
            </div>
            <strong aria-live="polite">{dates}</strong>
        </div>
    }
}

#[component]
fn Grid(state: Calendar) -> impl IntoView {
    let body = NodeRef::<html::Div>::new();
    keep_start_visible(state, body);
    let heads = move || {
        let head = |day: &GridDay| {
            let date = day.date;
            let is_today = move || time::date(state.now.get()) == date;
            view! { <div class="day-head" class:today=is_today>{intl::weekday(date)}<br />{intl::day(date)}</div> }
        };
        state.grid.with(|grid| grid.days.iter().map(head).collect_view())
    };
    let labels = move || {
        let label = |(row, time): (u32, DateTime<Utc>)| {
            let from = (row * SLOT_MINUTES).to_string();
            view! { <span style=("--from", from)>{intl::clock(time)}</span> }
        };
        state.grid.with(|grid| grid.labels().map(label).collect_view())
    };
    let columns = move || {
        let days = state.grid.with(|grid| grid.days.iter().map(|day| day.date).collect::<Vec<_>>());
        let column = |(index, date)| view! { <Column state=state index=index date=date /> };
        days.into_iter().enumerate().map(column).collect_view()
    };
    view! {
        <div class="calendar-scroll" node_ref=body>
            <div
                class="time-grid"
                style=("--days", move || state.count.get().to_string())
                style=("--rows", move || state.grid.with(TimeGrid::height).to_string())
            >
                <div class="day-head"></div>
                {heads}
                <div class="hours" aria-hidden="true">{labels}</div>
                {columns}
                <Cursor state=state />
            </div>
        </div>
    }
}

/// Scrolls to the start of the selected span when it is out of view, and at first to the usual working hours.
fn keep_start_visible(state: Calendar, body: NodeRef<html::Div>) {
    Effect::new(move |is_shown: Option<bool>| {
        let Some(body) = body.get() else { return false };
        let is_shown = is_shown == Some(true);
        let start = state.draft.span().map(|(start, _)| start);
        let (minutes, height) = state.grid.with(|grid| {
            let position = start.and_then(|start| grid.day_of(start)?.1.position((start, start + time::QUARTER)));
            let default = (!is_shown).then_some(FIRST_VISIBLE_HOUR * 60);
            (position.map(|(from, _)| from).or(default), grid.height() * SLOT_MINUTES)
        });
        let Some(minutes) = minutes else { return true };
        request_animation_frame(move || {
            let (top, total) = (body.scroll_top(), body.scroll_height());
            let offset = total * minutes as i32 / height as i32;
            let hour = total * 60 / height as i32;
            if !is_shown || offset < top || offset > top + body.client_height() - 2 * hour {
                body.set_scroll_top(offset - hour);
            }
        });
        true
    });
}

/// A part of a column, in minutes from its top.
fn block(class: &'static str, (from, to): (u32, u32), content: impl IntoView + 'static) -> AnyView {
    view! {
        <div class=format!("block {class}") style=("--from", from.to_string()) style=("--to", to.to_string())>
            {content}
        </div>
    }
    .into_any()
}

/// One day.
#[component]
fn Column(state: Calendar, index: usize, date: NaiveDate) -> impl IntoView {
    let position = move |span: Span| state.grid.with_untracked(|grid| grid.days.get(index)?.position(span));
    let (whole_day, missing) = state.grid.with_untracked(|grid| {
        let day = grid.days.get(index);
        let missing = day.map(|day| day.missing(grid.height())).unwrap_or_default();
        (day.map(|day| (day.start, day.end)).unwrap_or_default(), missing)
    });
    let missing = missing.into_iter().map(|range| block("missing", range, ())).collect_view();
    let past = move || {
        let end = if state.is_loaded(whole_day) { state.now.get() } else { whole_day.1 };
        Some(block("past", position((whole_day.0, end))?, ()))
    };
    let reserved = move || {
        let reserved = |busy: BusySpan| {
            let range = position(span_of(&busy))?;
            let is_own = state.is_own(&busy);
            let text = label_of(&busy).unwrap_or_else(|| "Busy".to_owned());
            let time = range_text(span_of(&busy));
            let content = view! { {text}<span class="visually-hidden">", "{time}</span> };
            Some(block(if is_own { "own" } else { "busy" }, range, content))
        };
        state.spans().into_iter().filter_map(reserved).collect_view()
    };
    let turnaround = move || {
        let around = |busy: BusySpan| {
            let (from, until) = busy.busy();
            [(from, busy.start_time), (busy.end_time, until)]
        };
        let parts = state.spans().into_iter().flat_map(around).filter(|(from, until)| from < until);
        parts.filter_map(|part| Some(block("turnaround", position(part)?, ()))).collect_view()
    };
    let selected = move || {
        let span = state.draft.span().filter(|_| state.bookable.get())?;
        Some(block("selected", position(span)?, range_text(span)))
    };
    let hovered = move || {
        let start = state.hovered.get()?;
        let range = position((start, start + time::QUARTER))?;
        Some(block("hovered", range, view! { <span>{intl::clock(start)}</span> }))
    };
    view! {
        <div
            class="day"
            role="group"
            aria-label=format!("{} {}", intl::weekday(date), intl::day(date))
            data-date=date.to_string()
            style=("--column", (index + 2).to_string())
            on:pointerdown=move |event| state.on_press(index, &event)
            on:pointermove=move |event| state.on_move(index, &event)
            on:pointerleave=move |_| state.hover(None)
            on:click=move |event| state.on_click(index, &event)
        >
            {past}
            {missing}
            {turnaround}
            {selected}
            {reserved}
            {hovered}
        </div>
    }
}

/// The quarter hour that the keyboard has reached: the only tab stop of the grid.
#[component]
fn Cursor(state: Calendar) -> impl IntoView {
    let button = NodeRef::<html::Button>::new();
    let position = move || {
        let cursor = state.cursor.get();
        let found = state.grid.with(|grid| {
            let (index, day) = grid.day_of(cursor)?;
            Some((index, day.position((cursor, cursor + time::QUARTER))?))
        });
        found.unwrap_or_default()
    };
    let name = move || format!("{}, {}", intl::clock_of_day(state.cursor.get()), state.describe(state.cursor.get()));
    let announcement = RwSignal::new(String::new());
    let on_key = move |event: KeyboardEvent| {
        if !state.move_cursor(&event.key()) {
            return;
        }
        event.prevent_default();
        announcement.set(untrack(name));
        request_animation_frame(move || {
            if let Some(button) = button.try_get_untracked().flatten() {
                let options = web_sys::ScrollIntoViewOptions::new();
                options.set_block(web_sys::ScrollLogicalPosition::Nearest);
                button.scroll_into_view_with_scroll_into_view_options(&options);
            }
        });
    };
    let on_click = move |_| {
        let cursor = state.cursor.get_untracked();
        state.click(cursor, cursor);
    };
    view! {
        <button
            type="button"
            class="cursor"
            node_ref=button
            aria-label=name
            title="Arrow keys move; Enter selects the start and the end."
            style=("--column", move || (position().0 + 2).to_string())
            style=("--from", move || position().1.0.to_string())
            style=("--to", move || position().1.1.to_string())
            on:keydown=on_key
            on:click=on_click
        ></button>
        <p class="visually-hidden" aria-live="polite">{move || announcement.get()}</p>
    }
}
