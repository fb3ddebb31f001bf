//! Creation of objects with `Idempotency-Key` (docs/contract.md §6).

use super::super::AppState;
use super::super::extract::AuthenticatedUser;
use super::super::problem::ApiError;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use domain::Problem;
use domain::authorization::Actor;
use serde::Serialize;
use service::Service;
use service::idempotency::Idempotent;
use tracing::Instrument as _;

/// Request header with the key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Response header that marks a stored response.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Responds 201 with the object that `work` creates. Requests with the same `Idempotency-Key` create it only once.
pub async fn create<T, F>(
    app: &AppState,
    caller: AuthenticatedUser,
    headers: &HeaderMap,
    path: &str,
    digest: &str,
    work: impl FnOnce(Service, Actor) -> F,
) -> Result<Response, ApiError>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let AuthenticatedUser { actor, .. } = caller;
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok((StatusCode::CREATED, axum::Json(work(app.service.clone(), actor).await?)).into_response());
    };
    let key = key.to_str().map_err(|_| Problem::field("Idempotency-Key", "Use 1 to 255 visible ASCII characters."))?;
    let fingerprint = service::secrets::digest(&format!("POST {path} {digest} {}", permissions(&actor)));
    let work = work(app.service.clone(), actor.clone());
    // A separate task finishes the key even if the client disconnects, which drops this future.
    let once = run_once(app.service.clone(), actor, key.to_owned(), fingerprint, work).in_current_span();
    tokio::spawn(once).await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Problem::internal().into()),
    })
}

/// Formats role and scopes for the fingerprint. A credential with fewer permissions must not receive a stored response, because
/// that can contain a secret.
fn permissions(actor: &Actor) -> String {
    let mut scopes: Vec<&str> = actor.scopes.iter().map(|scope| scope.as_str()).collect();
    scopes.sort_unstable();
    format!("{} {}", actor.role.as_str(), scopes.join(","))
}

/// Runs `work`, or returns the stored response of an earlier request with the key.
async fn run_once<T: Serialize + Send>(
    service: Service,
    actor: Actor,
    key: String,
    fingerprint: String,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<Response, ApiError> {
    let json = (header::CONTENT_TYPE, "application/json");
    if let Idempotent::Replay(status, body) = service.idempotency().begin(&actor, &key, &fingerprint).await? {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED);
        return Ok((status, [json, (REPLAYED, "true")], body).into_response());
    }
    match work.await {
        Ok(created) => {
            let body = serde_json::to_string(&created).map_err(|_| Problem::internal())?;
            service.idempotency().finish(&actor, &key, 201, &body).await?;
            Ok((StatusCode::CREATED, [json], body).into_response())
        }
        Err(problem) => {
            service.idempotency().abandon(&actor, &key).await?;
            Err(problem.into())
        }
    }
}
