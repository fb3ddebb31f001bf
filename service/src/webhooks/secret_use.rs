//! The secret by which a receiver verifies requests, as its responses report it (docs/contract.md §3).
//!
//! The report is read from the recorded responses when somebody looks at the webhook, so that sending and recording do no
//! work for it.

use super::Webhooks;
use crate::Result;
use crate::db::column::Text;
use crate::db::entity::attempts::{self, StatusAfter};
use crate::db::entity::webhooks;
use delivery::Transcript;
use domain::webhook::{SECRET_USED_HEADER, SecretUse};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

/// Maximum number of responses that are read.
const SAMPLE: u64 = 100;

impl Webhooks {
    /// The reports of the newest successful deliveries since the last rotation, at most 100; `None` unless an old secret
    /// signs at `now`, in milliseconds.
    pub(super) async fn secret_use(&self, webhook: &webhooks::Model, now: i64) -> Result<Option<SecretUse>> {
        let has_overlap = webhook.old_secrets().iter().any(|old| old.until > now);
        let Some(since) = webhook.secret_rotated_at.filter(|_| has_overlap) else { return Ok(None) };
        let records: Vec<String> = attempts::Entity::find()
            .select_only()
            .column(attempts::Column::Record)
            .filter(attempts::COLUMN.webhook_id.eq(webhook.id))
            .filter(attempts::COLUMN.started_at.gte(since))
            .filter(attempts::COLUMN.delivery_status.eq(Text(StatusAfter::Succeeded)))
            .order_by_desc(attempts::COLUMN.started_at)
            .limit(SAMPLE)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        let mut reported = SecretUse { deliveries: records.len() as u64, ..SecretUse::default() };
        for record in records {
            match Transcript::stored(record).response_header(SECRET_USED_HEADER).as_deref() {
                Some("current") => reported.current += 1,
                Some("previous") => reported.previous += 1,
                _ => {}
            }
        }
        Ok(Some(reported))
    }
}
