//! Group commit of new reservations: requests that arrive while a transaction runs share the next one. A single client gets a
//! transaction of its own at once; with many clients, one fsync serves all of them.

use super::event::{event_body, for_outbox};
use super::{schedule, starts};
use crate::audit_trail::Record;
use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::link::DatabaseTransaction;
use crate::db::reservations::{Inserted, NewReservation, count_active, insert_free};
use crate::error::{is_exclusion_violation, unavailable};
use crate::outbox::Outbox;
use crate::{Error, Result, provisioning};
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::change::Change;
use domain::event::EventType;
use domain::provisioning::Provisioning;
use domain::reservation::Reservation;
use std::collections::{BTreeSet, HashSet};
use tokio::sync::{mpsc, oneshot};
use tracing::instrument;

/// Maximum number of reservations in one transaction.
const MAX_BATCH: usize = 128;
/// Requests that can wait for the writing task before callers wait for a place.
const QUEUE_CAPACITY: usize = 1_024;

/// What became of a reservation.
pub(super) enum Written {
    /// It was written, with its event.
    Inserted(Reservation),
    /// It was not written: its span is taken, or the status of its resource has changed.
    Conflict(Reservation),
    /// It was not written: its owner has as many active reservations as one user may have.
    OverQuota,
}

/// What became of one reservation of a batch.
#[derive(Clone, Copy)]
enum Outcome {
    Inserted,
    Conflict,
    OverQuota,
}

impl Written {
    fn new(reservation: Reservation, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Inserted => Self::Inserted(reservation),
            Outcome::Conflict => Self::Conflict(reservation),
            Outcome::OverQuota => Self::OverQuota,
        }
    }
}

/// The result of one request, as [`GroupCommit::write`] returns it.
type Reply = oneshot::Sender<Result<Written, Problem>>;
type Request = (Pending, Reply);

/// A reservation that waits for its transaction, with its entry of the audit log.
struct Pending {
    new: NewReservation,
    record: Record,
}

/// The queue of the writing task. Cheap to clone; the task ends with the last clone.
///
/// There is one task: a transaction holds the head of the audit log until its commit is on the disk, so several would wait
/// for each other, each with a smaller batch.
#[derive(Clone)]
pub(super) struct GroupCommit {
    queue: mpsc::Sender<Request>,
}

impl GroupCommit {
    /// Starts the writing task.
    pub(super) fn start(context: &Context, feed: &ChangeFeed, outbox: &Outbox) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let writer = Writer { context: context.clone(), feed: feed.clone(), outbox: outbox.clone() };
        tokio::spawn(writer.run(receiver));
        Self { queue: sender }
    }

    /// Writes one reservation with its event and the services that provision it, if its span is free.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub(super) async fn write(&self, new: NewReservation, record: Record) -> Result<Written, Problem> {
        let (reply, result) = oneshot::channel();
        self.queue.send((Pending { new, record }, reply)).await.map_err(|_| unavailable())?;
        result.await.map_err(|_| unavailable())?
    }
}

/// A writing task.
struct Writer {
    context: Context,
    feed: ChangeFeed,
    outbox: Outbox,
}

impl Writer {
    async fn run(self, mut queue: mpsc::Receiver<Request>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while queue.recv_many(&mut batch, MAX_BATCH).await > 0 {
            self.write_batch(std::mem::take(&mut batch)).await;
        }
    }

    async fn write_batch(&self, mut batch: Vec<Request>) {
        // All transactions lock in the same order, which avoids a deadlock on the exclusion constraint.
        batch.sort_by_key(|(Pending { new, .. }, _)| (new.reservation.resource_id, new.reservation.start_time));
        let (pending, replies): (Vec<Pending>, Vec<Reply>) = batch.into_iter().unzip();
        let (mut new, records): (Vec<NewReservation>, Vec<Record>) =
            pending.into_iter().map(|Pending { new, record }| (new, record)).unzip();
        match self.try_write(&mut new, &records).await {
            Ok(outcomes) => {
                for ((new, reply), outcome) in new.into_iter().zip(replies).zip(outcomes) {
                    // A client that has disconnected meanwhile has still reserved. Its page shows the reservation when it reloads.
                    let _ = reply.send(Ok(Written::new(new.reservation, outcome)));
                }
            }
            // A deadlock or a conflict with another replica aborts the whole transaction; alone, each reservation succeeds or fails on
            // its own. In an outage a repeat is useless, and the first commit may even have succeeded.
            Err(error) if new.len() > 1 && !error.is_outage() => {
                for ((mut new, record), reply) in new.into_iter().zip(records).zip(replies) {
                    let result = self.try_write(std::slice::from_mut(&mut new), &[record]).await;
                    let outcome = result.map(|outcomes| outcomes.first().copied().unwrap_or(Outcome::Conflict));
                    let written = outcome.map(|outcome| Written::new(new.reservation, outcome));
                    let _ = reply.send(written.map_err(problem_of));
                }
            }
            Err(error) => {
                let problem = problem_of(error);
                for reply in replies {
                    let _ = reply.send(Err(problem.clone()));
                }
            }
        }
    }

