//! The commands `berth apply`, `berth export`, `berth conform` and `berth verify-signature` as processes.

use crate::support::{TestServer, webhook_input};
use domain::signature::{Secret, sign_body, sign_standard};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use test_support::{Receiver, Response, on_both_databases};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

on_both_databases![file_is_applied_once_and_exported];

on_both_databases![sqlite only:
    drift_is_detected_and_concurrent_change_is_not_overwritten,
    unlisted_webhooks_are_deleted_only_with_prune,
    secrets_come_from_references,
    invalid_files_change_nothing,
];

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The end of a command.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

/// Runs `berth` with standard input and additional environment variables.
async fn berth(arguments: &[&str], env: &[(&str, &str)], input: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.env_clear().args(arguments).envs(env.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let output = tokio::time::timeout(test_support::DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// A server with the token of an administrator.
struct Remote<'a> {
    t: &'a TestServer,
    token: String,
    folder: tempfile::TempDir,
}

impl<'a> Remote<'a> {
    async fn new(t: &'a TestServer) -> Self {
        // It creates the resource type too.
        t.resource("node-1", "available").await;
        let token = t.token("root", json!({"name": "ci"})).await.text("token").to_owned();
        Self { t, token, folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn run(&self, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
        let mut env = env.to_vec();
        env.extend([("BERTH_URL", self.t.url.as_str()), ("BERTH_TOKEN", self.token.as_str())]);
        berth(arguments, &env, "").await
    }

    async fn apply(&self, file: &str, arguments: &[&str]) -> Ended {
        self.run(&[&["apply", "-f", file], arguments].concat(), &[]).await
    }

    async fn webhooks(&self) -> Vec<Value> {
        self.t.root.get("/webhooks", 200).await.items().to_vec()
    }
}

fn file(url: &str, more: &str) -> String {
    format!(
        "version: 1\nwebhooks:\n  - name: GPU\n    endpoint_url: {url}\n    resource_type: gpu-cluster\n    \
         events: [reservation.created]\n    auth: {{method: none}}\n{more}"
    )
}

async fn file_is_applied_once_and_exported(t: TestServer) {
    let remote = Remote::new(&t).await;
    let path = remote.write("webhooks.yaml", &file("https://gpu.example.com/hook", "    rate_limit: 5\n"));
    let refused = remote.apply(&path, &[]).await;
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("Add --yes"), "{}", refused.err);
    assert_eq!(remote.webhooks().await.len(), 0);
    let created = remote.apply(&path, &["--yes"]).await;
    assert_eq!(created.code, 0, "{}", created.err);
    assert!(created.out.starts_with("+ create GPU: https://gpu.example.com/hook\n1 to create"), "{}", created.out);
    assert!(created.out.contains("Its signing secret, which is not shown again: whsec_"), "{}", created.out);
    let webhooks = remote.webhooks().await;
    assert_eq!((&webhooks[0]["name"], &webhooks[0]["rate_limit"]), (&json!("GPU"), &json!(5)));
    let repeated = remote.apply(&path, &["--yes"]).await;
    assert_eq!((repeated.code, repeated.out.as_str()), (0, "0 to create, 0 to change, 0 to delete, 1 unchanged.\n"));
    let changed = remote.write("webhooks.yaml", &file("https://gpu.example.com/hook", "    rate_limit: null\n"));
    let changed = remote.apply(&changed, &["--yes"]).await;
    assert!(changed.out.contains("~ change GPU (webhook 1)\n    rate_limit: 5 → null\n"), "{}", changed.out);
    assert_eq!(remote.webhooks().await[0]["rate_limit"], Value::Null);
    // The exported file describes the same webhooks.
    let output = remote.folder.path().join("exported.yaml");
    let exported = remote.run(&["export", "-o", output.to_str().unwrap()], &[]).await;
    assert_eq!(exported.code, 0, "{}", exported.err);
    let before = remote.webhooks().await;
    let again = remote.apply(output.to_str().unwrap(), &["--detect-drift"]).await;
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    assert_eq!(remote.webhooks().await, before);
    let existing = remote.run(&["export", "-o", output.to_str().unwrap()], &[]).await;
    assert_eq!(existing.code, 1, "an existing file is not overwritten");
}

async fn drift_is_detected_and_concurrent_change_is_not_overwritten(t: TestServer) {
    let remote = Remote::new(&t).await;
    let path = remote.write("webhooks.yaml", &file("https://gpu.example.com/hook", "    rate_limit: 5\n"));
    assert_eq!(remote.apply(&path, &["--yes"]).await.code, 0);
    assert_eq!(remote.apply(&path, &["--detect-drift"]).await.code, 0);
    t.root.patch("/webhooks/1", json!({"rate_limit": 9}), 200).await;
    let drift = remote.apply(&path, &["--detect-drift"]).await;
    assert_eq!(drift.code, 2, "{}", drift.err);
    assert!(drift.out.contains("rate_limit: 9 → 5"), "{}", drift.out);
    assert_eq!(remote.webhooks().await[0]["rate_limit"], 9, "nothing is changed");
    // Somebody changes the webhook between the plan and the change.
    let proxy = Receiver::start().await;
    let root = t.root.clone();
    proxy.respond_with(move |got| forward(&root, got));
    let env = [("BERTH_URL", proxy.url.as_str()), ("BERTH_TOKEN", remote.token.as_str())];
    let late = berth(&["apply", "-f", &path, "--yes"], &env, "").await;
    assert_eq!(late.code, 1, "{}{}", late.out, late.err);
    assert!(late.err.contains("GPU: The webhook was changed since you read it."), "{}", late.err);
    assert_eq!(remote.webhooks().await[0]["rate_limit"], 7);
}

/// Forwards a request of `berth apply` to the server. Before a PATCH, somebody else changes the webhook.
fn forward(root: &crate::client::TestClient, got: &test_support::ReceivedRequest) -> Response {
    let path = got.path.strip_prefix("/api/v1").unwrap().to_owned();
    let request = root.request(got.method.clone(), &path);
    let request = match got.headers.get("if-match") {
        Some(etag) => request.header("if-match", etag.clone()).json(&got.body),
        None => request,
    };
    let other = (got.method == reqwest::Method::PATCH)
        .then(|| root.request(reqwest::Method::PATCH, &path).json(&json!({"rate_limit": 7})));
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(async {
            if let Some(other) = other {
                assert!(other.send().await.unwrap().status().is_success());
            }
            let reply = request.send().await.unwrap();
            let etag = reply.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
            let response = Response::status(reply.status().as_u16()).with_header("content-type", "application/json");
            let response = response.with_header("etag", etag.unwrap_or_default());
            response.with_body(reply.bytes().await.unwrap())
        })
    })
}

async fn unlisted_webhooks_are_deleted_only_with_prune(t: TestServer) {
    let remote = Remote::new(&t).await;
    t.root.post("/webhooks", webhook_input("https://old.example.com", json!({"name": "Old"})), 201).await;
    let path = remote.write("webhooks.yaml", &file("https://gpu.example.com/hook", ""));
    let kept = remote.apply(&path, &["--yes"]).await;
    assert!(kept.out.contains("not in the file: Old (kept; --prune deletes)"), "{}", kept.out);
    assert_eq!(remote.webhooks().await.len(), 2);
    let pruned = remote.apply(&path, &["--yes", "--prune"]).await;
    assert!(pruned.out.contains("Deleted Old (webhook 1)."), "{}{}", pruned.out, pruned.err);
    assert_eq!(remote.webhooks().await.len(), 1);
}

async fn secrets_come_from_references(t: TestServer) {
    let remote = Remote::new(&t).await;
    let receiver = Receiver::start().await;
    remote.write("key", "api-key-8675309\n");
    let url = format!("{}/hook", receiver.url);
    let more = "    secret: ${env:GPU_SECRET}\n".to_owned();
    let text = file(&url, &more).replace("{method: none}", "{method: api_key, key: \"${file:key}\"}");
    let path = remote.write("webhooks.yaml", &text);
    let missing = remote.apply(&path, &["--yes"]).await;
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("The environment variable GPU_SECRET is not set."), "{}", missing.err);
    let applied = remote.run(&["apply", "-f", &path, "--yes"], &[("GPU_SECRET", SECRET)]).await;
    assert_eq!(applied.code, 0, "{}", applied.err);
    assert!(!applied.out.contains("whsec_") && !applied.out.contains("api-key"), "{}", applied.out);
    t.root.post("/webhooks/1/test", Value::Null, 200).await;
    let got = receiver.last();
    assert_eq!(got.header("x-api-key"), "api-key-8675309");
    assert_eq!(got.header("x-webhook-signature"), sign_body(&Secret::parse(SECRET).unwrap(), &got.raw));
    // Without the secret in the environment, the stored one is kept. Another one is rotated in.
    assert_eq!(remote.apply(&path, &["--detect-drift"]).await.code, 0);
    let other = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
    let rotated = remote.run(&["apply", "-f", &path, "--yes"], &[("GPU_SECRET", other)]).await;
    assert_eq!(rotated.code, 0, "{}", rotated.err);
    assert!(rotated.out.contains("secret: \"…ZWY=\" → \"the one of the file\""), "{}", rotated.out);
    let webhook = t.root.get("/webhooks/1", 200).await;
    assert_eq!(webhook.text("secret_hint"), &other[other.len() - 4..]);
    assert!(!webhook.body["previous_secret_until"].is_null(), "the old secret signs during the overlap");
}

