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
