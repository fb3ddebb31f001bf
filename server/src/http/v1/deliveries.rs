//! `/api/v1/deliveries`: the delivery log, redelivery and replay. For administrators, and for owners the
//! deliveries of their resource types.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, Path, Query};
use super::super::problem::{ApiError, ProblemBody};
use super::audit::to_lines;
use super::download::{Batches, attachment, csv_lines};
use super::idempotency::respond_once;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::delivery::*;
use domain::event::EventType;
use domain::id::{DeliveryId, ReplayId, WebhookId};
use domain::metrics::{DeliveryMetrics, MetricsQuery};
use domain::pagination::{Page, PageQuery};
use serde::Deserialize;
use service::deliveries::Export;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(count))
        .routes(routes!(export))
        .routes(routes!(failures))
        .routes(routes!(get))
        .routes(routes!(redeliver))
        .routes(routes!(replay))
        .routes(routes!(look_up))
        .routes(routes!(metrics))
}

/// Filters of the delivery log.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only deliveries to this webhook.
    webhook_id: Option<WebhookId>,
    /// Only deliveries of this event type.
    event_type: Option<EventType>,
    /// Only deliveries with this status.
    status: Option<DeliveryStatus>,
    /// Only deliveries of this reservation's events.
    reservation_id: Option<String>,
    /// Only redeliveries of this delivery.
    redelivery_of: Option<DeliveryId>,
    /// Only deliveries that this replay has queued.
    replay: Option<ReplayId>,
    /// Only deliveries created at or after this time.
    #[serde(default, deserialize_with = "domain::timestamp::deserialize_optional")]
    since: Option<DateTime<Utc>>,
    /// Only deliveries created before this time.
    #[serde(default, deserialize_with = "domain::timestamp::deserialize_optional")]
    until: Option<DateTime<Utc>>,
    /// Only deliveries that this search finds, e.g. `status:failed webhook:"GPU" code:5xx -error:timeout`. Terms are
    /// separated by spaces; `-` excludes, and a comma separates alternatives. Keys: `status`, `webhook` (id or part of the
    /// name), `event`, `code` (`503`, `5xx`, `400-499`, `none`), `error` (`timeout`, `tls`, `dns`, `connection`,
    /// `signature`, … or a diagnosis code), `duration` (`>1s`), `attempts` (`>1`), `id` (part of an id), `user` (`alice`,
    /// `ali*`), `resource`, `test` (`yes`, `no`) and `text`. Words without a key are searched in requests, responses and
    /// diagnoses.
    #[param(max_length = 500)]
    q: Option<String>,
}

impl Filter {
    fn into_filter(self) -> DeliveryFilter {
        DeliveryFilter {
            webhook_id: self.webhook_id,
            event_type: self.event_type,
            status: self.status,
            reservation_id: self.reservation_id,
            redelivery_of: self.redelivery_of,
            replay: self.replay,
            since: self.since,
            until: self.until,
            q: self.q,
        }
    }
}

/// Lists deliveries, newest first.
///
/// A search (`q`) reads an index that follows the log within seconds. `GET /api/v1/deliveries/count` returns how far it reaches.
///
/// The `cursor` can also be the `redeliveries_next_cursor` of a delivery.
#[utoipa::path(get, path = "/deliveries", tag = "deliveries", params(Filter, PageQuery), responses((status = 200, body = Page<DeliverySummary>)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<DeliverySummary>>, ApiError> {
    Ok(axum::Json(app.service.deliveries().list(&caller.actor, &filter.into_filter(), &page).await?))
}

/// Counts the deliveries that match a filter.
///
/// Counts up to 10,000 in the index of searches, and returns how far it reaches.
#[utoipa::path(get, path = "/deliveries/count", tag = "deliveries", params(Filter), responses((status = 200, body = DeliveryCount)))]
async fn count(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<Filter>,
) -> Result<axum::Json<DeliveryCount>, ApiError> {
    Ok(axum::Json(app.service.deliveries().count_matching(&caller.actor, &filter.into_filter()).await?))
}

/// The requested export.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// `csv` (default) or `jsonl`.
    #[serde(default)]
    #[param(inline)]
    format: ExportFormat,
}

/// Exports the deliveries that match a filter, newest first.
///
/// CSV has a header line, and a `'` before each text that a spreadsheet would read as a formula. JSON Lines has one object per
/// line, each a delivery as in the list. Payloads are not included. The audit log records the export. If the response breaks
/// off, repeat the request with an earlier `until`.
#[utoipa::path(get, path = "/deliveries/export", tag = "deliveries", params(Filter, ExportQuery),
    responses((status = 200, content((String = "text/csv"), (String = "application/jsonl")))))]
async fn export(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<Filter>,
    Query(ExportQuery { format }): Query<ExportQuery>,
) -> Result<Response, ApiError> {
    let export = app.service.deliveries().export(&caller.actor, &filter.into_filter(), format).await?;
    Ok(match format {
        ExportFormat::Csv => {
            attachment(CsvExport { export, has_header: false }, "text/csv; charset=utf-8", "berth-deliveries.csv")
        }
        ExportFormat::Jsonl => attachment(LinesExport(export), "application/jsonl", "berth-deliveries.jsonl"),
    })
}