    /// Writes every reservation whose span is free, with its event, its services and its entry of the audit log, in one transaction. Returns what became
    /// of each.
    #[instrument(skip_all, fields(reservations = new.len()), err(level = "debug"))]
    async fn try_write(&self, new: &mut [NewReservation], records: &[Record]) -> Result<Vec<Outcome>> {
        // The settings of the webhooks that were loaded last are nearly always the present ones. The insertion returns their revision,
        // which saves a statement that reads it.
        let mut cached = self.outbox.configs().cached();
        let now = self.context.now();
        let (tx, configs, over_quota, inserted) = loop {
            let tx = self.context.begin_change().await?;
            let (configs, is_present) = match cached.take() {
                Some(configs) => (configs, false),
                None => (self.outbox.configs().load(&tx).await?, true),
            };
            for NewReservation { reservation, .. } in new.iter_mut() {
                let services = configs.provisioning(reservation);
                reservation.provisioning = Provisioning::waiting(services, reservation.created_at);
            }
            let over_quota = self.over_quota(&tx, new, now).await?;
            let within: Vec<&NewReservation> =
                new.iter().filter(|new| !over_quota.contains(new.reservation.id.as_str())).collect();
            let Inserted { ids, revision } = insert_free(&self.context.db, &tx, &within).await?;
            if is_present || revision.is_none_or(|revision| revision == configs.revision()) {
                break (tx, configs, over_quota, ids);
            }
            tx.rollback().await?;
        };
        let is_over_quota = |new: &NewReservation| over_quota.contains(new.reservation.id.as_str());
        let is_inserted = |new: &&NewReservation| inserted.contains(new.reservation.id.as_str());
        let written = || new.iter().filter(is_inserted);
        provisioning::insert_shared(&self.context.db, &tx, written().map(|new| &new.reservation)).await?;
        let mut schedule = schedule::plan(&tx, &configs, written().map(|new| &new.reservation), now).await?;
        let events = written().map(|NewReservation { reservation, email, .. }| {
            for_outbox(event_body(&self.context, EventType::ReservationCreated, reservation, email, now))
        });
        let enqueued = self.outbox.enqueue(&tx, &configs, events.collect(), true, &schedule.held).await?;
        let mut begins = schedule.take_begins();
        schedule.insert(&tx).await?;
        starts::schedule(&tx, &configs, written().map(|new| &new.reservation)).await?;
        let recorded: Vec<&Record> =
            new.iter().zip(records).filter(|(new, _)| is_inserted(new)).map(|(_, record)| record).collect();
        tx.commit_all(&recorded).await?;
        for NewReservation { reservation, .. } in new.iter_mut() {
            reservation.provisioning_begins_at = begins.remove(reservation.id.as_str());
        }
        let written = || new.iter().filter(is_inserted);
        let mut changes = Vec::new();
        if self.feed.has_subscribers() {
            changes.extend(written().map(|new| Change::Reservation(Box::new(new.reservation.clone()))));
        }
        self.outbox.publish(enqueued, changes);
        let outcome = |new: &NewReservation| {
            if is_inserted(&new) {
                Outcome::Inserted
            } else if is_over_quota(new) {
                Outcome::OverQuota
            } else {
                Outcome::Conflict
            }
        };
        Ok(new.iter().map(outcome).collect())
    }

    /// The ids of the reservations of a batch with which their owner would have more active ones than one user may have.
    /// A conflicting reservation of the batch counts too; its owner can repeat the request for another one.
    async fn over_quota(
        &self,
        tx: &DatabaseTransaction,
        new: &[NewReservation],
        now: DateTime<Utc>,
    ) -> Result<HashSet<String>> {
        let Some(limit) = self.context.settings.quotas.active_reservations else { return Ok(HashSet::new()) };
        let owners: BTreeSet<&str> = new.iter().map(|new| new.reservation.user_id.as_str()).collect();
        let mut active = count_active(&self.context.db, tx, owners, now).await?;
        let mut over_quota = HashSet::new();
        for NewReservation { reservation, .. } in new {
            let count = active.entry(reservation.user_id.clone()).or_default();
            *count += 1;
            if *count > u64::from(limit) {
                over_quota.insert(reservation.id.0.clone());
            }
        }
        Ok(over_quota)
    }
}

/// The problem that the caller sees. A concurrent transaction that took the span is a conflict, not a failure.
fn problem_of(error: Error) -> Problem {
    match error {
        Error::Database(error) if is_exclusion_violation(&error) => {
            Problem::conflict("The resource has just been reserved for this time. Choose another time.")
        }
        error => error.into_problem(),
    }
}