async fn invalid_files_change_nothing(t: TestServer) {
    let remote = Remote::new(&t).await;
    let unknown = remote.write("a.yaml", &file("https://gpu.example.com/hook", "    rate_limt: 5\n"));
    let ended = remote.apply(&unknown, &["--yes"]).await;
    assert_eq!(ended.code, 2);
    assert!(
        ended.err.contains("a.yaml, line 8: webhooks.0.rate_limt: Unknown field. Use one of `name`"),
        "{}",
        ended.err
    );
    let second = "  - name: GPU\n    endpoint_url: https://b.example.com\n    events: []\n    auth: {method: none}\n";
    let ended = remote.apply(&remote.write("b.yaml", &file("https://a.example.com", second)), &["--yes"]).await;
    assert!(ended.err.contains("The name GPU occurs twice, also in line 3."), "{}", ended.err);
    assert_eq!(remote.webhooks().await.len(), 0);
    let wrong = berth(&["export"], &[("BERTH_URL", t.url.as_str()), ("BERTH_TOKEN", "wrong")], "").await;
    assert_eq!(wrong.code, 1);
    assert!(!wrong.err.contains("wrong") && wrong.err.starts_with("berth: "), "{}", wrong.err);
    let nowhere = berth(&["export"], &[("BERTH_URL", "http://127.0.0.1:9"), ("BERTH_TOKEN", "x")], "").await;
    assert!(nowhere.err.contains("Check BERTH_URL."), "{}", nowhere.err);
}

