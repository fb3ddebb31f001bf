//! Request ids in log lines, and export of traces to an OTLP collector.

use super::database::Database;
use super::load::Api;
use super::process::{Berth, Settings};
use super::stop::STOP_TIMEOUT;
use super::{eventually, load};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as AnyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![sqlite only:
    otlp_export_contains_request_claim_send_and_record_spans,
    otlp_sample_ratio_zero_exports_only_traces_sampled_by_the_caller,
    unreachable_otlp_endpoint_does_not_delay_requests_or_shutdown,
    every_log_line_of_a_request_has_its_request_id,
    input_forges_no_log_line,
];

const REQUEST_ID: &str = "request-of-the-telemetry-test";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID: &str = "b7ad6b7169203331";

/// An OTLP/HTTP endpoint that decodes the exported spans.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    services: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Received {
    spans: Arc<Mutex<Vec<Span>>>,
    services: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Received { spans: Arc::default(), services: Arc::default() };
        let router = Router::new().route("/v1/traces", axum::routing::post(export)).with_state(received.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, spans: received.spans, services: received.services }
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.spans.lock().iter().filter(|span| span.name == name).cloned().collect()
    }

    fn names(&self) -> Vec<String> {
        self.spans.lock().iter().map(|span| span.name.clone()).collect()
    }
}

async fn export(State(received): State<Received>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("an OTLP request");
    for resource_spans in request.resource_spans {
        let resource = resource_spans.resource.expect("a resource");
        received.services.lock().extend(text(&resource.attributes, "service.name"));
        for scope_spans in resource_spans.scope_spans {
            received.spans.lock().extend(scope_spans.spans);
        }
    }
    let response = ExportTraceServiceResponse::default().encode_to_vec();
    ([(header::CONTENT_TYPE, "application/x-protobuf")], response)
}

/// A string attribute.
fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
    match value {
        AnyValue::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// A server with a webhook whose first attempt fails, so that the retry is claimed from the queue.
async fn start(settings: &Settings, env: &[(&str, &str)]) -> (Berth, Api, Receiver) {
    let receiver = Receiver::start().await;
    receiver.respond_in_order([Response::status(503)]);
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, Some(*value))).collect();
    let berth = settings.serve_with(&env).await;
    let api = Api::of(settings).await;
    api.resource_type(&berth.url).await;
    api.webhook(&berth.url, &receiver, 4).await;
    (berth, api, receiver)
}

/// Reserves a resource within the trace of a caller.
async fn reserve(berth: &Berth, api: &Api) {
    let resource = api.resource(&berth.url, "node-1").await;
    let response = api
        .http
        .post(format!("{}/api/v1/reservations", berth.url))
        .bearer_auth(&api.token)
        .header("x-request-id", REQUEST_ID)
        .header("traceparent", format!("00-{TRACE_ID}-{PARENT_ID}-01"))
        .json(&load::slot_of(resource, 1))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-request-id"], REQUEST_ID);
}

async fn otlp_export_contains_request_claim_send_and_record_spans(database: Database) {
    let collector = Collector::start().await;
    let settings = database.settings(5.0);
    let (berth, api, _receiver) = start(&settings, &[("BERTH_OTLP_ENDPOINT", &collector.url)]).await;
    reserve(&berth, &api).await;
    database.drain().await;
    // The shutdown exports the spans that are still in the batch.
    let (status, _) = berth.stop(STOP_TIMEOUT).await;
    assert!(status.success(), "{status}");

    let requests = collector.named("POST /api/v1/reservations");
    assert_eq!(requests.len(), 1, "{:?}", collector.names());
    let request = &requests[0];
    assert_eq!(hex::encode(&request.trace_id), TRACE_ID, "the caller's trace continues");
    assert_eq!(hex::encode(&request.parent_span_id), PARENT_ID);
    assert_eq!(request.kind(), opentelemetry_proto::tonic::trace::v1::span::SpanKind::Server);
    assert_eq!(text(&request.attributes, "request_id").as_deref(), Some(REQUEST_ID));
    assert_eq!(text(&request.attributes, "http.route").as_deref(), Some("/api/v1/reservations"));
    for name in ["claim", "send", "record"] {
        assert!(!collector.named(name).is_empty(), "no span {name} in {:?}", collector.names());
    }
    let services = collector.services.lock();
    assert!(!services.is_empty() && services.iter().all(|name| name == "berth"), "{services:?}");
}

