//! Export of the deliveries that match a filter, in batches.

use super::Deliveries;
use super::search::Matching;
use crate::Result;
use crate::audit_trail::{Record, Target};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::{DeliveryFilter, DeliverySummary, ExportFormat};

/// Number of deliveries that are read at once.
const BATCH: u64 = 1_000;

/// An export, newest first.
pub struct Export {
    deliveries: Deliveries,
    actor: Actor,
    matching: Matching,
    before: Option<i64>,
}

impl Export {
    /// The next deliveries; `None` after the last ones.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<DeliverySummary>>, Problem> {
        let found = self.deliveries.found(&self.actor, &self.matching, self.before, BATCH).await?;
        let Some(last) = found.last() else { return Ok(None) };
        self.before = Some(*last);
        Ok(Some(self.deliveries.summaries(&found).await?))
    }
}

impl Deliveries {
    /// Begins an export of the deliveries that match. The audit log records it first, because diagnoses can quote responses.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 422 for an invalid search; 503 if the export
    /// cannot be recorded.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn export(&self, actor: &Actor, filter: &DeliveryFilter, format: ExportFormat) -> Result<Export> {
        authorize(actor, Action::ReadOwned)?;
        let matching = self.matching(filter)?;
        let changes = Changes::none().field("filter", (), filter).field("format", (), format);
        let target = Target::new(AuditTargetType::Delivery, "");
        self.context.trail.write(Record::new(actor, AuditAction::DeliveriesExported, target).changes(changes)).await?;
        Ok(Export { deliveries: self.clone(), actor: actor.clone(), matching, before: None })
    }
}
