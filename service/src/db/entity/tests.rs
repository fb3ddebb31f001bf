//! Each entity is inserted and read on both databases, so that a wrong table, column or type is found.

use super::*;
use crate::db::column::{JsonText, Text};
use crate::db::connect::{Database, connect};
use domain::alert::{AlertStatus, NoticeFormat};
use domain::authorization::{Role, Scope};
use domain::change::Severity;
use domain::delivery::{DeliveryFilter, DeliveryStatus, Outcome};
use domain::event::EventType;
use domain::payload::PayloadFormat;
use domain::provisioning::Provisioning;
use domain::replay::{ReplaySource, ReplayStatus};
use domain::reservation::ReservationStatus;
use domain::resource::{AccessStatus, ResourceStatus};
use domain::webhook::{AuthView, CustomHeader, DeliveryMode, EventFilter, HealthCheckStatus, WebhookState};
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, ModelTrait};
use test_support::{TestDatabase, on_both_databases};

on_both_databases![every_entity_round_trips];

/// Inserts a row with every column set, and reads it back.
async fn round_trip<M, A>(database: &Database, model: M)
where
    M: ModelTrait + IntoActiveModel<A> + Clone + PartialEq + std::fmt::Debug + Send,
    A: ActiveModelTrait<Entity = M::Entity> + sea_orm::ActiveModelBehavior + Send,
    M::Entity: EntityTrait<Model = M>,
{
    let row = model.clone().into_active_model().reset_all();
    <M::Entity as EntityTrait>::insert(row).exec_without_returning(database.writer()).await.unwrap();
    let rows = <M::Entity as EntityTrait>::find().all(&database.read).await.unwrap();
    assert_eq!(rows, [model]);
}

fn user() -> users::Model {
    users::Model {
        username: "alice".into(),
        email: "alice@example.com".into(),
        password_hash: "$argon2id$…".into(),
        role: Text(Role::Administrator),
        disabled: true,
        ssh_key: "ssh-ed25519 AAAA".into(),
        created_at: 1_772_442_000_250,
        role_provider: Some("corp".into()),
    }
}

fn reservation() -> reservations::Model {
    let config = serde_json::json!({"cores": 8, "gpu": true, "image": "ubuntu"});
    reservations::Model {
        id: "rsv-1".into(),
        username: "alice".into(),
        resource_id: 7,
        title: "Training".into(),
        start_at: 1_772_442_000_000,
        end_at: 1_772_445_600_000,
        user_ssh_key: String::new(),
        additional_config: JsonText(config.as_object().unwrap().clone()),
        status: Text(ReservationStatus::Cancelled),
        cancelled_by: Some("alice".into()),
        cancel_reason: "done".into(),
        provisioning: JsonText(Provisioning::waiting([], chrono::DateTime::UNIX_EPOCH)),
        created_at: 1,
        updated_at: 2,
        busy_from: Some(1_772_441_000_000),
        busy_until: Some(1_772_446_000_000),
        released_at: Some(1_772_447_000_000),
    }
}

