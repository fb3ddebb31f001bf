//! Resource types, resources, and who may book what.

use crate::Service;
use crate::db::codec::{get, json, time, to_json};
use crate::error::{db_problem, is_foreign_key_violation, is_unique_violation};
use crate::pagination::{self as cursor, page_of};
use domain::authorization::{Action, Actor, Role, authorize};
use domain::change::{Change, Severity};
use domain::event::{AccessRequestBody, EventBody, EventType};
use domain::id::{AccessRequestId, EventId, ResourceId};
use domain::pagination::{Page, PageQuery};
use domain::problem::Validator;
use domain::resource::*;
use domain::{Problem, validation};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, QueryResult};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The colour of a type that names none.
const DEFAULT_COLOR: &str = "#4f46e5";
/// How long a remembered resource is believed; what a reservation depends on is checked again in its transaction.
const BELIEVED: Duration = Duration::from_secs(3);

/// A resource with what reserving it needs.
#[derive(Clone)]
pub(crate) struct Bookable {
    pub(crate) id: ResourceId,
    pub(crate) name: String,
    pub(crate) resource_type: String,
    pub(crate) status: ResourceStatus,
    pub(crate) schema: Arc<ConfigSchema>,
}

/// Resources and when they were read.
type Resources = HashMap<ResourceId, (Instant, Arc<Bookable>)>;

/// Remembered resources, as of one generation of [`crate::change_feed::ChangeFeed`]'s caches.
#[derive(Default)]
pub(crate) struct Memory {
    resources: Mutex<(u64, Resources)>,
}

fn resource_type(row: &QueryResult) -> Result<ResourceType, Problem> {
    let slug: String = get(row, "slug")?;
    Ok(ResourceType {
        id: slug.clone(),
        slug,
        name: get(row, "name")?,
        color: get(row, "color")?,
        config_schema: json(&get::<String>(row, "config_schema")?)?,
        resources: get::<i64>(row, "resources")? as u64,
    })
}

const TYPE: &str = "SELECT t.slug, t.name, t.color, t.config_schema, (SELECT COUNT(*) FROM resources r WHERE r.resource_type = t.slug) AS resources FROM resource_types t";
/// `$1` is the actor's name.
const RESOURCE: &str = "SELECT r.id, r.name, r.resource_type, r.location, r.specs, r.status, EXISTS (SELECT 1 FROM access_grants g WHERE g.resource_id = r.id AND g.username = $1) AS granted FROM resources r";

fn resource(row: &QueryResult, actor: &Actor) -> Result<Resource, Problem> {
    let status = ResourceStatus::parse(&get::<String>(row, "status")?).unwrap_or(ResourceStatus::Maintenance);
    let granted: bool = get(row, "granted")?;
    Ok(Resource {
        id: get(row, "id")?,
        name: get(row, "name")?,
        resource_type: get(row, "resource_type")?,
        location: get(row, "location")?,
        specs: get(row, "specs")?,
        status,
        bookable: match status {
            ResourceStatus::Available => true,
            ResourceStatus::Restricted => granted || actor.role == Role::Administrator,
            ResourceStatus::Maintenance => false,
        },
    })
}

const ACCESS_REQUEST: &str = "SELECT a.id, a.username, a.resource_id, r.name AS resource_name, r.resource_type, a.reason, a.status, a.requested_at, a.decided_by, a.decided_at FROM access_requests a JOIN resources r ON r.id = a.resource_id";

fn access_request(row: &QueryResult) -> Result<AccessRequest, Problem> {
    Ok(AccessRequest {
        id: AccessRequestId(get(row, "id")?),
        user_id: get(row, "username")?,
        resource_id: get(row, "resource_id")?,
        resource_name: get(row, "resource_name")?,
        resource_type: get(row, "resource_type")?,
        reason: get(row, "reason")?,
        status: AccessStatus::parse(&get::<String>(row, "status")?).unwrap_or(AccessStatus::Pending),
        requested_at: time(get(row, "requested_at")?),
        decided_by: get(row, "decided_by")?,
        decided_at: get::<Option<i64>>(row, "decided_at")?.map(time),
    })
}

impl Service {
    fn forget_resources(&self) {
        self.inner.catalogue.resources.lock().1.clear();
        self.broadcast_invalidation();
    }

