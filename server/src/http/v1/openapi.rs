//! The OpenAPI document of the API, and its documentation page.

use super::super::AppState;
use super::super::problem::ProblemBody;
use app::rpc::session_cookie::SESSION_COOKIE;
use axum::Router;
use utoipa::openapi::RefOr;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// General part of the document; the routes add their operations.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Berth",
        description = "Reserve computing resources and notify services by signed webhooks. The public contract is docs/contract.md: \
                       section 1 describes requests to receivers, section 3 their responses, section 4 status updates, section 6 this API.\n\n\
                       Errors are RFC 9457 problem+json. Lists are `{items, next_cursor}` with `?limit=&cursor=`. `POST` requests that \
                       create an object accept an `Idempotency-Key`. Every response has an `X-Request-Id`. `GET /api/v1/stream` sends \
                       changes as server-sent events `delivery`, `reservation`, `webhook`, `notification` and `resync`.",
        license(name = "Apache-2.0")
    ),
    components(schemas(ProblemBody, domain::event::ReservationBody, domain::event::AccessRequestBody)),
    modifiers(&Security),
    security(("token" = []), ("session" = []))
)]
pub(super) struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token.")).build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        let cookie = ApiKey::Cookie(ApiKeyValue::new(SESSION_COOKIE));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// Completes every operation. Errors become problem+json. Operation ids get their tag as a prefix, because they must be unique
/// in the document (OpenAPI 3.1 §4.8.10.1).
pub(super) fn complete(openapi: &mut utoipa::openapi::OpenApi) {
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

/// The documentation page.
pub(super) fn docs() -> Router<AppState> {
    let config = utoipa_swagger_ui::Config::from("/api/v1/openapi.json");
    Router::from(utoipa_swagger_ui::SwaggerUi::new("/api/docs").config(config))
}
