//! The sample receiver: an independent HTTP service that verifies signatures, provisions and sends status updates.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use domain::Problem;
use domain::authorization::Actor;
use domain::change::Change;
use domain::pagination::PageQuery;
use domain::signature::{Secret, sign_body, verify_body};
use domain::webhook::{AuthInput, RotateInput, SAMPLE_RECEIVER, Webhook, WebhookInput, WebhookPatch};
use serde_json::{Value, json};
use service::Service;
use service::change_feed::Update;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// Starts the receiver on a free port and registers a webhook for each sample type, or changes the URL of existing ones.
pub(super) async fn start(service: &Service, actor: &Actor, cancel: &CancellationToken) -> Result<(), String> {
    let cannot_listen = |error: std::io::Error| format!("The sample receiver cannot listen: {error}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(cannot_listen)?;
    let endpoint_url = format!("http://{}/api/webhook", listener.local_addr().map_err(cannot_listen)?);
    // Subscribed before the webhooks are read, so that no change is missed.
    let changes = service.change_feed().subscribe();
    let secret = register(service, actor, &endpoint_url)
        .await
        .map_err(|problem| format!("The sample receiver cannot be registered: {}", problem.detail))?;
    let receiver = Receiver { secret: Secret::parse(&secret)?, http: client()? };
    let router = Router::new()
        .route("/api/webhook/reservation", post(provision))
        .route("/api/webhook/reservation/cancel", post(release))
        .route("/api/webhook/access-request", post(access))
        .with_state(receiver);
    let server = axum::serve(listener, router).with_graceful_shutdown(cancel.clone().cancelled_owned());
    tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::warn!(%error, "the sample receiver failed");
        }
    });
    tokio::spawn(yield_to_services(service.clone(), actor.clone(), changes, cancel.clone()));
    Ok(())
}

/// Registers the webhooks, or updates their URLs and rotates their secrets. Returns the secret, the same for all.
async fn register(service: &Service, actor: &Actor, endpoint_url: &str) -> Result<String, Problem> {
    let known = all_webhooks(service, actor).await?;
    let mut secret = None;
    for slug in super::catalogue::slugs() {
        let name = format!("{SAMPLE_RECEIVER} ({slug})");
        let found = known.iter().find(|webhook| webhook.name == name);
        // An earlier release had a single webhook, without a type in its name. The first type takes it over.
        let earlier = || known.iter().find(|webhook| webhook.name == SAMPLE_RECEIVER && secret.is_none());
        let registered = if let Some(webhook) = found.or_else(earlier) {
            let patch = WebhookPatch {
                name: Some(name),
                endpoint_url: Some(endpoint_url.to_owned()),
                // The port changes with each start. Stored credentials do not follow a changed origin.
                auth: Some(authentication()),
                resource_type: Some(Some(slug.to_owned())),
                ..WebhookPatch::default()
            };
            service.webhooks().update(actor, webhook.id, patch).await?;
            let rotation = RotateInput { overlap_hours: Some(0), secret: secret.clone() };
            service.webhooks().rotate_secret(actor, webhook.id, rotation).await?
        } else {
            service.webhooks().create(actor, input(name, endpoint_url, slug, secret.clone())).await?
        };
        secret = Some(registered.secret);
    }
    yield_types(service, actor).await?;
    secret.ok_or_else(Problem::internal)
}

fn authentication() -> AuthInput {
    AuthInput::ApiKey { header: "X-API-Key".into(), key: "sample-receiver-key".into() }
}

fn input(name: String, endpoint_url: &str, slug: &str, secret: Option<String>) -> WebhookInput {
    let resource_type = Some(slug.to_owned());
    WebhookInput { resource_type, secret, ..WebhookInput::new(name, endpoint_url, authentication()) }
}

async fn all_webhooks(service: &Service, actor: &Actor) -> Result<Vec<Webhook>, Problem> {
    let mut webhooks = Vec::new();
    let mut cursor = None;
    loop {
        let page = service.webhooks().list(actor, &PageQuery { limit: Some(200), cursor }).await?;
        webhooks.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(webhooks);
        }
    }
}

/// Lets the sample receiver provision exactly the types that no other webhook provisions.
async fn yield_types(service: &Service, actor: &Actor) -> Result<(), Problem> {
    let (samples, others): (Vec<_>, Vec<_>) =
        all_webhooks(service, actor).await?.into_iter().partition(Webhook::is_sample);
    for sample in samples {
        let is_provisioned = others.iter().any(|other| other.drives(sample.resource_type.as_deref()));
        if sample.provisions == is_provisioned {
            let patch = WebhookPatch { provisions: Some(!is_provisioned), ..WebhookPatch::default() };
            service.webhooks().update(actor, sample.id, patch).await?;
        }
    }
    Ok(())
}

