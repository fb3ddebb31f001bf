//! Persistence: connections, entities, and the hand-written statements of the queue.

pub(crate) mod attempts;
pub(crate) mod audit;
pub(crate) mod bulk;
pub(crate) mod codec;
pub(crate) mod column;
pub(crate) mod connect;
pub(crate) mod database_url;
pub(crate) mod entity;
pub(crate) mod link;
pub(crate) mod login_budgets;
pub(crate) mod notification_reads;
pub(crate) mod provisioning;
pub(crate) mod queue_cancel;
pub(crate) mod queue_claim;
pub(crate) mod queue_enqueue;
pub(crate) mod queue_leases;
pub(crate) mod queue_record;
pub(crate) mod queue_stats;
pub(crate) mod reservations;
pub(crate) mod stored_provisioning;
pub(crate) mod table_lock;
pub(crate) mod transfer;
pub(crate) mod vacuum;
pub(crate) mod webhook_revision;
pub(crate) mod webhook_stats;