    /// A resource with its type's schema, remembered for a moment.
    pub(crate) async fn bookable(&self, id: ResourceId) -> Result<Option<Arc<Bookable>>, Problem> {
        {
            let mut memory = self.inner.catalogue.resources.lock();
            let generation = self.inner.feed.cache_generation();
            if memory.0 != generation {
                *memory = (generation, HashMap::new());
            }
            if let Some((at, found)) = memory.1.get(&id)
                && at.elapsed() < BELIEVED
            {
                return Ok(Some(found.clone()));
            }
        }
        let sql = "SELECT r.id, r.name, r.resource_type, r.status, t.config_schema FROM resources r JOIN resource_types t ON t.slug = r.resource_type WHERE r.id = $1";
        let rows = self.rows(sql, [id.into()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let schema = json(&get::<String>(row, "config_schema")?)?;
        let found = Arc::new(Bookable {
            id,
            name: get(row, "name")?,
            resource_type: get(row, "resource_type")?,
            status: ResourceStatus::parse(&get::<String>(row, "status")?).unwrap_or(ResourceStatus::Maintenance),
            // Stored schemas were checked; one that can no longer be read asks for nothing.
            schema: Arc::new(ConfigSchema::parse(&schema).unwrap_or_default()),
        });
        let mut memory = self.inner.catalogue.resources.lock();
        memory.1.insert(id, (Instant::now(), found.clone()));
        Ok(Some(found))
    }

    /// Whether `username` was granted access to a resource.
    pub(crate) async fn is_granted(&self, id: ResourceId, username: &str) -> Result<bool, Problem> {
        let sql = "SELECT 1 AS one FROM access_grants WHERE resource_id = $1 AND username = $2";
        Ok(!self.rows(sql, [id.into(), username.into()]).await?.is_empty())
    }

    /// All types by name.
    ///
    /// # Errors
    /// 422 for a bad page.
    pub async fn list_types(&self, actor: &Actor, page: &PageQuery) -> Result<Page<ResourceType>, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        let limit = page.limit()?;
        let after = cursor::decode_cursor(page.cursor.as_deref())?.unwrap_or_default();
        let rows = self
            .rows(
                format!("{TYPE} WHERE t.slug > $1 ORDER BY t.slug LIMIT $2"),
                [after.into(), (limit as i64 + 1).into()],
            )
            .await?;
        let items = rows.iter().map(resource_type).collect::<Result<Vec<_>, _>>()?;
        Ok(page_of(items, limit, |t| t.slug.clone()))
    }

    /// One type.
    ///
    /// # Errors
    /// 404.
    pub async fn get_type(&self, actor: &Actor, slug: &str) -> Result<ResourceType, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        let rows = self.rows(format!("{TYPE} WHERE t.slug = $1"), [slug.into()]).await?;
        rows.first().map(resource_type).unwrap_or_else(|| Err(Problem::not_found("resource type")))
    }

    /// A new type.
    ///
    /// # Errors
    /// 409 when the slug is taken, 422 naming the fields at fault.
    pub async fn create_type(&self, actor: &Actor, input: ResourceTypeInput) -> Result<ResourceType, Problem> {
        authorize(actor, Action::WriteCatalogue)?;
        check_type(&input)?;
        let schema = input.config_schema.filter(|s| !s.is_null()).unwrap_or_else(|| serde_json::json!({}));
        let values = [
            input.slug.as_str().into(),
            input.name.as_str().into(),
            input.color.as_deref().unwrap_or(DEFAULT_COLOR).into(),
            to_json(&schema)?.into(),
            self.now().timestamp_millis().into(),
        ];
        let sql =
            "INSERT INTO resource_types (slug, name, color, config_schema, created_at) VALUES ($1, $2, $3, $4, $5)";
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(|error| {
            if is_unique_violation(&error) {
                Problem::conflict(format!("There is already a resource type with the slug {}.", input.slug))
            } else {
                db_problem(error)
            }
        })?;
        self.get_type(actor, &input.slug).await
    }

    /// Changes a type.
    ///
    /// # Errors
    /// 404, 422 naming the fields at fault.
    pub async fn patch_type(
        &self,
        actor: &Actor,
        slug: &str,
        patch: ResourceTypePatch,
    ) -> Result<ResourceType, Problem> {
        authorize(actor, Action::WriteCatalogue)?;
        let before = self.get_type(actor, slug).await?;
        let input = ResourceTypeInput {
            slug: slug.to_owned(),
            name: patch.name.unwrap_or(before.name),
            color: Some(patch.color.unwrap_or(before.color)),
            config_schema: Some(patch.config_schema.unwrap_or(before.config_schema)),
        };
        check_type(&input)?;
        let values = [
            input.name.into(),
            input.color.unwrap_or_else(|| DEFAULT_COLOR.to_owned()).into(),
            to_json(&input.config_schema)?.into(),
            slug.into(),
        ];
        let sql = "UPDATE resource_types SET name = $1, color = $2, config_schema = $3 WHERE slug = $4";
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        self.forget_resources();
        self.get_type(actor, slug).await
    }

