//! Files of webhooks, and the plans that follow from them.

use super::plan::{comparable, comparable_input};
use super::*;
use domain::webhook::{AuthInput, TlsView, WebhookInput};

const FILE: &str = r#"version: 1
webhooks:
  - name: GPU
    endpoint_url: https://gpu.example.com/api/webhook
    resource_type: gpu-cluster
    events: [reservation.cancelled, reservation.created]
    auth:
      method: api_key
      key: ${file:key}
    headers:
      - {name: X-Team, value: ml}
      - {name: X-Token, value: "${file:key}"}
    rate_limit: 5
  - name: Chat
    endpoint_url: https://chat.example.com/hook
    events: [user.access_requested]
    auth: {method: none}
    delivery_paths: {layout: single}
    secret: ${file:key}
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "a-secret-of-the-file\n").unwrap();
    folder
}

fn read_ok(text: &str) -> Vec<Declared> {
    read_file(text, folder().path()).unwrap()
}

/// The webhook that a server makes of an input.
fn stored(id: i64, input: &WebhookInput) -> Webhook {
    let headers: Vec<_> = input.headers.iter().map(domain::webhook::CustomHeader::masked).collect();
    serde_json::from_value(json!({
        "id": id, "name": input.name, "endpoint_url": input.endpoint_url, "resource_type": input.resource_type,
        "events": input.events, "auth": input.auth.redacted(), "headers": headers,
        "delivery_paths": input.delivery_paths.clone().unwrap_or_default(),
        "retry": input.retry.clone().unwrap_or_default(), "max_in_flight": 64, "rate_limit": input.rate_limit,
        "provisions": true, "enabled": true, "state": "enabled", "secret_hint": "file", "public_key": null,
        "previous_secret_until": null, "created_at": "2030-01-15T09:00:00Z", "updated_at": "2030-01-15T09:00:00Z",
        "summary": {"health": "unknown", "success_rate": null, "deliveries": 0, "last_delivery_at": null, "waiting": 0},
    }))
    .unwrap()
}

fn stored_all(declared: &[Declared]) -> Vec<Webhook> {
    declared.iter().zip(1..).map(|(webhook, id)| stored(id, &webhook.input)).collect()
}

fn plan(declared: &[Declared], current: &[Webhook]) -> Plan {
    Plan::new(declared, current, Options::default()).unwrap()
}

#[test]
fn unmanaged_fields_and_the_order_of_events_make_no_difference() {
    let declared = read_ok(FILE);
    let mut current = stored_all(&declared);
    current[0].max_in_flight = 7;
    current[0].enabled = false;
    current[1].rate_limit = Some(3);
    let plan = plan(&declared, &current);
    assert!(plan.changes.is_empty(), "{}", plan.describe());
    assert_eq!(plan.describe(), "0 to create, 0 to change, 0 to delete, 2 unchanged.");
}

#[test]
fn every_setting_is_compared() {
    let declared = read_ok(FILE);
    let compared = comparable_input(&declared[0].input);
    let stored = comparable(&stored(1, &declared[0].input));
    assert!(compared.keys().eq(stored.keys()));
    let serde_json::Value::Object(mut fields) = json!(declared[0].input) else { panic!("not an object") };
    // Absent unless they are set.
    fields.extend(["tls", "provision"].map(|name| (name.to_owned(), json!(null))));
    let missing: Vec<_> = fields.keys().filter(|name| !compared.contains_key(*name)).collect();
    assert_eq!(missing, ["name", "secret"], "the key of a webhook, and what is compared by its hint");
}

#[test]
fn time_of_provisioning_format_and_filter_are_changed_and_the_delivery_mode_is_not() {
    let text = FILE.replace(
        "    auth: {method: none}",
        "    auth: {method: none}\n    provision: start\n    payload_format: thin\n    filter: {resource_ids: [3]}",
    );
    let declared = read_ok(&text);
    let plan = plan(&declared, &stored_all(&declared)).describe();
    for change in ["provision: \"booking\" → \"start\"", "payload_format: \"berth\" → \"thin\"", "resource_ids\":[3]"]
    {
        assert!(plan.contains(change), "{plan}");
    }
    let text = FILE.replace("    auth: {method: none}", "    auth: {method: none}\n    delivery_mode: local");
    let declared = read_ok(&text);
    let problem = Plan::new(&declared, &stored_all(&declared), Options::default()).err().unwrap();
    assert!(problem.contains("delivery_mode"), "{problem}");
}

