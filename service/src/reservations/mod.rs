//! Reservations: commands, queries, expiry, and the status updates of receivers.
//!
//! | File | Content |
//! |---|---|
//! | `access` | announces access information at the start |
//! | `commands` | create, change, cancel |
//! | `extension` | extend, and what is possible instead |
//! | `queries` | lists, details, the busy spans of the calendar |
//! | `booking` | which resources an actor may book, and overlaps |
//! | `row` | a reservation as it is read from the database, and its row lock |
//! | `event` | the body of an event about a reservation |
//! | `group_commit` | concurrent new reservations in one transaction |
//! | `hand_over` | a resource is provisioned for a reservation after it is released from the previous one |
//! | `expiry` | reservations that have ended, and the early end |
//! | `missing` | creations that a webhook has never received |
//! | `schedule` | events that are due at a later time: held creations, starts and endings |
//! | `scheduled_publication` | publication of those events |
//! | `starts` | starts of reservations, for webhooks with the classic payload format |
//! | `status_update` | provisioning reported by a receiver |
//! | `receiver_callbacks` | logs and messages of classic receivers |

mod access;
mod booking;
mod commands;
mod event;
mod expiry;
mod extension;
mod group_commit;
mod hand_over;
mod missing;
mod queries;
mod receiver_callbacks;
mod row;
mod schedule;
mod scheduled_publication;
mod starts;
mod status_update;

pub(crate) use missing::MissingEvents;
pub(crate) use row::{changes_of, reservations_of};

use crate::accounts::Accounts;
use crate::catalogue::Catalogue;
use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::deliveries::Deliveries;
use crate::outbox::Outbox;
use crate::{Error, Result};
use domain::id::ReservationId;
use group_commit::GroupCommit;
use parking_lot::Mutex;
use starts::Scheduled;
use std::sync::Arc;

/// Use cases of reservations. Cheap to clone.
#[derive(Clone)]
pub struct Reservations {
    context: Context,
    feed: ChangeFeed,
    outbox: Outbox,
    accounts: Accounts,
    catalogue: Catalogue,
    deliveries: Deliveries,
    group_commit: GroupCommit,
    /// The settings of the webhooks for which the starts of earlier reservations are scheduled.
    scheduled: Arc<Mutex<Scheduled>>,
}

impl Reservations {
    /// Starts the tasks of the group commit, which end with the last clone of the handle. Call it within a Tokio runtime.
    pub(crate) fn start(
        context: Context,
        feed: ChangeFeed,
        outbox: Outbox,
        accounts: Accounts,
        catalogue: Catalogue,
        deliveries: Deliveries,
    ) -> Self {
        let group_commit = GroupCommit::start(&context, &feed, &outbox);
        Self {
            context,
            feed,
            outbox,
            accounts,
            catalogue,
            deliveries,
            group_commit,
            scheduled: Arc::new(Mutex::new(Scheduled::nothing())),
        }
    }
}

/// The result of a step that a worker takes for each due reservation: whether it has done something. An outage ends the round; any
/// other error is logged with `failure`, so that one reservation does not block those behind it.
fn tolerate(step: Result<bool>, id: &ReservationId, failure: &'static str) -> Result<bool> {
    match step {
        Err(error) if !error.is_outage() => {
            let problem = Error::into_problem(error);
            tracing::error!(%problem, reservation = %id, "{failure}");
            Ok(false)
        }
        result => result,
    }
}
