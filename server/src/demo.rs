//! `berth serve --demo`: people, resources and a sample receiver, so that a newcomer sees live deliveries at once. It goes
//! through the same use cases as everybody, and makes only what is missing.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use domain::account::UserInput;
use domain::authorization::{Actor, Role, Scope};
use domain::event::EventType;
use domain::pagination::PageQuery;
use domain::resource::{ResourceInput, ResourceStatus, ResourceTypeInput};
use domain::signature::{Secret, sign_body, verify_body};
use domain::webhook::{AuthInput, WebhookInput, WebhookPatch};
use domain::{Problem, ProblemKind};
use serde_json::{Value, json};
use service::Service;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const ADMIN: (&str, &str) = ("admin", "berth-demo-admin");
const USER: (&str, &str) = ("alice", "berth-demo-alice");
const WEBHOOK: &str = "Sample receiver";

/// What a newcomer reads on the terminal.
pub fn welcome(url: &str) -> String {
    format!(
        "\n  Berth runs at {url}\n\n    administrator   {} / {}\n    user            {} / {}\n\n  Log in as alice, reserve something, and watch it become ready.\n  Log in as admin and open Settings → Webhook Integrations to see the deliveries.\n",
        ADMIN.0, ADMIN.1, USER.0, USER.1
    )
}

fn actor() -> Actor {
    Actor { username: ADMIN.0.into(), role: Role::Administrator, scopes: Scope::ALL.to_vec() }
}

/// An existing thing is as good as a new one.
fn unless_there<T>(result: Result<T, Problem>) -> Result<Option<T>, String> {
    match result {
        Ok(made) => Ok(Some(made)),
        Err(problem) if problem.kind == ProblemKind::Conflict => Ok(None),
        Err(problem) => Err(format!("The demonstration cannot be set up: {}", problem.detail)),
    }
}

/// Makes what is missing and starts the sample receiver.
///
/// # Errors
/// A sentence for the operator.
pub async fn set_up(service: &Service, cancel: &CancellationToken) -> Result<(), String> {
    for ((username, password), role) in [(ADMIN, Role::Administrator), (USER, Role::User)] {
        let input = UserInput {
            username: username.into(),
            email: format!("{username}@example.com"),
            password: password.into(),
            role,
        };
        unless_there(service.create_user_as_operator(input).await)?;
    }
    let actor = actor();
    for (slug, name, color, schema) in types() {
        let input = ResourceTypeInput {
            slug: slug.into(),
            name: name.into(),
            color: Some(color.into()),
            config_schema: Some(schema),
        };
        unless_there(service.create_type(&actor, input).await)?;
    }
    for (name, kind, location, specs, status) in [
        (
            "A100 cluster",
            "gpu-cluster",
            "Hall 1, row A",
            "4 nodes, 8 × NVIDIA A100 80 GB each, InfiniBand",
            ResourceStatus::Available,
        ),
        (
            "H100 cluster",
            "gpu-cluster",
            "Hall 1, row B",
            "2 nodes, 8 × NVIDIA H100 80 GB each, NVLink",
            ResourceStatus::Available,
        ),
        (
            "H200 pilot",
            "gpu-cluster",
            "Hall 2, row A",
            "1 node, 8 × NVIDIA H200; ask for access first",
            ResourceStatus::Restricted,
        ),
        ("epyc-01", "server", "Hall 1, row C", "2 × AMD EPYC 9654, 1.5 TB memory, 8 NVMe", ResourceStatus::Available),
        ("epyc-02", "server", "Hall 1, row C", "2 × AMD EPYC 9654, 1.5 TB memory, 8 NVMe", ResourceStatus::Available),
        ("epyc-03", "server", "Hall 1, row C", "Waiting for a new power supply", ResourceStatus::Maintenance),
        ("leaf-1 port 17", "switch-port", "Hall 1, rack 12", "100 GbE, QSFP28", ResourceStatus::Available),
        ("leaf-1 port 18", "switch-port", "Hall 1, rack 12", "100 GbE, QSFP28", ResourceStatus::Available),
    ] {
        let input = ResourceInput {
            name: name.into(),
            resource_type: kind.into(),
            location: Some(location.into()),
            specs: Some(specs.into()),
            status: Some(status),
        };
        unless_there(service.create_resource(&actor, input).await)?;
    }
    sample_receiver(service, &actor, cancel).await
}

