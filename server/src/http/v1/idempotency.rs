//! `Idempotency-Key`: repeated requests get the response of the first one (docs/contract.md §6).

use super::super::AppState;
use super::super::extract::AuthenticatedUser;
use super::super::problem::ApiError;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use domain::Problem;
use domain::authorization::Actor;
use serde::Serialize;
use service::Service;
use service::audit_trail::Origin;
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
    respond_once(app, caller, headers, (StatusCode::CREATED, path, digest), work).await
}

/// Responds with a status and the result of `work`. Requests with the same `Idempotency-Key` run it only once. `digest`
/// is that of the body.
pub async fn respond_once<T, F>(
    app: &AppState,
    caller: AuthenticatedUser,
    headers: &HeaderMap,
    (status, path, digest): (StatusCode, &str, &str),
    work: impl FnOnce(Service, Actor) -> F,
) -> Result<Response, ApiError>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let AuthenticatedUser { actor, .. } = caller;
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok((status, axum::Json(work(app.service.clone(), actor).await?)).into_response());
    };
    let key = key.to_str().map_err(|_| Problem::field("Idempotency-Key", "Use 1 to 255 visible ASCII characters."))?;
    let fingerprint = service::secrets::digest(&format!("POST {path} {digest} {}", permissions(&actor)));
    let work = work(app.service.clone(), actor.clone());
    // A separate task finishes the key even if the client disconnects, which drops this future.
    let once = run_once(app.service.clone(), actor, key.to_owned(), fingerprint, status, work).in_current_span();
    let once = Origin::current().scope(once);
    tokio::spawn(once).await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Problem::internal().into()),
    })
}

/// Formats role, scopes, kind of the credential and ownership for the fingerprint. A credential with fewer permissions must
/// not receive a stored response, because that can contain a secret.
fn permissions(actor: &Actor) -> String {
    let mut scopes: Vec<&str> = actor.scopes.iter().map(|scope| scope.as_str()).collect();
    scopes.sort_unstable();
    let kind = if actor.session.is_some() { " session" } else { "" };
    let types = actor.owns.resource_types.iter().map(|slug| format!(" {slug}"));
    let resources = actor.owns.resources.iter().map(|id| format!(" {id}"));
    let owns: String = types.chain(resources).collect();
    format!("{} {}{kind}{owns}", actor.role.as_str(), scopes.join(","))
}

/// Runs `work`, or returns the stored response of an earlier request with the key.
async fn run_once<T: Serialize + Send>(
    service: Service,
    actor: Actor,
    key: String,
    fingerprint: String,
    status: StatusCode,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<Response, ApiError> {
    let json = (header::CONTENT_TYPE, "application/json");
    if let Idempotent::Replay(stored, body) = service.idempotency().begin(&actor, &key, &fingerprint).await? {
        let status = StatusCode::from_u16(stored).unwrap_or(status);
        return Ok((status, [json, (REPLAYED, "true")], body).into_response());
    }
    match work.await {
        Ok(result) => {
            let body = serde_json::to_string(&result).map_err(|_| Problem::internal())?;
            service.idempotency().finish(&actor, &key, status.as_u16(), &body).await?;
            Ok((status, [json], body).into_response())
        }
        Err(problem) => {
            service.idempotency().abandon(&actor, &key).await?;
            Err(problem.into())
        }
    }
}
