//! Call-backs of receivers of the older reservation system, at its paths (docs/contract.md §8). The signature decides; they have
//! no other credential.

use super::AppState;
use super::extract::body;
use super::problem::ApiError;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use domain::{Problem, ProblemKind};
use serde_json::{Value, json};

/// Maximum size of a call-back in bytes.
const MAX_CALLBACK: usize = 64 * 1024;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/webhooks/log", post(log)).route("/api/notifications/webhook", post(notify))
}

/// `POST /api/webhooks/log`: how a receiver has processed an event.
async fn log(
    State(app): State<AppState>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, axum::Json<Value>), ApiError> {
    let bytes = read(request, &app).await?;
    app.service.reservations().log_of_receiver(signature(&headers), &bytes).await?;
    Ok((StatusCode::CREATED, axum::Json(json!({"success": true}))))
}

/// `POST /api/notifications/webhook`: a message of a receiver to the user of a reservation.
async fn notify(
    State(app): State<AppState>,
    headers: HeaderMap,
    request: Request,
) -> Result<axum::Json<Value>, ApiError> {
    let bytes = read(request, &app).await?;
    app.service.reservations().notification_of_receiver(signature(&headers), &bytes).await?;
    Ok(axum::Json(json!({"success": true})))
}

async fn read(request: Request, app: &AppState) -> Result<axum::body::Bytes, Problem> {
    let bytes = body(request, app).await?;
    if bytes.len() > MAX_CALLBACK {
        return Err(Problem::new(ProblemKind::TooLarge, "A call-back has at most 64 KiB."));
    }
    Ok(bytes)
}

fn signature(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-webhook-signature").and_then(|value| value.to_str().ok())
}
