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
    every_server_function_is_registered,
    examples_of_bodies_are_accepted,
    idempotency_key_is_checked_where_it_is_documented,
];

/// The document that the router generates.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| server::http::v1::router().1);

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// An operation of the document.
pub struct Operation {
    method: String,
    template: String,
    content: &'static Value,
}

/// All operations of the document.
pub fn operations() -> impl Iterator<Item = Operation> {
    DOCUMENT["paths"].as_object().unwrap().iter().flat_map(|(template, item)| {
        item.as_object().unwrap().iter().map(|(method, content)| Operation {
            method: method.to_uppercase(),
            template: template.clone(),
            content,
        })
    })
}

impl Operation {
    pub fn id(&self) -> &'static str {
        self.content["operationId"].as_str().unwrap()
    }

    pub fn method(&self) -> Method {
        self.method.parse().unwrap()
    }

    /// The path, relative to `/api/v1`. Ids are `1` or `placeholder`.
    pub fn path(&self) -> String {
        let mut path = self.template.trim_start_matches("/api/v1").to_owned();
        for parameter in self.parameters().filter(|parameter| parameter["in"] == "path") {
            let value = if parameter["schema"]["type"] == "integer" { "1" } else { "placeholder" };
            path = path.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), value);
        }
        path
    }

    /// The path with the names of its parameters, as the router knows it.
    pub fn template(&self) -> &str {
        &self.template
    }

    pub fn has_body(&self) -> bool {
        !self.content["requestBody"].is_null()
    }

    /// The example of the body.
    pub fn example(&self) -> Option<&'static Value> {
        let reference = self.content["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()?;
        Some(&DOCUMENT["components"]["schemas"][reference.rsplit('/').next().unwrap()]["example"])
    }

    fn parameters(&self) -> impl Iterator<Item = &'static Value> {
        self.content["parameters"].as_array().into_iter().flatten()
    }
}

/// Whether the document lists this response for a method and path, or does not contain the path with this method.
pub fn documented(method: &Method, path: &str, status: u16) -> bool {
    let path = path.trim_start_matches("//api/v1").split('?').next().unwrap();
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let template: Vec<&str> = template.trim_start_matches("/api/v1").split('/').collect();
        template.len() == parts.len() && template.iter().zip(&parts).all(|(t, part)| t.starts_with('{') || t == part)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let method = method.as_str().to_lowercase();
    let mut candidates = paths.iter().filter(|(template, item)| fits(template) && item[&method].is_object()).peekable();
    candidates.peek().is_none()
        || candidates.any(|(_, item)| item[&method]["responses"].get(status.to_string()).is_some())
}

/// No example of a body is rejected because of its fields. The objects to which ids refer do not exist.
async fn examples_of_bodies_are_accepted(t: TestServer) {
    for operation in operations().filter(|operation| operation.id() != "receivers_status_update") {
        let Some(example) = operation.example() else { continue };
        let request = t.root.request(operation.method(), &operation.path()).json(example);
        let reply: Value = request.send().await.unwrap().json().await.unwrap_or_default();
        let errors = reply["errors"].as_array().cloned().unwrap_or_default();
        let depends_on_data =
            |field: &Value| ["resource_type", "resource_id", "provider"].iter().any(|name| field == name);
        assert!(errors.iter().all(|error| depends_on_data(&error["field"])), "{}: {errors:?}", operation.id());
    }
}

async fn idempotency_key_is_checked_where_it_is_documented(t: TestServer) {
    let mut checked = 0;
    for operation in operations()
        .filter(|operation| operation.method() == Method::POST && operation.id() != "receivers_status_update")
    {
        let request = t.root.request(Method::POST, &operation.path()).header("idempotency-key", "x".repeat(256));
        let request = match operation.example() {
            Some(example) => request.json(example),
            None => request,
        };
        let reply: Value = request.send().await.unwrap().json().await.unwrap_or_default();
        let is_checked = reply["errors"][0]["field"] == "Idempotency-Key";
        let is_documented = operation.parameters().any(|parameter| parameter["name"] == "Idempotency-Key");
        assert_eq!(is_checked, is_documented, "{}: {reply}", operation.id());
        checked += usize::from(is_checked);
    }
    assert_eq!(checked, 15);
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
        "docs/openapi.json is not what the server serves (first at line {}). If the API was meant to change, run this test \
         with BERTH_BLESS=1 and commit the file.",
        differs.map_or(0, |line| line + 1)
    );
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
