//! The role table: the verdict on every operation of the OpenAPI document for every role.

use crate::client::TestClient;
use crate::openapi::{Operation, operations};
use crate::support::TestServer;
use domain::account::ApiTokenInput;
use domain::authorization::{Role, Scope};
use serde_json::json;
use std::collections::BTreeMap;
use test_support::{Receiver, on_both_databases};

on_both_databases![sqlite only: every_operation_follows_the_role_table];

/// Who may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The credential has no effect: everybody gets the same response.
    Public,
    /// Every credential.
    Any,
    /// Every user but auditors; needs the scope `reserve`.
    Reserve,
    /// Every user, for the own account; needs the scope `reserve`.
    OwnMark,
    /// Every user, for the own account; needs the scope `admin`.
    Own,
    /// Every user with a session. The clients of this test have tokens.
    Session,
    /// The owner of the reservation, administrators and auditors. Others do not learn that it exists.
    OwnerRead,
    /// The owner of the reservation and administrators; needs the scope `reserve`.
    OwnerWrite,
    /// Administrators and auditors.
    AuditorRead,
    /// Administrators and auditors; needs the scope `admin`.
    AuditorReadUsers,
    /// Administrators; needs the scope `admin`.
    AdministratorWrite,
}

/// What a role gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The response of an anonymous client.
    Same,
    /// 401.
    Unauthenticated,
    /// 403.
    Forbidden,
    /// 404, although the object exists.
    Hidden,
    /// Any other response, also one that rejects the input.
    Allowed,
}

use Access::{
    AdministratorWrite, Any, AuditorRead, AuditorReadUsers, Own, OwnMark, OwnerRead, OwnerWrite, Public, Reserve,
    Session,
};
use Verdict::{Allowed, Forbidden, Hidden, Same, Unauthenticated};

const ROLES: [&str; 6] =
    ["anonymous", "disabled user", "user", "auditor", "read-only token of an administrator", "administrator"];

impl Access {
    /// The verdicts for [`ROLES`].
    fn verdicts(self) -> [Verdict; 6] {
        let nobody = Unauthenticated;
        match self {
            Public => [Same; 6],
            Any => [nobody, nobody, Allowed, Allowed, Allowed, Allowed],
            Reserve => [nobody, nobody, Allowed, Forbidden, Forbidden, Allowed],
            Own | OwnMark => [nobody, nobody, Allowed, Allowed, Forbidden, Allowed],
            Session => [nobody, nobody, Forbidden, Forbidden, Forbidden, Forbidden],
            OwnerRead => [nobody, nobody, Hidden, Allowed, Allowed, Allowed],
            OwnerWrite => [nobody, nobody, Hidden, Forbidden, Forbidden, Allowed],
            AuditorRead => [nobody, nobody, Forbidden, Allowed, Allowed, Allowed],
            AuditorReadUsers => [nobody, nobody, Forbidden, Allowed, Forbidden, Allowed],
            AdministratorWrite => [nobody, nobody, Forbidden, Forbidden, Forbidden, Allowed],
        }
    }
}

/// The table. Reservations belong to another user. A new operation needs a row.
const TABLE: [(&str, Access); 59] = [
    ("audit_export", AuditorRead),
    ("audit_list", AuditorRead),
    ("catalogue_approve_access_request", AdministratorWrite),
    ("catalogue_create_access_request", Reserve),
    ("catalogue_create_resource", AdministratorWrite),
    ("catalogue_create_type", AdministratorWrite),
    ("catalogue_delete_resource", AdministratorWrite),
    ("catalogue_delete_type", AdministratorWrite),
    ("catalogue_deny_access_request", AdministratorWrite),
    ("catalogue_get_resource", Any),
    ("catalogue_get_type", Any),
    ("catalogue_list_access_requests", Any),
    ("catalogue_list_resources", Any),
    ("catalogue_list_types", Any),
    ("catalogue_update_resource", AdministratorWrite),
    ("catalogue_update_type", AdministratorWrite),
    ("deliveries_get", AuditorRead),
    ("deliveries_list", AuditorRead),
    ("deliveries_redeliver", AdministratorWrite),
    ("deliveries_replay", AdministratorWrite),
    ("live_stream", Any),
    ("notifications_list", Any),
    ("notifications_mark_read", OwnMark),
    // The signature decides, and the credential has no effect.
    ("receivers_status_update", Public),
    ("reservations_calendar", Any),
    ("reservations_cancel", OwnerWrite),
    ("reservations_get", OwnerRead),
    ("reservations_list", Any),
    ("reservations_list_deliveries", OwnerRead),
    ("reservations_patch", OwnerWrite),
    ("reservations_reserve", Reserve),
    ("session_end_session", Own),
    ("session_end_sessions", Own),
    ("session_get_session", Any),
    ("session_get_setup", Public),
    ("session_list_sessions", Own),
    ("session_log_in", Public),
    ("session_log_out", Public),
    ("session_set_up", Public),
    ("tokens_create_token", Session),
    ("tokens_list_tokens", Own),
    ("tokens_revoke_token", Own),
    ("users_add_identity", AdministratorWrite),
    ("users_create_user", AdministratorWrite),
    ("users_end_user_sessions", AdministratorWrite),
    ("users_list_identities", AdministratorWrite),
    ("users_list_users", AuditorReadUsers),
    ("users_remove_identity", AdministratorWrite),
    ("users_update_user", AdministratorWrite),
    ("webhooks_delete", AdministratorWrite),
    ("webhooks_get", AuditorRead),
    ("webhooks_list", AuditorRead),
    ("webhooks_patch", AdministratorWrite),
    ("webhooks_pause", AdministratorWrite),
    ("webhooks_register", AdministratorWrite),
    ("webhooks_resume", AdministratorWrite),
    ("webhooks_rotate", AdministratorWrite),
    ("webhooks_stats", AuditorRead),
    ("webhooks_test", AdministratorWrite),
];

