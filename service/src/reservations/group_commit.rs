//! Group commit of new reservations: requests that come while one transaction runs share the next. With one client a
//! request has a transaction of its own, at once; with many, one fsync serves them all.

use crate::Service;
use crate::db::bulk::BulkValues;
use crate::db::codec::{get, to_json};
use crate::error::{db_problem, is_away, is_exclusion_violation, unavailable};
use crate::outbox::Enqueued;
use domain::change::Change;
use domain::event::{EventBody, EventType};
use domain::reservation::Reservation;
use domain::resource::ResourceStatus;
use domain::{Problem, ProblemKind};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Reservations that share one transaction at most.
const BATCH: usize = 128;
/// While one transaction waits for the disk, another is made ready. SQLite has one writer.
const WRITERS: usize = 2;

/// A checked reservation, to be written if its span is free.
#[derive(Clone)]
pub(crate) struct NewReservation {
    pub(crate) reservation: Reservation,
    pub(crate) email: String,
    /// What the checks were made against; another status now means that they must be made again.
    pub(crate) resource_status: ResourceStatus,
}

type Answer = oneshot::Sender<Result<Option<Reservation>, Problem>>;
pub(crate) type Queue = mpsc::Receiver<(NewReservation, Answer)>;

/// The way to the writing task.
pub(crate) struct Writer {
    queue: mpsc::Sender<(NewReservation, Answer)>,
}

impl Writer {
    pub(crate) fn new() -> (Self, Queue) {
        let (sender, receiver) = mpsc::channel(1_024);
        (Self { queue: sender }, receiver)
    }

    /// Starts the writing tasks; they end with the service.
    pub(crate) fn start(queue: Queue, service: &Service) {
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        for _ in 0..if service.is_postgres() { WRITERS } else { 1 } {
            let (queue, service) = (queue.clone(), Arc::downgrade(&service.inner));
            tokio::spawn(async move {
                let mut batch = Vec::with_capacity(BATCH);
                loop {
                    if queue.lock().await.recv_many(&mut batch, BATCH).await == 0 {
                        return;
                    }
                    let Some(inner) = service.upgrade() else { return };
                    Service { inner }.write_batch(std::mem::take(&mut batch)).await;
                }
            });
        }
    }

    /// Writes one; `None` when its span is taken or its resource changed meanwhile.
    pub(crate) async fn write(&self, new: NewReservation) -> Result<Option<Reservation>, Problem> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((new, answer)).await.map_err(|_| unavailable())?;
        answered.await.map_err(|_| unavailable())?
    }
}

impl Service {
    async fn write_batch(&self, mut batch: Vec<(NewReservation, Answer)>) {
        // In one order for all transactions, so that they do not wait for each other's spans in a ring.
        batch.sort_by_key(|(new, _)| (new.reservation.resource_id, new.reservation.start_time));
        let (new, answers): (Vec<NewReservation>, Vec<Answer>) = batch.into_iter().unzip();
        match self.try_write(&new).await {
            Ok(written) => answer_all(answers, written),
            // A deadlock or conflict with another replica's batch hits all of one transaction; alone each finds its own fate.
            // Not so when the database is away: each would wait for it anew, and the commit may even have come through.
            Err(error) if new.len() > 1 && !error.is_outage() => {
                for (new, answer) in new.into_iter().zip(answers) {
                    let result = self.try_write(std::slice::from_ref(&new)).await;
                    let _ = answer.send(result.map(|mut written| written.pop().flatten()).map_err(db_problem_of));
                }
            }
            Err(error) => {
                let problem = db_problem_of(error);
                for answer in answers {
                    let _ = answer.send(Err(problem.clone()));
                }
            }
        }
    }

    /// Writes all whose span is free, with their events; the others are `None`.
    async fn try_write(&self, new: &[NewReservation]) -> Result<Vec<Option<Reservation>>, WriteError> {
        let tx = self.write_tx().await.map_err(WriteError::Problem)?;
        let taken = if self.is_postgres() {
            self.insert_postgres(&tx, new).await?
        } else {
            self.insert_sqlite(&tx, new).await?
        };
        let mut written = Vec::with_capacity(new.len());
        let mut events = Vec::with_capacity(new.len());
        let now = self.now();
        for new in new {
            if !taken.contains(new.reservation.id.as_str()) {
                written.push(None);
                continue;
            }
            let body = self.reservation_event(EventType::ReservationCreated, &new.reservation, &new.email, now);
            events.push((new.reservation.resource_type.clone(), EventBody::Reservation(Box::new(body))));
            written.push(Some(new.reservation.clone()));
        }
        let enqueued: Enqueued =
            self.inner.outbox.enqueue(&tx, events, true).await.map_err(|error| WriteError::Problem(error.into()))?;
        tx.commit().await.map_err(WriteError::Database)?;
        let changes = if self.has_subscribers() {
            written.iter().flatten().map(|r| Change::Reservation(Box::new(r.clone()))).collect()
        } else {
            Vec::new()
        };
        self.inner.outbox.publish(enqueued, changes);
        Ok(written)
    }

