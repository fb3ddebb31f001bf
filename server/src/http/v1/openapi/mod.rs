//! The OpenAPI document of the API, and its documentation page.

mod completion;
mod examples;

use super::super::AppState;
use super::super::problem::ProblemBody;
use app::rpc::session_cookie::SESSION_COOKIE;
use axum::Router;
use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// General part of the document; the routes add their operations.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Berth",
        description = "Reserve computing resources and notify services by signed webhooks. The public contract is docs/contract.md: \
                       section 1 describes requests to receivers, section 3 their responses, section 4 status updates, section 6 this API.\n\n\
                       Errors are RFC 9457 problem+json. Lists are `{items, next_cursor}` with `?limit=&cursor=`. Unknown fields \
                       of a body and unknown query parameters are rejected. Every response has an `X-Request-Id`. `GET /api/v1/stream` sends \
                       changes as server-sent events `delivery`, `reservation`, `webhook`, `notification` and `resync`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(
        ProblemBody,
        domain::alert::Notice,
        domain::audit::AuditAction,
        domain::audit::AuditTargetType,
        domain::event::ReservationBody,
        domain::event::AccessRequestBody
    )),
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
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
            SESSION_COOKIE,
            "Over https, the name of the cookie is `__Host-berth_session`.",
        ));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// The document as JSON, with everything that the routes do not state themselves.
pub(super) fn complete(openapi: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(openapi).unwrap_or_default();
    completion::complete(&mut document);
    document
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
        super::super::router().1
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
            POST /reservations/{id}/extend; POST /reservations/{id}/end
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
                    let shared = response["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
                    let problem = &document["components"]["responses"][shared]["content"]["application/problem+json"];
                    assert_eq!(problem["schema"]["$ref"], "#/components/schemas/ProblemBody", "{name} {status}");
                    assert_eq!(problem["example"]["status"].to_string(), *status, "{name}");
                }
                for status in ["421", "422", "429", "500", "503"] {
                    assert!(responses.contains_key(status), "{name} can return {status}");
                }
                for (status, response) in responses {
                    let is_described = response["description"].as_str().is_some_and(|text| !text.is_empty());
                    assert!(is_described || !response["$ref"].is_null(), "{name} {status} needs a description");
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

    /// The lists of `completion` name operations by their ids.
    #[test]
    fn every_list_of_operations_names_existing_ones() {
        let document = document();
        let operations = |item: &Value| item.as_object().unwrap().values().cloned().collect::<Vec<_>>();
        let all: Vec<Value> = document["paths"].as_object().unwrap().values().flat_map(operations).collect();
        let ids: BTreeSet<&str> = all.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
        for id in super::completion::named_operations() {
            assert!(ids.contains(id), "{id}");
        }
    }

    #[test]
    fn every_schema_has_an_example_and_every_value_is_used() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for (name, schema) in schemas {
            assert!(
                !schema["example"].is_null(),
                "{name} has no example. Add a value for its new property to examples.json."
            );
        }
        let mut properties = BTreeSet::new();
        for schema in schemas.values() {
            collect_properties(schema, &mut properties);
        }
        for name in super::examples::values().keys() {
            let (schema, property) = name.split_once('.').unwrap_or((name, ""));
            let is_used = match (schemas.get(schema), property) {
                (None, _) => properties.contains(name),
                (Some(_), "") => true,
                (Some(schema), property) => {
                    let mut own = BTreeSet::new();
                    collect_properties(schema, &mut own);
                    own.contains(property)
                }
            };
            assert!(is_used, "no schema uses the value {name} of examples.json");
        }
    }

    fn collect_properties(schema: &Value, names: &mut BTreeSet<String>) {
        match schema {
            Value::Object(object) => {
                names.extend(
                    object
                        .get("properties")
                        .and_then(Value::as_object)
                        .into_iter()
                        .flatten()
                        .map(|(name, _)| name.clone()),
                );
                object
                    .iter()
                    .filter(|(name, _)| *name != "example")
                    .for_each(|(_, part)| collect_properties(part, names));
            }
            Value::Array(parts) => parts.iter().for_each(|part| collect_properties(part, names)),
            _ => {}
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
