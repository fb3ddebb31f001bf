//! The audit log: every operation that changes something has an entry, every refusal has one, and tampering with the log is
//! detected.

use super::roles;
use crate::client::TestClient;
use crate::identity_provider::IdentityProvider;
use crate::openapi::operations;
use crate::status::sign;
use crate::support::{PASSWORD, TestServer};
use reqwest::Method;
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use serde_json::{Value, json};
use service::audit::{Fault, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use test_support::{DatabaseKind, Receiver, on_both_databases};

on_both_databases![
    every_operation_that_changes_something_has_an_entry,
    changed_removed_and_reordered_entries_are_detected,
    removed_end_and_moved_head_are_detected,
    entries_forged_without_the_key_are_detected,
    older_state_of_the_database_is_detected_by_a_noted_head,
];

on_both_databases![sqlite only: every_refusal_has_an_entry];

/// What each operation must write. A new operation needs a row.
const TABLE: [(&str, &[&str]); 111] = [
    ("alerts_check_health", &["webhook.health_checked"]),
    ("alerts_fetch_token", &["webhook.token_fetched"]),
    ("alerts_get_channels", &[]),
    ("alerts_get_monitoring", &[]),
    ("alerts_get_preferences", &[]),
    ("alerts_get_rules", &[]),
    ("alerts_list", &[]),
    ("alerts_mute", &["webhook.alerts_muted"]),
    ("alerts_recover", &["webhook.resumed"]),
    ("alerts_set_channels", &["alert_channels.updated"]),
    ("alerts_set_monitoring", &["webhook.monitoring_updated"]),
    ("alerts_set_preferences", &["alert_preferences.updated"]),
    ("alerts_set_rules", &["alert_rules.updated"]),
    ("alerts_test", &["alert_channels.tested"]),
    ("audit_export", &["audit_log.exported"]),
    ("audit_list", &[]),
    ("catalogue_approve_access_request", &["access_request.approved"]),
    ("catalogue_create_access_request", &["access_request.created"]),
    ("catalogue_create_resource", &["resource.created"]),
    ("catalogue_create_type", &["resource_type.created"]),
    ("catalogue_delete_resource", &["resource.deleted"]),
    ("catalogue_delete_type", &["resource_type.deleted"]),
    ("catalogue_deny_access_request", &["access_request.withdrawn"]),
    ("catalogue_get_resource", &[]),
    ("catalogue_get_resource_owners", &[]),
    ("catalogue_get_type", &[]),
    ("catalogue_get_type_owners", &[]),
    ("catalogue_list_access_requests", &[]),
    ("catalogue_list_resources", &[]),
    ("catalogue_list_types", &[]),
    ("catalogue_set_resource_owners", &["resource.owners_changed"]),
    ("catalogue_set_type_owners", &["resource_type.owners_changed"]),
    ("catalogue_update_resource", &["resource.updated"]),
    ("catalogue_update_type", &["resource_type.updated"]),
    ("deliveries_count", &[]),
    ("deliveries_export", &["delivery.exported"]),
    ("deliveries_failures", &[]),
    ("deliveries_get", &["delivery.viewed"]),
    ("deliveries_list", &[]),
    ("deliveries_look_up", &[]),
    ("deliveries_metrics", &[]),
    ("deliveries_redeliver", &["delivery.redelivered"]),
    ("deliveries_replay", &["delivery.replayed"]),
    ("groups_create_group", &["group.created"]),
    ("groups_delete_group", &["group.deleted"]),
    ("groups_get_group", &[]),
    ("groups_list_groups", &[]),
    ("groups_update_group", &["group.updated"]),
    ("live_stream", &[]),
    ("notifications_list", &[]),
    ("notifications_mark_read", &["notification.read"]),
    ("receivers_status_update", &["reservation.status_updated"]),
    ("replays_get", &[]),
    ("replays_list", &[]),
    ("replays_preview", &[]),
    ("replays_start", &["delivery.replayed"]),
    ("replays_update", &["replay.updated"]),
    ("reservations_calendar", &[]),
    ("reservations_cancel", &["reservation.cancelled"]),
    ("reservations_confirm_release", &["reservation.release_confirmed"]),
    ("reservations_end", &["reservation.expired"]),
    ("reservations_extend", &["reservation.updated"]),
    ("reservations_get", &[]),
    ("reservations_list", &[]),
    ("reservations_list_deliveries", &[]),
    ("reservations_patch", &["reservation.updated"]),
    ("reservations_reserve", &["reservation.created"]),
    ("session_confirm", &["session.confirmed"]),
    ("session_end_session", &["session.ended"]),
    ("session_end_sessions", &["session.ended"]),
    ("session_finish_log_in", &["session.started"]),
    ("session_get_session", &[]),
    ("session_get_setup", &[]),
    ("session_list_sessions", &[]),
    ("session_log_in", &["session.started"]),
    ("session_log_out", &["session.ended"]),
    ("session_set_up", &["session.started", "user.created"]),
    ("tokens_create_token", &["token.created"]),
    ("tokens_list_tokens", &[]),
    ("tokens_revoke_token", &["token.revoked"]),
    ("users_add_identity", &["identity.linked"]),
    ("users_create_user", &["user.created"]),
    ("users_end_user_sessions", &["session.ended"]),
    ("users_erase_account", &["account.erased"]),
    ("users_export_account", &["account.exported"]),
    ("users_export_own", &["account.exported"]),
    ("users_list_identities", &[]),
    ("users_list_second_factors", &[]),
    ("users_list_users", &[]),
    ("users_remove_identity", &["identity.removed"]),
    ("users_remove_second_factor", &["second_factor.removed"]),
    ("users_reset_second_factors", &["second_factor.reset"]),
    ("users_update_user", &["user.updated"]),
    ("webhooks_certify", &["webhook.certified"]),
    ("webhooks_check_draft", &["webhook.checked"]),
    ("webhooks_check_signature", &[]),
    ("webhooks_claim_deliveries", &[]),
    ("webhooks_connect_listener", &["webhook.listener_connected"]),
    ("webhooks_delete", &["webhook.deleted"]),
    ("webhooks_disconnect_listener", &["webhook.listener_disconnected"]),
    ("webhooks_get", &[]),
    ("webhooks_list", &[]),
    ("webhooks_patch", &["webhook.updated"]),
    ("webhooks_pause", &["webhook.paused"]),
    ("webhooks_register", &["webhook.created"]),
    // As the attempts of a dispatcher, results are in the delivery log.
    ("webhooks_report_result", &[]),
    ("webhooks_resume", &["webhook.resumed"]),
    ("webhooks_revoke_secrets", &["webhook.secrets_revoked"]),
    ("webhooks_rotate", &["webhook.secret_rotated"]),
    ("webhooks_stats", &[]),
    ("webhooks_test", &["webhook.tested"]),
];

/// A request that succeeds, and what its entries must contain.
struct Call<'a> {
    operation: &'static str,
    client: &'a TestClient,
    path: String,
    body: Option<Value>,
    /// Login name; `""` for an action without a user.
    actor: &'a str,
    credential: &'a str,
    /// Kind and id of the object; an empty id fits all.
    target: (&'a str, String),
    headers: Vec<(&'static str, String)>,
}

impl<'a> Call<'a> {
    fn new(operation: &'static str, client: &'a TestClient, path: impl Into<String>) -> Self {
        Self {
            operation,
            client,
            path: path.into(),
            body: None,
            actor: "root",
            credential: "api_token",
            target: ("", String::new()),
            headers: Vec::new(),
        }
    }

    fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    fn by(self, actor: &'a str, credential: &'a str) -> Self {
        Self { actor, credential, ..self }
    }

    fn on(self, kind: &'a str, id: impl ToString) -> Self {
        Self { target: (kind, id.to_string()), ..self }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Sends requests and checks their entries.
struct Driver<'a> {
    t: &'a TestServer,
    /// Reads the log.
    reader: &'a TestClient,
    called: BTreeSet<&'static str>,
}

impl Driver<'_> {
    /// The entries of a request.
    async fn entries(&self, request_id: &str) -> Vec<Value> {
        let reply = self.reader.get("/audit?limit=200", 200).await;
        reply.items().iter().filter(|entry| entry["request_id"] == request_id).cloned().collect()
    }

    /// The newest entry of an action.
    async fn entry(&self, action: &str) -> Value {
        self.reader.get(&format!("/audit?action={action}"), 200).await.items()[0].clone()
    }

    async fn call(&mut self, call: Call<'_>) -> Value {
        let operation = operations().find(|operation| operation.id() == call.operation).expect("an operation");
        let request_id = format!("audit-{}", self.called.len());
        let mut request = call.client.request(operation.method(), &call.path).header("x-request-id", &request_id);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert!((200..300).contains(&status), "{}: {status} {text}", call.operation);
        let entries = self.entries(&request_id).await;
        let mut actions: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        actions.sort_unstable();
        let expected = TABLE.iter().find(|(id, _)| *id == call.operation).expect("a row in the table").1;
        assert_eq!(actions, expected, "{}: {entries:?}", call.operation);
        for entry in &entries {
            assert_eq!(entry["actor"].as_str().unwrap_or_default(), call.actor, "{}: {entry}", call.operation);
            assert_eq!(entry["credential"]["type"], call.credential, "{}: {entry}", call.operation);
            let has_id = !entry["credential"]["id"].as_str().unwrap().is_empty();
            let needs_id = matches!(call.credential, "api_token" | "session" | "webhook_signature");
            assert_eq!(has_id, needs_id, "{}: {entry}", call.operation);
            assert_eq!(entry["source"], "127.0.0.1", "{}: {entry}", call.operation);
            assert_eq!(entry["outcome"], "succeeded", "{}: {entry}", call.operation);
            let (kind, id) = &call.target;
            if entries.len() == 1 {
                assert_eq!(entry["target"]["type"], *kind, "{}: {entry}", call.operation);
                assert!(id.is_empty() || entry["target"]["id"] == *id, "{}: {entry}", call.operation);
            }
        }
        self.called.insert(call.operation);
        serde_json::from_str(&text).unwrap_or_default()
    }
}

async fn every_operation_that_changes_something_has_an_entry(mut t: TestServer) {
    let documented: BTreeSet<&str> = operations().map(|operation| operation.id()).collect();
    let listed: BTreeSet<&str> = TABLE.iter().map(|(id, _)| *id).collect();
    assert_eq!(listed, documented, "each operation needs a row in the table");
    let root = t.root.clone();
    let mut driver = Driver { t: &t, reader: &root, called: BTreeSet::new() };
    drive_catalogue_and_reservations(&mut driver).await;
    drive_webhooks(&mut driver).await;
    drive_accounts(&mut driver).await;
    drive_second_factors(&mut driver).await;
    driver.call(Call::new("audit_export", &root, "/audit/export").on("audit_log", "")).await;
    let called = driver.called.clone();
    t.stop().await;
    let called_at_setup = drive_setup(&t).await;
    let called_with_provider = drive_identities(&t).await;
    for (id, actions) in TABLE {
        let is_called = called.contains(id) || id == called_at_setup || called_with_provider.contains(id);
        assert!(actions.is_empty() || is_called, "the test does not call {id}");
    }
    assert!(matches!(t.service.audit().verify(None).await.unwrap(), Verdict::Intact(_)));
}

async fn drive_catalogue_and_reservations(driver: &mut Driver<'_>) {
    let t = driver.t;
    let (root, alice) = (&t.root, &t.alice);
    let new = json!({"slug": "vm", "name": "VM"});
    driver.call(Call::new("catalogue_create_type", root, "/resource-types").body(new).on("resource_type", "vm")).await;
    let path = "/resource-types/vm";
    let rename = || json!({"name": "Renamed"});
    driver.call(Call::new("catalogue_update_type", root, path).body(rename()).on("resource_type", "vm")).await;
    let new = json!({"name": "vm-1", "resource_type": "vm"});
    let made =
        driver.call(Call::new("catalogue_create_resource", root, "/resources").body(new).on("resource", "")).await;
    let id = made["id"].as_i64().unwrap();
    let path = format!("/resources/{id}");
    drive_groups_and_owners(driver, &path, id).await;
    driver.call(Call::new("catalogue_update_resource", root, &path).body(rename()).on("resource", id)).await;
    driver.call(Call::new("catalogue_delete_resource", root, &path).on("resource", id)).await;
    driver.call(Call::new("catalogue_delete_type", root, "/resource-types/vm").on("resource_type", "vm")).await;

    let restricted = t.resource("node-2", "restricted").await;
    let ask = json!({"resource_id": restricted, "reason": "A paper is due."});
    let call = Call::new("catalogue_create_access_request", alice, "/access-requests").by("alice", "api_token");
    let request = driver.call(call.body(ask).on("access_request", "")).await["id"].as_str().unwrap().to_owned();
    for (operation, verb) in
        [("catalogue_approve_access_request", "approve"), ("catalogue_deny_access_request", "deny")]
    {
        let path = format!("/access-requests/{request}/{verb}");
        driver.call(Call::new(operation, root, path).on("access_request", &request)).await;
    }
    let latest = alice.get("/notifications", 200).await.items()[0]["id"].as_i64().unwrap();
    let call = Call::new("notifications_mark_read", alice, "/notifications/read").by("alice", "api_token");
    driver.call(call.body(json!({"id": latest})).on("notification", latest)).await;

    let resource = t.resource("node-1", "available").await;
    let call = Call::new("reservations_reserve", alice, "/reservations").by("alice", "api_token");
    let made = driver.call(call.body(t.span(resource, 1, 2)).on("reservation", "")).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/reservations/{id}");
    let call = Call::new("reservations_patch", alice, &path).by("alice", "api_token");
    driver.call(call.body(json!({"title": "Renamed"})).on("reservation", &id)).await;
    driver.call(Call::new("reservations_cancel", root, format!("{path}/cancel")).on("reservation", &id)).await;
    // As if a service had not confirmed the release.
    let unconfirmed = format!("UPDATE reservations SET released_at = NULL WHERE id = '{id}'");
    t.database().await.execute_unprepared(&unconfirmed).await.unwrap();
    let call = Call::new("reservations_confirm_release", root, format!("{path}/confirm-release"));
    driver.call(call.on("reservation", &id)).await;
    let begun = alice.post("/reservations", t.span(resource, 0, 1), 201).await.text("id").to_owned();
    let path = format!("/reservations/{begun}");
    let call = Call::new("reservations_extend", alice, format!("{path}/extend")).by("alice", "api_token");
    driver.call(call.body(json!({"minutes": 30})).on("reservation", &begun)).await;
    driver.call(Call::new("reservations_end", root, format!("{path}/end")).on("reservation", &begun)).await;
}

/// Changes of groups and of owners of the type `vm` and of a resource. The entries have the members and owners before and
/// after the change.
async fn drive_groups_and_owners(driver: &mut Driver<'_>, resource: &str, id: i64) {
    let root = &driver.t.root;
    let new = json!({"name": "GPU team", "members": ["alice"]});
    let group = driver.call(Call::new("groups_create_group", root, "/groups").body(new).on("group", "")).await;
    let group = group["id"].as_i64().unwrap();
    let path = format!("/groups/{group}");
    let call = Call::new("groups_update_group", root, &path).body(json!({"members": ["bob"]}));
    driver.call(call.on("group", group)).await;
    let owners = json!({"users": ["alice"], "groups": [group]});
    let call = Call::new("catalogue_set_type_owners", root, "/resource-types/vm/owners").body(owners.clone());
    driver.call(call.on("resource_type", "vm")).await;
    let call = Call::new("catalogue_set_resource_owners", root, format!("{resource}/owners")).body(owners);
    driver.call(call.on("resource", id)).await;
    driver.call(Call::new("groups_delete_group", root, path).on("group", group)).await;
    let changes = async |action: &str| driver.entry(action).await["changes"].clone();
    let change = |field: &str, before: Value, after: Value| json!({"field": field, "before": before, "after": after});
    assert_eq!(
        changes("group.updated").await,
        json!([change("members.bob", Value::Null, true.into()), change("members.alice", true.into(), Value::Null)])
    );
    for action in ["resource_type.owners_changed", "resource.owners_changed"] {
        let group = format!("owners.groups.{group}");
        assert_eq!(
            changes(action).await,
            json!([
                change("owners.users.alice", Value::Null, true.into()),
                change(&group, Value::Null, "GPU team".into())
            ])
        );
    }
}

async fn drive_webhooks(driver: &mut Driver<'_>) {
    let t = driver.t;
    let root = &t.root;
    let receiver = Receiver::start().await;
    let input = crate::support::webhook_input(&receiver.url, json!({}));
    let made = driver.call(Call::new("webhooks_register", root, "/webhooks").body(input).on("webhook", "")).await;
    let (id, secret) = (made["id"].as_i64().unwrap(), made["secret"].as_str().unwrap().to_owned());
    let path = format!("/webhooks/{id}");
    driver.call(Call::new("webhooks_patch", root, &path).body(json!({"name": "Renamed"})).on("webhook", id)).await;
    driver.call(Call::new("webhooks_test", root, format!("{path}/test")).on("webhook", id)).await;
    driver.call(Call::new("webhooks_certify", root, format!("{path}/conformance")).on("webhook", id)).await;
    let draft = json!({"webhook": crate::support::webhook_input(&receiver.url, json!({}))});
    driver.call(Call::new("webhooks_check_draft", root, "/tools/webhook-check").body(draft).on("webhook", "")).await;
    let local = crate::support::webhook_input("http://127.0.0.1:8000/hook", json!({"delivery_mode": "local"}));
    let local = t.root.post("/webhooks", local, 201).await.id();
    let listener = format!("/webhooks/{local}/listener");
    driver.call(Call::new("webhooks_connect_listener", root, &listener).on("webhook", local)).await;
    driver.call(Call::new("webhooks_disconnect_listener", root, &listener).on("webhook", local)).await;
    t.root.delete(&format!("/webhooks/{local}"), 204).await;
    drive_alerts(driver, id, &receiver.url).await;
    driver.call(Call::new("webhooks_pause", root, format!("{path}/pause")).on("webhook", id)).await;
    driver.call(Call::new("webhooks_resume", root, format!("{path}/resume")).on("webhook", id)).await;
    let resource = t.resource("node-3", "available").await;
    let reservation = t.booking(&t.bob, resource, 1, 2).await;
    let filter = format!("reservation_id={reservation}");
    let delivery = t.finished(&filter, 1).await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/deliveries/{delivery}");
    driver.call(Call::new("deliveries_get", root, &path).on("delivery", &delivery)).await;
    driver.call(Call::new("deliveries_export", root, "/deliveries/export?format=jsonl").on("delivery", "")).await;
    driver.call(Call::new("deliveries_redeliver", root, format!("{path}/redeliver")).on("delivery", &delivery)).await;
    t.finished(&filter, 2).await;
    let filter = json!({"filter": {"webhook_id": id, "status": "succeeded"}});
    driver.call(Call::new("deliveries_replay", root, "/deliveries/replay").body(filter).on("webhook", id)).await;
    let missed = t.root.post("/webhooks", crate::support::webhook_input(&receiver.url, json!({})), 201).await.id();
    let request = json!({"source": "missing", "filter": {"webhook_id": missed}, "per_minute": 1});
    let call = Call::new("replays_start", root, "/replays").body(request).on("webhook", missed);
    let replay = driver.call(call).await["id"].as_str().unwrap().to_owned();
    let call = Call::new("replays_update", root, format!("/replays/{replay}")).body(json!({"status": "cancelled"}));
    driver.call(call.on("replay", &replay)).await;
    let body = json!({"status": "failed", "message": "No capacity.", "timestamp": crate::support::wire(t.now())});
    let url = t.service.status_url(&domain::id::ReservationId(reservation.clone()), id);
    let status_path = url.strip_prefix(&format!("{}/api/v1", t.url)).unwrap();
    let call = Call::new("receivers_status_update", &t.anonymous, status_path)
        .by("", "webhook_signature")
        .header("x-webhook-signature", sign(&secret, body.to_string().as_bytes()))
        .header("x-webhook-id", id.to_string());
    driver.call(call.body(body).on("reservation", &reservation)).await;
    driver.call(Call::new("webhooks_rotate", root, format!("/webhooks/{id}/rotate-secret")).on("webhook", id)).await;
    let path = format!("/webhooks/{id}/revoke-secrets");
    driver.call(Call::new("webhooks_revoke_secrets", root, path).on("webhook", id)).await;
    driver.call(Call::new("webhooks_delete", root, format!("/webhooks/{id}")).on("webhook", id)).await;
}

/// Monitoring of a webhook, and the channels of alerts. The webhook keeps its settings.
async fn drive_alerts(driver: &mut Driver<'_>, id: i64, receiver: &str) {
    let t = driver.t;
    let root = &t.root;
    let path = format!("/webhooks/{id}");
    let monitoring = || json!({"health_path": "/health", "pause_after_minutes": 5});
    let call = Call::new("alerts_set_monitoring", root, format!("{path}/monitoring")).body(monitoring());
    driver.call(call.on("webhook", id)).await;
    driver.call(Call::new("alerts_check_health", root, format!("{path}/health-check")).on("webhook", id)).await;
    let until = crate::support::wire(t.now() + chrono::Duration::hours(1));
    let call = Call::new("alerts_mute", root, format!("{path}/alerts/mute")).body(json!({"until": until}));
    driver.call(call.on("webhook", id)).await;
    root.post(&format!("{path}/pause"), json!({}), 200).await;
    let mark = "UPDATE webhook_monitors SET paused_at = 1, pause_failing_since = 1";
    t.database().await.execute_unprepared(mark).await.unwrap();
    driver.call(Call::new("alerts_recover", root, format!("{path}/recover")).on("webhook", id)).await;
    let auth =
        json!({"method": "oauth2", "token_url": format!("{receiver}/token"), "client_id": "a", "client_secret": "b"});
    root.patch(&path, json!({"auth": auth}), 200).await;
    driver.call(Call::new("alerts_fetch_token", root, format!("{path}/oauth-token")).on("webhook", id)).await;
    root.patch(&path, json!({"auth": {"method": "none"}}), 200).await;
    let channel = json!({"webhook": {"url": format!("{receiver}/operations"), "secret": "operations-secret-1"}});
    let call = Call::new("alerts_set_channels", root, "/alerts/channels").body(channel);
    driver.call(call.on("alerts", "")).await;
    let entry = driver.entry("alert_channels.updated").await.to_string();
    assert!(!entry.contains("operations"), "secrets are not logged: {entry}");
    driver.call(Call::new("alerts_test", root, "/alerts/test").on("alerts", "")).await;
    let call = Call::new("alerts_set_rules", root, "/alerts/rules").body(json!({"rules": []}));
    driver.call(call.on("alerts", "")).await;
    let call = Call::new("alerts_set_preferences", root, "/alerts/preferences").body(json!({"email": false}));
    driver.call(call.on("user", "root")).await;
}

async fn drive_accounts(driver: &mut Driver<'_>) {
    let t = driver.t;
    let root = &t.root;
    let new = json!({"username": "erin", "email": "erin@example.com", "password": PASSWORD, "role": "user"});
    driver.call(Call::new("users_create_user", root, "/users").body(new).on("user", "erin")).await;
    let patch = json!({"role": "administrator"});
    driver.call(Call::new("users_update_user", root, "/users/erin").body(patch).on("user", "erin")).await;
    let credentials = json!({"username": "erin", "password": PASSWORD});
    let call = Call::new("session_log_in", &t.anonymous, "/session").by("erin", "password");
    driver.call(call.body(credentials).on("session", "")).await;
    driver.call(Call::new("users_end_user_sessions", root, "/users/erin/sessions").on("user", "erin")).await;
    let browser = t.browser("erin").await;
    let call = Call::new("tokens_create_token", &browser, "/tokens").by("erin", "session");
    let token = driver.call(call.body(json!({"name": "ci"})).on("token", "")).await;
    let id = token["id"].as_str().unwrap().to_owned();
    let path = format!("/tokens/{id}");
    driver.call(Call::new("tokens_revoke_token", &browser, path).by("erin", "session").on("token", &id)).await;
    t.browser("erin").await;
    let sessions = browser.get("/sessions", 200).await.items().to_vec();
    let other = sessions.iter().find(|session| session["current"] == false).unwrap()["id"].as_str().unwrap().to_owned();
    let path = format!("/sessions/{other}");
    driver.call(Call::new("session_end_session", &browser, path).by("erin", "session").on("session", &other)).await;
    driver.call(Call::new("session_log_out", &browser, "/session").by("erin", "session").on("session", "")).await;
    let browser = t.browser("erin").await;
    let call = Call::new("users_export_own", &browser, "/account/export").by("erin", "session");
    driver.call(call.on("user", "erin")).await;
    driver.call(Call::new("users_export_account", root, "/users/erin/export").on("user", "erin")).await;
    driver
        .call(Call::new("session_end_sessions", &browser, "/sessions").by("erin", "session").on("user", "erin"))
        .await;
    let call = Call::new("users_erase_account", root, "/users/erin/erase");
    driver.call(call.body(json!({})).on("user", "")).await;
}

async fn drive_second_factors(driver: &mut Driver<'_>) {
    let t = driver.t;
    let root = &t.root;
    let key = t.add_app("bob").await;
    let (_, token) = t.second_step("bob").await;
    let call = Call::new("session_finish_log_in", &t.anonymous, "/session/second-factor").by("bob", "password");
    let call = call.header("cookie", format!("berth_second_step={token}")).on("session", "");
    driver.call(call.body(json!({"code": t.code(&key)}))).await;
    let browser = t.browser("alice").await;
    let call = Call::new("session_confirm", &browser, "/session/confirmation").by("alice", "session");
    driver.call(call.body(json!({"password": PASSWORD})).on("session", "")).await;
    let path = "/users/bob/second-factors";
    let one = format!("{path}/authenticator-app");
    driver.call(Call::new("users_remove_second_factor", root, one).on("user", "bob")).await;
    t.add_app("bob").await;
    driver.call(Call::new("users_reset_second_factors", root, path).on("user", "bob")).await;
}

fn kind_of(t: &TestServer) -> DatabaseKind {
    if t.service.is_postgres() { DatabaseKind::Postgres } else { DatabaseKind::Sqlite }
}

/// Log-ins at an identity provider, and links to it, need its settings.
async fn drive_identities(t: &TestServer) -> BTreeSet<&'static str> {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind_of(t), |_| {}).await;
    let root = t.root.clone();
    let mut driver = Driver { t: &t, reader: &root, called: BTreeSet::new() };
    let path = "/users/alice/identities";
    let link = json!({"provider": "corp", "subject": "7"});
    let added = driver.call(Call::new("users_add_identity", &root, path).body(link).on("user", "alice")).await;
    let id = added["id"].as_str().unwrap();
    driver.call(Call::new("users_remove_identity", &root, format!("{path}/{id}")).on("user", "alice")).await;

    let actions = async |count: usize| -> Vec<String> {
        let entries = root.get("/audit?limit=200", 200).await.items()[..count].to_vec();
        assert!(entries.iter().all(|entry| entry["credential"]["type"] == "identity_provider"), "{entries:?}");
        entries.iter().map(|entry| format!("{} {}", entry["action"], entry["outcome"]).replace('"', "")).collect()
    };
    provider.log_in(&t, json!({}), 303).await;
    assert_eq!(actions(3).await, ["session.started succeeded", "identity.linked succeeded", "user.created succeeded"]);
    provider.log_in(&t, json!({"groups": ["staff", "admins"]}), 303).await;
    assert_eq!(actions(2).await, ["session.started succeeded", "user.updated succeeded"]);
    provider.log_in(&t, json!({"sub": "43"}), 409).await;
    assert_eq!(actions(1).await, ["session.rejected refused"]);
    assert!(matches!(t.service.audit().verify(None).await.unwrap(), Verdict::Intact(_)));
    driver.called
}

/// The first set-up needs a database without accounts.
async fn drive_setup(t: &TestServer) -> &'static str {
    let empty = TestServer::start_empty(kind_of(t), |_| {}).await;
    let input = json!({"username": "erin", "email": "erin@example.com", "password": PASSWORD});
    let request = |r: reqwest::RequestBuilder| r.header("x-request-id", "audit-set-up").json(&input);
    let reply = empty.anonymous.send(Method::POST, "/setup", 200, request).await;
    let browser = empty.anonymous.with_session(&reply.session());
    let entries = browser.get("/audit", 200).await.items().to_vec();
    let actions: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["session.started", "user.created"]);
    for entry in &entries {
        assert_eq!((&entry["actor"], &entry["credential"]["type"]), (&json!("erin"), &json!("setup_code")), "{entry}");
        assert_eq!(entry["request_id"], "audit-set-up");
    }
    "session_set_up"
}

