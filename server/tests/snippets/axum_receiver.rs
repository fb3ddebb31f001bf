//! cargo add axum@0.8 hex@0.4 hmac@0.13 serde_json@1 sha2@0.11 tokio@1 --features tokio/full
//! WEBHOOK_SECRET='whsec_…' cargo run

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// Whether the signature belongs to the raw bytes of the body. `verify_slice` compares in constant time.
fn is_valid(secret: &str, body: &[u8], signature: &str) -> bool {
    let Some(received) = signature.strip_prefix("sha256=").and_then(|text| hex::decode(text).ok()) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(body);
    mac.verify_slice(&received).is_ok()
}

async fn handle(State(secret): State<String>, headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {
    let signature = headers.get("x-webhook-signature").and_then(|value| value.to_str().ok());
    if !is_valid(&secret, &body, signature.unwrap_or_default()) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"detail": "Invalid webhook signature"})));
    }
    // Provision or release the resource here.
    (StatusCode::OK, Json(json!({"status": "success", "message": "Resource provisioned successfully"})))
}

/// The receiver.
pub fn app(secret: String) -> Router {
    Router::new()
        .route("/api/webhook/reservation", post(handle))
        .route("/api/webhook/reservation/cancel", post(handle))
        .route("/health", get(async || Json(json!({"status": "healthy"}))))
        .with_state(secret)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let secret = std::env::var("WEBHOOK_SECRET").map_err(std::io::Error::other)?;
    let listener = tokio::net::TcpListener::bind("0.0.0.0:8000").await?;
    axum::serve(listener, app(secret)).await
}