fn webhook() -> webhooks::Model {
    webhooks::Model {
        id: 3,
        name: "GPU cluster".into(),
        endpoint_url: "https://example.com/api".into(),
        resource_type: Some("gpu".into()),
        events: JsonText(vec![EventType::ReservationCreated, EventType::AccessRequested]),
        auth: JsonText(AuthView::ApiKey { header: "X-API-Key".into() }),
        auth_secret: Some("v1.a".into()),
        delivery_paths: JsonText(Default::default()),
        headers: JsonText(vec![CustomHeader::new("X-Team", "ml")]),
        retry: JsonText(Default::default()),
        max_in_flight: 64,
        rate_limit: Some(10),
        state: Text(WebhookState::Gone),
        secret: "v1.b".into(),
        secret_hint: "Kz0=".into(),
        previous_secret: Some("v1.c".into()),
        previous_secret_until: Some(1_772_442_000_250),
        earlier_secrets: JsonText(vec![webhooks::OldSecret {
            secret: "v1.g".into(),
            signing_key: Some("v1.h".into()),
            until: 1_772_442_000_000,
        }]),
        failing_since: Some(4),
        revision: 5,
        deleted_at: Some(6),
        created_at: 7,
        updated_at: 8,
        signing_key: Some("v1.d".into()),
        public_key: Some("whpk_e".into()),
        previous_signing_key: Some("v1.f".into()),
        provisions: false,
        payload_format: Text(PayloadFormat::Thin),
        filter: JsonText(EventFilter { resource_ids: vec![7], fields: Vec::new() }),
        secret_rotated_at: Some(9),
        secret_reminded_at: Some(10),
        delivery_mode: Text(DeliveryMode::Local),
        ca_certificates: Some("-----BEGIN CERTIFICATE-----".into()),
        client_certificate: Some("-----BEGIN CERTIFICATE-----".into()),
        client_key: Some("v1.i".into()),
        provision: Text(domain::webhook::ProvisionTime::Start),
    }
}

fn delivery() -> deliveries::Model {
    deliveries::Model {
        seq: 9,
        id: "dlv_1".into(),
        event_id: "evt_1".into(),
        event_type: Text(EventType::ReservationExpired),
        webhook_id: 3,
        ordering_key: "rsv-1".into(),
        reservation_id: Some("rsv-1".into()),
        body: "{}".into(),
        payload_format: Some(Text(PayloadFormat::CloudeventsBinary)),
        status: Text(DeliveryStatus::Failed),
        test: true,
        attempts: 4,
        max_attempts: 4,
        status_code: Some(503),
        duration_ms: Some(12.5),
        problem: Some("The service answered 503.".into()),
        created_at: 1_772_442_000_250,
        updated_at: 2,
        ended_at: Some(3),
        redelivery_of: Some("dlv_0".into()),
        failed_at: Some(3),
    }
}