#[tokio::test]
async fn conform_reports_as_table_json_and_junit() {
    let receiver = Receiver::start().await;
    let secret = Secret::parse(SECRET).unwrap();
    receiver.respond_with(move |got| {
        let own = sign_body(&secret, &got.raw);
        // The bug: a request without a signature is accepted, as by the receiver of the guide.
        match got.header("x-webhook-signature") {
            "" => Response::json(200, json!({"status": "success"})),
            given if given == own => Response::json(200, json!({"status": "success"})),
            _ => Response::status(401),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("report.xml");
    let url = format!("{}/hook", receiver.url);
    let arguments = ["conform", &url, "--junit", junit.to_str().unwrap()];
    let ended = berth(&arguments, &[("WEBHOOK_SECRET", SECRET)], "").await;
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("FAILED   missing_signature"), "{}", ended.out);
    assert!(ended.out.contains("change    Reject a request without a signature with 401"), "{}", ended.out);
    assert!(!ended.out.contains(SECRET));
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("failures=\"1\"") && xml.contains("<failure message=\"Reject a request"), "{xml}");
    let selected = ["conform", &url, "--only", "created,wrong-signature", "--format", "json", "--secret", SECRET];
    let ended = berth(&selected, &[], "").await;
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, &report["passed"], report["checks"].as_array().unwrap().len()), (0, &json!(2), 2));
    let strict = ["conform", &url, "--only", "old_timestamp", "--strict", "--secret", SECRET];
    assert_eq!(berth(&strict, &[], "").await.code, 1, "a warning fails with --strict");
    let list = berth(&["conform", "--list"], &[], "").await;
    assert!(list.code == 0 && list.out.contains("wrong_signature"), "{}", list.out);
    for (arguments, words) in [
        (["conform", "ftp://a.example", "--secret", SECRET], "Use https://"),
        (["conform", &url, "--secret", "short"], "8 to 255 bytes"),
        (["conform", "http://10.1.2.3/hook", "--secret", SECRET], "private address"),
        (["conform", &url, "--only", "nonsense"], "use one of created"),
    ] {
        let ended = berth(&arguments, &[], "").await;
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(words), "{arguments:?}: {}", ended.err);
    }
}

