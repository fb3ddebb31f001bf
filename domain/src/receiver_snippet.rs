//! Receivers to start from, in several languages, and a signed test request with curl. URL and secret are filled in.
//!
//! `server/tests/api/snippets.rs` runs each of them with right and wrong signatures.

use crate::event::EventType;
use crate::routing::DeliveryPaths;

/// The port of a receiver whose URL names none, as in the guide.
const DEFAULT_PORT: &str = "8000";
/// The place of a secret that is not known.
const UNKNOWN_SECRET: &str = "whsec_…";

/// The language of a snippet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray)]
pub enum SnippetLanguage {
    /// Python with FastAPI.
    Python,
    /// Node with Express.
    Node,
    /// Go with its standard library.
    Go,
    /// Rust with axum.
    Rust,
    /// A signed test request with curl.
    Curl,
}

impl SnippetLanguage {
    /// Every language.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Python => "Python (FastAPI)",
            Self::Node => "Node (Express)",
            Self::Go => "Go",
            Self::Rust => "Rust (axum)",
            Self::Curl => "curl",
        }
    }

    /// The name of the file.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Python => "receiver.py",
            Self::Node => "receiver.js",
            Self::Go => "receiver.go",
            Self::Rust => "src/main.rs",
            Self::Curl => "test.sh",
        }
    }
}

/// The credentials that a request contains besides its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnippetCredentials<'a> {
    /// None.
    None,
    /// A header with a key.
    ApiKey {
        /// The header's name.
        header: &'a str,
        /// The key.
        key: &'a str,
    },
    /// An access token of OAuth 2.0.
    AccessToken,
}

/// The webhook that a snippet is for.
#[derive(Clone, Copy)]
pub struct SnippetTarget<'a> {
    /// The endpoint URL.
    pub endpoint_url: &'a str,
    /// The delivery paths.
    pub paths: &'a DeliveryPaths,
    /// The events.
    pub events: &'a [EventType],
    /// The slug of the resource type; `None` for all types.
    pub resource_type: Option<&'a str>,
    /// The signing secret; `None` if it is not known.
    pub secret: Option<&'a str>,
    /// The credentials, which the request of curl contains.
    pub credentials: SnippetCredentials<'a>,
}

impl SnippetTarget<'_> {
    /// The paths of the selected events without duplicates. Empty if a framework could read one as a pattern; the receiver
    /// then serves every path.
    fn routes(&self) -> Vec<String> {
        let mut routes: Vec<String> = Vec::new();
        for event in self.events {
            let route = path_of(&self.paths.url(self.endpoint_url, *event)).to_owned();
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
        let is_plain = |route: &String| route.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b));
        if routes.iter().all(is_plain) { routes } else { Vec::new() }
    }

    fn port(&self) -> &str {
        let authority = split_url(self.endpoint_url).0;
        let port = authority.rsplit_once(':').map(|(_, port)| port);
        port.filter(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())).unwrap_or(DEFAULT_PORT)
    }

    /// The assignment of the secret for a shell.
    fn secret(&self) -> String {
        format!("WEBHOOK_SECRET={}", shell_quote(self.secret.unwrap_or(UNKNOWN_SECRET)))
    }
}

/// Authority and path of a URL.
fn split_url(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    }
}

fn path_of(url: &str) -> &str {
    split_url(url).1
}

/// Quotes a text as one word of a POSIX shell.
fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The snippet of a webhook.
pub fn receiver_snippet(language: SnippetLanguage, target: &SnippetTarget<'_>) -> String {
    match language {
        SnippetLanguage::Python => python(target),
        SnippetLanguage::Node => node(target),
        SnippetLanguage::Go => go(target),
        SnippetLanguage::Rust => rust(target),
        SnippetLanguage::Curl => curl(target),
    }
}

/// One line for each route, made by `line`; `otherwise` if the receiver serves every path.
fn lines(routes: &[String], line: impl Fn(&str) -> String, otherwise: &str) -> String {
    match routes {
        [] => otherwise.to_owned(),
        routes => routes.iter().map(|route| line(route)).collect::<Vec<_>>().join("\n"),
    }
}