async fn every_refusal_has_an_entry(t: TestServer) {
    let ids = roles::objects(&t).await;
    let mut refused = BTreeMap::new();
    for operation in operations() {
        if roles::status(&t.alice, &operation, &ids).await == 403 {
            *refused.entry(format!("{} {}", operation.method(), operation.template())).or_insert(0) += 1;
        }
    }
    assert!(refused.len() > 20, "{refused:?}");
    // A flood is counted, not written one by one.
    for _ in 0..50 {
        t.alice.get("/webhooks", 403).await;
    }
    *refused.get_mut("GET /api/v1/webhooks").unwrap() += 50;
    t.service.audit().flush_failures(true).await.unwrap();
    let entries = t.root.pages("/audit?action=request.refused&actor=alice", 50).await;
    let mut found: BTreeMap<String, i64> = BTreeMap::new();
    for entry in &entries {
        assert_eq!((&entry["outcome"], &entry["source"]), (&json!("refused"), &json!("127.0.0.1")), "{entry}");
        assert_eq!(entry["credential"]["type"], "api_token", "{entry}");
        assert!(!entry["detail"].as_str().unwrap().is_empty(), "{entry}");
        *found.entry(entry["target"]["id"].as_str().unwrap().to_owned()).or_insert(0) +=
            entry["count"].as_i64().unwrap();
    }
    assert_eq!(found, refused);
    assert!(entries.len() <= refused.len() + 1, "51 refusals are two entries: {entries:?}");
    // Server functions, cross-site requests and unknown credentials too.
    let browser = t.browser("alice").await;
    let rpc = |r: reqwest::RequestBuilder| r.header("origin", &t.url).json(&json!({}));
    browser.send(Method::POST, "//rpc/list-users", 403, rpc).await;
    let credentials = json!({"username": "alice", "password": PASSWORD});
    let foreign = |r: reqwest::RequestBuilder| r.header("origin", "https://evil.example").json(&credentials);
    t.anonymous.send(Method::POST, "/session", 403, foreign).await;
    t.anonymous.with_token("berth_unknown").get("/webhooks", 401).await;
    t.log_in("alice", "wrong password", 401).await;
    let targets = async |query: &str| -> Vec<String> {
        let items = t.root.get(&format!("/audit?{query}"), 200).await.items().to_vec();
        items.iter().map(|entry| entry["target"]["id"].as_str().unwrap().to_owned()).collect()
    };
    let refused = targets("action=request.refused&limit=2").await;
    assert_eq!(refused, ["POST /api/v1/session", "POST /rpc/list-users"]);
    assert_eq!(targets("action=session.rejected").await, ["alice"]);
    assert_eq!(targets("action=token.rejected").await, [""]);
}