/// Existing objects of another user, by the part of the path before the id.
pub(super) type Ids = BTreeMap<&'static str, String>;

/// The path with an existing id.
fn path_of(operation: &Operation, ids: &Ids) -> String {
    let path = operation.path();
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() > 2 && matches!(parts[2], "1" | "placeholder") {
        parts[2] = ids.get(parts[1]).unwrap_or_else(|| panic!("no id for {path}"));
    }
    parts.join("/")
}

/// The status of an operation for a client. The body is the example, so that only the permission is rejected.
pub(super) async fn status(client: &TestClient, operation: &Operation, ids: &Ids) -> u16 {
    let request = client.request(operation.method(), &path_of(operation, ids));
    let request = match operation.example() {
        Some(example) => request.json(example),
        None => request,
    };
    request.send().await.unwrap().status().as_u16()
}

pub(super) async fn objects(t: &TestServer) -> Ids {
    let resource = t.resource("node-1", "available").await;
    let restricted = t.resource("node-2", "restricted").await;
    let webhook = t.webhook(&Receiver::start().await, json!({"enabled": true})).await.id();
    let reservation = t.booking(&t.bob, resource, 1, 2).await;
    let delivery = t.finished("", 1).await[0]["id"].as_str().unwrap().to_owned();
    let input = json!({"resource_id": restricted, "reason": "A paper is due."});
    let request = t.bob.post("/access-requests", input, 201).await.text("id").to_owned();
    let token = t.token("bob", json!({"name": "ci"})).await.text("id").to_owned();
    let session =
        t.browser("bob").await.get("/sessions", 200).await.body["items"][0]["id"].as_str().unwrap().to_owned();
    BTreeMap::from([
        ("access-requests", request),
        ("deliveries", delivery),
        ("reservations", reservation),
        ("resource-types", "gpu-cluster".to_owned()),
        ("resources", resource.to_string()),
        ("sessions", session),
        ("tokens", token),
        ("users", "bob".to_owned()),
        ("webhooks", webhook.to_string()),
    ])
}

async fn every_operation_follows_the_role_table(t: TestServer) {
    let table: BTreeMap<&str, Access> = TABLE.into_iter().collect();
    for operation in operations() {
        assert!(table.contains_key(operation.id()), "{} needs a row in the role table", operation.id());
    }
    assert_eq!(table.len(), operations().count(), "the table has rows of unknown operations");
    let ids = objects(&t).await;
    let disabled = t.person("carol", Role::User).await;
    t.root.patch("/users/carol", json!({"disabled": true}), 200).await;
    let input = ApiTokenInput { name: "reader".into(), scopes: Some(vec![Scope::Read]), ..Default::default() };
    let reader = t.service.accounts().create_token_as_operator("root", input).await.unwrap();
    let reader = t.anonymous.with_token(&reader.token);
    // The administrator comes last, because their requests change the objects.
    let auditor = t.person("dora", Role::Auditor).await;
    let clients = [&t.anonymous, &disabled, &t.alice, &auditor, &reader, &t.root];
    let mut wrong = Vec::new();
    for (n, client) in clients.into_iter().enumerate() {
        for operation in operations() {
            let expected = table[operation.id()].verdicts()[n];
            let got = status(client, &operation, &ids).await;
            let fits = match expected {
                Same => got == status(&t.anonymous, &operation, &ids).await,
                Unauthenticated => got == 401,
                Forbidden => got == 403,
                Hidden => got == 404,
                Allowed => got != 401 && got != 403 && got < 500,
            };
            if !fits {
                wrong.push(format!("{} as {}: {got} instead of {expected:?}", operation.id(), ROLES[n]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