fn python(target: &SnippetTarget<'_>) -> String {
    let routes = lines(&target.routes(), |route| format!("@app.post(\"{route}\")"), "@app.post(\"/{path:path}\")");
    let (secret, port) = (target.secret(), target.port());
    format!(
        r#"# pip install fastapi uvicorn
# {secret} uvicorn receiver:app --host 0.0.0.0 --port {port}
import hashlib
import hmac
import json
import os

from fastapi import FastAPI, HTTPException, Request

WEBHOOK_SECRET = os.environ["WEBHOOK_SECRET"]

app = FastAPI()


def is_valid(body: bytes, signature: str) -> bool:
    digest = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={{digest}}".encode(), signature.encode())


{routes}
async def handle(request: Request):
    # The signature covers the raw bytes of the body, so verify them before you parse them.
    body = await request.body()
    if not is_valid(body, request.headers.get("X-Webhook-Signature", "")):
        raise HTTPException(status_code=401, detail="Invalid webhook signature")
    event = json.loads(body)
    print(request.headers.get("X-Webhook-Event"), event)
    # Provision or release the resource here.
    return {{"status": "success", "message": "Resource provisioned successfully"}}


@app.get("/health")
async def health():
    return {{"status": "healthy"}}
"#
    )
}

fn node(target: &SnippetTarget<'_>) -> String {
    let routes = match target.routes().as_slice() {
        [] => "/.*/".to_owned(),
        routes => format!("[{}]", routes.iter().map(|route| format!("\"{route}\"")).collect::<Vec<_>>().join(", ")),
    };
    let (secret, port) = (target.secret(), target.port());
    format!(
        r#"// npm install express
// {secret} node receiver.js
const {{ createHmac, timingSafeEqual }} = require("node:crypto");
const express = require("express");

const secret = process.env.WEBHOOK_SECRET;
if (!secret) throw new Error("Set WEBHOOK_SECRET.");

function isValid(body, signature) {{
  const expected = Buffer.from("sha256=" + createHmac("sha256", secret).update(body).digest("hex"));
  const received = Buffer.from(signature);
  return received.length === expected.length && timingSafeEqual(received, expected);
}}

const app = express();

// The signature covers the raw bytes of the body, so express.raw() does not parse them.
app.post({routes}, express.raw({{ type: () => true, limit: "1mb" }}), (request, response) => {{
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
  if (!isValid(body, request.get("X-Webhook-Signature") ?? "")) {{
    response.status(401).json({{ detail: "Invalid webhook signature" }});
    return;
  }}
  const event = JSON.parse(body.toString("utf8"));
  console.log(request.get("X-Webhook-Event"), event);
  // Provision or release the resource here.
  response.json({{ status: "success", message: "Resource provisioned successfully" }});
}});

app.get("/health", (request, response) => {{
  response.json({{ status: "healthy" }});
}});

app.listen({port});
"#
    )
}

fn go(target: &SnippetTarget<'_>) -> String {
    let routes = target.routes();
    let register =
        lines(&routes, |route| format!("\thttp.HandleFunc(\"{route}\", handle)"), "\thttp.HandleFunc(\"/\", handle)");
    // Two handlers of one path end the program at its start.
    let health = if routes.iter().any(|route| route == "/health") {
        ""
    } else {
        "\n\thttp.HandleFunc(\"/health\", func(w http.ResponseWriter, r *http.Request) {\n\t\trespond(w, http.StatusOK, `{\"status\": \"healthy\"}`)\n\t})"
    };
    let (secret, port) = (target.secret(), target.port());
    format!(
        r#"// {secret} go run receiver.go
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"os"
)

var secret = os.Getenv("WEBHOOK_SECRET")

func isValid(body []byte, signature string) bool {{
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	expected := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(signature), []byte(expected))
}}

func respond(w http.ResponseWriter, status int, body string) {{
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}}