    /// One statement for all; the exclusion constraint also keeps the batch's own rows apart.
    async fn insert_postgres(
        &self,
        tx: &DatabaseTransaction,
        new: &[NewReservation],
    ) -> Result<HashSet<String>, WriteError> {
        let (mut configs, mut provisionings) = (Vec::with_capacity(new.len()), Vec::with_capacity(new.len()));
        for new in new {
            configs.push(to_json(&new.reservation.additional_config).map_err(WriteError::Problem)?);
            provisionings.push(to_json(&new.reservation.provisioning).map_err(WriteError::Problem)?);
        }
        let reservations = new.iter().map(|new| &new.reservation);
        let rows = BulkValues::default()
            .text_column("id", reservations.clone().map(|r| r.id.as_str()))
            .text_column("username", reservations.clone().map(|r| r.user_id.as_str()))
            .int_column("resource_id", reservations.clone().map(|r| r.resource_id))
            .text_column("title", reservations.clone().map(|r| r.title.as_str()))
            .int_column("start_at", reservations.clone().map(|r| r.start_time.timestamp_millis()))
            .int_column("end_at", reservations.clone().map(|r| r.end_time.timestamp_millis()))
            .text_column("user_ssh_key", reservations.clone().map(|r| r.user_ssh_key.as_str()))
            .text_column("additional_config", configs)
            .text_column("provisioning", provisionings)
            .int_column("created_at", reservations.map(|r| r.created_at.timestamp_millis()))
            .text_column("resource_status", new.iter().map(|new| new.resource_status.as_str()));
        let (source, values) = self.bulk_source(rows);
        let sql = format!(
            "INSERT INTO reservations (id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config, status, cancel_reason, provisioning, created_at, updated_at)
             SELECT r.id, r.username, r.resource_id, r.title, r.start_at, r.end_at, r.user_ssh_key, r.additional_config, 'active', '', r.provisioning, r.created_at, r.created_at
             FROM {source} JOIN resources x ON x.id = r.resource_id AND x.status = r.resource_status
             ON CONFLICT DO NOTHING RETURNING id"
        );
        let rows = tx.query_all_raw(self.sql(sql, values)).await.map_err(WriteError::Database)?;
        rows.iter().map(|row| get(row, "id")).collect::<Result<_, _>>().map_err(WriteError::Problem)
    }

    /// Row by row in one transaction: each sees those before it, and an embedded database has no round trips to save.
    async fn insert_sqlite(
        &self,
        tx: &DatabaseTransaction,
        new: &[NewReservation],
    ) -> Result<HashSet<String>, WriteError> {
        let mut taken = HashSet::new();
        let sql = "INSERT INTO reservations (id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config, status, cancel_reason, provisioning, created_at, updated_at)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, 'active', '', $9, $10, $10
            WHERE EXISTS (SELECT 1 FROM resources x WHERE x.id = $3 AND x.status = $11)
            AND NOT EXISTS (SELECT 1 FROM reservations v WHERE v.resource_id = $3 AND v.status = 'active' AND v.end_at > $5 AND v.start_at < $6)";
        for new in new {
            let r = &new.reservation;
            let values = [
                r.id.as_str().into(),
                r.user_id.as_str().into(),
                r.resource_id.into(),
                r.title.as_str().into(),
                r.start_time.timestamp_millis().into(),
                r.end_time.timestamp_millis().into(),
                r.user_ssh_key.as_str().into(),
                to_json(&r.additional_config).map_err(WriteError::Problem)?.into(),
                to_json(&r.provisioning).map_err(WriteError::Problem)?.into(),
                r.created_at.timestamp_millis().into(),
                new.resource_status.as_str().into(),
            ];
            let done = tx.execute_raw(self.sql(sql, values)).await.map_err(WriteError::Database)?;
            if done.rows_affected() > 0 {
                taken.insert(r.id.0.clone());
            }
        }
        Ok(taken)
    }
}

/// Why a transaction failed: the raw error decides whether the span was taken.
enum WriteError {
    Database(DbErr),
    Problem(Problem),
}

impl WriteError {
    fn is_outage(&self) -> bool {
        match self {
            Self::Database(error) => is_away(error),
            Self::Problem(problem) => problem.kind == ProblemKind::Unavailable,
        }
    }
}

fn db_problem_of(error: WriteError) -> Problem {
    match error {
        WriteError::Problem(problem) => problem,
        WriteError::Database(error) if is_exclusion_violation(&error) => {
            Problem::conflict("The resource has just been reserved for this time. Choose another time.")
        }
        WriteError::Database(error) => db_problem(error),
    }
}

fn answer_all(answers: Vec<Answer>, written: Vec<Option<Reservation>>) {
    for (answer, written) in answers.into_iter().zip(written) {
        // Whoever went away meanwhile has still reserved; the page will show it.
        let _ = answer.send(Ok(written));
    }
}