#[tokio::test]
async fn conform_presents_a_client_certificate() {
    let receiver = test_support::MutualTlsReceiver::start().await;
    receiver.receiver.respond(Response::json(200, json!({"status": "success"})));
    let (client, other) = (receiver.client("berth"), receiver.client("other"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, certificate) = (file("ca.pem", &receiver.ca), file("berth.pem", &client.certificate));
    let (key, other_key) = (file("berth.key", &client.key), file("other.key", &other.key));
    let base = ["conform", &receiver.url, "--secret", SECRET, "--only", "created", "--ca", &ca];
    let with = |more: &[&str]| {
        let arguments: Vec<String> = base.iter().chain(more).map(|argument| (*argument).to_owned()).collect();
        async move { berth(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[], "").await }
    };
    let ended = with(&["--client-cert", &certificate, "--client-key", &key]).await;
    assert_eq!((ended.code, receiver.receiver.count() > 0), (0, true), "{}{}", ended.out, ended.err);
    let ended = with(&[]).await;
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("requires a client certificate"), "{}", ended.out);
    for (more, words) in [
        (["--client-cert", &certificate, "--client-key", &other_key], "--client-key: The private key does not belong"),
        (["--client-cert", &key, "--client-key", &key], "--client-cert"),
        (["--client-cert", "missing.pem", "--client-key", &key], "missing.pem cannot be read"),
    ] {
        let ended = with(&more).await;
        assert_eq!(ended.code, 2, "{more:?}: {}", ended.err);
        assert!(ended.err.contains(words) && !ended.err.contains("BEGIN"), "{more:?}: {}", ended.err);
    }
}

