//! Extension of a reservation, and what is possible instead of one that overlaps the next reservation (docs/contract.md §12).

use super::Reservations;
use super::booking::first_overlap;
use crate::{Error, Result};
use domain::Problem;
use domain::authorization::Actor;
use domain::id::ReservationId;
use domain::problem::{AlternativeResource, ExtensionOffer};
use domain::reservation::{ExtendInput, Reservation, ReservationPatch};
use tracing::instrument;

/// Maximum number of other resources that are offered.
const MAX_ALTERNATIVES: usize = 5;

impl Reservations {
    /// Moves the end of a reservation to a later time; publishes `reservation.updated`. An end that it has already changes
    /// nothing.
    ///
    /// # Errors
    /// As [`Self::update`]. If the next reservation of the resource overlaps, the 409 has the longest possible extension and
    /// other resources.
    #[instrument(skip_all, fields(reservation = %id), err(level = "debug"))]
    pub async fn extend(&self, actor: &Actor, id: &ReservationId, input: ExtendInput) -> Result<Reservation> {
        let mut wanted = None;
        let extended = self.change(actor, id, |current| {
            let end_time = input.new_end(current.end_time)?;
            // The part that is added, as a reservation.
            let added = Reservation { start_time: current.end_time, end_time, ..current.clone() };
            wanted = Some(added);
            Ok(ReservationPatch { end_time: Some(end_time), ..Default::default() })
        });
        match (extended.await, wanted) {
            (Err(Error::Problem(problem)), Some(added)) if problem.conflict.is_some() => {
                Err(self.with_offer(actor, problem, &added).await?.into())
            }
            (result, _) => result,
        }
    }

    /// Adds to a problem what is possible instead of the added time.
    async fn with_offer(&self, actor: &Actor, problem: Problem, added: &Reservation) -> Result<Problem> {
        let resource = self.catalogue.bookable(added.resource_id).await?;
        let turnaround = resource.map(|resource| resource.turnaround).unwrap_or_default();
        let next = first_overlap(&self.context.db.read, added, turnaround).await?;
        // The other reservation may have ended meanwhile; then the request can be repeated.
        let until = next.map_or(added.end_time, |(start, _)| start - turnaround);
        let span = (added.start_time, added.end_time + turnaround);
        let free = self.catalogue.free_resources(actor, &added.resource_type, span).await?;
        let others = free.into_iter().filter(|resource| resource.id != added.resource_id);
        let alternatives = others.map(|resource| AlternativeResource { id: resource.id, name: resource.name });
        let offer = ExtensionOffer {
            extend_until: (until > added.start_time).then_some(until),
            alternatives: alternatives.take(MAX_ALTERNATIVES).collect(),
        };
        Ok(Problem { extension: Some(Box::new(offer)), ..problem })
    }
}
