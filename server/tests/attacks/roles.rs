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
    /// The user of the reservation, owners of the resource, administrators and auditors. Others do not learn that it
    /// exists.
    ReservationRead,
    /// The user of the reservation, owners of the resource and administrators; needs the scope `reserve`.
    ReservationWrite,
    /// Owners of the resource and administrators; needs the scope `admin`. Others who may not read it do not learn that it exists.
    ReservationManage,
    /// Owners, administrators and auditors, each of them for the objects that they may see.
    OwnedList,
    /// Owners of the object, administrators and auditors. Other owners do not learn that it exists.
    OwnedRead,
    /// The owner who started it, administrators and auditors. Other owners do not learn that it exists.
    StarterRead,
    /// The owner who started it and administrators; needs the scope `admin`.
    StarterWrite,
    /// Owners, for the objects that they own, and administrators; needs the scope `admin`.
    OwnedBulkWrite,
    /// Owners of the object and administrators; needs the scope `admin`. Other owners do not learn that it exists.
    OwnedWrite,
    /// Owners of the resource type and administrators; needs the scope `admin`. The input of other owners is invalid.
    OwnedCreate,
    /// Owners of the resource and administrators; needs the scope `admin`. Everybody may see that the resource exists.
    ResourceWrite,
    /// Owners of the resource, administrators and auditors. Everybody may see that the resource exists.
    OwnersRead,
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
    /// 422.
    Invalid,
    /// Any other response, also one that rejects the input.
    Allowed,
}

use Access::{
    AdministratorWrite, Any, AuditorRead, AuditorReadUsers, Own, OwnMark, OwnedBulkWrite, OwnedCreate, OwnedList,
    OwnedRead, OwnedWrite, OwnersRead, Public, ReservationManage, ReservationRead, ReservationWrite, Reserve,
    ResourceWrite, Session, StarterRead, StarterWrite,
};
use Verdict::{Allowed, Forbidden, Hidden, Invalid, Same, Unauthenticated};

const ROLES: [&str; 8] = [
    "anonymous",
    "disabled user",
    "user",
    "auditor",
    "read-only token of an administrator",
    "owner of another object",
    "owner of the object",
    "administrator",
];

impl Access {
    /// The verdicts for [`ROLES`].
    fn verdicts(self) -> [Verdict; 8] {
        let nobody = Unauthenticated;
        let [user, auditor, reader, other_owner, owner, administrator] = match self {
            Public => return [Same; 8],
            Any => [Allowed; 6],
            Reserve => [Allowed, Forbidden, Forbidden, Allowed, Allowed, Allowed],
            Own | OwnMark => [Allowed, Allowed, Forbidden, Allowed, Allowed, Allowed],
            Session => [Forbidden; 6],
            ReservationRead => [Hidden, Allowed, Allowed, Hidden, Allowed, Allowed],
            ReservationWrite | ReservationManage => [Hidden, Forbidden, Forbidden, Hidden, Allowed, Allowed],
            OwnedList => [Forbidden, Allowed, Allowed, Allowed, Allowed, Allowed],
            OwnedRead => [Forbidden, Allowed, Allowed, Hidden, Allowed, Allowed],
            StarterRead => [Forbidden, Allowed, Allowed, Hidden, Hidden, Allowed],
            StarterWrite => [Forbidden, Forbidden, Forbidden, Hidden, Hidden, Allowed],
            OwnedBulkWrite => [Forbidden, Forbidden, Forbidden, Allowed, Allowed, Allowed],
            OwnedWrite => [Forbidden, Forbidden, Forbidden, Hidden, Allowed, Allowed],
            OwnedCreate => [Forbidden, Forbidden, Forbidden, Invalid, Allowed, Allowed],
            ResourceWrite => [Forbidden, Forbidden, Forbidden, Forbidden, Allowed, Allowed],
            OwnersRead => [Forbidden, Allowed, Allowed, Forbidden, Allowed, Allowed],
            AuditorRead => [Forbidden, Allowed, Allowed, Forbidden, Forbidden, Allowed],
            AuditorReadUsers => [Forbidden, Allowed, Forbidden, Forbidden, Forbidden, Allowed],
            AdministratorWrite => [Forbidden, Forbidden, Forbidden, Forbidden, Forbidden, Allowed],
        };
        [nobody, nobody, user, auditor, reader, other_owner, owner, administrator]
    }
}