#[tokio::test]
async fn verify_signature_reads_a_body_from_standard_input_or_a_file() {
    let secret = Secret::parse(SECRET).unwrap();
    let body = "{\"event_id\":\"evt_1\",\"title\":\"Größe\"}";
    let own = format!("X-Webhook-Signature: {}", sign_body(&secret, body.as_bytes()));
    let standard = sign_standard(std::slice::from_ref(&secret), &[], "evt_1", 1_800_000_000, body.as_bytes());
    let standard = format!("webhook-signature: {standard}");
    let (id, timestamp) = ("webhook-id: evt_1", "webhook-timestamp: 1800000000");
    let headers = ["-H", &own, "-H", &standard, "-H", id, "-H", timestamp];
    let arguments = [&["verify-signature"][..], &headers, &["--at", "2027-01-15T08:00:00Z"]].concat();
    let env = [("WEBHOOK_SECRET", SECRET)];
    let valid = berth(&arguments, &env, body).await;
    assert_eq!(valid.code, 0, "{}{}", valid.out, valid.err);
    assert_eq!(valid.out.matches("VALID").count(), 3, "{}", valid.out);
    let changed = berth(&arguments, &env, &format!("{body}\n")).await;
    assert_eq!(changed.code, 1);
    assert!(changed.out.contains("(body_trimmed)") && changed.out.contains("change  "), "{}", changed.out);
    let late = [&["verify-signature"][..], &headers, &["--at", "2027-01-15T09:00:00Z"]].concat();
    assert!(berth(&late, &env, body).await.out.contains("It is 3600 s in the past. (clock)"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, body.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    let from_file = [&arguments[..], &[file.to_str().unwrap(), "--format", "json"]].concat();
    let encoded = berth(&from_file, &env, "").await;
    let report: Value = serde_json::from_str(&encoded.out).unwrap();
    assert_eq!(report["headers"][0]["cause"], "body_encoding", "{}", encoded.out);
    assert_eq!(berth(&["verify-signature", "-H", id, "none"], &env, "").await.code, 2, "the file does not exist");
}

/// Certifies a receiver of `examples/`, which passes every check that does not need credentials.
async fn certify_example(program: &str, path: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path);
    let mut command = Command::new(program);
    command.arg(file).env("PORT", "0").env("WEBHOOK_SECRET", SECRET).env("BERTH_STEPS_MS", "10");
    let Ok(mut child) = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn() else {
        return eprintln!("skipped: {program} does not start");
    };
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let line = tokio::time::timeout(test_support::DEADLINE, lines.next_line()).await.unwrap().unwrap();
    let Some(url) = line else { return eprintln!("skipped: {program} cannot run {path}") };
    let url = format!("{url}/api/webhook");
    let ended = berth(&["conform", &url, "--strict", "--health", "/health"], &[("WEBHOOK_SECRET", SECRET)], "").await;
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("0 warnings, 0 failed, 1 skipped"), "{}", ended.out);
}

#[tokio::test]
async fn python_example_conforms() {
    certify_example("python3", "python/receiver.py").await;
}

#[tokio::test]
async fn node_example_conforms() {
    certify_example("node", "node/receiver.mjs").await;
}

/// The unmodified receiver of the guide, if its folder (`BERTH_GUIDE_RECEIVER`) and a Python with its dependencies
/// (`BERTH_GUIDE_PYTHON`) are known, as for the browser tests.
#[tokio::test]
async fn receiver_of_the_guide_gets_an_accurate_report() {
    let (Ok(folder), Ok(python)) = (std::env::var("BERTH_GUIDE_RECEIVER"), std::env::var("BERTH_GUIDE_PYTHON")) else {
        return eprintln!("skipped: BERTH_GUIDE_RECEIVER and BERTH_GUIDE_PYTHON are not set");
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let mut command = Command::new(python);
    command.args(["-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", &port]).current_dir(folder);
    command.env("WEBHOOK_SECRET", SECRET).env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let _child = command.spawn().unwrap();
    test_support::eventually("the receiver", async || {
        tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.ok().map(drop)
    })
    .await;
    let url = format!("http://127.0.0.1:{port}/api/webhook");
    let arguments = ["conform", &url, "--format", "json", "--health", "/health"];
    let ended = berth(&arguments, &[("WEBHOOK_SECRET", SECRET)], "").await;
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let with = |verdict: &str| -> Vec<String> {
        let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == verdict);
        checks.map(|check| check["check"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(with("failed"), ["missing_signature"], "{report:#}");
    assert_eq!(with("warning"), ["wrong_signature", "old_timestamp", "unknown_event", "rotation_old"], "{report:#}");
    assert_eq!(with("skipped"), ["access_requested", "credentials"], "{report:#}");
}