fn types() -> [(&'static str, &'static str, &'static str, Value); 3] {
    [
        (
            "gpu-cluster",
            "GPU cluster",
            "#4f46e5",
            json!({"type": "object", "properties": {
                "gpu_type": {"type": "string", "title": "GPU", "enum": ["nvidia-a100", "nvidia-h100", "nvidia-h200"], "default": "nvidia-a100"},
                "gpu_count": {"type": "integer", "title": "Number of GPUs", "minimum": 1, "maximum": 16, "default": 4},
                "memory_gb": {"type": "integer", "title": "Memory (GB)", "minimum": 16, "maximum": 2048, "default": 512},
            }}),
        ),
        (
            "server",
            "Server",
            "#0f766e",
            json!({"type": "object", "properties": {
                "image": {"type": "string", "title": "Operating system", "enum": ["debian-12", "ubuntu-24.04", "rocky-9"], "default": "debian-12"},
                "hyperthreading": {"type": "boolean", "title": "Hyper-threading", "default": true},
                "notes": {"type": "string", "title": "Notes for the operators", "maxLength": 300},
            }}),
        ),
        (
            "switch-port",
            "Switch port",
            "#b45309",
            json!({"type": "object", "required": ["vlan"], "properties": {
                "vlan": {"type": "integer", "title": "VLAN", "description": "The VLAN to put the port into.", "minimum": 2, "maximum": 4094},
                "mtu": {"type": "integer", "title": "MTU", "minimum": 1280, "maximum": 9216, "default": 1500},
            }}),
        ),
    ]
}

/// Starts the receiver on a port of its own and registers, or points, its webhook there.
async fn sample_receiver(service: &Service, actor: &Actor, cancel: &CancellationToken) -> Result<(), String> {
    let away = |error: std::io::Error| format!("The sample receiver cannot listen: {error}");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.map_err(away)?;
    let endpoint_url = format!("http://{}/api/webhook", listener.local_addr().map_err(away)?);
    let told = |problem: Problem| format!("The sample receiver cannot be registered: {}", problem.detail);
    let known = service.list_webhooks(actor, &PageQuery { limit: Some(200), cursor: None }).await.map_err(told)?;
    let (id, secret) = match known.items.iter().find(|webhook| webhook.name == WEBHOOK) {
        Some(webhook) => {
            let patch = WebhookPatch { endpoint_url: Some(endpoint_url), ..WebhookPatch::default() };
            service.patch_webhook(actor, webhook.id, patch).await.map_err(told)?;
            let rotated = service.rotate_secret(
                actor,
                webhook.id,
                domain::webhook::RotateInput { overlap_hours: Some(0), secret: None },
            );
            (webhook.id, rotated.await.map_err(told)?.secret)
        }
        None => {
            let input = WebhookInput {
                name: WEBHOOK.into(),
                endpoint_url,
                resource_type: None,
                events: EventType::ALL.to_vec(),
                auth: AuthInput::ApiKey { header: "X-API-Key".into(), key: "sample-receiver-key".into() },
                delivery_paths: None,
                secret: None,
                headers: Vec::new(),
                retry: None,
                enabled: None,
                max_in_flight: None,
                rate_limit: None,
                ed25519: None,
                provisions: None,
            };
            let made = service.create_webhook(actor, input).await.map_err(told)?;
            (made.webhook.id, made.secret)
        }
    };
    let secret = Secret::parse(&secret)?;
    let receiver = Receiver { id, secret, http: client()? };
    let router = Router::new()
        .route("/api/webhook/reservation", post(provision))
        .route("/api/webhook/reservation/cancel", post(release))
        .route("/api/webhook/access-request", post(access))
        .with_state(receiver);
    let stop = cancel.clone();
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await;
        if let Err(error) = served {
            tracing::warn!(%error, "the sample receiver ended");
        }
    });
    Ok(())
}

fn client() -> Result<reqwest::Client, String> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().map_err(|error| error.to_string())
}

/// A receiver as an integrator would write it.
#[derive(Clone)]
struct Receiver {
    id: i64,
    secret: Secret,
    http: reqwest::Client,
}

impl Receiver {
    /// The event, if the signature is ours.
    fn verified(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, Box<Response>> {
        let signature = headers.get("x-webhook-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !verify_body(&self.secret, body, signature) {
            let refusal = (StatusCode::UNAUTHORIZED, Json(json!({"detail": "Invalid webhook signature"})));
            return Err(Box::new(refusal.into_response()));
        }
        serde_json::from_slice(body).map_err(|_| {
            Box::new((StatusCode::BAD_REQUEST, Json(json!({"detail": "Invalid JSON payload"}))).into_response())
        })
    }

    /// Reports progress as a service does that takes its time.
    async fn report(self, event: Value) {
        let url = event["status_url"].as_str().unwrap_or_default().to_owned();
        let user = event["user_id"].as_str().unwrap_or_default().to_owned();
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
                "status": if progress == 100 { "ready" } else { "provisioning" }, "timestamp": chrono::Utc::now(), "progress": progress, "message": message,
            });
            if progress == 100 {
                update["details"] = json!({"access_info": access_info(&user, "198.51.100.24")});
            }
            let body = update.to_string();
            let sent = self
                .http
                .post(&url)
                .header("content-type", "application/json")
                .header("x-webhook-id", self.id)
                .header("x-webhook-signature", sign_body(&self.secret, body.as_bytes()))
                .body(body)
                .send()
                .await;
            // 409: it was cancelled meanwhile.
            match sent {
                Ok(answer) if answer.status().is_success() => {}
                Ok(_) => return,
                Err(error) => return tracing::debug!(%error, "the sample receiver cannot report"),
            }
        }
    }
}

fn access_info(user: &str, address: &str) -> Value {
    json!({"ip_address": address, "port": 22, "username": format!("user-{user}"), "connection_command": format!("ssh user-{user}@{address}")})
}

async fn provision(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let event = match receiver.verified(&headers, &body) {
        Ok(event) => event,
        Err(refusal) => return *refusal,
    };
    let user = event["user_id"].as_str().unwrap_or_default().to_owned();
    if event["resource_type"] == "server" {
        if event["test"] != json!(true) {
            tokio::spawn(receiver.report(event));
        }
        let answer = json!({"status": "accepted", "message": "Installing the server", "details": {"estimated_ready_time": "8 seconds"}});
        return (StatusCode::ACCEPTED, Json(answer)).into_response();
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
    match receiver.verified(&headers, &body) {
        Ok(event) => {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Json(
                json!({"status": "success", "reservation_id": event["reservation_id"], "message": "Resource released"}),
            )
            .into_response()
        }
        Err(refusal) => *refusal,
    }
}

async fn access(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    match receiver.verified(&headers, &body) {
        Ok(_) => Json(json!({"status": "success", "message": "The request was noted"})).into_response(),
        Err(refusal) => *refusal,
    }
}