func handle(w http.ResponseWriter, r *http.Request) {{
	// The signature covers the raw bytes of the body, so verify them before you parse them.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {{
		respond(w, http.StatusBadRequest, `{{"detail": "The body cannot be read"}}`)
		return
	}}
	if !isValid(body, r.Header.Get("X-Webhook-Signature")) {{
		respond(w, http.StatusUnauthorized, `{{"detail": "Invalid webhook signature"}}`)
		return
	}}
	log.Printf("%s %s", r.Header.Get("X-Webhook-Event"), body)
	// Provision or release the resource here.
	respond(w, http.StatusOK, `{{"status": "success", "message": "Resource provisioned successfully"}}`)
}}

func main() {{
	if secret == "" {{
		log.Fatal("Set WEBHOOK_SECRET.")
	}}
{register}{health}
	log.Fatal(http.ListenAndServe(":{port}", nil))
}}
"#
    )
}

fn rust(target: &SnippetTarget<'_>) -> String {
    let routes = lines(
        &target.routes(),
        |route| format!("        .route(\"{route}\", post(handle))"),
        "        .route(\"/\", post(handle))\n        .route(\"/{*path}\", post(handle))",
    );
    let (secret, port) = (target.secret(), target.port());
    format!(
        r#"//! cargo add axum@0.8 hex@0.4 hmac@0.13 serde_json@1 sha2@0.11 tokio@1 --features tokio/full
//! {secret} cargo run

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{{HeaderMap, StatusCode}};
use axum::routing::{{get, post}};
use axum::{{Json, Router}};
use hmac::{{Hmac, KeyInit, Mac}};
use serde_json::{{Value, json}};
use sha2::Sha256;

/// Whether the signature belongs to the raw bytes of the body. `verify_slice` compares in constant time.
fn is_valid(secret: &str, body: &[u8], signature: &str) -> bool {{
    let Some(received) = signature.strip_prefix("sha256=").and_then(|text| hex::decode(text).ok()) else {{
        return false;
    }};
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {{ return false }};
    mac.update(body);
    mac.verify_slice(&received).is_ok()
}}

async fn handle(State(secret): State<String>, headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {{
    let signature = headers.get("x-webhook-signature").and_then(|value| value.to_str().ok());
    if !is_valid(&secret, &body, signature.unwrap_or_default()) {{
        return (StatusCode::UNAUTHORIZED, Json(json!({{"detail": "Invalid webhook signature"}})));
    }}
    // Provision or release the resource here.
    (StatusCode::OK, Json(json!({{"status": "success", "message": "Resource provisioned successfully"}})))
}}

/// The receiver.
pub fn app(secret: String) -> Router {{
    Router::new()
{routes}
        .route("/health", get(async || Json(json!({{"status": "healthy"}}))))
        .with_state(secret)
}}

#[tokio::main]
async fn main() -> std::io::Result<()> {{
    let secret = std::env::var("WEBHOOK_SECRET").map_err(std::io::Error::other)?;
    let listener = tokio::net::TcpListener::bind("0.0.0.0:{port}").await?;
    axum::serve(listener, app(secret)).await
}}
"#
    )
}

fn curl(target: &SnippetTarget<'_>) -> String {
    let event = target.events.first().copied().unwrap_or(EventType::ReservationCreated);
    let url = shell_quote(&target.paths.url(target.endpoint_url, event));
    let resource_type = target.resource_type.unwrap_or("gpu-cluster");
    let credentials = match target.credentials {
        SnippetCredentials::None => String::new(),
        SnippetCredentials::ApiKey { header, key } => {
            let key = if key.is_empty() { "<key>" } else { key };
            format!("\n  -H {} \\", shell_quote(&format!("{header}: {key}")))
        }
        SnippetCredentials::AccessToken => "\n  -H \"Authorization: Bearer $ACCESS_TOKEN\" \\".to_owned(),
    };
    let secret = target.secret();
    format!(
        r#"# Sends a signed test event. A receiver that verifies signatures responds with 401 if you change the secret.
{secret}
body='{{"event_type": "{event}", "test": true, "reservation_id": "test-123", "user_id": "alice", "resource_type": "{resource_type}", "start_time": "2030-01-01T10:00:00Z", "end_time": "2030-01-01T18:00:00Z", "user_ssh_key": "", "additional_config": {{}}}}'
signature=$(printf '%s' "$body" | openssl dgst -sha256 -hmac "$WEBHOOK_SECRET" | sed 's/^.* //')
curl -i -X POST {url} \
  -H 'Content-Type: application/json' \
  -H 'X-Webhook-Event: {event}' \
  -H 'X-Webhook-Test: true' \{credentials}
  -H "X-Webhook-Signature: sha256=$signature" \
  --data-binary "$body"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Layout;
    use EventType::{ReservationCancelled, ReservationCreated, ReservationUpdated};

    const EVENTS: [EventType; 3] = [ReservationCreated, ReservationUpdated, ReservationCancelled];

    fn target<'a>(endpoint_url: &'a str, paths: &'a DeliveryPaths, secret: Option<&'a str>) -> SnippetTarget<'a> {
        let credentials = SnippetCredentials::ApiKey { header: "X-API-Key", key: "it's a key" };
        SnippetTarget { endpoint_url, paths, events: &EVENTS, resource_type: None, secret, credentials }
    }

    #[test]
    fn receivers_serve_each_path_once_on_the_port_of_the_url() {
        let paths = DeliveryPaths::default();
        for (url, port) in [
            ("https://gpu.example.com/api/webhook?key=1", "8000"),
            ("http://127.0.0.1:9001/api/webhook", "9001"),
            ("http://[::1]/api/webhook", "8000"),
        ] {
            let target = target(url, &paths, Some("whsec_secret"));
            assert_eq!(target.routes(), ["/api/webhook/reservation", "/api/webhook/reservation/cancel"], "{url}");
            assert_eq!(target.port(), port, "{url}");
            for language in SnippetLanguage::ALL.iter().filter(|language| **language != SnippetLanguage::Curl) {
                let snippet = receiver_snippet(*language, &target);
                assert!(snippet.contains("/api/webhook/reservation/cancel\""), "{snippet}");
                assert!(snippet.contains("WEBHOOK_SECRET='whsec_secret'") && snippet.contains(port), "{snippet}");
            }
        }
    }

    #[test]
    fn path_that_a_framework_reads_as_a_pattern_is_not_part_of_a_snippet() {
        let paths = DeliveryPaths { layout: Layout::Single, ..DeliveryPaths::default() };
        for url in ["https://a.example/:id", "https://a.example/a%20b", "https://a.example/*", "https://a.example/\"+"]
        {
            let target = target(url, &paths, None);
            assert!(target.routes().is_empty(), "{url}");
            for language in SnippetLanguage::ALL.iter().filter(|language| **language != SnippetLanguage::Curl) {
                let snippet = receiver_snippet(*language, &target);
                assert!(!snippet.contains(path_of(url)), "{snippet}");
            }
        }
    }

    #[test]
    fn url_secret_and_key_cannot_end_their_quotation_marks() {
        let paths = DeliveryPaths::default();
        let target = target("https://a.example/it's", &paths, Some("it's; rm -rf"));
        let snippet = receiver_snippet(SnippetLanguage::Curl, &target);
        assert!(snippet.contains(r"WEBHOOK_SECRET='it'\''s; rm -rf'"), "{snippet}");
        assert!(snippet.contains(r"'https://a.example/it'\''s/reservation'"), "{snippet}");
        assert!(snippet.contains(r"'X-API-Key: it'\''s a key'"), "{snippet}");
    }

    #[test]
    fn unknown_secret_is_a_placeholder() {
        let paths = DeliveryPaths::default();
        for language in SnippetLanguage::ALL {
            let snippet = receiver_snippet(*language, &target("https://a.example", &paths, None));
            assert!(snippet.contains("WEBHOOK_SECRET='whsec_…'"), "{snippet}");
        }
    }
}
