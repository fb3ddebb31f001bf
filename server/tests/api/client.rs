//! An API client. Every call states the status that it expects, and checks the properties that every response must have.

use crate::openapi::documented;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use std::sync::Arc;

/// Credential of a client.
#[derive(Clone)]
enum Credential {
    None,
    Token(String),
    /// The session cookie, with the `Origin` header that a browser sends from Berth's own page.
    Session(String),
}

/// A client of one server.
#[derive(Clone)]
pub struct TestClient {
    http: reqwest::Client,
    server: String,
    credential: Credential,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Reply {
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    /// The body as JSON; null for other bodies.
    pub body: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// A string field of the body.
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("{field} should be a string in {}", self.text))
    }

    /// The numeric `id` of the body.
    pub fn id(&self) -> i64 {
        self.body["id"].as_i64().unwrap_or_else(|| panic!("id should be a number in {}", self.text))
    }

    /// The body without the request id, which differs in every response.
    pub fn without_request_id(&self) -> Value {
        let mut body = self.body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("request_id");
        }
        body
    }

    /// The items of a list.
    pub fn items(&self) -> &[Value] {
        self.body["items"].as_array().unwrap_or_else(|| panic!("not a list: {}", self.text))
    }

    /// Names of the invalid fields, in order.
    pub fn invalid_fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap()).collect()
    }

    /// The session token from `Set-Cookie`.
    pub fn session(&self) -> String {
        let cookie = self.header("set-cookie");
        let cookie = cookie.strip_prefix("__Host-").unwrap_or(cookie);
        let value = cookie.strip_prefix("berth_session=").and_then(|rest| rest.split(';').next());
        value.unwrap_or_else(|| panic!("no session cookie in {cookie:?}")).to_owned()
    }
}

/// An HTTP client without proxies. The build has no default TLS provider, so one is configured although it is not used.
pub fn http() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let redirect = reqwest::redirect::Policy::none();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().redirect(redirect).build().unwrap()
}

impl TestClient {
    /// A client without credential.
    pub fn new(server: &str) -> Self {
        Self { http: http(), server: server.to_owned(), credential: Credential::None }
    }

    /// The same client with an API token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { credential: Credential::Token(token.to_owned()), ..self.clone() }
    }

    /// The same client as a browser with a session.
    pub fn with_session(&self, session: &str) -> Self {
        Self { credential: Credential::Session(session.to_owned()), ..self.clone() }
    }

    /// A request with the credential. `path` is relative to `/api/v1`, unless it begins with `//`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = match path.strip_prefix('/') {
            Some(outside) if outside.starts_with('/') => format!("{}{outside}", self.server),
            _ => format!("{}/api/v1{path}", self.server),
        };
        let request = self.http.request(method, url);
        match &self.credential {
            Credential::None => request,
            Credential::Token(token) => request.bearer_auth(token),
            Credential::Session(session) => {
                request.header("cookie", format!("berth_session={session}")).header("origin", &self.server)
            }
        }
    }

    /// Sends the request after `with` has changed it, and checks the response.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        expected: u16,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Reply {
        let response = with(self.request(method.clone(), path)).send().await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await.unwrap();
        assert_eq!(status, expected, "{method} {path} returned: {text}");
        let reply = Reply { headers, body: serde_json::from_str(&text).unwrap_or(Value::Null), text };
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{method} {path}");
        if !path.starts_with("//") || path.starts_with("//api/v1") {
            assert_eq!(reply.header("cache-control"), "no-store", "{method} {path} may be personal");
            if expected >= 400 {
                is_problem(&reply, expected);
            }
            // 405 belongs to the path, not to an operation.
            assert!(
                expected == 405 || documented(&method, path, expected),
                "{method} {path} → {expected} is not in the OpenAPI document"
            );
        }
        reply
    }

    pub async fn get(&self, path: &str, expected: u16) -> Reply {
        self.send(Method::GET, path, expected, |request| request).await
    }

    /// A POST with a JSON body; null sends none.
    pub async fn post(&self, path: &str, body: Value, expected: u16) -> Reply {
        self.send(Method::POST, path, expected, |request| if body.is_null() { request } else { request.json(&body) })
            .await
    }

    pub async fn put(&self, path: &str, body: Value, expected: u16) -> Reply {
        self.send(Method::PUT, path, expected, |request| request.json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value, expected: u16) -> Reply {
        self.send(Method::PATCH, path, expected, |request| request.json(&body)).await
    }

    pub async fn delete(&self, path: &str, expected: u16) -> Reply {
        self.send(Method::DELETE, path, expected, |request| request).await
    }

    /// A POST that must be rejected with 422 and exactly these invalid fields.
    pub async fn post_invalid(&self, path: &str, body: Value, invalid_fields: &[&str]) -> Reply {
        let shown = body.to_string();
        let reply = self.post(path, body, 422).await;
        assert_eq!(
            reply.invalid_fields(),
            invalid_fields,
            "POST {path} {}: {}",
            &shown[..shown.len().min(400)],
            reply.text
        );
        reply
    }

    /// Like `post_invalid`, with PATCH.
    pub async fn patch_invalid(&self, path: &str, body: Value, invalid_fields: &[&str]) -> Reply {
        let shown = body.to_string();
        let reply = self.patch(path, body, 422).await;
        assert_eq!(
            reply.invalid_fields(),
            invalid_fields,
            "PATCH {path} {}: {}",
            &shown[..shown.len().min(400)],
            reply.text
        );
        reply
    }

    /// All items of a list, read in pages of `limit`.
    pub async fn pages(&self, path: &str, limit: usize) -> Vec<Value> {
        let join = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}{join}limit={limit}&cursor={cursor}"), 200).await;
            assert!(page.items().len() <= limit, "a page has at most `limit` items");
            all.extend_from_slice(page.items());
            match page.body["next_cursor"].as_str() {
                Some(next) => {
                    assert_eq!(page.items().len(), limit, "only the last page may be shorter");
                    cursor = next.to_owned();
                }
                None => return all,
            }
        }
    }
}

/// Checks a problem response (RFC 9457, docs/contract.md §6).
pub fn is_problem(reply: &Reply, status: u16) {
    let text = &reply.text;
    assert_eq!(reply.header("content-type"), "application/problem+json", "{text}");
    let fields = reply.body.as_object().unwrap_or_else(|| panic!("not an object: {text}"));
    assert_eq!(reply.body["status"], status, "{text}");
    assert!(reply.text("type").starts_with("/problems/"), "{text}");
    assert!(!reply.text("title").is_empty() && !reply.text("detail").is_empty(), "{text}");
    let known = ["type", "title", "status", "detail", "errors", "conflict", "extension", "request_id"];
    assert!(fields.keys().all(|name| known.contains(&name.as_str())), "{text}");
    assert!(!reply.header("x-request-id").is_empty());
    assert_eq!(reply.text("request_id"), reply.header("x-request-id"), "{text}");
    match status {
        401 => assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"berth\""),
        405 => assert!(!reply.header("allow").is_empty(), "405 needs Allow"),
        429 | 503 => assert!(reply.header("retry-after").parse::<u64>().unwrap() > 0),
        _ => {}
    }
    if status == 422 {
        let errors = reply.body["errors"].as_array().unwrap_or_else(|| panic!("422 must name fields: {text}"));
        assert!(!errors.is_empty(), "{text}");
        for error in errors {
            assert!(!error["field"].as_str().unwrap().is_empty() && !error["message"].as_str().unwrap().is_empty());
        }
    } else {
        assert!(!fields.contains_key("errors"), "{text}");
    }
}