/// The table. Reservations belong to another user. A new operation needs a row.
const TABLE: [(&str, Access); 111] = [
    ("alerts_check_health", OwnedWrite),
    ("alerts_fetch_token", OwnedWrite),
    ("alerts_get_channels", AuditorRead),
    ("alerts_get_monitoring", OwnedRead),
    ("alerts_get_preferences", OwnMark),
    ("alerts_get_rules", OwnedList),
    ("alerts_list", OwnedList),
    ("alerts_mute", OwnedWrite),
    ("alerts_recover", OwnedWrite),
    ("alerts_set_channels", AdministratorWrite),
    ("alerts_set_monitoring", OwnedWrite),
    ("alerts_set_preferences", OwnMark),
    ("alerts_set_rules", AdministratorWrite),
    ("alerts_test", AdministratorWrite),
    ("audit_export", AuditorRead),
    ("audit_list", AuditorRead),
    ("catalogue_approve_access_request", OwnedWrite),
    ("catalogue_create_access_request", Reserve),
    ("catalogue_create_resource", ResourceWrite),
    ("catalogue_create_type", AdministratorWrite),
    ("catalogue_delete_resource", ResourceWrite),
    ("catalogue_delete_type", AdministratorWrite),
    ("catalogue_deny_access_request", OwnedWrite),
    ("catalogue_get_resource", Any),
    ("catalogue_get_resource_owners", OwnersRead),
    ("catalogue_get_type", Any),
    ("catalogue_get_type_owners", OwnersRead),
    ("catalogue_list_access_requests", Any),
    ("catalogue_list_resources", Any),
    ("catalogue_list_types", Any),
    ("catalogue_set_resource_owners", AdministratorWrite),
    ("catalogue_set_type_owners", AdministratorWrite),
    ("catalogue_update_resource", ResourceWrite),
    ("catalogue_update_type", AdministratorWrite),
    ("deliveries_count", OwnedList),
    ("deliveries_export", OwnedList),
    ("deliveries_failures", OwnedList),
    ("deliveries_get", OwnedRead),
    ("deliveries_list", OwnedList),
    ("deliveries_look_up", Any),
    ("deliveries_metrics", OwnedList),
    ("deliveries_redeliver", OwnedWrite),
    ("deliveries_replay", OwnedBulkWrite),
    ("groups_create_group", AdministratorWrite),
    ("groups_delete_group", AdministratorWrite),
    ("groups_get_group", AuditorReadUsers),
    ("groups_list_groups", AuditorReadUsers),
    ("groups_update_group", AdministratorWrite),
    ("live_stream", Any),
    ("notifications_list", Any),
    ("notifications_mark_read", OwnMark),
    // The signature decides, and the credential has no effect.
    ("receivers_status_update", Public),
    ("replays_get", StarterRead),
    ("replays_list", OwnedList),
    ("replays_preview", OwnedBulkWrite),
    ("replays_start", OwnedBulkWrite),
    ("replays_update", StarterWrite),
    ("reservations_calendar", Any),
    ("reservations_cancel", ReservationWrite),
    ("reservations_confirm_release", ReservationManage),
    ("reservations_end", ReservationWrite),
    ("reservations_extend", ReservationWrite),
    ("reservations_get", ReservationRead),
    ("reservations_list", Any),
    ("reservations_list_deliveries", ReservationRead),
    ("reservations_patch", ReservationWrite),
    ("reservations_reserve", Reserve),
    ("session_confirm", Session),
    ("session_end_session", Own),
    ("session_end_sessions", Own),
    ("session_finish_log_in", Public),
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
    ("users_erase_account", AdministratorWrite),
    ("users_export_account", AdministratorWrite),
    ("users_export_own", Own),
    ("users_list_identities", AdministratorWrite),
    ("users_list_second_factors", AuditorReadUsers),
    ("users_list_users", AuditorReadUsers),
    ("users_remove_identity", AdministratorWrite),
    ("users_remove_second_factor", AdministratorWrite),
    ("users_reset_second_factors", AdministratorWrite),
    ("users_update_user", AdministratorWrite),
    ("webhooks_certify", OwnedWrite),
    ("webhooks_check_draft", OwnedCreate),
    ("webhooks_check_signature", Any),
    ("webhooks_claim_deliveries", OwnedWrite),
    ("webhooks_connect_listener", OwnedWrite),
    ("webhooks_delete", OwnedWrite),
    ("webhooks_disconnect_listener", OwnedWrite),
    ("webhooks_get", OwnedRead),
    ("webhooks_list", OwnedList),
    ("webhooks_patch", OwnedWrite),
    ("webhooks_pause", OwnedWrite),
    ("webhooks_register", OwnedCreate),
    ("webhooks_report_result", OwnedWrite),
    ("webhooks_resume", OwnedWrite),
    ("webhooks_revoke_secrets", OwnedWrite),
    ("webhooks_rotate", OwnedWrite),
    ("webhooks_stats", OwnedRead),
    ("webhooks_test", OwnedWrite),
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
    let webhook = t.webhook(&Receiver::start().await, json!({"resource_type": "gpu-cluster"})).await.id();
    let reservation = t.booking(&t.bob, resource, 1, 2).await;
    let delivery = t.finished("", 1).await[0]["id"].as_str().unwrap().to_owned();
    let filter = json!({"filter": {"webhook_id": webhook, "status": "succeeded"}});
    let replay = t.root.post("/replays", filter, 202).await.text("id").to_owned();
    let input = json!({"resource_id": restricted, "reason": "A paper is due."});
    let request = t.bob.post("/access-requests", input, 201).await.text("id").to_owned();
    let group = t.root.post("/groups", json!({"name": "Team"}), 201).await.id();
    let token = t.token("bob", json!({"name": "ci"})).await.text("id").to_owned();
    let session =
        t.browser("bob").await.get("/sessions", 200).await.body["items"][0]["id"].as_str().unwrap().to_owned();
    BTreeMap::from([
        ("access-requests", request),
        ("deliveries", delivery),
        ("groups", group.to_string()),
        ("replays", replay),
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
    // The owner and the administrator come last, because their requests change the objects.
    let auditor = t.person("dora", Role::Auditor).await;
    let (other_owner, owner) = (t.person("erin", Role::User).await, t.person("frank", Role::User).await);
    t.root.post("/resource-types", json!({"slug": "fpga", "name": "FPGA"}), 201).await;
    t.owners("/resource-types/fpga", json!({"users": ["erin"]})).await;
    t.owners("/resource-types/gpu-cluster", json!({"users": ["frank"]})).await;
    let clients = [&t.anonymous, &disabled, &t.alice, &auditor, &reader, &other_owner, &owner, &t.root];
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
                Invalid => got == 422,
                Allowed => got != 401 && got != 403 && got < 500,
            };
            if !fits {
                wrong.push(format!("{} as {}: {got} instead of {expected:?}", operation.id(), ROLES[n]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
