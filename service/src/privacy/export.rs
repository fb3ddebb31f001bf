//! One JSON document with the data about a user, in pieces: a user can have many reservations and entries.

use super::Privacy;
use crate::Result;
use crate::accounts::StoredAccount;
use crate::audit::entries_about;
use crate::audit_trail::{Record, Target};
use crate::catalogue::{grants_of, requests_of};
use crate::context::Context;
use crate::db::codec::to_json;
use crate::notifications::notifications_of;
use crate::ownership::{groups_of, owned_by};
use crate::reservations::reservations_of;
use domain::Problem;
use domain::audit::{AuditAction, AuditEntry, AuditTargetType};
use domain::authorization::{Action, Actor, authorize};
use serde::Serialize;
use tracing::instrument;

/// Number of rows that are read at once.
const BATCH: u64 = 200;

/// A list of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    AccessRequests,
    Notifications,
    Reservations,
    AuditLog,
}

impl Section {
    /// The name of the list in [`AccountExport`](domain::privacy::AccountExport).
    fn name(self) -> &'static str {
        match self {
            Self::AccessRequests => "access_requests",
            Self::Notifications => "notifications",
            Self::Reservations => "reservations",
            Self::AuditLog => "audit_log",
        }
    }

    fn next(self) -> Option<Self> {
        match self {
            Self::AccessRequests => Some(Self::Notifications),
            Self::Notifications => Some(Self::Reservations),
            Self::Reservations => Some(Self::AuditLog),
            Self::AuditLog => None,
        }
    }
}

/// What follows in the document.
enum Position {
    /// The account and its credentials.
    Head(Box<StoredAccount>),
    /// A list, after the item with this key; `""` at its start.
    List(Section, String),
    /// Nothing.
    End,
}

/// A document of the form [`AccountExport`](domain::privacy::AccountExport). Each piece is read when it is needed.
pub struct Export {
    context: Context,
    username: String,
    position: Position,
}

impl Privacy {
    /// Begins the export of the data about a user. Administrators may export every account, other users their own. The audit
    /// log records it first.
    ///
    /// # Errors
    /// 403 for other users; 404 for an unknown account; 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn export(&self, actor: &Actor, username: &str) -> Result<Export, Problem> {
        let is_own = actor.username == username;
        authorize(actor, if is_own { Action::ManageOwnTokens } else { Action::ManageUsers })?;
        let current = actor.session.as_ref().map(|session| session.id.as_str()).filter(|_| is_own);
        let account = self.accounts.stored_account(username, current).await?;
        let target = Target::new(AuditTargetType::User, username);
        self.context.trail.write(Record::new(actor, AuditAction::AccountExported, target)).await?;
        let position = Position::Head(Box::new(account));
        Ok(Export { context: self.context.clone(), username: username.to_owned(), position })
    }
}

impl Export {
    /// The next piece of the document; `None` after the last one.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    pub async fn next_piece(&mut self) -> Result<Option<String>, Problem> {
        Ok(self.read_piece().await?)
    }

    async fn read_piece(&mut self) -> Result<Option<String>> {
        match std::mem::replace(&mut self.position, Position::End) {
            Position::Head(account) => {
                self.position = Position::List(Section::AccessRequests, String::new());
                Ok(Some(self.head(*account).await?))
            }
            Position::List(section, after) => Ok(Some(self.list(section, &after).await?)),
            Position::End => Ok(None),
        }
    }

    async fn head(&self, account: StoredAccount) -> Result<String> {
        let read = &self.context.db.read;
        let grants = grants_of(read, &self.username).await?;
        let groups = groups_of(read, &self.username).await?;
        let owns = owned_by(read, &self.username, account.user.role).await?;
        Ok(format!(
            "{{\"exported_at\":{},\"user\":{},\"sessions\":{},\"tokens\":{},\"identities\":{},\"second_factors\":{},\
             \"groups\":{},\"owns\":{},\"grants\":{}",
            to_json(&self.context.now())?,
            to_json(&account.user)?,
            to_json(&account.sessions)?,
            to_json(&account.tokens)?,
            to_json(&account.identities)?,
            to_json(&account.second_factors)?,
            to_json(&groups)?,
            to_json(&owns)?,
            to_json(&grants)?
        ))
    }

    async fn list(&mut self, section: Section, after: &str) -> Result<String> {
        let (read, username) = (&self.context.db.read, self.username.as_str());
        let number = after.parse().unwrap_or_default();
        match section {
            Section::AccessRequests => {
                let items = requests_of(read, username, after, BATCH).await?;
                self.write(section, after, &items, |item| item.id.0.clone())
            }
            Section::Notifications => {
                let items = notifications_of(read, username, number, BATCH).await?;
                self.write(section, after, &items, |item| item.id.to_string())
            }
            Section::Reservations => {
                let items = reservations_of(&self.context, username, after, BATCH).await?;
                self.write(section, after, &items, |item| item.id.0.clone())
            }
            Section::AuditLog => {
                let mut items = entries_about(read, username, number, BATCH).await?;
                items.iter_mut().for_each(|entry| hide_other_client(entry, username));
                self.write(section, after, &items, |item| item.seq.to_string())
            }
        }
    }

    /// Writes some items of a list, and moves on: to the rest of the list, or to the next one.
    fn write<T: Serialize>(
        &mut self,
        section: Section,
        after: &str,
        items: &[T],
        key: impl Fn(&T) -> String,
    ) -> Result<String> {
        let mut text = if after.is_empty() { format!(",\"{}\":[", section.name()) } else { String::new() };
        for (n, item) in items.iter().enumerate() {
            if n > 0 || !after.is_empty() {
                text.push(',');
            }
            text.push_str(&to_json(item)?);
        }
        let last = items.last().filter(|_| items.len() as u64 == BATCH);
        self.position = match (last, section.next()) {
            (Some(last), _) => Position::List(section, key(last)),
            (None, Some(next)) => {
                text.push(']');
                Position::List(next, String::new())
            }
            (None, None) => {
                text.push_str("]}");
                Position::End
            }
        };
        Ok(text)
    }
}

/// Removes the client address of another user, which is their personal data.
fn hide_other_client(entry: &mut AuditEntry, username: &str) {
    if entry.actor.as_deref().is_some_and(|actor| actor != username) {
        entry.source.clear();
    }
}