async fn otlp_sample_ratio_zero_exports_only_traces_sampled_by_the_caller(database: Database) {
    let collector = Collector::start().await;
    let settings = database.settings(5.0);
    let env = [("BERTH_OTLP_ENDPOINT", collector.url.as_str()), ("BERTH_OTLP_SAMPLE_RATIO", "0")];
    let (berth, api, _receiver) = start(&settings, &env).await;
    reserve(&berth, &api).await;
    database.drain().await;
    let (status, _) = berth.stop(STOP_TIMEOUT).await;
    assert!(status.success(), "{status}");
    assert_eq!(collector.named("POST /api/v1/reservations").len(), 1, "{:?}", collector.names());
    let foreign: Vec<String> = (collector.spans.lock().iter())
        .filter(|span| hex::encode(&span.trace_id) != TRACE_ID)
        .map(|span| span.name.clone())
        .collect();
    assert_eq!(foreign, Vec::<String>::new());
}

async fn unreachable_otlp_endpoint_does_not_delay_requests_or_shutdown(database: Database) {
    let settings = database.settings(5.0);
    // Port 9 (discard) refuses connections.
    let (berth, api, _receiver) = start(&settings, &[("BERTH_OTLP_ENDPOINT", "http://127.0.0.1:9")]).await;
    reserve(&berth, &api).await;
    database.drain().await;
    let (status, _) = berth.stop(STOP_TIMEOUT).await;
    assert!(status.success(), "{status}");
}

async fn every_log_line_of_a_request_has_its_request_id(database: Database) {
    let settings = database.settings(5.0);
    let env = [("BERTH_LOG_FORMAT", "json"), ("BERTH_LOG", "info,server=debug")];
    let (berth, api, _receiver) = start(&settings, &env).await;
    reserve(&berth, &api).await;
    let lines = eventually("the log line of the request", async || {
        let lines: Vec<Value> = berth.log_lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.iter().any(|line| line["span"]["request_id"] == REQUEST_ID).then_some(lines)
    })
    .await;
    let handled: Vec<&Value> = lines.iter().filter(|line| line["fields"]["message"] == "request handled").collect();
    assert!(handled.len() >= 4);
    for line in handled {
        let id = line["spans"].as_array().into_iter().flatten().find_map(|span| span["request_id"].as_str());
        assert!(id.is_some_and(|id| !id.is_empty()), "{line}");
    }
    let request = lines.iter().find(|line| line["span"]["request_id"] == REQUEST_ID).unwrap();
    assert_eq!(request["span"]["path"], json!("/api/v1/reservations"));
    assert_eq!(request["fields"]["status"], json!(201));
    database.drain().await;
}

/// Line breaks and escape sequences of clients must not look like log lines, and must not control a terminal.
async fn input_forges_no_log_line(database: Database) {
    let settings = database.settings(5.0);
    let berth = settings.serve_with(&[("BERTH_LOG", Some("debug"))]).await;
    let api = Api::of(&settings).await;
    let forged = "x\r\nFORGED\n\u{1b}[31mFORGED\u{202e}";
    let log_in = json!({"username": forged, "password": forged});
    assert_eq!(api.call(&berth.url, Method::POST, "/session", log_in).await.unwrap().status, 401);
    let user = json!({"username": forged, "email": forged, "password": forged, "role": "user"});
    assert_eq!(api.call(&berth.url, Method::POST, "/users", user).await.unwrap().status, 422);
    let http = load::client();
    for path in ["/%0aFORGED%1b[31m", "/api/v1/reservations/%0d%0aFORGED", "/api/v1/reservations?status=%0aFORGED"] {
        http.get(format!("{}{path}", berth.url)).bearer_auth(&api.token).send().await.unwrap();
    }
    for host in ["FORGED", "evil.example\tFORGED"] {
        http.get(format!("{}/api/v1/setup", berth.url)).header("host", host).send().await.unwrap();
    }
    let marker = "marker-of-the-last-request";
    http.get(format!("{}/api/v1/setup", berth.url)).header("x-request-id", marker).send().await.unwrap();
    eventually("the log of the last request", async || berth.logged(marker).then_some(())).await;
    for line in berth.log_lines() {
        assert!(!line.starts_with("FORGED") && !line.contains(['\u{1b}', '\u{202e}']), "{line:?}");
    }
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
}
