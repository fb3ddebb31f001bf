//! The rows of the delivery log: one line each, of which only those near the window are rendered in a long list.

use super::State;
use super::list::{Selection, is_wide};
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::focus;
use crate::intl;
use crate::virtual_rows::{RowHeight, VirtualRows};
use domain::delivery::{DeliveryStatus, DeliverySummary};
use domain::id::DeliveryId;
use leptos::prelude::*;
use std::sync::Arc;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, MouseEvent};

/// The height of a row in pixels, as in `style/deliveries.css`.
const ROW_HEIGHT: f64 = 37.0;
/// The number of columns.
const COLUMNS: usize = 7;

/// Scrolls to the row at a position, and focuses its link when it is rendered.
pub fn reveal(position: usize, id: &str) {
    let selector = format!("#main .log a[href$=\"/{id}\"]");
    if let Ok(Some(body)) = document().query_selector("#main .log tbody") {
        let top = body.get_bounding_client_rect().top() + position as f64 * ROW_HEIGHT;
        let height = window().inner_height().ok().and_then(|height| height.as_f64()).unwrap_or_default();
        if top < 2.0 * ROW_HEIGHT || top > height - 2.0 * ROW_HEIGHT {
            let scroll = window().scroll_y().unwrap_or_default() + top - height / 2.0;
            window().scroll_to_with_x_and_y(0.0, scroll.max(0.0));
        }
    }
    // One frame for the scroll event, one for the rows.
    request_animation_frame(move || {
        request_animation_frame(move || {
            if let Ok(Some(link)) = document().query_selector(&selector) {
                focus::move_to(&link);
            }
        });
    });
}

/// The log. A click on a row opens its delivery.
#[component]
pub fn LogRows(
    rows: ErasedMemo<Arc<Vec<DeliverySummary>>>,
    selection: Selection,
    /// Whether the rows name their webhook.
    names_webhook: bool,
) -> impl IntoView {
    let length = Memo::new(move |_| rows.with(|rows| rows.len()));
    let visible = VirtualRows::new(length, RowHeight { table: ROW_HEIGHT, card: ROW_HEIGHT });
    let range = visible.range;
    let start = Memo::new(move |_| range.get().start);
    let window_rows =
        ErasedMemo::new(move |_| rows.with(|rows| rows.get(range.get()).map(<[_]>::to_vec).unwrap_or_default()));
    let ids = ErasedMemo::new(move |_| window_rows.with(|rows| rows.iter().map(|d| d.id.clone()).collect::<Vec<_>>()));
    // A press anywhere in a row is a press on its link, except on other links and in a selected text.
    let on_click = move |event: MouseEvent| {
        let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
        let find = |selector: &str| target.as_ref().and_then(|target| target.closest(selector).ok().flatten());
        let is_plain = event.button() == 0 && !event.ctrl_key() && !event.meta_key() && !event.shift_key();
        if !is_plain || find("a:not(.log-link)").is_some() {
            return;
        }
        let is_link = find("a.log-link").is_some();
        if let Some(id) = find("tr").and_then(|row| row.get_attribute("data-id"))
            && (is_wide() || !is_link)
        {
            event.prevent_default();
            selection.open(&id);
        }
    };
    view! {
        <ScrollableTable label="Deliveries">
            <table class="log" aria-rowcount=move || length.get() + 1>
                <thead>
                    <tr>
                        <th class="log-state">"Status"</th>
                        <th class="log-event">"Event"</th>
                        {names_webhook.then(|| view! { <th class="log-webhook">"Webhook"</th> })}
                        <th class="log-reservation">"Reservation"</th>
                        <th class="log-response"><span class="log-note">"Response"</span><span class="log-context">"Code"</span></th>
                        <th class="log-duration number">"Duration"</th>
                        <th class="log-time number">"Created"</th>
                    </tr>
                </thead>
                <tbody node_ref=visible.body on:click=on_click>
                    {visible.space_above(COLUMNS)}
                    <For each=move || ids.get() key=|id| id.to_string() let:id>
                        <LogRow rows=window_rows start=start id=id selected=selection.id names_webhook=names_webhook />
                    </For>
                    {visible.space_below(COLUMNS)}
                </tbody>
            </table>
        </ScrollableTable>
    }
}

