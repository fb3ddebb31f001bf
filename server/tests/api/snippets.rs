//! Receiver snippets (`domain::receiver_snippet`), each run and called with right and wrong signatures.
//!
//! A snippet whose language is not installed is skipped with a notice: Python needs FastAPI and uvicorn, Node needs
//! Express in `end2end/node_modules`. `cargo xtask test` installs both.

use crate::client::http;
use domain::event::EventType;
use domain::receiver_snippet::{SnippetCredentials, SnippetLanguage, SnippetTarget, receiver_snippet};
use domain::routing::DeliveryPaths;
use domain::signature::{Secret, sign_body};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use test_support::{Receiver, Response, eventually_within};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// The snippet in Rust, compiled.
#[path = "../snippets/axum_receiver.rs"]
#[expect(dead_code, reason = "the test serves the application without its main function")]
mod axum_receiver;

const SECRET: &str = "it's a \"secret\" of $HOME; größer";
const OTHER_SECRET: &str = "another-secret-of-a-webhook";
const BODY: &str = r#"{"event_type":"reservation.created","title":"Größe ✓"}"#;
/// Time limit for the start of a receiver, which may compile itself.
const START: Duration = Duration::from_secs(60);

/// The snippet of a webhook with two paths.
fn snippet(language: SnippetLanguage, endpoint_url: &str, secret: Option<&str>) -> String {
    let target = SnippetTarget {
        endpoint_url,
        paths: &DeliveryPaths::default(),
        events: &[EventType::ReservationCreated, EventType::ReservationUpdated, EventType::ReservationCancelled],
        resource_type: Some("gpu-cluster"),
        secret,
        credentials: SnippetCredentials::ApiKey { header: "X-API-Key", key: "it's a key" },
    };
    receiver_snippet(language, &target)
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Calls a receiver with right and wrong signatures.
async fn check_receiver(port: u16) {
    eventually_within(START, "the receiver", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
    let client = http();
    let call = async |path: &str, body: &'static str, signature: Option<String>| {
        let request = client.post(format!("http://127.0.0.1:{port}{path}")).header("content-type", "application/json");
        let request = match signature {
            Some(signature) => request.header("x-webhook-signature", signature),
            None => request,
        };
        let response = request.body(body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let sign = |secret: &str, body: &str| sign_body(&Secret::parse(secret).unwrap(), body.as_bytes());
    for path in ["/api/webhook/reservation", "/api/webhook/reservation/cancel"] {
        let (status, answer) = call(path, BODY, Some(sign(SECRET, BODY))).await;
        assert_eq!((status, &answer["status"]), (200, &json!("success")), "{path}");
    }
    let path = "/api/webhook/reservation";
    for signature in [
        None,
        Some(String::new()),
        Some("sha256=".to_owned()),
        Some("sha256=00".to_owned()),
        Some(sign(OTHER_SECRET, BODY)),
        Some(sign(SECRET, "{}")),
        Some(sign(SECRET, BODY).replace("sha256=", "")),
    ] {
        let (status, answer) = call(path, BODY, signature.clone()).await;
        assert_eq!((status, &answer["detail"]), (401, &json!("Invalid webhook signature")), "{signature:?}");
    }
    assert_eq!(client.get(format!("http://127.0.0.1:{port}/health")).send().await.unwrap().status(), 200);
}

/// A snippet in a folder of its own.
struct Script {
    folder: tempfile::TempDir,
    port: u16,
}

impl Script {
    async fn write(language: SnippetLanguage) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port().await);
        let text = snippet(language, &format!("http://127.0.0.1:{port}/api/webhook"), Some(SECRET));
        std::fs::write(folder.path().join(language.file_name()), text).unwrap();
        Self { folder, port }
    }

    /// Runs a command in the folder until the checks have ended.
    async fn run(self, mut command: Command) {
        command.current_dir(self.folder.path()).env("WEBHOOK_SECRET", SECRET);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        tokio::select! {
            ended = child.wait() => panic!("the receiver ended: {ended:?}"),
            () = check_receiver(self.port) => {}
        }
        child.kill().await.unwrap();
    }
}

/// Whether a program starts and succeeds.
async fn succeeds(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn python_snippet_verifies_signatures() {
    let tools = std::env::var_os("BERTH_API_TOOLS").map(|folder| PathBuf::from(folder).join("python"));
    let guide = std::env::var_os("BERTH_GUIDE_PYTHON").map(PathBuf::from);
    let mut found = None;
    for python in tools.into_iter().chain(guide).chain([PathBuf::from("python3")]) {
        if succeeds(&python, &["-c", "import fastapi, uvicorn"]).await {
            found = Some(python);
            break;
        }
    }
    let Some(python) = found else { return eprintln!("skipped: no Python has the modules fastapi and uvicorn") };
    let script = Script::write(SnippetLanguage::Python).await;
    let mut command = Command::new(python);
    let port = script.port.to_string();
    command.args(["-m", "uvicorn", "receiver:app", "--host", "127.0.0.1", "--log-level", "error", "--port", &port]);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    script.run(command).await;
}

#[tokio::test]
async fn node_snippet_verifies_signatures() {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../end2end/node_modules");
    if !modules.join("express").exists() || !succeeds("node", &["--version"]).await {
        return eprintln!("skipped: node does not start, or Express is not installed in end2end/node_modules");
    }
    let script = Script::write(SnippetLanguage::Node).await;
    let mut command = Command::new("node");
    command.arg("receiver.js").env("NODE_PATH", modules.canonicalize().unwrap());
    script.run(command).await;
}

#[tokio::test]
async fn go_snippet_verifies_signatures() {
    if !succeeds("go", &["version"]).await {
        return eprintln!("skipped: go does not start");
    }
    let script = Script::write(SnippetLanguage::Go).await;
    // `go run` starts the receiver as a child of its own, which would survive the test.
    let mut build = Command::new("go");
    build.args(["build", "-o", "receiver", "receiver.go"]).current_dir(script.folder.path());
    assert!(build.env("GO111MODULE", "off").status().await.unwrap().success());
    let command = Command::new(script.folder.path().join("receiver"));
    script.run(command).await;
}

#[tokio::test]
async fn rust_snippet_verifies_signatures() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snippets/axum_receiver.rs");
    let text = snippet(SnippetLanguage::Rust, "http://127.0.0.1:8000/api/webhook", None);
    if std::env::var_os("BERTH_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let compiled = std::fs::read_to_string(&file).unwrap();
    assert_eq!(compiled, text, "Run the test with BERTH_BLESS=1, so that the compiled snippet is the current one.");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move { axum::serve(listener, axum_receiver::app(SECRET.to_owned())).await });
    check_receiver(port).await;
    serving.abort();
}

#[tokio::test]
async fn curl_snippet_sends_a_signed_test_event() {
    for (program, argument) in [("curl", "--version"), ("openssl", "version")] {
        if !succeeds(program, &[argument]).await {
            return eprintln!("skipped: {program} does not start");
        }
    }
    let receiver = Receiver::start().await;
    receiver.respond_with(|got| {
        let secret = Secret::parse(SECRET).unwrap();
        let is_valid = sign_body(&secret, &got.raw) == got.header("x-webhook-signature");
        Response::status(if is_valid { 200 } else { 401 })
    });
    let endpoint = format!("{}/api/webhook", receiver.url);
    for (secret, status) in [(SECRET, "200"), (OTHER_SECRET, "401")] {
        let script = snippet(SnippetLanguage::Curl, &endpoint, Some(secret));
        let output = Command::new("sh").args(["-c", &script]).output().await.unwrap();
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let got = receiver.last();
        assert_eq!((got.path.as_str(), got.header("x-api-key")), ("/api/webhook/reservation", "it's a key"));
        assert_eq!((&got.body["test"], got.text("resource_type")), (&json!(true), "gpu-cluster"));
        assert_eq!((got.header("x-webhook-event"), got.header("x-webhook-test")), ("reservation.created", "true"));
    }
}