/// In the order of their foreign keys.
async fn every_entity_round_trips(empty: TestDatabase) {
    let database = connect(&empty.url).await.unwrap();
    migrations::up(database.writer()).await.unwrap();
    round_trip(&database, user()).await;
    let session = sessions::Model {
        token_hash: "ab".into(),
        username: "alice".into(),
        created_at: 1,
        expires_at: 1_772_442_000_250,
        last_used_at: Some(3),
        source: "192.0.2.1".into(),
        device: "Firefox on Linux".into(),
        issuer: Some("https://id.example.com".into()),
        provider_session: Some("ab".into()),
        id_token: Some("v1.h".into()),
        authenticated_at: Some(5),
    };
    round_trip(&database, session).await;
    let identity = identities::Model {
        issuer: "https://id.example.com".into(),
        subject: "42".into(),
        username: "alice".into(),
        created_at: 1,
        last_used_at: Some(2),
    };
    round_trip(&database, identity).await;
    let passkey = passkeys::Model {
        id: "psk_1".into(),
        username: "alice".into(),
        name: "Laptop".into(),
        credential_id: "ab".into(),
        user_handle: "cd".into(),
        credential: "{}".into(),
        created_at: 1,
        last_used_at: Some(2),
    };
    round_trip(&database, passkey).await;
    let app = authenticator_apps::Model {
        username: "alice".into(),
        secret: "v1.a".into(),
        last_step: 58_000_000,
        created_at: 1,
        last_used_at: 2,
    };
    round_trip(&database, app).await;
    let code = recovery_codes::Model { username: "alice".into(), code_hash: "ab".into(), created_at: 1 };
    round_trip(&database, code).await;
    let challenge = challenges::Model {
        token_hash: "ab".into(),
        holder: "user alice".into(),
        state: "v1.a".into(),
        expires_at: 1_772_442_000_250,
    };
    round_trip(&database, challenge).await;
    round_trip(&database, used_log_in_states::Model { state_hash: "ab".into(), expires_at: 1 }).await;
    let dispatcher =
        dispatchers::Model { name: "01J".into(), heartbeat_at: 1_772_442_000_250, members: "01J 01K".into() };
    round_trip(&database, dispatcher).await;
    let replay = replays::Model {
        id: "rpl_1".into(),
        status: Text(ReplayStatus::Paused),
        source: Text(ReplaySource::Missing),
        filter: JsonText(DeliveryFilter { webhook_id: Some(7), ..Default::default() }),
        one_first: true,
        per_minute: Some(60),
        created_by: "alice".into(),
        created_at: 1_772_442_000_250,
        updated_at: 2,
        due_at: 3,
        revision: 4,
    };
    round_trip(&database, replay).await;
    let item = replay_items::Model {
        replay_id: "rpl_1".into(),
        position: 7,
        item: "dlv_1".into(),
        done: true,
        seq: Some(1_772_442_000_250),
    };
    round_trip(&database, item).await;
    let listener = webhook_listeners::Model {
        webhook_id: 3,
        listener: "lst_01J".into(),
        connected_at: 1_772_442_000_250,
        seen_at: 2,
        disconnected_at: Some(3),
    };
    round_trip(&database, listener).await;
    round_trip(&database, reservation_starts::Model { reservation_id: "rsv-1".into(), start_at: 1_772_442_000_250 })
        .await;
    let scheduled = scheduled_events::Model {
        reservation_id: "rsv-1".into(),
        event_type: "reservation.ending".into(),
        webhook_id: 3,
        due_at: Some(1_772_442_000_250),
        blocked: true,
        alerted: true,
    };
    round_trip(&database, scheduled).await;
    round_trip(&database, receiver_callbacks::Model { digest: "ab".into(), received_at: 1 }).await;
    round_trip(&database, login_budgets::Model { subject: "account ab".into(), spent_until: 4 }).await;
    let token = api_tokens::Model {
        id: "tok_1".into(),
        username: "alice".into(),
        name: "ci".into(),
        token_hash: "cd".into(),
        scopes: JsonText(Scope::ALL.to_vec()),
        created_at: 1,
        expires_at: Some(2),
        last_used_at: Some(3),
        reminded_at: Some(4),
    };
    round_trip(&database, token).await;
    let resource_type = resource_types::Model {
        slug: "gpu".into(),
        name: "GPU".into(),
        color: "#123456".into(),
        config_schema: JsonText(serde_json::json!({"type": "object"})),
        created_at: 1,
        lead_minutes: 10,
        ending_notice_minutes: 20,
        turnaround_minutes: 30,
        late_release_minutes: 40,
        access_before_start: Text(domain::provisioning::AccessBeforeStart::Hide),
    };
    round_trip(&database, resource_type).await;
    let resource = resources::Model {
        id: 7,
        name: "node-1".into(),
        resource_type: "gpu".into(),
        location: "Rack 3".into(),
        specs: "8 × H100".into(),
        status: Text(ResourceStatus::Restricted),
        created_at: 1,
    };
    round_trip(&database, resource).await;
    round_trip(&database, access_grants::Model { resource_id: 7, username: "alice".into() }).await;
    round_trip_owners(&database).await;
    let request = access_requests::Model {
        id: "acr_1".into(),
        username: "alice".into(),
        resource_id: 7,
        reason: "Thesis".into(),
        status: Text(AccessStatus::Denied),
        requested_at: 1,
        decided_by: Some("root".into()),
        decided_at: Some(2),
    };
    round_trip(&database, request).await;
    round_trip(&database, reservation()).await;
    let update = status_updates::Model { reservation_id: "rsv-1".into(), digest: "ef".into(), received_at: 1 };
    round_trip(&database, update).await;
    let state = JsonText(Provisioning::waiting([], chrono::DateTime::UNIX_EPOCH));
    round_trip(&database, provisioning::Model { reservation_id: "rsv-1".into(), state }).await;
    round_trip(&database, webhook()).await;
    round_trip(&database, delivery()).await;
    let queued = outbox::Model {
        seq: 9,
        webhook_id: 3,
        ordering_key: "rsv-1".into(),
        due_at: 1_772_442_000_250,
        attempts: 1,
        lease_owner: Some("01J/1".into()),
        lease_until: Some(2),
        updated_at: 3,
        fresh: true,
    };
    round_trip(&database, queued).await;
    let attempt = attempts::Model {
        delivery_seq: 9,
        attempt: 1,
        webhook_id: 3,
        started_at: 1_772_442_000_250,
        outcome: Text(Outcome::Failed),
        status_code: Some(503),
        duration_ms: 12.5,
        delivery_status: Text(attempts::StatusAfter::Superseded),
        record: "transcript".into(),
    };
    round_trip(&database, attempt).await;
    let notification = notifications::Model {
        id: 11,
        username: Some("alice".into()),
        severity: Text(Severity::Warning),
        message: "Deliveries fail.".into(),
        link: Some("/settings/webhooks/3".into()),
        at: 1,
        read: true,
    };
    round_trip(&database, notification).await;
    let key = idempotency_keys::Model {
        username: "alice".into(),
        key: "k".into(),
        fingerprint: "f".into(),
        status: Some(201),
        body: Some("{}".into()),
        created_at: 1,
    };
    round_trip(&database, key).await;
    round_trip(&database, erased_usernames::Model { digest: "00ff".into(), erased_at: 1_772_442_000_250 }).await;
    round_trip(&database, setup_code::Model { id: setup_code::ID, code: "v1.g".into() }).await;
    round_trip(&database, demo::Model { id: demo::ID }).await;
    audit_log_round_trips(&database).await;
    delivery_index_round_trips(&database).await;
    round_trip(&database, unbound_secrets::Model { id: unbound_secrets::ID }).await;
    round_trip(&database, stored_keys::Model { purpose: "p".into(), encrypted: "v2.h".into() }).await;
    alerts_round_trip(&database).await;
    relations_join(&database).await;
}