    /// Deletes a type.
    ///
    /// # Errors
    /// 404; 409 while resources or webhooks use it.
    pub async fn delete_type(&self, actor: &Actor, slug: &str) -> Result<(), Problem> {
        authorize(actor, Action::WriteCatalogue)?;
        self.get_type(actor, slug).await?;
        let sql = "DELETE FROM resource_types WHERE slug = $1 AND NOT EXISTS (SELECT 1 FROM resources r WHERE r.resource_type = $1) AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.resource_type = $1 AND w.deleted_at IS NULL)";
        let used = || Problem::conflict("Resources or webhooks use this type. Delete those first.");
        let done = self
            .inner
            .context
            .db
            .write
            .execute_raw(self.sql(sql, [slug.into()]))
            .await
            .map_err(|error| if is_foreign_key_violation(&error) { used() } else { db_problem(error) })?;
        if done.rows_affected() == 0 {
            return Err(used());
        }
        self.forget_resources();
        Ok(())
    }

    /// Resources by id, `bookable` for the actor.
    ///
    /// # Errors
    /// 422 for a bad page.
    pub async fn list_resources(
        &self,
        actor: &Actor,
        resource_type: Option<&str>,
        page: &PageQuery,
    ) -> Result<Page<Resource>, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        let limit = page.limit()?;
        let after = cursor::decode_number_cursor(page.cursor.as_deref())?.unwrap_or(0);
        let mut sql = format!("{RESOURCE} WHERE r.id > $2");
        let mut values = vec![actor.username.as_str().into(), after.into(), (limit as i64 + 1).into()];
        if let Some(slug) = resource_type {
            sql.push_str(" AND r.resource_type = $4");
            values.push(slug.into());
        }
        let rows = self.rows(format!("{sql} ORDER BY r.id LIMIT $3"), values).await?;
        let items = rows.iter().map(|row| resource(row, actor)).collect::<Result<Vec<_>, _>>()?;
        Ok(page_of(items, limit, |r| r.id.to_string()))
    }

    /// One resource.
    ///
    /// # Errors
    /// 404.
    pub async fn get_resource(&self, actor: &Actor, id: ResourceId) -> Result<Resource, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        let rows =
            self.rows(format!("{RESOURCE} WHERE r.id = $2"), [actor.username.as_str().into(), id.into()]).await?;
        rows.first().map(|row| resource(row, actor)).unwrap_or_else(|| Err(Problem::not_found("resource")))
    }

    /// A new resource.
    ///
    /// # Errors
    /// 422 when the type is unknown or fields are at fault, 409 when the name is taken within the type.
    pub async fn create_resource(&self, actor: &Actor, input: ResourceInput) -> Result<Resource, Problem> {
        authorize(actor, Action::WriteCatalogue)?;
        check_resource(&input)?;
        let values = [
            input.name.as_str().into(),
            input.resource_type.as_str().into(),
            input.location.unwrap_or_default().into(),
            input.specs.unwrap_or_default().into(),
            input.status.unwrap_or(ResourceStatus::Available).as_str().into(),
            self.now().timestamp_millis().into(),
        ];
        let sql = "INSERT INTO resources (name, resource_type, location, specs, status, created_at) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
        let row = self.inner.context.db.write.query_one_raw(self.sql(sql, values)).await.map_err(|error| {
            if is_unique_violation(&error) {
                Problem::conflict(format!("There is already a {} named {}.", input.resource_type, input.name))
            } else if is_foreign_key_violation(&error) {
                Problem::field(
                    "resource_type",
                    format!("There is no resource type {}. Make it first.", input.resource_type),
                )
            } else {
                db_problem(error)
            }
        })?;
        let id = get(&row.ok_or_else(Problem::internal)?, "id")?;
        self.get_resource(actor, id).await
    }

    /// Changes a resource.
    ///
    /// # Errors
    /// 404, 409 when the name is taken, 422 naming the fields at fault.
    pub async fn patch_resource(
        &self,
        actor: &Actor,
        id: ResourceId,
        patch: ResourcePatch,
    ) -> Result<Resource, Problem> {
        authorize(actor, Action::WriteCatalogue)?;
        let before = self.get_resource(actor, id).await?;
        let input = ResourceInput {
            name: patch.name.unwrap_or(before.name),
            resource_type: before.resource_type,
            location: Some(patch.location.unwrap_or(before.location)),
            specs: Some(patch.specs.unwrap_or(before.specs)),
            status: Some(patch.status.unwrap_or(before.status)),
        };
        check_resource(&input)?;
        let values = [
            input.name.as_str().into(),
            input.location.unwrap_or_default().into(),
            input.specs.unwrap_or_default().into(),
            input.status.unwrap_or(ResourceStatus::Available).as_str().into(),
            id.into(),
        ];
        let sql = "UPDATE resources SET name = $1, location = $2, specs = $3, status = $4 WHERE id = $5";
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(|error| {
            if is_unique_violation(&error) {
                Problem::conflict(format!("There is already a {} named {}.", input.resource_type, input.name))
            } else {
                db_problem(error)
            }
        })?;
        self.forget_resources();
        self.get_resource(actor, id).await
    }

    /// Deletes a resource that was never reserved.
    ///
    /// # Errors
    /// 404; 409 while reservations, past ones too, name it (put it in maintenance instead).
    pub async fn delete_resource(&self, actor: &Actor, id: ResourceId) -> Result<(), Problem> {
        authorize(actor, Action::WriteCatalogue)?;
        self.get_resource(actor, id).await?;
        let sql = "DELETE FROM resources WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM reservations v WHERE v.resource_id = $1)";
        let named = || {
            Problem::conflict(
                "Reservations name this resource, so it stays in the records. Set it to maintenance instead.",
            )
        };
        let done = self
            .inner
            .context
            .db
            .write
            .execute_raw(self.sql(sql, [id.into()]))
            .await
            .map_err(|error| if is_foreign_key_violation(&error) { named() } else { db_problem(error) })?;
        if done.rows_affected() == 0 {
            return Err(named());
        }
        self.forget_resources();
        Ok(())
    }

    /// Asks for access; publishes `user.access_requested`.
    ///
    /// # Errors
    /// 404 unknown resource; 409 when it is bookable already, in maintenance, or a request is pending; 422 for the reason.
    pub async fn request_access(&self, actor: &Actor, input: AccessRequestInput) -> Result<AccessRequest, Problem> {
        authorize(actor, Action::RequestAccess)?;
        let mut validator = Validator::new();
        if input.reason.trim().is_empty() {
            validator.error("reason", "Say in a sentence why you need it.");
        }
        validator.check("reason", validation::text(&input.reason, 1_000));
        validator.finish()?;
        let wanted = self.get_resource(actor, input.resource_id).await?;
        if wanted.bookable {
            return Err(Problem::conflict("You may reserve this resource already."));
        }
        if wanted.status == ResourceStatus::Maintenance {
            return Err(Problem::conflict("This resource is in maintenance; nobody can reserve it now."));
        }
        let user = self.user(&actor.username).await?;
        let now = self.now();
        let id = AccessRequestId::from_ulid(self.new_ulid());
        let tx = self.write_tx().await?;
        let values = [
            id.as_str().into(),
            actor.username.as_str().into(),
            wanted.id.into(),
            input.reason.as_str().into(),
            now.timestamp_millis().into(),
        ];
        let sql = "INSERT INTO access_requests (id, username, resource_id, reason, status, requested_at) VALUES ($1, $2, $3, $4, 'pending', $5)";
        tx.execute_raw(self.sql(sql, values)).await.map_err(|error| {
            if is_unique_violation(&error) {
                Problem::conflict("You have asked already; an administrator will decide.")
            } else {
                db_problem(error)
            }
        })?;
        let body = EventBody::AccessRequest(Box::new(AccessRequestBody {
            event_type: EventType::AccessRequested,
            event_id: EventId::from_ulid(self.new_ulid()),
            timestamp: now,
            webhook_id: 0,
            test: false,
            access_request_id: id.clone(),
            user_id: user.username.clone(),
            user_email: user.email,
            resource_type: wanted.resource_type.clone(),
            resource_id: wanted.id,
            resource_name: wanted.name.clone(),
            reason: input.reason.clone(),
            requested_at: now,
            user_ssh_key: user.ssh_key,
        }));
        let enqueued = self.enqueue(&tx, vec![(wanted.resource_type.clone(), body)], true).await?;
        let message = format!("{} asks for access to {}.", user.username, wanted.name);
        let notified = self.notify(&tx, None, Severity::Info, &message, Some("/access-requests")).await?;
        tx.commit().await.map_err(db_problem)?;
        self.publish(enqueued, vec![Change::Notification(notified)]);
        self.access_request(&id).await
    }

    async fn access_request(&self, id: &AccessRequestId) -> Result<AccessRequest, Problem> {
        let rows = self.rows(format!("{ACCESS_REQUEST} WHERE a.id = $1"), [id.as_str().into()]).await?;
        rows.first().map(access_request).unwrap_or_else(|| Err(Problem::not_found("access request")))
    }

    /// Requests, newest first: all for administrators, one's own for others.
    ///
    /// # Errors
    /// 422 for a bad page.
    pub async fn list_access_requests(
        &self,
        actor: &Actor,
        status: Option<AccessStatus>,
        page: &PageQuery,
    ) -> Result<Page<AccessRequest>, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        let limit = page.limit()?;
        let mut sql = format!("{ACCESS_REQUEST} WHERE 1 = 1");
        let mut values: Vec<sea_orm::Value> = vec![(limit as i64 + 1).into()];
        if let Some(before) = cursor::decode_cursor(page.cursor.as_deref())? {
            values.push(before.into());
            sql.push_str(&format!(" AND a.id < ${}", values.len()));
        }
        if let Some(status) = status {
            values.push(status.as_str().into());
            sql.push_str(&format!(" AND a.status = ${}", values.len()));
        }
        if actor.role != Role::Administrator {
            values.push(actor.username.as_str().into());
            sql.push_str(&format!(" AND a.username = ${}", values.len()));
        }
        let rows = self.rows(format!("{sql} ORDER BY a.id DESC LIMIT $1"), values).await?;
        let items = rows.iter().map(access_request).collect::<Result<Vec<_>, _>>()?;
        Ok(page_of(items, limit, |a| a.id.0.clone()))
    }

    /// Approves (grants access) or denies, and tells the person. Denying what was approved withdraws the access; reservations
    /// that stand, stand.
    ///
    /// # Errors
    /// 403 for others than administrators, 404, 409 when decided already: what was denied stays so.
    pub async fn decide_access(
        &self,
        actor: &Actor,
        id: &AccessRequestId,
        approve: bool,
    ) -> Result<AccessRequest, Problem> {
        authorize(actor, Action::DecideAccess)?;
        let before = self.access_request(id).await?;
        let status = if approve { AccessStatus::Approved } else { AccessStatus::Denied };
        let tx = self.write_tx().await?;
        let values: [sea_orm::Value; 4] = [
            status.as_str().into(),
            actor.username.as_str().into(),
            self.now().timestamp_millis().into(),
            id.as_str().into(),
        ];
        // What it was is part of the statement: two administrators may decide at the same time.
        let sql =
            "UPDATE access_requests SET status = $1, decided_by = $2, decided_at = $3 WHERE id = $4 AND status = $5";
        let candidates: &[AccessStatus] =
            if approve { &[AccessStatus::Pending] } else { &[AccessStatus::Pending, AccessStatus::Approved] };
        let mut was = None;
        for candidate in candidates {
            let values = values.iter().cloned().chain([candidate.as_str().into()]);
            let done = tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
            if done.rows_affected() > 0 {
                was = Some(*candidate);
                break;
            }
        }
        let was = was.ok_or_else(|| Problem::conflict("This request has been decided already."))?;
        let withdrawn = was == AccessStatus::Approved;
        let grant = match (approve, withdrawn) {
            (true, _) => {
                Some("INSERT INTO access_grants (resource_id, username) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            }
            (false, true) => Some("DELETE FROM access_grants WHERE resource_id = $1 AND username = $2"),
            (false, false) => None,
        };
        if let Some(sql) = grant {
            let values = [before.resource_id.into(), before.user_id.as_str().into()];
            tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        }
        let name = &before.resource_name;
        let (message, severity) = match (approve, withdrawn) {
            (true, _) => (format!("You may now reserve {name}."), Severity::Info),
            (false, true) => (format!("Your access to {name} was withdrawn."), Severity::Warning),
            (false, false) => (format!("Your request for {name} was denied."), Severity::Warning),
        };
        let link = format!("/reserve?resource={}", before.resource_id);
        let notified = self.notify(&tx, Some(&before.user_id), severity, &message, Some(&link)).await?;
        tx.commit().await.map_err(db_problem)?;
        self.announce(vec![Change::Notification(notified)]);
        self.access_request(id).await
    }
}
