//! Messages to people.

use crate::Service;
use crate::db::codec::{get, time};
use crate::error::db_problem;
use domain::Problem;
use domain::authorization::{Actor, Role};
use domain::change::{Notification, Severity};
use sea_orm::{ConnectionTrait, DatabaseTransaction};

fn severity(name: &str) -> Severity {
    match name {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => Severity::Info,
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

impl Service {
    /// Writes a message in the causing transaction; announce it after the commit. `username` null = every administrator.
    pub(crate) async fn notify(
        &self,
        tx: &DatabaseTransaction,
        username: Option<&str>,
        severity: Severity,
        message: &str,
        link: Option<&str>,
    ) -> Result<Notification, Problem> {
        let now = self.now();
        let values = [
            username.into(),
            severity_name(severity).into(),
            message.into(),
            link.into(),
            now.timestamp_millis().into(),
            false.into(),
        ];
        let sql = "INSERT INTO notifications (username, severity, message, link, at, read) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
        let row = tx.query_one_raw(self.sql(sql, values)).await.map_err(db_problem)?.ok_or_else(Problem::internal)?;
        Ok(Notification {
            id: get(&row, "id")?,
            username: username.map(str::to_owned),
            severity,
            message: message.to_owned(),
            link: link.map(str::to_owned),
            at: now,
            read: false,
        })
    }

    /// The newest 100 for the actor.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list_notifications(&self, actor: &Actor) -> Result<Vec<Notification>, Problem> {
        let sql = "SELECT id, username, severity, message, link, at, read FROM notifications WHERE username = $1 OR (username IS NULL AND $2) ORDER BY id DESC LIMIT 100";
        self.rows(sql, [actor.username.as_str().into(), (actor.role == Role::Administrator).into()])
            .await?
            .iter()
            .map(|row| {
                Ok(Notification {
                    id: get(row, "id")?,
                    username: get(row, "username")?,
                    severity: severity(&get::<String>(row, "severity")?),
                    message: get(row, "message")?,
                    link: get(row, "link")?,
                    at: time(get(row, "at")?),
                    read: get(row, "read")?,
                })
            })
            .collect()
    }

    /// ScanCursors everything up to `id` read.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mark_notifications_read(&self, actor: &Actor, id: i64) -> Result<(), Problem> {
        let sql = "UPDATE notifications SET read = $1 WHERE id <= $2 AND NOT read AND (username = $3 OR (username IS NULL AND $4))";
        let values =
            [true.into(), id.into(), actor.username.as_str().into(), (actor.role == Role::Administrator).into()];
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        Ok(())
    }
}
