//! List and export of the audit log.

use super::Audit;
use crate::Result;
use crate::audit_trail::{Author, Record, Target};
use crate::context::Context;
use crate::db::codec::{json, time};
use crate::db::entity::{access_requests, audit_head, audit_log, reservations, resources, webhooks};
use crate::pagination::{decode_number_cursor, page_of};
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::audit::{
    AuditAction, AuditCredential, AuditEntry, AuditFilter, AuditOutcome, AuditTarget, AuditTargetType, Changes,
};
use domain::authorization::{Action, Actor, authorize};
use domain::id::{ResourceId, WebhookId};
use domain::ownership::ResourceKey;
use domain::pagination::{Page, PageQuery};
use sea_orm::{Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use tracing::instrument;

/// Number of entries that an export reads at once.
const EXPORT_BATCH: u64 = 500;

/// An entry without its changes if these cannot be read, e.g. because somebody modified them: the rest of a list must stay
/// readable. [`Audit::verify`] finds them.
pub(super) fn to_entry(row: audit_log::Model) -> AuditEntry {
    AuditEntry {
        seq: row.seq,
        at: time(row.at),
        actor: row.actor,
        credential: AuditCredential { kind: row.credential, id: row.credential_id, name: row.credential_name },
        source: row.source,
        request_id: row.request_id,
        action: row.action,
        outcome: AuditOutcome::parse(&row.outcome).unwrap_or(AuditOutcome::Refused),
        target: AuditTarget { kind: row.target_type, id: row.target_id, name: row.target_name },
        changes: json(&row.changes).unwrap_or_default(),
        detail: row.detail,
        count: row.occurrences,
        hash: row.hash,
    }
}

/// Entries by a user or about their account, with a number after `after`, oldest first. The log can change meanwhile only
/// by retention and erasures.
pub(crate) async fn entries_about(
    connection: &impl ConnectionTrait,
    username: &str,
    after: i64,
    limit: u64,
) -> Result<Vec<AuditEntry>> {
    let about_account = Condition::all()
        .add(audit_log::COLUMN.target_type.eq(AuditTargetType::User.as_str()))
        .add(audit_log::COLUMN.target_id.eq(username));
    let rows = audit_log::Entity::find()
        .filter(Condition::any().add(audit_log::COLUMN.actor.eq(username)).add(about_account))
        .filter(audit_log::COLUMN.seq.gt(after))
        .order_by_asc(audit_log::Column::Seq)
        .limit(limit)
        .all(connection)
        .await?;
    Ok(rows.into_iter().map(to_entry).collect())
}

fn conditions(filter: &AuditFilter) -> Condition {
    let millis = |time: DateTime<Utc>| time.timestamp_millis();
    Condition::all()
        .add_option(filter.actor.as_deref().map(|actor| audit_log::COLUMN.actor.eq(actor)))
        .add_option(filter.action.map(|action| audit_log::COLUMN.action.eq(action.as_str())))
        .add_option(filter.target_type.map(|kind| audit_log::COLUMN.target_type.eq(kind.as_str())))
        .add_option(filter.target_id.as_deref().map(|id| audit_log::COLUMN.target_id.eq(id)))
        .add_option(filter.source.as_deref().map(|source| audit_log::COLUMN.source.eq(source)))
        .add_option(filter.outcome.map(|outcome| audit_log::COLUMN.outcome.eq(outcome.as_str())))
        .add_option(filter.since.map(|since| audit_log::COLUMN.at.gte(millis(since))))
        .add_option(filter.until.map(|until| audit_log::COLUMN.at.lt(millis(until))))
}

/// Removes the address of the client and the credential, which only administrators and auditors see.
fn hide_client(entry: &mut AuditEntry) {
    entry.source.clear();
    entry.credential.id.clear();
    entry.credential.name.clear();
}

/// An export of the entries that match a filter, oldest first. It ends with the newest entry at its start.
pub struct Export {
    context: Context,
    filter: AuditFilter,
    after: i64,
    last: i64,
}

impl Export {
    /// The next entries; `None` after the last ones.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<AuditEntry>>, Problem> {
        let entries = self.read().await?;
        if let Some(last) = entries.last() {
            self.after = last.seq;
        }
        Ok((!entries.is_empty()).then_some(entries))
    }

    async fn read(&self) -> Result<Vec<AuditEntry>> {
        let rows = audit_log::Entity::find()
            .filter(conditions(&self.filter))
            .filter(audit_log::COLUMN.seq.gt(self.after))
            .filter(audit_log::COLUMN.seq.lte(self.last))
            .order_by_asc(audit_log::Column::Seq)
            .limit(EXPORT_BATCH)
            .all(&self.context.db.read)
            .await?;
        Ok(rows.into_iter().map(to_entry).collect())
    }
}

