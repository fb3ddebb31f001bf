//! The OpenAPI document, and the registration of the page's server functions.

use crate::support::TestServer;
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use test_support::on_both_databases;

on_both_databases![sqlite only:
    openapi_document_matches_the_repository,
    every_path_of_the_contract_is_documented,
    every_operation_documents_responses_and_parameters,
    every_server_function_is_registered,
];

/// The document that the router generates.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(server::http::v1::router().1).unwrap());

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Whether the document lists this response for a method and path.
pub fn documented(method: &Method, path: &str, status: u16) -> bool {
    let path = path.trim_start_matches("//api/v1").split('?').next().unwrap();
    if path == "/openapi.json" {
        // The document itself is not an operation.
        return true;
    }
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let template: Vec<&str> = template.trim_start_matches("/api/v1").split('/').collect();
        template.len() == parts.len() && template.iter().zip(&parts).all(|(t, part)| t.starts_with('{') || t == part)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let method = method.as_str().to_lowercase();
    paths.iter().any(|(template, item)| fits(template) && item[&method]["responses"].get(status.to_string()).is_some())
}

async fn openapi_document_matches_the_repository(t: TestServer) {
    let served = t.anonymous.get("/openapi.json", 200).await;
    assert_eq!(served.body, *DOCUMENT);
    let pretty = format!("{}\n", serde_json::to_string_pretty(&served.body).unwrap());
    let file = repository("docs/openapi.json");
    if std::env::var("BERTH_BLESS").is_ok_and(|bless| bless == "1") {
        std::fs::write(&file, &pretty).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = pretty.lines().zip(kept.lines().chain(std::iter::repeat(""))).position(|(new, old)| new != old);
    assert!(
        kept == pretty,
        "docs/openapi.json differs from the served document (first at line {}). If the change is intended, run this test \
         with BERTH_BLESS=1 and commit the file.",
        differs.map_or(0, |line| line + 1)
    );
}

async fn every_path_of_the_contract_is_documented(_: TestServer) {
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
        let item = &DOCUMENT["paths"][format!("/api/v1{path}")][method.to_lowercase()];
        assert!(item.is_object(), "{operation}");
    }
}

async fn every_operation_documents_responses_and_parameters(_: TestServer) {
    let mut ids = BTreeSet::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{name} needs a summary");
            assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{name} needs one tag");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name} needs a unique operation id");
            let responses = operation["responses"].as_object().unwrap();
            let success: Vec<&String> = responses.keys().filter(|status| status.starts_with('2')).collect();
            assert_eq!(success.len(), 1, "{name} needs one success response");
            let has_body = !responses[success[0]]["content"].is_null();
            assert_eq!(has_body, success[0] != "204", "{name} needs a response body unless it is 204");
            for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
                let schema = response["content"].as_object().and_then(|content| content.values().next());
                assert_eq!(schema.unwrap()["schema"]["$ref"], "#/components/schemas/ProblemBody", "{name} {status}");
                assert!(!response["content"]["application/problem+json"].is_null(), "{name} {status} is problem+json");
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let in_path = path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
                assert_eq!(parameter["in"] == "path", in_path, "{name}: place of {}", parameter["name"]);
            }
            for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let named = |p: &Value| p["in"] == "path" && p["name"] == part && p["required"] == true;
                assert!(operation["parameters"].as_array().unwrap().iter().any(named), "{name} describes {part}");
            }
        }
    }
    // Every reference resolves.
    let text = DOCUMENT.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap())
    {
        assert!(DOCUMENT["components"]["schemas"][reference].is_object(), "{reference}");
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
            Value::Object(fields) => fields.iter().for_each(|(name, value)| check(value, &format!("{path}/{name}"))),
            _ => {}
        }
    }
    check(&DOCUMENT, "");
}

/// The linker can drop unreferenced server functions; without this test only a click would show it.
async fn every_server_function_is_registered(t: TestServer) {
    let mut declared = BTreeSet::new();
    for file in std::fs::read_dir(repository("app/src/rpc")).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let attributes = source.matches("#[server(").count();
        let endpoints: Vec<&str> =
            source.split("endpoint = \"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(endpoints.len(), attributes, "every server function must name its endpoint");
        for endpoint in endpoints {
            assert!(declared.insert(format!("/rpc/{endpoint}")), "{endpoint} is declared twice");
        }
    }
    assert!(declared.len() > 20, "the sources should be found");
    let registered: BTreeSet<String> =
        leptos::server_fn::axum::server_fn_paths().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(registered, declared);
    // Each is routed: without a session it responds with its own error, not with 404.
    for path in &declared {
        let request = t.anonymous.request(Method::POST, &format!("/{path}")).header("origin", &t.url);
        let status = request.json(&serde_json::json!({})).send().await.unwrap().status();
        assert!(status != 404 && status != 405, "{path}: {status}");
    }
}