/// The migrations have inserted the state.
async fn delivery_index_round_trips(database: &Database) {
    let row = delivery_index::Model {
        seq: 9,
        id: "dlv_2".into(),
        event_id: "evt_2".into(),
        ordering_key: "rsv-1".into(),
        event_type: "reservation.created".into(),
        webhook_id: 3,
        status: Text(DeliveryStatus::Failed),
        test: true,
        attempts: 2,
        status_code: Some(503),
        duration_ms: Some(1.5),
        cause: Some("server_error".into()),
        created_at: 1,
        ended_at: Some(2),
        is_open: true,
        needs_text: true,
    };
    round_trip(database, row).await;
    let count = delivery_counts::Model {
        step: 300,
        start_at: 1_772_442_000,
        webhook_id: 3,
        event_type: "reservation.created".into(),
        class: "5xx".into(),
        outcome: "failed".into(),
        bucket: 4,
        attempts: 7,
    };
    round_trip(database, count).await;
    let id = delivery_index_state::ID;
    let inserted = delivery_index_state::Entity::find_by_id(id).one(&database.read).await.unwrap().unwrap();
    assert_eq!((inserted.seq, inserted.revision), (0, 0));
    delivery_index_state::Entity::delete_by_id(id).exec(database.writer()).await.unwrap();
    round_trip(database, delivery_index_state::Model { id, seq: 7, revision: 2 }).await;
}

