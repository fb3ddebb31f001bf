//! Entries of the audit log about views of payloads.

use super::Deliveries;
use crate::Result;
use crate::audit_trail::{Record, Target};
use chrono::{DateTime, Duration, Utc};
use domain::audit::{AuditAction, AuditTargetType};
use domain::authorization::Actor;
use domain::id::DeliveryId;
use std::collections::HashMap;

/// Time in which repeated views of a delivery by one credential are one view: an open page reads it after each change.
const SAME_VIEW: Duration = Duration::minutes(1);
/// Number of views from which outdated ones are removed.
const CLEAN_AT: usize = 1_000;

/// User, credential and delivery of a view.
type View = (String, Option<String>, String);

/// Recent views, each with the time of its entry.
#[derive(Default)]
pub(super) struct RecentViews(HashMap<View, DateTime<Utc>>);

impl RecentViews {
    fn contains(&self, view: &View, now: DateTime<Utc>) -> bool {
        self.0.get(view).is_some_and(|at| (now - *at).abs() < SAME_VIEW)
    }

    fn insert(&mut self, view: View, now: DateTime<Utc>) {
        if self.0.len() >= CLEAN_AT {
            self.0.retain(|_, at| (now - *at).abs() < SAME_VIEW);
        }
        self.0.insert(view, now);
    }
}

impl Deliveries {
    /// Records that the actor views the payload of a delivery, unless they have done so within the last minute.
    pub(super) async fn record_view(&self, actor: &Actor, id: &DeliveryId, webhook: &str) -> Result<()> {
        let now = self.context.now();
        let session = actor.session.as_ref().map(|session| session.id.clone());
        let credential = session.or_else(|| actor.token.as_ref().map(|token| token.id.0.clone()));
        let view = (actor.username.clone(), credential, id.0.clone());
        if self.views.lock().contains(&view, now) {
            return Ok(());
        }
        let target = Target::named(AuditTargetType::Delivery, id, webhook);
        self.context.trail.write(Record::new(actor, AuditAction::DeliveryViewed, target)).await?;
        self.views.lock().insert(view, now);
        Ok(())
    }
}