/// Applies [`yield_types`] after each change of a webhook.
async fn yield_to_services(
    service: Service,
    actor: Actor,
    mut changes: broadcast::Receiver<Update>,
    cancel: CancellationToken,
) {
    loop {
        let update = tokio::select! {
            update = changes.recv() => update,
            () = cancel.cancelled() => return,
        };
        match update {
            Ok(Update::Change(change)) if !matches!(*change, Change::Webhook(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
        }
        if let Err(problem) = yield_types(&service, &actor).await {
            tracing::warn!(problem = problem.detail, "the sample receiver cannot change its webhooks");
        }
    }
}

/// State of the receiver. It uses only the public contract, like a receiver of an integrator.
#[derive(Clone)]
struct Receiver {
    secret: Secret,
    http: reqwest::Client,
}

impl Receiver {
    /// Parses an event with a valid signature. The error is the response: 401 for the signature, 400 for the body.
    fn parse_verified(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, Box<Response>> {
        let signature = headers.get("x-webhook-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !verify_body(&self.secret, body, signature) {
            let rejection = (StatusCode::UNAUTHORIZED, Json(json!({"detail": "Invalid webhook signature"})));
            return Err(Box::new(rejection.into_response()));
        }
        serde_json::from_slice(body).map_err(|_| {
            Box::new((StatusCode::BAD_REQUEST, Json(json!({"detail": "Invalid JSON payload"}))).into_response())
        })
    }

    /// Sends the status updates of a simulated installation, one every 1.5 s.
    async fn send_status_updates(self, event: Value) {
        let url = event["status_url"].as_str().unwrap_or_default().to_owned();
        let user = event["user_id"].as_str().unwrap_or_default().to_owned();
        let webhook = event["webhook_id"].to_string();
        let steps = [
            (10, "Choosing a machine"),
            (35, "Writing the operating system"),
            (70, "Setting up the network"),
            (90, "Creating your account"),
            (100, "Your machine is ready"),
        ];
        for (progress, message) in steps {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let mut update = json!({
                "status": if progress == 100 { "ready" } else { "provisioning" },
                "timestamp": service::Clock::now(&service::SystemClock),
                "progress": progress,
                "message": message,
            });
            if progress == 100 {
                update["details"] = json!({"access_info": access_info(&user, "198.51.100.24")});
            }
            let body = update.to_string();
            let sent = self
                .http
                .post(&url)
                .header("content-type", "application/json")
                .header("x-webhook-id", &webhook)
                .header("x-webhook-signature", sign_body(&self.secret, body.as_bytes()))
                .body(body)
                .send()
                .await;
            match sent {
                Ok(response) if response.status().is_success() => {}
                // 409: the reservation was cancelled in the meantime.
                Ok(_) => return,
                Err(error) => return tracing::debug!(%error, "the sample receiver cannot send its status update"),
            }
        }
    }
}

fn access_info(user: &str, address: &str) -> Value {
    json!({
        "ip_address": address,
        "port": 22,
        "username": format!("user-{user}"),
        "connection_command": format!("ssh user-{user}@{address}"),
    })
}

async fn provision(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let event = match receiver.parse_verified(&headers, &body) {
        Ok(event) => event,
        Err(rejection) => return *rejection,
    };
    let user = event["user_id"].as_str().unwrap_or_default().to_owned();
    if event["resource_type"] == "server" {
        if event["test"] != json!(true) {
            tokio::spawn(receiver.send_status_updates(event));
        }
        let accepted = json!({
            "status": "accepted",
            "message": "Installing the server",
            "details": {"estimated_ready_time": "8 seconds"},
        });
        return (StatusCode::ACCEPTED, Json(accepted)).into_response();
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let cluster = format!(
        "{}-{}",
        event["resource_type"].as_str().unwrap_or_default(),
        event["reservation_id"].as_str().unwrap_or_default()
    );
    Json(json!({
        "status": "success", "reservation_id": event["reservation_id"], "message": "Resource provisioned successfully",
        "details": {"cluster_id": cluster, "access_info": access_info(&user, "192.0.2.10"), "estimated_ready_time": "now"},
    }))
    .into_response()
}

async fn release(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    match receiver.parse_verified(&headers, &body) {
        Ok(event) => {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Json(
                json!({"status": "success", "reservation_id": event["reservation_id"], "message": "Resource released"}),
            )
            .into_response()
        }
        Err(rejection) => *rejection,
    }
}

async fn access(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    match receiver.parse_verified(&headers, &body) {
        Ok(_) => Json(json!({"status": "success", "message": "Access request received"})).into_response(),
        Err(rejection) => *rejection,
    }
}

/// Creates the HTTP client for status updates. It needs no certificates, because it calls this server without TLS.
fn client() -> Result<reqwest::Client, String> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().map_err(|error| error.to_string())
}
