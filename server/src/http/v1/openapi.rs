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

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// The document that the router generates.
    fn document() -> Value {
        serde_json::to_value(super::super::router().1).unwrap()
    }

    #[test]
    fn every_path_of_the_contract_is_documented() {
        let document = document();
        let contract = "
            POST /session; DELETE /session; GET /session
            POST /tokens; GET /tokens; DELETE /tokens/{id}
            GET /resource-types; POST /resource-types; GET /resource-types/{id}; PATCH /resource-types/{id}; DELETE /resource-types/{id}
            GET /resources; POST /resources; GET /resources/{id}; PATCH /resources/{id}; DELETE /resources/{id}
            POST /reservations; GET /reservations; GET /reservations/{id}; PATCH /reservations/{id}; POST /reservations/{id}/cancel
            POST /reservations/{id}/status
            POST /access-requests; POST /access-requests/{id}/approve; POST /access-requests/{id}/deny
            POST /webhooks; GET /webhooks; GET /webhooks/{id}; PATCH /webhooks/{id}; DELETE /webhooks/{id}
            POST /webhooks/{id}/test; POST /webhooks/{id}/rotate-secret; POST /webhooks/{id}/pause; POST /webhooks/{id}/resume
            GET /deliveries; GET /deliveries/{id}; POST /deliveries/{id}/redeliver; POST /deliveries/replay
            GET /webhooks/{id}/stats
            GET /stream";
        for operation in contract.split([';', '\n']).map(str::trim).filter(|operation| !operation.is_empty()) {
            let (method, path) = operation.split_once(' ').unwrap();
            let item = &document["paths"][format!("/api/v1{path}")][method.to_lowercase()];
            assert!(item.is_object(), "{operation}");
        }
    }

    #[test]
    fn every_operation_documents_its_responses_and_parameters() {
        let document = document();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = format!("{method} {path}");
                assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{name} needs a summary");
                assert!(
                    operation["tags"].as_array().is_some_and(|tags| tags.len() == 1),
                    "{name} needs exactly one tag"
                );
                assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name} needs a unique operation id");
                let responses = operation["responses"].as_object().unwrap();
                let success: Vec<&String> = responses.keys().filter(|status| status.starts_with('2')).collect();
                assert_eq!(success.len(), 1, "{name} needs exactly one success response");
                let has_body = !responses[success[0]]["content"].is_null();
                assert_eq!(has_body, success[0] != "204", "{name} needs a schema of its response body");
                for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
                    let schema = response["content"].as_object().and_then(|content| content.values().next());
                    assert_eq!(
                        schema.unwrap()["schema"]["$ref"],
                        "#/components/schemas/ProblemBody",
                        "{name} {status}"
                    );
                    assert!(
                        !response["content"]["application/problem+json"].is_null(),
                        "{name} {status} should be problem+json"
                    );
                }
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let is_in_path = path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
                    assert_eq!(parameter["in"] == "path", is_in_path, "{name}: place of {}", parameter["name"]);
                }
                for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                    let named = |p: &Value| p["in"] == "path" && p["name"] == part && p["required"] == true;
                    assert!(
                        operation["parameters"].as_array().unwrap().iter().any(named),
                        "{name} needs a description of {part}"
                    );
                }
            }
        }
        // Every reference resolves.
        let text = document.to_string();
        for reference in
            text.split("\"$ref\":\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap())
        {
            assert!(document["components"]["schemas"][reference].is_object(), "{reference}");
        }
    }

    /// Descriptions come from doc comments, whose links readers of the document cannot follow.
    #[test]
    fn openapi_document_contains_no_rustdoc_links() {
        fn check(value: &Value, path: &str) {
            match value {
                Value::String(text) => {
                    // Code spans can contain patterns such as `[a-z]([a-z-]*)`, but no Rust path.
                    let outside_code: String = text.split('`').step_by(2).collect();
                    let is_link = text.contains("[`") || outside_code.contains("](") || text.contains("::");
                    assert!(!is_link, "{path} contains a rustdoc link or path: {text}");
                }
                Value::Array(items) => items.iter().for_each(|item| check(item, path)),
                Value::Object(fields) => {
                    fields.iter().for_each(|(name, value)| check(value, &format!("{path}/{name}")))
                }
                _ => {}
            }
        }
        check(&document(), "");
    }
}