impl Audit {
    /// Lists entries, newest first (administrators and auditors). An owner may list the entries about one object that they
    /// own; these contain no addresses and no credentials.
    ///
    /// # Errors
    /// 403 for other users and objects; 422 for an invalid limit or cursor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list(
        &self,
        actor: &Actor,
        filter: &AuditFilter,
        page: &PageQuery,
    ) -> Result<Page<AuditEntry>, Problem> {
        let is_complete = self.authorize_list(actor, filter).await?;
        let limit = page.limit()?;
        let before = decode_number_cursor(page.cursor.as_deref())?;
        let mut entries = self.read_page(filter, before, limit + 1).await?;
        if !is_complete {
            entries.iter_mut().for_each(hide_client);
        }
        Ok(page_of(entries, limit, |entry| entry.seq.to_string()))
    }

    /// Whether the actor may read whole entries. Owners may read entries about their own objects, without the client.
    async fn authorize_list(&self, actor: &Actor, filter: &AuditFilter) -> Result<bool> {
        let Err(only_auditors) = authorize(actor, Action::ReadAuditLog) else { return Ok(true) };
        // Before an object is read: users who own nothing get the same response for each object.
        authorize(actor, Action::ReadOwned).map_err(|_| only_auditors)?;
        let refused = || {
            Problem::forbidden(
                "Owners read the entries about their own objects. Set target_type to webhook, resource, resource_type, \
                 reservation or access_request and target_id to one of yours, without the filter source.",
            )
        };
        let (Some(kind), Some(id), None) = (filter.target_type, &filter.target_id, &filter.source) else {
            return Err(refused().into());
        };
        let Some((resource_type, resource)) = self.resource_of(kind, id).await? else { return Err(refused().into()) };
        let resource = ResourceKey { resource_type: &resource_type, id: resource };
        authorize(actor, Action::ReadChanges { resource: Some(resource) }).map_err(|_| refused())?;
        Ok(false)
    }

    /// The resource type on which the owners of an object depend, and the resource if there is one.
    async fn resource_of(&self, kind: AuditTargetType, id: &str) -> Result<Option<(String, Option<ResourceId>)>> {
        let db = &self.context.db.read;
        let resource = match kind {
            AuditTargetType::ResourceType => return Ok(Some((id.to_owned(), None))),
            AuditTargetType::Webhook => {
                let Ok(id) = id.parse::<WebhookId>() else { return Ok(None) };
                let webhook = webhooks::Entity::find_by_id(id).one(db).await?;
                return Ok(webhook.and_then(|webhook| webhook.resource_type).map(|slug| (slug, None)));
            }
            AuditTargetType::Resource => {
                let Ok(id) = id.parse::<ResourceId>() else { return Ok(None) };
                resources::Entity::find_by_id(id).one(db).await?
            }
            AuditTargetType::Reservation => {
                let found = reservations::Entity::find_by_id(id).find_also_related(resources::Entity).one(db).await?;
                found.and_then(|(_, resource)| resource)
            }
            AuditTargetType::AccessRequest => {
                let found =
                    access_requests::Entity::find_by_id(id).find_also_related(resources::Entity).one(db).await?;
                found.and_then(|(_, resource)| resource)
            }
            _ => return Ok(None),
        };
        Ok(resource.map(|resource| (resource.resource_type, Some(resource.id))))
    }

    async fn read_page(&self, filter: &AuditFilter, before: Option<i64>, limit: u64) -> Result<Vec<AuditEntry>> {
        let rows = audit_log::Entity::find()
            .filter(conditions(filter).add_option(before.map(|seq| audit_log::COLUMN.seq.lt(seq))))
            .order_by_desc(audit_log::Column::Seq)
            .limit(limit)
            .all(&self.context.db.read)
            .await?;
        Ok(rows.into_iter().map(to_entry).collect())
    }

    /// Begins an export (administrators and auditors). The log records it first.
    ///
    /// # Errors
    /// 403 for other users; 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn export(&self, actor: &Actor, filter: AuditFilter) -> Result<Export, Problem> {
        authorize(actor, Action::ReadAuditLog)?;
        Ok(self.begin_export(Author::User(actor), filter).await?)
    }

    /// Begins an export without an actor. For the command line, where access to the machine is the authorisation.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn export_as_operator(&self, filter: AuditFilter) -> Result<Export, Problem> {
        Ok(self.begin_export(Author::Operator, filter).await?)
    }

    async fn begin_export(&self, author: Author<'_>, filter: AuditFilter) -> Result<Export> {
        let head = audit_head::Entity::find_by_id(audit_head::ID).one(&self.context.db.read).await?;
        let changes = Changes::none().field("filter", (), &filter);
        let record = Record::new(author, AuditAction::AuditLogExported, Target::new(AuditTargetType::AuditLog, ""));
        self.context.trail.write(record.changes(changes)).await?;
        Ok(Export { context: self.context.clone(), filter, after: 0, last: head.map_or(i64::MAX, |head| head.seq) })
    }
}
