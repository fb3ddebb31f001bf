//! `/api/v1/audit`: the audit log, for administrators and auditors.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Query};
use super::super::problem::ApiError;
use super::download::{Batches, attachment};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use domain::Problem;
use domain::audit::{AuditEntry, AuditFilter};
use domain::pagination::{Page, PageQuery};
use serde::Serialize;
use service::audit::Export;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export))
}

/// Lists entries of the audit log, newest first.
///
/// Administrators and auditors see all entries. Owners can list the entries about one of their webhooks, resource types,
/// resources, reservations or access requests, by `target_type` and `target_id`, without addresses and credentials.
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
    Ok(attachment(export, "application/jsonl", "berth-audit.jsonl"))
}

impl Batches for Export {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let Some(entries) = self.next_batch().await? else { return Ok(None) };
        Ok(Some(Bytes::from(to_lines(&entries)?)))
    }
}

/// One JSON object per line.
///
/// # Errors
/// An internal problem if an item has no JSON form.
pub fn to_lines<T: Serialize>(entries: &[T]) -> Result<String, Problem> {
    let mut lines = String::new();
    for entry in entries {
        lines.push_str(&serde_json::to_string(entry).map_err(|_| Problem::internal())?);
        lines.push('\n');
    }
    Ok(lines)
}
