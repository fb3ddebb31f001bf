//! The announcement of access information at the start of a reservation (docs/contract.md §12, ADR 0027).

use super::Reservations;
use super::row::read_reservations;
use crate::Result;
use crate::early_access::hide_early_access;
use chrono::{DateTime, Utc};
use domain::change::Change;
use domain::id::ReservationId;
use domain::reservation::Reservation;
use sea_orm::ConnectionTrait;
use tracing::instrument;

impl Reservations {
    /// A reservation as its readers see it.
    pub(super) async fn shown(
        &self,
        connection: &impl ConnectionTrait,
        mut reservation: Reservation,
    ) -> Result<Reservation> {
        hide_early_access(&self.context, connection, [&mut reservation]).await?;
        Ok(reservation)
    }

    /// Announces reservations whose access information this process has hidden and that have started, so that open pages show
    /// it. Returns their number.
    ///
    /// # Errors
    /// If the database is unavailable. The reservations are announced by the next call.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn announce_access(&self) -> Result<u64> {
        let started = self.context.hidden_access.take_started(self.context.now());
        if started.is_empty() || !self.feed.has_subscribers() {
            return Ok(started.len() as u64);
        }
        let found = read_reservations(&self.context, &self.context.db.read, &started).await;
        let found = found.inspect_err(|_| {
            let now = self.context.now();
            started.iter().for_each(|id| self.context.hidden_access.add(now, &ReservationId(id.clone())));
        })?;
        self.feed.publish(found.into_iter().map(|reservation| Change::Reservation(Box::new(reservation))).collect());
        Ok(started.len() as u64)
    }

    /// The next start at which access information becomes readable.
    pub fn next_access(&self) -> Option<DateTime<Utc>> {
        self.context.hidden_access.next()
    }

    /// Waits until [`Self::next_access`] is earlier. Only one task may call it.
    pub async fn wait_for_hidden_access(&self) {
        self.context.hidden_access.wait().await;
    }
}