#[component]
fn LogRow(
    rows: ErasedMemo<Vec<DeliverySummary>>,
    /// The position of the first of these rows in the list.
    start: Memo<usize>,
    id: DeliveryId,
    selected: Memo<String>,
    names_webhook: bool,
) -> impl IntoView {
    let own = id.to_string();
    let of_row = id.clone();
    // The head is the first row of the table.
    let row_number =
        move || rows.with(|rows| rows.iter().position(|d| d.id == of_row)).map(|position| start.get() + position + 2);
    let find = move |rows: &Vec<DeliverySummary>| rows.iter().find(|d| d.id == id).cloned();
    let first = rows.with_untracked(&find)?;
    // A removed row keeps its last content until it disappears.
    let delivery = ErasedMemo::new(move |last: Option<&DeliverySummary>| {
        rows.with(&find).unwrap_or_else(|| last.unwrap_or(&first).clone())
    });
    // These fields never change.
    let fixed = delivery.get_untracked();
    let row_id = own.clone();
    let is_selected = Memo::new(move |_| selected.with(|id| *id == own));
    let reservation = fixed.reservation_id.clone().map(|id| {
        view! { <span class="small muted mono short-id" title=id.clone()>{id.clone()}</span> }
    });
    let webhook = fixed.webhook_name.clone();
    Some(view! {
        <tr data-id=row_id aria-rowindex=row_number class:selected=move || is_selected.get()>
            <td class="log-state">{move || view! { <State status=delivery.with(|d| d.status) /> }}</td>
            <td class="log-event">
                <a
                    class="log-link"
                    href=format!("/deliveries/{}", fixed.id)
                    aria-current=move || is_selected.get().then_some("true")
                >
                    {fixed.event_type.as_str()}
                </a>
                {fixed.test.then(|| view! { " " <span class="badge">"test"</span> })}
                {fixed.redelivery_of.is_some().then(|| view! { " " <span class="badge">"redelivery"</span> })}
                {names_webhook.then(|| view! { <span class="log-context muted small">" "{webhook.clone()}</span> })}
            </td>
            {names_webhook.then(|| view! {
                <td class="log-webhook"><a href=format!("/settings/webhooks/{}", fixed.webhook_id)>{fixed.webhook_name}</a></td>
            })}
            <td class="log-reservation">{reservation}</td>
            <td class="log-response"><LogResult delivery=delivery /></td>
            <td class="log-duration number muted">
                {move || delivery.with(|d| d.duration_ms.map_or_else(|| "–".to_owned(), intl::duration))}
            </td>
            <td class="log-time number muted"><RelativeTime at=fixed.created_at /></td>
        </tr>
    })
}

/// The code of the last response, with its problem or the progress.
#[component]
fn LogResult(delivery: ErasedMemo<DeliverySummary>) -> impl IntoView {
    let code = move || delivery.with(|d| d.status_code).map_or_else(|| "–".to_owned(), |code| code.to_string());
    let next =
        ErasedMemo::new(move |_| delivery.with(|d| d.next_attempt_at.filter(|_| d.status == DeliveryStatus::Retrying)));
    let attempts =
        move || delivery.with(|d| (d.attempts > 1).then(|| format!("attempt {} of {}", d.attempts, d.max_attempts)));
    let problem = move || {
        delivery.with(|d| {
            let separator = if d.attempts > 1 { " · " } else { "" };
            d.problem.as_ref().map(|problem| format!("{separator}{problem}"))
        })
    };
    view! {
        <span class="mono">{code}</span>
        <span class="small muted log-note">
            " "{move || next.get().map(|at| view! { "next attempt "<Countdown at=at />" · " })} {attempts}{problem}
        </span>
    }
}
