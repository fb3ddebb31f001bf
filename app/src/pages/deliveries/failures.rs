//! Failed deliveries by webhook and cause, with the replay of each group.

use super::replay::ReplayDialog;
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::query::Query;
use crate::rpc::deliveries as rpc;
use crate::session::ForWebhookManagers;
use domain::delivery::{DeliveryFilter, FailureGroup, Failures};
use domain::replay::ReplaySource;
use leptos::prelude::*;

/// Width and height of a sparkline in its own units.
const SPARKLINE: (f64, f64) = (96.0, 20.0);

/// The groups of failures that match a filter. `q` is the search of the list, which a group narrows to its deliveries.
#[component]
pub fn FailureGroups(filter: ErasedMemo<DeliveryFilter>, q: RwSignal<String>) -> impl IntoView {
    let failures = Query::new(move || rpc::list_failures(DeliveryFilter { status: None, ..filter.get() }));
    let resent = RwSignal::new(None::<DeliveryFilter>);
    let open = RwSignal::new(false);
    Effect::new(move |_| open.set(resent.with(Option::is_some)));
    let refetch = Callback::new(move |()| failures.refetch());
    let resend = Callback::new(move |filter: DeliveryFilter| resent.set(Some(filter)));
    view! {
        <section class="failures" aria-labelledby="failures-title">
            <h2 id="failures-title">"Failures"</h2>
            {failures.view(move |failures| {
                view! {
                    <Show
                        when=move || failures.with(|failures| !failures.groups.is_empty())
                        fallback=|| view! { <p class="muted">"No failed deliveries in this period."</p> }
                    >
                        <FailureTable failures=failures q=q resend=resend />
                    </Show>
                }
            })}
            <Dialog open=open title="Redeliver failed deliveries">
                {move || resent.get().map(|filter| view! { <ReplayDialog source=ReplaySource::Deliveries filter=filter open=open on_done=refetch /> })}
            </Dialog>
        </section>
    }
}

#[component]
fn FailureTable(
    failures: ErasedMemo<Failures>,
    q: RwSignal<String>,
    resend: Callback<DeliveryFilter>,
) -> impl IntoView {
    let rows = move || {
        let failures = failures.get();
        let (since, until) = (failures.since, failures.until);
        let row = move |group: FailureGroup| {
            let filter = DeliveryFilter {
                q: Some(group.q.clone()),
                since: Some(since),
                until: Some(until),
                ..Default::default()
            };
            view! { <FailureRow group=group filter=filter q=q resend=resend /> }
        };
        failures.groups.into_iter().map(row).collect_view()
    };
    view! {
        <ScrollableTable label="Failures by webhook and cause">
            <table class="cards-on-phone">
                <thead>
                    <tr>
                        <th>"Webhook"</th>
                        <th>"Cause"</th>
                        <th>"Failures"</th>
                        <th>"Affected"</th>
                        <th>"Last"</th>
                        <th>"Over time"</th>
                        <th><span class="visually-hidden">"Actions"</span></th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </ScrollableTable>
    }
}

#[component]
fn FailureRow(
    group: FailureGroup,
    filter: DeliveryFilter,
    q: RwSignal<String>,
    resend: Callback<DeliveryFilter>,
) -> impl IntoView {
    let name = group.webhook_name.clone();
    let cause = group.problem.clone().unwrap_or_else(|| "No diagnosis".to_owned());
    let affected = format!(
        "{}, {}",
        counted(group.reservations, "reservation", "reservations"),
        counted(group.users, "user", "users")
    );
    let show_label = format!("Show the failures of {name}: {cause}");
    // Stored, because the children of a component may run more than once.
    let resend_label = StoredValue::new(format!("Redeliver the failures of {name}: {cause}"));
    let query = group.q.clone();
    let show = Callback::new(move |()| q.set(query.clone()));
    let can_resend = group.unresolved > 0 && !group.webhook_deleted;
    let resend_text = StoredValue::new(format!("Redeliver {}…", intl::number(group.unresolved)));
    let filter = StoredValue::new(filter);
    let run = Callback::new(move |()| resend.run(filter.get_value()));
    let unresolved =
        (group.unresolved < group.count).then(|| format!("{} not redelivered", intl::number(group.unresolved)));
    view! {
        <tr>
            <td data-label="Webhook" class="wrap">
                <a href=format!("/settings/webhooks/{}", group.webhook_id)>{name}</a>
                {group.webhook_deleted.then(|| view! { " " <span class="badge">"deleted"</span> })}
            </td>
            <td data-label="Cause" class="wrap">{cause}</td>
            <td data-label="Failures">
                {intl::number(group.count)} {unresolved.map(|text| view! { <br /><span class="small muted">{text}</span> })}
            </td>
            <td data-label="Affected">{affected}</td>
            <td data-label="Last"><RelativeTime at=group.last_at /></td>
            <td data-label="Over time"><Sparkline series=group.series /></td>
            <td class="row">
                <Button variant=ButtonVariant::Quiet label=show_label on_click=show>"Show"</Button>
                <ForWebhookManagers>
                    {can_resend.then(|| view! {
                        <Button label=resend_label.get_value() on_click=run>{resend_text.get_value()}</Button>
                    })}
                </ForWebhookManagers>
            </td>
        </tr>
    }
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", intl::number(number), if number == 1 { one } else { many })
}

/// The points of a line through a series, within [`SPARKLINE`].
fn points(series: &[u64]) -> String {
    let (width, height) = SPARKLINE;
    let max = series.iter().copied().max().unwrap_or_default().max(1) as f64;
    let step = width / series.len().saturating_sub(1).max(1) as f64;
    let point =
        |(n, value): (usize, &u64)| format!("{:.1},{:.1}", n as f64 * step, height - *value as f64 / max * height);
    series.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

/// The number of failures over time. The highest point is in its description.
#[component]
fn Sparkline(series: Vec<u64>) -> impl IntoView {
    let max = series.iter().copied().max().unwrap_or_default();
    let label = format!("At most {} in one part of the period", counted(max, "failure", "failures"));
    view! {
        <svg class="sparkline" role="img" aria-label=label width="96" height="22" viewBox="0 -1 96 22">
            <polyline points=points(&series) fill="none" stroke="currentColor" stroke-width="1.5" />
        </svg>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparkline_spans_width_and_height() {
        assert_eq!(points(&[0, 2, 1]), "0.0,20.0 48.0,0.0 96.0,10.0");
        assert_eq!(points(&[0]), "0.0,20.0");
        assert_eq!(points(&[]), "");
    }
}