/// Needs the account and the webhook.
async fn alerts_round_trip(database: &Database) {
    let monitor = webhook_monitors::Model {
        health_path: Some("/health".into()),
        pause_after: Some(30),
        resume_on_recovery: true,
        next_check_at: Some(1),
        health_status: Text(HealthCheckStatus::Failing),
        status_code: Some(503),
        duration_ms: Some(1.5),
        health_error: Some("e".into()),
        checked_at: Some(2),
        health_since: Some(3),
        failed_checks: 4,
        certificate_expires_at: Some(5),
        certificate_seen_at: Some(6),
        token_obtained_at: Some(7),
        token_expires_at: Some(8),
        token_error: Some("t".into()),
        token_failed_at: Some(9),
        paused_at: Some(10),
        pause_failing_since: Some(11),
        recovered_at: Some(12),
        ..webhook_monitors::Model::new(3)
    };
    round_trip(database, monitor).await;
    let (webhook_id, kind) = (3, "error_rate".to_owned());
    let rule = alert_rules::Model {
        webhook_id,
        kind: kind.clone(),
        enabled: true,
        threshold: 0.5,
        clear_threshold: 0.25,
        for_seconds: 300,
    };
    round_trip(database, rule).await;
    let state = alert_states::Model {
        webhook_id,
        kind: kind.clone(),
        status: Text(AlertStatus::Firing),
        since: 1,
        alert_id: Some(2),
        muted_until: Some(3),
        revision: 4,
    };
    round_trip(database, state).await;
    let alert = alerts::Model {
        id: 2,
        webhook_id,
        kind,
        value: 0.75,
        threshold: 0.5,
        message: "m".into(),
        fired_at: 1,
        resolved_at: Some(2),
        notified: true,
    };
    round_trip(database, alert).await;
    let channel = alert_channel::Model {
        id: alert_channel::ID,
        url: "v1.u".into(),
        url_hint: "https://ops.example.com/…".into(),
        secret: "v1.s".into(),
        secret_hint: "Kz0=".into(),
        format: Text(NoticeFormat::Slack),
        enabled: true,
    };
    round_trip(database, channel).await;
    round_trip(database, alert_preferences::Model { username: "alice".into(), email: false }).await;
    let notice = alert_notices::Model {
        id: 5,
        username: Some("alice".into()),
        event_id: "evt_1".into(),
        event_type: "alert.firing".into(),
        subject: "s".into(),
        body: "b".into(),
        created_at: 1,
        due_at: Some(2),
        attempts: 3,
        sent_at: Some(4),
        error: Some("e".into()),
    };
    round_trip(database, notice).await;
}

/// The migrations have inserted the head.
async fn audit_log_round_trips(database: &Database) {
    let row = audit_log::Model {
        seq: 1,
        at: 1_772_442_000_250,
        actor: None,
        credential: "api_token".into(),
        credential_id: "tok_1".into(),
        credential_name: "ci".into(),
        source: "192.0.2.1".into(),
        request_id: "req_1".into(),
        action: "webhook.updated".into(),
        outcome: "succeeded".into(),
        target_type: "webhook".into(),
        target_id: "3".into(),
        target_name: "GPU cluster".into(),
        changes: "[]".into(),
        detail: "d".into(),
        occurrences: 2,
        key_id: "k".into(),
        hash: "h".into(),
    };
    round_trip(database, row).await;
    let stream =
        audit_streams::Model { name: "syslog".into(), seq: 7, lease_owner: "a".into(), lease_until: 1_772_442_000_250 };
    round_trip(database, stream).await;
    let inserted = audit_head::Entity::find_by_id(audit_head::ID).one(&database.read).await.unwrap().unwrap();
    assert_eq!((inserted.seq, inserted.mac.as_str()), (0, ""));
    audit_head::Entity::delete_by_id(audit_head::ID).exec(database.writer()).await.unwrap();
    let head = audit_head::Model {
        id: audit_head::ID,
        seq: 7,
        hash: "h".into(),
        pruned_seq: 2,
        pruned_hash: "p".into(),
        key_id: "k".into(),
        mac: "m".into(),
    };
    round_trip(database, head).await;
}