/// Statements of an attacker who owns the database: first they drop the triggers.
async fn tamper(t: &TestServer, statements: &[&str]) {
    let database = t.database().await;
    let drop_triggers: &[&str] = if t.service.is_postgres() {
        &["ALTER TABLE audit_log DISABLE TRIGGER USER"]
    } else {
        &["DROP TRIGGER IF EXISTS audit_log_no_update", "DROP TRIGGER IF EXISTS audit_log_no_delete"]
    };
    for sql in drop_triggers.iter().chain(statements) {
        database.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

async fn fault(t: &TestServer, noted: Option<&str>) -> Fault {
    match t.service.audit().verify(noted).await.unwrap() {
        Verdict::Faulty(fault) => fault,
        Verdict::Intact(intact) => panic!("the tampering was not detected: {intact:?}"),
    }
}

async fn head(t: &TestServer) -> (i64, String) {
    match t.service.audit().verify(None).await.unwrap() {
        Verdict::Intact(intact) => (intact.head, intact.hash),
        Verdict::Faulty(fault) => panic!("{fault:?}"),
    }
}

/// Runs statements on the log, expects a fault, and restores the log.
async fn expect_fault(t: &TestServer, statements: &[&str], seq: Option<i64>, reason: &str) {
    let database = t.database().await;
    tamper(t, &[]).await;
    for sql in ["DROP TABLE IF EXISTS kept_log", "DROP TABLE IF EXISTS kept_head"] {
        database.execute_unprepared(sql).await.unwrap();
    }
    copy(&database, "audit_log", "kept_log").await;
    copy(&database, "audit_head", "kept_head").await;
    tamper(t, statements).await;
    let fault = fault(t, None).await;
    assert_eq!(fault.seq, seq, "{statements:?}: {fault:?}");
    assert!(fault.reason.contains(reason), "{statements:?}: {fault:?}");
    tamper(t, &["DELETE FROM audit_log", "DELETE FROM audit_head"]).await;
    database.execute_unprepared("INSERT INTO audit_log SELECT * FROM kept_log").await.unwrap();
    database.execute_unprepared("INSERT INTO audit_head SELECT * FROM kept_head").await.unwrap();
    head(t).await;
}

async fn copy(database: &DatabaseConnection, from: &str, to: &str) {
    database.execute_unprepared(&format!("CREATE TABLE {to} AS SELECT * FROM {from}")).await.unwrap();
}

async fn changed_removed_and_reordered_entries_are_detected(t: TestServer) {
    t.resource("node-1", "available").await;
    let (last, _) = head(&t).await;
    assert!(last >= 8);
    for column in ["actor", "credential_id", "source", "action", "outcome", "target_id", "changes", "detail", "hash"] {
        let sql = format!("UPDATE audit_log SET {column} = 'x' WHERE seq = 3");
        expect_fault(&t, &[&sql], Some(3), "The entry 3 was changed").await;
    }
    for column in ["at", "occurrences"] {
        let sql = format!("UPDATE audit_log SET {column} = {column} + 1 WHERE seq = 3");
        expect_fault(&t, &[&sql], Some(3), "The entry 3 was changed").await;
    }
    expect_fault(&t, &["DELETE FROM audit_log WHERE seq = 1"], Some(1), "The entry 1 is missing").await;
    expect_fault(&t, &["DELETE FROM audit_log WHERE seq IN (3, 4)"], Some(3), "The entries 3 to 4 are missing").await;
    // Removed, and the gap closed.
    let shift = "UPDATE audit_log SET seq = -seq WHERE seq > 3";
    let back = "UPDATE audit_log SET seq = -seq - 1 WHERE seq < 0";
    expect_fault(&t, &["DELETE FROM audit_log WHERE seq = 3", shift, back], Some(3), "The entry 3 was changed").await;
    let swap = [
        "UPDATE audit_log SET seq = -4 WHERE seq = 4",
        "UPDATE audit_log SET seq = 4 WHERE seq = 5",
        "UPDATE audit_log SET seq = 5 WHERE seq = -4",
    ];
    expect_fault(&t, &swap, Some(4), "reordered").await;
}

async fn removed_end_and_moved_head_are_detected(t: TestServer) {
    let (last, hash) = head(&t).await;
    let remove = format!("DELETE FROM audit_log WHERE seq = {last}");
    expect_fault(&t, &[&remove], Some(last), "is missing").await;
    // Removed with the head moved back to the entry before.
    let before = last - 1;
    let moved =
        format!("UPDATE audit_head SET seq = {before}, hash = (SELECT hash FROM audit_log WHERE seq = {before})");
    expect_fault(&t, &[&remove, &moved], None, "The head of the log was changed").await;
    expect_fault(&t, &["DELETE FROM audit_log"], Some(1), "are missing").await;
    expect_fault(&t, &["DELETE FROM audit_head"], None, "The head of the log is missing").await;
    // The beginning removed as if retention had done it.
    let pruned = "UPDATE audit_head SET pruned_seq = 2, pruned_hash = (SELECT hash FROM audit_log WHERE seq = 2)";
    expect_fault(&t, &[pruned, "DELETE FROM audit_log WHERE seq <= 2"], None, "The head of the log was changed").await;
    assert_eq!(head(&t).await, (last, hash));
}

async fn entries_forged_without_the_key_are_detected(t: TestServer) {
    let (last, _) = head(&t).await;
    let next = last + 1;
    let copied = "at, actor, credential, credential_id, credential_name, source, request_id, action, outcome, target_type, \
                  target_id, target_name, changes, detail, occurrences, key_id, hash";
    let forge =
        format!("INSERT INTO audit_log (seq, {copied}) SELECT {next}, {copied} FROM audit_log WHERE seq = {last}");
    expect_fault(&t, &[&forge], Some(next), "was changed").await;
    // Even if the next change of Berth continues after it.
    let key = "UPDATE audit_log SET key_id = 'other' WHERE seq = 2";
    expect_fault(&t, &[key], Some(2), "another master key").await;
}

/// Restoring an old copy of all tables is consistent in itself. Only a hash that was kept elsewhere shows it.
async fn older_state_of_the_database_is_detected_by_a_noted_head(t: TestServer) {
    let database = t.database().await;
    copy(&database, "audit_log", "kept_log").await;
    copy(&database, "audit_head", "kept_head").await;
    t.resource("node-1", "available").await;
    let (_, noted) = head(&t).await;
    tamper(&t, &["DELETE FROM audit_log", "DELETE FROM audit_head"]).await;
    database.execute_unprepared("INSERT INTO audit_log SELECT * FROM kept_log").await.unwrap();
    database.execute_unprepared("INSERT INTO audit_head SELECT * FROM kept_head").await.unwrap();
    let (_, older) = head(&t).await;
    let fault = fault(&t, Some(&noted)).await;
    assert!(fault.reason.contains("No entry has the hash of --head"), "{fault:?}");
    assert!(matches!(t.service.audit().verify(Some(&older)).await.unwrap(), Verdict::Intact(_)));
}
