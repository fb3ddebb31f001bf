//! The first schema.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

/// Statements for both databases. `{id}`, `{bool}` and `{double}` stand for types that differ.
const TABLES: &str = "
CREATE TABLE users (username TEXT PRIMARY KEY, email TEXT NOT NULL, password_hash TEXT NOT NULL, role TEXT NOT NULL,
  disabled {bool} NOT NULL, ssh_key TEXT NOT NULL, created_at BIGINT NOT NULL);
CREATE TABLE sessions (token_hash TEXT PRIMARY KEY, username TEXT NOT NULL REFERENCES users(username) ON DELETE CASCADE,
  created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL);
CREATE INDEX sessions_username ON sessions (username);
CREATE INDEX sessions_expires_at ON sessions (expires_at);
CREATE TABLE api_tokens (id TEXT PRIMARY KEY, username TEXT NOT NULL REFERENCES users(username) ON DELETE CASCADE,
  name TEXT NOT NULL, token_hash TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT,
  last_used_at BIGINT);
CREATE INDEX api_tokens_username ON api_tokens (username);
CREATE TABLE resource_types (slug TEXT PRIMARY KEY, name TEXT NOT NULL, color TEXT NOT NULL, config_schema TEXT NOT NULL,
  created_at BIGINT NOT NULL);
CREATE TABLE resources (id {id}, name TEXT NOT NULL, resource_type TEXT NOT NULL REFERENCES resource_types(slug),
  location TEXT NOT NULL, specs TEXT NOT NULL, status TEXT NOT NULL, created_at BIGINT NOT NULL, UNIQUE (resource_type, name));
CREATE TABLE access_grants (resource_id BIGINT NOT NULL REFERENCES resources(id) ON DELETE CASCADE, username TEXT NOT NULL
  REFERENCES users(username) ON DELETE CASCADE, PRIMARY KEY (resource_id, username));
CREATE TABLE access_requests (id TEXT PRIMARY KEY, username TEXT NOT NULL, resource_id BIGINT NOT NULL REFERENCES
  resources(id) ON DELETE CASCADE, reason TEXT NOT NULL, status TEXT NOT NULL, requested_at BIGINT NOT NULL, decided_by TEXT,
  decided_at BIGINT);
CREATE UNIQUE INDEX access_requests_pending ON access_requests (resource_id, username) WHERE status = 'pending';
CREATE INDEX access_requests_username ON access_requests (username);
CREATE TABLE reservations (id TEXT PRIMARY KEY, username TEXT NOT NULL, resource_id BIGINT NOT NULL REFERENCES resources(id),
  title TEXT NOT NULL, start_at BIGINT NOT NULL, end_at BIGINT NOT NULL, user_ssh_key TEXT NOT NULL, additional_config TEXT
  NOT NULL, status TEXT NOT NULL, cancelled_by TEXT, cancel_reason TEXT NOT NULL, provisioning TEXT NOT NULL, created_at BIGINT
  NOT NULL, updated_at BIGINT NOT NULL);
CREATE INDEX reservations_end ON reservations (end_at) WHERE status = 'active';
CREATE INDEX reservations_username ON reservations (username, id);
CREATE TABLE status_updates (reservation_id TEXT NOT NULL REFERENCES reservations(id) ON DELETE CASCADE, digest TEXT NOT NULL,
  received_at BIGINT NOT NULL, PRIMARY KEY (reservation_id, digest));
CREATE INDEX status_updates_received ON status_updates (received_at);
CREATE TABLE webhooks (id {id}, name TEXT NOT NULL, endpoint_url TEXT NOT NULL, resource_type TEXT, events TEXT NOT NULL,
  auth TEXT NOT NULL, auth_secret TEXT, delivery_paths TEXT NOT NULL, headers TEXT NOT NULL, retry TEXT NOT NULL, max_in_flight
  INTEGER NOT NULL, rate_limit INTEGER, state TEXT NOT NULL, secret TEXT NOT NULL, secret_hint TEXT NOT NULL, previous_secret TEXT,
  previous_secret_until BIGINT, failing_since BIGINT, revision BIGINT NOT NULL, deleted_at BIGINT, created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL);
CREATE TABLE deliveries (seq {id}, id TEXT NOT NULL UNIQUE, event_id TEXT NOT NULL, event_type TEXT NOT NULL, webhook_id BIGINT
  NOT NULL, ordering_key TEXT NOT NULL, reservation_id TEXT, body TEXT NOT NULL, status TEXT NOT NULL, test {bool} NOT NULL,
  attempts INTEGER NOT NULL, max_attempts INTEGER NOT NULL, status_code INTEGER, duration_ms {double}, problem TEXT,
  due_at BIGINT NOT NULL, lease_until BIGINT, lease_owner TEXT, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
  ended_at BIGINT, redelivery_of TEXT);
CREATE INDEX deliveries_due ON deliveries (webhook_id, due_at, seq) WHERE status IN ('pending', 'retrying');
CREATE INDEX deliveries_open ON deliveries (webhook_id, ordering_key, seq) WHERE status IN ('pending', 'sending', 'retrying');
CREATE INDEX deliveries_lease ON deliveries (lease_until) WHERE status = 'sending';
CREATE INDEX deliveries_webhook ON deliveries (webhook_id, seq);
CREATE INDEX deliveries_reservation ON deliveries (reservation_id, seq);
CREATE INDEX deliveries_failed ON deliveries (seq) WHERE status = 'failed';
CREATE TABLE attempts (delivery_seq BIGINT NOT NULL, attempt INTEGER NOT NULL, webhook_id BIGINT NOT NULL, started_at BIGINT NOT
  NULL, outcome TEXT NOT NULL, status_code INTEGER, duration_ms {double} NOT NULL, delivery_status TEXT NOT NULL, record TEXT NOT NULL,
  PRIMARY KEY (delivery_seq, attempt));
CREATE INDEX attempts_webhook ON attempts (webhook_id, started_at);
CREATE TABLE notifications (id {id}, username TEXT, severity TEXT NOT NULL, message TEXT NOT NULL, link TEXT, at BIGINT NOT NULL,
  read {bool} NOT NULL);
CREATE TABLE idempotency_keys (username TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, status INTEGER, body TEXT,
  created_at BIGINT NOT NULL, PRIMARY KEY (username, key));
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at)";

const SQLITE: &str =
    "CREATE INDEX reservations_span ON reservations (resource_id, end_at, start_at) WHERE status = 'active'";

/// An exclusion constraint against overlapping reservations, and free space on pages for HOT updates.
const POSTGRES: &str = "
CREATE EXTENSION IF NOT EXISTS btree_gist;
ALTER TABLE reservations ADD CONSTRAINT reservations_overlap EXCLUDE USING gist
  (resource_id WITH =, int8range(start_at, end_at) WITH &&) WHERE (status = 'active');
ALTER TABLE deliveries SET (fillfactor = 75);
ALTER TABLE reservations SET (fillfactor = 85)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let (id, boolean, double, more) = match connection.get_database_backend() {
            DatabaseBackend::Postgres => {
                ("BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "BOOLEAN", "DOUBLE PRECISION", POSTGRES)
            }
            _ => ("INTEGER PRIMARY KEY AUTOINCREMENT", "BOOLEAN", "REAL", SQLITE),
        };
        let tables = TABLES.replace("{id}", id).replace("{bool}", boolean).replace("{double}", double);
        for statement in tables.split(';').chain(more.split(';')) {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
