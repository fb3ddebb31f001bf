//! `/api/v1/audit`: the audit log, for administrators and auditors.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Query};
use super::super::problem::ApiError;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use domain::Problem;
use domain::audit::{AuditEntry, AuditFilter};
use domain::pagination::{Page, PageQuery};
use futures::TryStreamExt as _;
use service::audit::Export;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export))
}

/// Lists entries of the audit log, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditFilter, PageQuery), responses((status = 200, body = Page<AuditEntry>)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<AuditFilter>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<AuditEntry>>, ApiError> {
    Ok(axum::Json(app.service.audit().list(&caller.actor, &filter, &page).await?))
}

/// Exports entries of the audit log, oldest first.
///
/// The response has one JSON object per line, each an entry as in the list. The export itself becomes an entry, which is not
/// part of it. If the response breaks off, repeat the request with a later `since`.
#[utoipa::path(get, path = "/audit/export", tag = "audit", params(AuditFilter),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
async fn export(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<AuditFilter>,
) -> Result<Response, ApiError> {
    let export = app.service.audit().export(&caller.actor, filter).await?;
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
