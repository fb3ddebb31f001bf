//! `/api/v1/audit`: the audit log. Administrators only.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Query};
use super::super::problem::ApiError;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::audit::{AuditAction, AuditEntry, AuditFilter, AuditOutcome, AuditTargetType};
use domain::pagination::{Page, PageQuery};
use futures::TryStreamExt as _;
use serde::Deserialize;
use service::audit::Export;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export))
}

/// Filters of the audit log.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only entries of this user, by login name.
    actor: Option<String>,
    /// Only entries with this action.
    action: Option<AuditAction>,
    /// Only entries about this kind of object.
    target_type: Option<AuditTargetType>,
    /// Only entries about the object with this id.
    target_id: Option<String>,
    /// Only entries from this client address.
    source: Option<String>,
    /// Only entries with this outcome.
    outcome: Option<AuditOutcome>,
    /// Only entries written at or after this time.
    #[serde(default, deserialize_with = "domain::timestamp::deserialize_optional")]
    since: Option<DateTime<Utc>>,
    /// Only entries written before this time.
    #[serde(default, deserialize_with = "domain::timestamp::deserialize_optional")]
    until: Option<DateTime<Utc>>,
}

/// Filters and page of the audit log.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only entries of this user, by login name.
    actor: Option<String>,
    /// Only entries with this action.
    action: Option<AuditAction>,
    /// Only entries about this kind of object.
    target_type: Option<AuditTargetType>,
    /// Only entries about the object with this id.
    target_id: Option<String>,
    /// Only entries from this client address.
    source: Option<String>,
    /// Only entries with this outcome.
    outcome: Option<AuditOutcome>,
    /// Only entries written at or after this time.
    #[serde(default, deserialize_with = "domain::timestamp::deserialize_optional")]
    since: Option<DateTime<Utc>>,
    /// Only entries written before this time.
    #[serde(default, deserialize_with = "domain::timestamp::deserialize_optional")]
    until: Option<DateTime<Utc>>,
    /// Page size, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

impl From<Filter> for AuditFilter {
    fn from(filter: Filter) -> Self {
        let Filter { actor, action, target_type, target_id, source, outcome, since, until } = filter;
        Self { actor, action, target_type, target_id, source, outcome, since, until }
    }
}

/// Lists entries of the audit log, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(ListQuery), responses((status = 200, body = Page<AuditEntry>)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<Page<AuditEntry>>, ApiError> {
    let ListQuery { actor, action, target_type, target_id, source, outcome, since, until, limit, cursor } = query;
    let filter = AuditFilter { actor, action, target_type, target_id, source, outcome, since, until };
    Ok(axum::Json(app.service.audit().list(&caller.actor, &filter, &PageQuery { limit, cursor }).await?))
}

/// Exports entries of the audit log, oldest first.
///
/// The response has one JSON object per line, each an entry as in the list. The export itself becomes an entry, which is not
/// part of it. If the response breaks off, repeat the request with a later `since`.
#[utoipa::path(get, path = "/audit/export", tag = "audit", params(Filter),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
async fn export(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<Filter>,
) -> Result<Response, ApiError> {
    let export = app.service.audit().export(&caller.actor, filter.into()).await?;
    let lines = futures::stream::try_unfold(export, async |mut export: Export| {
        let Some(entries) = export.next_batch().await? else { return Ok(None) };
        Ok::<_, Problem>(Some((Bytes::from(to_lines(&entries)?), export)))
    });
    let body = Body::from_stream(lines.inspect_err(|problem| tracing::warn!(%problem, "an export broke off")));
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"berth-audit.jsonl\""),
    ];
    Ok((headers, body).into_response())
}

/// One JSON object per line.
///
/// # Errors
/// An internal problem if an entry has no JSON form.
pub fn to_lines(entries: &[AuditEntry]) -> Result<String, Problem> {
    let mut lines = String::new();
    for entry in entries {
        lines.push_str(&serde_json::to_string(entry).map_err(|_| Problem::internal())?);
        lines.push('\n');
    }
    Ok(lines)
}