/// A group with a member, and the four kinds of rows of `owners`.
async fn round_trip_owners(database: &Database) {
    let group =
        user_groups::Model { id: 3, name: "GPU team".into(), description: "Runs the clusters".into(), created_at: 1 };
    round_trip(database, group).await;
    round_trip(database, group_members::Model { group_id: 3, username: "alice".into() }).await;
    let owners = [(1, true, true), (2, true, false), (3, false, true), (4, false, false)];
    for (id, is_user, is_type) in owners {
        let owner = owners::Model {
            id,
            username: is_user.then(|| "alice".into()),
            group_id: (!is_user).then_some(3),
            resource_type: is_type.then(|| "gpu".into()),
            resource_id: (!is_type).then_some(7),
        };
        owners::Entity::delete_many().exec(database.writer()).await.unwrap();
        round_trip(database, owner).await;
    }
}

/// Each relation is joined once.
async fn relations_join(database: &Database) {
    let db = &database.read;
    let (_, related) = sessions::Entity::find().find_also_related(users::Entity).one(db).await.unwrap().unwrap();
    assert_eq!(related, Some(user()));
    let (_, related) = identities::Entity::find().find_also_related(users::Entity).one(db).await.unwrap().unwrap();
    assert_eq!(related, Some(user()));
    let found = users::Entity::load()
        .with(passkeys::Entity)
        .with(authenticator_apps::Entity)
        .with(recovery_codes::Entity)
        .one(db)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.passkeys.len(), found.recovery_codes.len()), (1, 1));
    assert!(found.authenticator_app.is_loaded());
    let found = users::Entity::load().with(api_tokens::Entity).with(access_grants::Entity).one(db).await.unwrap();
    let found = found.unwrap();
    assert_eq!((found.api_tokens.len(), found.access_grants.len()), (1, 1));
    let found = user_groups::Entity::load().with(group_members::Entity).with(owners::Entity).one(db).await.unwrap();
    let found = found.unwrap();
    assert_eq!((found.members.len(), found.owned.len()), (1, 1));
    let (_, related) = group_members::Entity::find().find_also_related(users::Entity).one(db).await.unwrap().unwrap();
    assert_eq!(related, Some(user()));
    let (_, related) = owners::Entity::find().find_also_related(user_groups::Entity).one(db).await.unwrap().unwrap();
    assert_eq!(related.map(|group| group.id), Some(3));
    let (_, related) = owners::Entity::find().find_also_related(resources::Entity).one(db).await.unwrap().unwrap();
    assert_eq!(related.map(|resource| resource.id), Some(7));
    let (_, related) = owners::Entity::find().find_also_related(users::Entity).one(db).await.unwrap().unwrap();
    assert_eq!(related, None);
    let (_, related) = owners::Entity::find().find_also_related(resource_types::Entity).one(db).await.unwrap().unwrap();
    assert_eq!(related, None);
    let found = resources::Entity::load()
        .with(resource_types::Entity)
        .with(access_requests::Entity)
        .with(reservations::Entity)
        .one(db)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.access_requests.len(), found.reservations.len()), (1, 1));
    let found = reservations::Entity::load()
        .with(provisioning::Entity)
        .with(status_updates::Entity)
        .with(deliveries::Entity)
        .one(db)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.status_updates.len(), found.deliveries.len()), (1, 1));
    assert!(found.current_provisioning.is_loaded());
    let found = webhooks::Entity::load()
        .with(resource_types::Entity)
        .with(deliveries::Entity)
        .with(outbox::Entity)
        .with(attempts::Entity)
        .one(db)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.deliveries.len(), found.outbox.len(), found.attempts.len()), (1, 1, 1));
    let found = deliveries::Entity::load()
        .with(webhooks::Entity)
        .with(reservations::Entity)
        .with(outbox::Entity)
        .with(attempts::Entity)
        .one(db)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.attempt_log.len(), 1);
    assert!(found.queued.is_loaded());
    let (_, related) = notifications::Entity::find().find_also_related(users::Entity).one(db).await.unwrap().unwrap();
    assert_eq!(related, Some(user()));
}
