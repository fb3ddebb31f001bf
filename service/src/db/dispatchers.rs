//! Heartbeats of dispatchers.
//!
//! Hand-written: one statement writes and reads, because every process makes it all the time, and the clock of the database
//! tells the age of a heartbeat. Plan: the primary key, then the few rows of the table. Benchmark: idle.

use super::connect::Database;
use super::entity::dispatchers;
use sea_orm::{ConnectionTrait as _, DbErr, EntityTrait as _, QueryFilter as _, TryGetableMany as _};

/// A dispatcher, at the time of another one's heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenDispatcher {
    pub(crate) name: String,
    /// Milliseconds since its last heartbeat.
    pub(crate) age: i64,
    /// The names of its members, sorted, separated by spaces.
    pub(crate) members: String,
}

/// Writes the heartbeat of a dispatcher with its members. Returns the other dispatchers, sorted by name.
pub(crate) async fn beat(db: &Database, name: &str, members: &str) -> Result<Vec<SeenDispatcher>, DbErr> {
    const BEAT: &str = "
        WITH now AS MATERIALIZED (SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint AS at),
        own AS (
            INSERT INTO dispatchers (name, heartbeat_at, members) SELECT $1, now.at, $2 FROM now
            ON CONFLICT (name) DO UPDATE SET heartbeat_at = excluded.heartbeat_at, members = excluded.members
        )
        SELECT d.name, now.at - d.heartbeat_at, d.members FROM dispatchers d CROSS JOIN now WHERE d.name <> $1 ORDER BY d.name";
    let rows = db.claim.query_all_raw(db.statement(BEAT, [name.into(), members.into()])).await?;
    rows.iter()
        .map(|row| {
            let (name, age, members) = <(String, i64, String)>::try_get_many_by_index(row)?;
            Ok(SeenDispatcher { name, age, members })
        })
        .collect()
}

/// Removes dispatchers that have stopped.
pub(crate) async fn remove(db: &Database, names: Vec<String>) -> Result<(), DbErr> {
    if !names.is_empty() {
        dispatchers::Entity::delete_many().filter(dispatchers::COLUMN.name.is_in(names)).exec(&db.write).await?;
    }
    Ok(())
}
