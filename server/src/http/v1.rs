//! The public API, `/api/v1` (docs/contract.md §6). One file an area; every route carries its OpenAPI description.

pub mod accounts;
pub mod catalogue;
pub mod deliveries;
pub mod notifications;
pub mod reservations;
pub mod session;
pub mod webhooks;

use super::AppState;
use super::extract::AuthenticatedUser;
use super::problem::{ApiError, ProblemBody};
use super::stream;
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use domain::Problem;
use domain::authorization::Actor;
use serde::Serialize;
use service::Service;
use service::idempotency::Idempotent;
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Berth",
        description = "Reserve computing resources; webhooks tell their owners. Errors are RFC 9457 problem+json. Lists are `{items, next_cursor}` with `?limit=&cursor=`. POSTs that create take `Idempotency-Key`. Changes come live from `GET /api/v1/stream` (server-sent events `delivery`, `reservation`, `webhook`, `notification`, `resync`).",
        license(name = "Apache-2.0")
    ),
    components(schemas(ProblemBody, domain::event::ReservationBody, domain::event::AccessRequestBody)),
    modifiers(&Security),
    security(("token" = []), ("session" = []))
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token.")).build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        let cookie = ApiKey::Cookie(ApiKeyValue::new(super::extract::SESSION_COOKIE));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// Every route of the API with its description.
pub fn router() -> (Router<AppState>, utoipa::openapi::OpenApi) {
    let routes = OpenApiRouter::with_openapi(Document::openapi()).nest(
        "/api/v1",
        OpenApiRouter::new()
            .merge(session::routes())
            .merge(accounts::routes())
            .merge(catalogue::routes())
            .merge(reservations::routes())
            .merge(webhooks::routes())
            .merge(deliveries::routes())
            .merge(notifications::routes())
            .merge(stream::routes()),
    );
    let (routes, mut openapi) = routes.split_for_parts();
    complete(&mut openapi);
    (routes, openapi)
}

/// What holds for every operation and need not be said at each: errors are problem+json, and a name is its area's and its
/// own, for names must be unique in the whole document (OpenAPI 3.1 §4.8.10.1).
fn complete(openapi: &mut utoipa::openapi::OpenApi) {
    for item in openapi.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().filter_map(Option::as_mut);
        for operation in operations {
            if let (Some(tag), Some(name)) = (operation.tags.iter().flatten().next(), &operation.operation_id) {
                operation.operation_id = Some(format!("{tag}_{name}"));
            }
            for (status, response) in &mut operation.responses.responses {
                if let (true, RefOr::T(response)) = (status.starts_with(['4', '5']), response)
                    && let Some(content) = response.content.shift_remove("application/json")
                {
                    response.content.insert("application/problem+json".to_owned(), content);
                }
            }
        }
    }
}

/// The browsable page of the description.
pub fn docs() -> Router<AppState> {
    let config = utoipa_swagger_ui::Config::from("/api/v1/openapi.json");
    Router::from(utoipa_swagger_ui::SwaggerUi::new("/api/docs").config(config))
}

/// Answers 201 with what `work` made; with an `Idempotency-Key`, at most once.
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
    let Some(key) = headers.get("idempotency-key") else {
        return Ok((StatusCode::CREATED, axum::Json(work(app.service.clone(), actor).await?)).into_response());
    };
    let key = key.to_str().map_err(|_| Problem::field("Idempotency-Key", "Use 1 to 255 visible ASCII characters."))?;
    // With what the credential may do: one that may do less must not be shown the answer, which can hold a secret.
    let mut scopes = actor.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>();
    scopes.sort_unstable();
    let whose = format!("{} {}", actor.role.as_str(), scopes.join(","));
    let fingerprint = service::secrets::digest(&format!("POST {path} {digest} {whose}"));
    let work = work(app.service.clone(), actor.clone());
    // A task of its own: this future is dropped when the client goes away, and the key must not stay unfinished then.
    let done = tokio::spawn(once(app.service.clone(), actor, key.to_owned(), fingerprint, work)).await;
    done.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Problem::internal().into()),
    })
}

/// Does `work` unless the key says that it has been done.
async fn once<T: Serialize + Send>(
    service: Service,
    actor: Actor,
    key: String,
    fingerprint: String,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<Response, ApiError> {
    if let Idempotent::Replay(status, body) = service.idempotency_begin(&actor, &key, &fingerprint).await? {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED);
        return Ok((
            status,
            [
                (header::CONTENT_TYPE, "application/json"),
                (header::HeaderName::from_static("idempotency-replayed"), "true"),
            ],
            body,
        )
            .into_response());
    }
    match work.await {
        Ok(made) => {
            let body = serde_json::to_string(&made).map_err(|_| Problem::internal())?;
            service.idempotency_finish(&actor, &key, 201, &body).await?;
            Ok((StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], body).into_response())
        }
        Err(problem) => {
            service.idempotency_abandon(&actor, &key).await?;
            Err(problem.into())
        }
    }
}