/// Groups the failed deliveries by webhook and cause.
///
/// Without `since`, the last seven days. Each group has the search that finds exactly its deliveries, e.g. for a replay.
#[utoipa::path(get, path = "/deliveries/failures", tag = "deliveries", params(Filter), responses((status = 200, body = Failures)))]
async fn failures(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<Filter>,
) -> Result<axum::Json<Failures>, ApiError> {
    Ok(axum::Json(app.service.deliveries().failures(&caller.actor, &filter.into_filter()).await?))
}

/// The id to look up.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct LookupQuery {
    /// The whole id of a delivery, event, reservation, access request, webhook, or request to this server.
    id: String,
}

/// Finds the object that an id belongs to.
///
/// Returns the kind of the object and the path of its page. The response is 404 if the caller may not see it.
#[utoipa::path(get, path = "/lookup", tag = "deliveries", params(LookupQuery), responses((status = 200, body = Lookup), (status = 404, body = ProblemBody)))]
async fn look_up(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(query): Query<LookupQuery>,
) -> Result<axum::Json<Lookup>, ApiError> {
    Ok(axum::Json(app.service.deliveries().look_up(&caller.actor, &query.id).await?))
}

/// Returns metrics of deliveries over time.
///
/// Throughput, success rate and percentiles of the durations, by class of the response and by event. Test events are not
/// counted. Percentiles are estimated from a histogram.
#[utoipa::path(get, path = "/metrics/deliveries", tag = "deliveries", params(MetricsQuery), responses((status = 200, body = DeliveryMetrics)))]
async fn metrics(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(query): Query<MetricsQuery>,
) -> Result<axum::Json<DeliveryMetrics>, ApiError> {
    Ok(axum::Json(app.service.deliveries().metrics(&caller.actor, &query).await?))
}

/// Returns a delivery with its attempts.
#[utoipa::path(get, path = "/deliveries/{id}", tag = "deliveries", params(("id" = String, Path)), responses((status = 200, body = DeliveryDetail)))]
async fn get(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<DeliveryDetail>, ApiError> {
    Ok(axum::Json(app.service.deliveries().get(&caller.actor, &DeliveryId(id)).await?))
}

/// Redelivers an event.
///
/// Creates a new delivery of the same event.
#[utoipa::path(post, path = "/deliveries/{id}/redeliver", tag = "deliveries", params(("id" = String, Path)),
    responses((status = 202, body = DeliverySummary), (status = 409, body = ProblemBody)))]
async fn redeliver(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = format!("/deliveries/{id}/redeliver");
    respond_once(&app, caller, &headers, (StatusCode::ACCEPTED, &path, ""), async move |service, actor| {
        Ok(service.deliveries().redeliver(&actor, &DeliveryId(id)).await?)
    })
    .await
}

/// Replays the deliveries that match a filter.
///
/// Creates a new delivery for each match, oldest first, at most 10,000. If `matched` is larger than `redelivered`, repeat
/// the request for the rest. A dry run only counts the matches.
#[utoipa::path(post, path = "/deliveries/replay", tag = "deliveries", request_body = ReplayInput,
    responses((status = 200, body = ReplayResult)))]
async fn replay(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<ReplayInput>,
) -> Result<Response, ApiError> {
    let request = (StatusCode::OK, "/deliveries/replay", body.digest.as_str());
    respond_once(&app, caller, &headers, request, async move |service, actor| {
        Ok(service.deliveries().replay(&actor, &body.value).await?)
    })
    .await
}

/// An export as JSON Lines.
struct LinesExport(Export);

impl Batches for LinesExport {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let Some(deliveries) = self.0.next_batch().await? else { return Ok(None) };
        Ok(Some(Bytes::from(to_lines(&deliveries)?)))
    }
}

/// An export as CSV.
struct CsvExport {
    export: Export,
    has_header: bool,
}

/// The columns of an export as CSV.
const COLUMNS: [&str; 17] = [
    "id",
    "event_id",
    "event_type",
    "webhook_id",
    "webhook_name",
    "resource_type",
    "reservation_id",
    "status",
    "test",
    "attempts",
    "max_attempts",
    "status_code",
    "duration_ms",
    "problem",
    "created_at",
    "updated_at",
    "redelivery_of",
];

impl Batches for CsvExport {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let batch = self.export.next_batch().await?;
        let is_first = !std::mem::replace(&mut self.has_header, true);
        // Without deliveries, the file has its header.
        if batch.is_none() && !is_first {
            return Ok(None);
        }
        let header = is_first.then(|| COLUMNS.map(str::to_owned).to_vec());
        let rows = batch.unwrap_or_default().into_iter().map(row_of);
        csv_lines(header.into_iter().chain(rows)).map(|lines| Some(Bytes::from(lines)))
    }
}

fn row_of(delivery: DeliverySummary) -> Vec<String> {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    vec![
        delivery.id.0,
        delivery.event_id.0,
        delivery.event_type.as_str().to_owned(),
        delivery.webhook_id.to_string(),
        delivery.webhook_name,
        delivery.resource_type.unwrap_or_default(),
        delivery.reservation_id.unwrap_or_default(),
        delivery.status.as_str().to_owned(),
        delivery.test.to_string(),
        delivery.attempts.to_string(),
        delivery.max_attempts.to_string(),
        delivery.status_code.map(|code| code.to_string()).unwrap_or_default(),
        delivery.duration_ms.map(|ms| ms.to_string()).unwrap_or_default(),
        delivery.problem.unwrap_or_default(),
        time(delivery.created_at),
        time(delivery.updated_at),
        delivery.redelivery_of.map(|id| id.0).unwrap_or_default(),
    ]
}
