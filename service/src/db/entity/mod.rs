//! SeaORM entities, one file for each table; `migrations/README.md` describes the schema.
//!
//! Times are milliseconds since the Unix epoch in BIGINT columns. JSON is TEXT ([`JsonText`](super::column::JsonText)).
//! An entity never leaves this crate: use cases return types of `domain`.
//!
//! Relations marked `skip_fk` have no foreign key in the database. The log and reservations outlive the rows they name,
//! and the queue is written without the cost of the check.
#![allow(
    dead_code,
    reason = "SeaORM generates a `ModelEx` for each entity, used by `load()` only; `expect` does not cover generated code"
)]

pub(crate) mod access_grants;
pub(crate) mod access_requests;
pub(crate) mod alert_channel;
pub(crate) mod alert_notices;
pub(crate) mod alert_preferences;
pub(crate) mod alert_rules;
pub(crate) mod alert_states;
pub(crate) mod alerts;
pub(crate) mod api_tokens;
pub(crate) mod attempts;
pub(crate) mod audit_head;
pub(crate) mod audit_log;
pub(crate) mod audit_streams;
pub(crate) mod authenticator_apps;
pub(crate) mod challenges;
pub(crate) mod deliveries;
pub(crate) mod delivery_counts;
pub(crate) mod delivery_index;
pub(crate) mod delivery_index_state;
pub(crate) mod demo;
pub(crate) mod dispatchers;
pub(crate) mod erased_usernames;
pub(crate) mod group_members;
pub(crate) mod idempotency_keys;
pub(crate) mod identities;
pub(crate) mod login_budgets;
pub(crate) mod notification_reads;
pub(crate) mod notifications;
pub(crate) mod outbox;
pub(crate) mod owners;
pub(crate) mod passkeys;
pub(crate) mod provisioning;
pub(crate) mod receiver_callbacks;
pub(crate) mod recovery_codes;
pub(crate) mod replay_items;
pub(crate) mod replays;
pub(crate) mod reservation_changes;
pub(crate) mod reservation_starts;
pub(crate) mod reservations;
pub(crate) mod resource_types;
pub(crate) mod resources;
pub(crate) mod scheduled_events;
pub(crate) mod sessions;
pub(crate) mod setup_code;
pub(crate) mod status_updates;
pub(crate) mod stored_keys;
pub(crate) mod unbound_secrets;
pub(crate) mod used_log_in_states;
pub(crate) mod user_groups;
pub(crate) mod users;
pub(crate) mod webhook_listeners;
pub(crate) mod webhook_monitors;
pub(crate) mod webhooks;

#[cfg(test)]
mod tests;