#[test]
fn new_changed_and_unlisted_webhooks_are_planned() {
    let declared = read_ok(FILE);
    let mut current = stored_all(&declared);
    current[0].rate_limit = Some(9);
    current[0].events.pop();
    current[1].name = "Old".into();
    let text = plan(&declared, &current).describe();
    let expected = "~ change GPU (webhook 1)\n    \
                    events: [\"reservation.cancelled\"] → [\"reservation.created\",\"reservation.cancelled\"]\n    \
                    rate_limit: 9 → 5\n\
                    + create Chat: https://chat.example.com/hook\n  \
                    not in the file: Old (kept; --prune deletes)\n\
                    1 to create, 1 to change, 0 to delete, 0 unchanged.";
    assert_eq!(text, expected);
    let options = Options { prune: true, ..Options::default() };
    let pruned = Plan::new(&declared, &current, options).unwrap().describe();
    assert!(pruned.contains("- delete Old (webhook 2)"), "{pruned}");
}

#[test]
fn secrets_are_sent_where_the_server_needs_them_and_never_printed() {
    let declared = read_ok(FILE);
    let mut current = stored_all(&declared);
    current[0].endpoint_url = "https://other.example.com/api/webhook".into();
    current[1].secret_hint = "else".into();
    let plan = plan(&declared, &current);
    let [Change::Update { patch, rotate: None, .. }, Change::Update { patch: none, rotate: Some(secret), .. }] =
        plan.changes.as_slice()
    else {
        panic!("{}", plan.describe())
    };
    assert_eq!(patch["auth"]["key"], "a-secret-of-the-file");
    assert_eq!(patch["headers"][1]["value"], "a-secret-of-the-file");
    assert_eq!((none, secret.as_str()), (&json!({}), "a-secret-of-the-file"));
    assert!(!plan.describe().contains("a-secret"), "{}", plan.describe());
    let options = Options { update_credentials: true, ..Options::default() };
    let plan = Plan::new(&declared, &stored_all(&declared), options).unwrap();
    assert_eq!(plan.changes.len(), 1, "only the webhook with credentials: {}", plan.describe());
}

#[tokio::test]
async fn certificates_are_compared_by_their_contents_and_the_key_is_a_reference() {
    let receiver = test_support::MutualTlsReceiver::start().await;
    let (client, other) = (receiver.client("berth"), receiver.client("other"));
    let folder = folder();
    for (name, text) in [("cert", &client.certificate), ("client-key", &client.key)] {
        // Line breaks and texts around a certificate make no difference.
        std::fs::write(folder.path().join(name), format!("Bag Attributes\n{}\n", text.replace('\n', "\r\n"))).unwrap();
    }
    let tls = "    tls:\n      client_certificate: ${file:cert}\n      client_key: ${file:client-key}\n";
    let text = FILE.replace("    rate_limit: 5\n", &format!("    rate_limit: 5\n{tls}"));
    let declared = read_file(&text, folder.path()).unwrap();
    let view = |certificate: &str| TlsView {
        client_certificate: certificate.to_owned(),
        ..serde_json::from_value(
            json!({"ca_certificates": "", "client_certificate": "", "ca_details": [], "client_details": []}),
        )
        .unwrap()
    };
    let mut current = stored_all(&declared);
    current[0].tls = Some(view(&client.certificate));
    assert!(plan(&declared, &current).changes.is_empty());
    current[0].tls = Some(view(&other.certificate));
    let changed = plan(&declared, &current);
    let description = changed.describe();
    assert!(description.contains("CN=other") && description.contains("CN=berth"), "{description}");
    assert!(!description.contains("PRIVATE KEY") && !description.contains("BEGIN"), "{description}");
    let [Change::Update { patch, .. }] = changed.changes.as_slice() else { panic!("{description}") };
    assert!(patch["tls"]["client_key"].as_str().unwrap().contains("PRIVATE KEY"));
    let exported = plan::exported(&current[0]);
    assert_eq!(exported["tls"]["client_key"], "${env:GPU_CLIENT_KEY}");
    assert_eq!(exported["tls"]["client_certificate"], other.certificate);
    assert_eq!(plan::exported(&current[1]).get("tls"), None);
}

