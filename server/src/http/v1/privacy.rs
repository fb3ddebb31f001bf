//! Export of a user's data, and erasure of an account.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, Path};
use super::super::problem::{ApiError, ProblemBody};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use domain::Problem;
use domain::privacy::{AccountExport, Erasure, ErasureInput};
use futures::TryStreamExt as _;
use service::privacy::Export;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(export_own)).routes(routes!(export_account)).routes(routes!(erase_account))
}

/// Exports everything that Berth stores about you, as one JSON document.
///
/// Secrets and payloads of the delivery log are not part of it. The document is read in pieces, so later lists can be newer
/// than earlier ones. The audit log records the export. If the response breaks off, repeat the request.
#[utoipa::path(get, path = "/account/export", tag = "users", responses((status = 200, body = AccountExport)))]
async fn export_own(State(app): State<AppState>, caller: AuthenticatedUser) -> Result<Response, ApiError> {
    let username = caller.actor.username.clone();
    export(&app, &caller, &username).await
}

/// Exports everything that Berth stores about a user, as one JSON document.
///
/// Administrators can export the data about every user, other users their own.
#[utoipa::path(get, path = "/users/{username}/export", tag = "users", params(("username" = String, Path)),
    responses((status = 200, body = AccountExport)))]
async fn export_account(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(username): Path<String>,
) -> Result<Response, ApiError> {
    export(&app, &caller, &username).await
}

async fn export(app: &AppState, caller: &AuthenticatedUser, username: &str) -> Result<Response, ApiError> {
    let export = app.service.privacy().export(&caller.actor, username).await?;
    let pieces = futures::stream::try_unfold(export, async |mut export: Export| {
        let Some(piece) = export.next_piece().await? else { return Ok(None) };
        Ok::<_, Problem>(Some((Bytes::from(piece), export)))
    });
    let body = Body::from_stream(pieces.inspect_err(|problem| tracing::warn!(%problem, "an export broke off")));
    // A username consists of letters, digits, dots, hyphens and underscores.
    let file = format!("attachment; filename=\"berth-{username}.json\"");
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, file)];
    Ok((headers, body).into_response())
}

/// Erases an account. This cannot be undone.
///
/// Administrators can erase every account, other users their own. It is refused while the user has active reservations,
/// queued deliveries, or resources that receivers have not released, and for the last administrator.
///
/// Sessions, API tokens, links to identity providers, grants, notifications, e-mail address and SSH key are deleted. A
/// pseudonym replaces the username in reservations, access requests, the delivery log and the audit log. Pending access
/// requests are denied without an event. The username cannot be used again. Receivers, backups and exported audit logs keep
/// what they have.
#[utoipa::path(post, path = "/users/{username}/erase", tag = "users", params(("username" = String, Path)),
    request_body = ErasureInput, responses((status = 200, body = Erasure), (status = 409, body = ProblemBody)))]
async fn erase_account(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(username): Path<String>,
    body: Json<ErasureInput>,
) -> Result<axum::Json<Erasure>, ApiError> {
    Ok(axum::Json(app.service.privacy().erase(&caller.actor, &username, body.value).await?))
}
