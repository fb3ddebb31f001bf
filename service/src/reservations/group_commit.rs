//! Group commit of new reservations: requests that arrive while a transaction runs share the next one. A single client gets a
//! transaction of its own at once; with many clients, one fsync serves all of them.

use super::event::{event_body, for_outbox};
use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::reservations::{NewReservation, insert_free};
use crate::error::{is_exclusion_violation, unavailable};
use crate::outbox::Outbox;
use crate::{Error, Result};
use domain::Problem;
use domain::change::Change;
use domain::event::EventType;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::instrument;

/// Maximum number of reservations in one transaction.
const MAX_BATCH: usize = 128;
/// Requests that can wait for the writing tasks before callers wait for a place.
const QUEUE_CAPACITY: usize = 1_024;
/// Writing tasks on PostgreSQL: while one transaction waits for the disk, the next is prepared. SQLite has one writer.
const POSTGRES_WRITERS: usize = 2;

/// The result of one request, as [`GroupCommit::write`] returns it.
type Reply = oneshot::Sender<Result<bool, Problem>>;
type Request = (NewReservation, Reply);

/// The queue of the writing tasks. Cheap to clone; the tasks end with the last clone.
#[derive(Clone)]
pub(super) struct GroupCommit {
    queue: mpsc::Sender<Request>,
}

impl GroupCommit {
    /// Starts the writing tasks.
    pub(super) fn start(context: &Context, feed: &ChangeFeed, outbox: &Outbox) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let queue = Arc::new(Mutex::new(receiver));
        let writers = if context.db.is_postgres() { POSTGRES_WRITERS } else { 1 };
        for _ in 0..writers {
            let writer = Writer { context: context.clone(), feed: feed.clone(), outbox: outbox.clone() };
            tokio::spawn(writer.run(queue.clone()));
        }
        Self { queue: sender }
    }

    /// Writes one reservation with its event. Returns false if its span is taken or the status of its resource has changed.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub(super) async fn write(&self, new: NewReservation) -> Result<bool, Problem> {
        let (reply, result) = oneshot::channel();
        self.queue.send((new, reply)).await.map_err(|_| unavailable())?;
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
    async fn run(self, queue: Arc<Mutex<mpsc::Receiver<Request>>>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while queue.lock().await.recv_many(&mut batch, MAX_BATCH).await > 0 {
            self.write_batch(std::mem::take(&mut batch)).await;
        }
    }

    async fn write_batch(&self, mut batch: Vec<Request>) {
        // All transactions lock in the same order, which avoids a deadlock on the exclusion constraint.
        batch.sort_by_key(|(new, _)| (new.reservation.resource_id, new.reservation.start_time));
        let (new, replies): (Vec<NewReservation>, Vec<Reply>) = batch.into_iter().unzip();
        match self.try_write(&new).await {
            Ok(written) => {
                for (reply, written) in replies.into_iter().zip(written) {
                    // A client that has disconnected meanwhile has still reserved. Its page shows the reservation when it reloads.
                    let _ = reply.send(Ok(written));
                }
            }
            // A deadlock or a conflict with another replica aborts the whole transaction; alone, each reservation succeeds or fails on
            // its own. In an outage a repeat is useless, and the first commit may even have succeeded.
            Err(error) if new.len() > 1 && !error.is_outage() => {
                for (new, reply) in new.iter().zip(replies) {
                    let result = self.try_write(std::slice::from_ref(new)).await;
                    let written = result.map(|written| written.first().copied().unwrap_or_default());
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

    /// Writes every reservation whose span is free, with its event, in one transaction. Returns for each whether it was written.
    #[instrument(skip_all, fields(reservations = new.len()), err(level = "debug"))]
    async fn try_write(&self, new: &[NewReservation]) -> Result<Vec<bool>> {
        let tx = self.context.db.begin_write().await?;
        let inserted = insert_free(&self.context.db, &tx, new).await?;
        let now = self.context.now();
        let is_inserted = |new: &&NewReservation| inserted.contains(new.reservation.id.as_str());
        let events = new.iter().filter(is_inserted).map(|NewReservation { reservation, email, .. }| {
            for_outbox(event_body(&self.context, EventType::ReservationCreated, reservation, email, now))
        });
        let enqueued = self.outbox.enqueue(&tx, events.collect(), true).await?;
        tx.commit().await?;
        let mut changes = Vec::new();
        if self.feed.has_subscribers() {
            let written = new.iter().filter(is_inserted);
            changes.extend(written.map(|new| Change::Reservation(Box::new(new.reservation.clone()))));
        }
        self.outbox.publish(enqueued, changes);
        Ok(new.iter().map(|new| is_inserted(&new)).collect())
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