#[test]
fn missing_secret_matters_only_if_it_is_needed() {
    let text = FILE.replace("key: ${file:key}", "key: ${env:BERTH_TEST_NOT_SET}");
    let declared = read_ok(&text);
    assert!(matches!(&declared[0].input.auth, AuthInput::ApiKey { key, .. } if key.is_empty()));
    assert!(plan(&declared, &stored_all(&declared)).changes.is_empty());
    let error = Plan::new(&declared, &[], Options::default()).err().unwrap();
    assert_eq!(error, "line 7: GPU: auth.key: The environment variable BERTH_TEST_NOT_SET is not set.");
    let text = FILE.replace("secret: ${file:key}", "secret: ${env:BERTH_TEST_NOT_SET}");
    let error = Plan::new(&read_ok(&text), &[], Options::default()).err().unwrap();
    assert_eq!(error, "line 19: Chat: secret: The environment variable BERTH_TEST_NOT_SET is not set.");
}

#[test]
fn errors_name_line_field_and_allowed_keys() {
    let changed = |from: &str, to: &str| read_file(&FILE.replace(from, to), folder().path()).unwrap_err();
    let unknown = changed("rate_limit: 5", "rate_limt: 5");
    assert!(unknown.starts_with("line 13: webhooks.0.rate_limt: Unknown field. Use "), "{unknown}");
    assert!(unknown.contains("`max_in_flight`") && unknown.contains("`rate_limit`"), "{unknown}");
    let nested = changed("value: ml", "vlaue: ml");
    assert!(nested.starts_with("line 11: webhooks.0.headers.0.vlaue: Unknown field. Use one of `name`"), "{nested}");
    assert_eq!(changed("version: 1", "versoin: 1"), "line 1: versoin: Unknown key. Use `version` and `webhooks`.");
    assert_eq!(changed("version: 1", "version: 2"), "line 1: version: Write version: 1.");
    let missing = changed("    events: [user.access_requested]\n", "");
    assert_eq!(missing, "line 14: webhooks.1.events: This field is required.");
    assert_eq!(
        changed("name: Chat", "name: 'GPU '"),
        "line 14: webhooks.1.name: The name GPU  occurs twice, also in line 3."
    );
    let clear = changed("key: ${file:key}", "key: abc");
    assert!(clear.starts_with("line 9: webhooks.0.auth.key: Do not write a secret into the file."), "{clear}");
    let url = changed("https://chat.example.com/hook", "${env:BERTH_TEST_NOT_SET}");
    assert_eq!(url, "line 15: webhooks.1.endpoint_url: The environment variable BERTH_TEST_NOT_SET is not set.");
}

#[test]
fn invalid_settings_and_duplicate_names_of_the_server_are_rejected_before_a_change() {
    let declared = read_ok(&FILE.replace("rate_limit: 5", "rate_limit: 0"));
    let error = Plan::new(&declared, &[], Options::default()).err().unwrap();
    assert!(error.starts_with("line 13: GPU: rate_limit: Choose 1 to 10000"), "{error}");
    let declared = read_ok(FILE);
    let mut current = stored_all(&declared);
    current[1].name = "GPU".into();
    let error = Plan::new(&declared, &current, Options::default()).err().unwrap();
    assert_eq!(error, "line 3: GPU: name: The webhooks 1 and 2 have this name. Rename all but one.");
}

#[test]
fn exported_file_declares_the_same_webhooks() {
    let declared = read_ok(FILE);
    let mut current = stored_all(&declared);
    current[1].name = "Chat ${env:HOME}: \"ops\"".into();
    current[1].headers.push(domain::webhook::CustomHeader::new("X-Id", "${x}"));
    let text = write_file("https://berth.example.com", &current).unwrap();
    assert!(text.contains("key: \"${env:GPU_API_KEY}\"") && text.contains("\"${env:GPU_X_TOKEN}\""), "{text}");
    let again = read_ok(&text);
    assert_eq!(again[1].input.name, current[1].name);
    let plan = plan(&again, &current);
    assert!(plan.changes.is_empty(), "{}\n{text}", plan.describe());
    current[1].name = "GPU".into();
    let error = write_file("https://berth.example.com", &current).unwrap_err();
    assert!(error.contains("The webhooks 1 and 2 have the name GPU."), "{error}");
}
