//! Requests for access to restricted resources, and their decision.

use super::Catalogue;
use crate::accounts::Accounts;
use crate::audit_trail::{Record, Target};
use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{access_grants, access_requests, resources, users};
use crate::db::link::DatabaseTransaction;
use crate::notifications::{Notifications, Recipient};
use crate::outbox::{Held, Outbox};
use crate::ownership::visibility::access_requests_of;
use crate::pagination::{decode_cursor, page_of};
use crate::{Error, Result};
use domain::access_request::{AccessRequest, AccessRequestInput, AccessStatus};
use domain::account::User;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::change::{Change, Notification, Severity};
use domain::event::{AccessRequestBody, EventBody, EventType};
use domain::id::{AccessRequestId, EventId, ResourceId};
use domain::ownership::ResourceKey;
use domain::pagination::{Page, PageQuery};
use domain::privacy::ExportedGrant;
use domain::problem::Validator;
use domain::resource::{Resource, ResourceStatus};
use domain::{Problem, validation};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DerivePartialModel, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Select, Set,
};
use tracing::instrument;

/// Use cases of access requests.
#[derive(Clone)]
pub struct AccessRequests {
    context: Context,
    feed: ChangeFeed,
    outbox: Outbox,
    accounts: Accounts,
    catalogue: Catalogue,
    notifications: Notifications,
}

/// An access request with the name and type of its resource.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "access_requests::Entity")]
struct AccessRequestRow {
    id: String,
    username: String,
    reason: String,
    status: Text<AccessStatus>,
    requested_at: i64,
    decided_by: Option<String>,
    decided_at: Option<i64>,
    #[sea_orm(nested)]
    resource: ResourceColumns,
}

#[derive(DerivePartialModel)]
#[sea_orm(entity = "resources::Entity")]
struct ResourceColumns {
    id: ResourceId,
    name: String,
    resource_type: String,
}

impl From<AccessRequestRow> for AccessRequest {
    fn from(row: AccessRequestRow) -> Self {
        Self {
            id: AccessRequestId(row.id),
            user_id: row.username,
            resource_id: row.resource.id,
            resource_name: row.resource.name,
            resource_type: row.resource.resource_type,
            reason: row.reason,
            status: row.status.0,
            requested_at: time(row.requested_at),
            decided_by: row.decided_by,
            decided_at: row.decided_at.map(time),
        }
    }
}

/// The effect of a decision.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// A pending request is approved: the access is granted.
    Granted,
    /// A pending request is denied.
    Denied,
    /// An approved request is denied: the access is withdrawn.
    Withdrawn,
}

impl AccessRequests {
    pub(crate) fn new(
        context: Context,
        feed: ChangeFeed,
        outbox: Outbox,
        accounts: Accounts,
        catalogue: Catalogue,
        notifications: Notifications,
    ) -> Self {
        Self { context, feed, outbox, accounts, catalogue, notifications }
    }

    /// Requests access to a restricted resource; publishes `user.access_requested` and notifies the administrators and the
    /// owners of the resource.
    ///
    /// # Errors
    /// 404 for an unknown resource; 409 if the actor may reserve it already, it is in maintenance, or a request is pending; 422
    /// for an invalid reason.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn create(&self, actor: &Actor, input: AccessRequestInput) -> Result<AccessRequest, Problem> {
        authorize(actor, Action::RequestAccess)?;
        validate(&input)?;
        let resource = self.catalogue.get_resource(actor, input.resource_id).await?;
        if resource.bookable {
            return Err(Problem::conflict("You may reserve this resource already. Reserve it without a request."));
        }
        if resource.status == ResourceStatus::Maintenance {
            return Err(Problem::conflict("This resource is in maintenance and cannot be reserved. Try again later."));
        }
        let user = self.accounts.get_user(&actor.username).await?;
        let id = AccessRequestId::from_ulid(self.context.new_ulid());
        self.insert(actor, &id, &user, &resource, input.reason).await?;
        Ok(self.read(&id).await?)
    }

    /// Inserts the request, its event and the notification in one transaction, and announces them.
    async fn insert(
        &self,
        actor: &Actor,
        id: &AccessRequestId,
        user: &User,
        resource: &Resource,
        reason: String,
    ) -> Result<()> {
        let now = self.context.now();
        let tx = self.context.begin_change().await?;
        // The lock serialises the request with an erasure of the account.
        let account = users::Entity::find_by_id(user.username.as_str()).lock_shared().one(&*tx).await?;
        account.ok_or_else(|| Problem::not_found("user"))?;
        let row = access_requests::ActiveModel {
            id: Set(id.0.clone()),
            username: Set(user.username.clone()),
            resource_id: Set(resource.id),
            reason: Set(reason.clone()),
            status: Set(Text(AccessStatus::Pending)),
            requested_at: Set(now.timestamp_millis()),
            decided_by: Set(None),
            decided_at: Set(None),
        };
        access_requests::Entity::insert(row).exec_without_returning(&tx).await.map_err(|error| {
            Error::on_unique_violation(error, || {
                Problem::conflict("Your earlier request is still pending. Wait for a decision.")
            })
        })?;
        let changes = Changes::none().field("user_id", (), &user.username).field("resource_id", (), resource.id).field(
            "reason",
            (),
            &reason,
        );
        let event = EventBody::AccessRequest(Box::new(AccessRequestBody {
            event_type: EventType::AccessRequested,
            event_id: EventId::from_ulid(self.context.new_ulid()),
            timestamp: now,
            webhook_id: 0,
            test: false,
            access_request_id: id.clone(),
            user_id: user.username.clone(),
            user_email: user.email.clone(),
            resource_type: resource.resource_type.clone(),
            resource_id: resource.id,
            resource_name: resource.name.clone(),
            reason,
            requested_at: now,
            user_ssh_key: user.ssh_key.clone(),
        }));
        let configs = self.outbox.configs().load(&tx).await?;
        let enqueued = self
            .outbox
            .enqueue(&tx, &configs, vec![(resource.resource_type.clone(), event)], true, &Held::new())
            .await?;
        let message = format!("{} requests access to {}.", user.username, resource.name);
        let key = ResourceKey::new(&resource.resource_type, resource.id);
        let notifications = self
            .notifications
            .create_for_managers(&tx, Some(key), Severity::Info, &message, Some("/access-requests"))
            .await?;
        tx.commit(record(actor, AuditAction::AccessRequestCreated, id, &resource.name).changes(changes)).await?;
        self.outbox.publish(enqueued, notifications.into_iter().map(Change::Notification).collect());
        Ok(())
    }

    async fn read(&self, id: &AccessRequestId) -> Result<AccessRequest> {
        let row = select()
            .filter(access_requests::COLUMN.id.eq(id.as_str()))
            .into_partial_model::<AccessRequestRow>()
            .one(&self.context.db.read)
            .await?;
        Ok(row.map(AccessRequest::from).ok_or_else(|| Problem::not_found("access request"))?)
    }

    /// Lists access requests, newest first: all for administrators and auditors; their own, and those for resources that
    /// they own, for other users.
    ///
    /// # Errors
    /// 422 for an invalid limit or cursor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list(
        &self,
        actor: &Actor,
        status: Option<AccessStatus>,
        page: &PageQuery,
    ) -> Result<Page<AccessRequest>, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        let limit = page.limit()?;
        let query = select()
            .apply_if(decode_cursor(page.cursor.as_deref())?, |query, id| {
                query.filter(access_requests::COLUMN.id.lt(id))
            })
            .apply_if(status, |query, status| query.filter(access_requests::COLUMN.status.eq(Text(status))))
            .filter(access_requests_of(actor))
            .order_by_desc(access_requests::Column::Id)
            .limit(limit + 1);
        let requests = self.read_all(query).await?;
        Ok(page_of(requests, limit, |request| request.id.0.clone()))
    }

    async fn read_all(&self, query: Select<access_requests::Entity>) -> Result<Vec<AccessRequest>> {
        let rows = query.into_partial_model::<AccessRequestRow>().all(&self.context.db.read).await?;
        Ok(rows.into_iter().map(AccessRequest::from).collect())
    }

    /// Approves a pending request (administrators and owners): grants the access and notifies the user.
    ///
    /// # Errors
    /// 403 for other users; 404 if there is no such request; 409 if it is decided already.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn approve(&self, actor: &Actor, id: &AccessRequestId) -> Result<AccessRequest, Problem> {
        self.decide(actor, id, &[(AccessStatus::Pending, Effect::Granted)]).await
    }

    /// Denies a request (administrators and owners) and notifies the user. Denying an approved request withdraws the access; existing
    /// reservations are kept.
    ///
    /// # Errors
    /// 403 for other users; 404 if there is no such request; 409 if it is denied already.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn deny(&self, actor: &Actor, id: &AccessRequestId) -> Result<AccessRequest, Problem> {
        let effects = [(AccessStatus::Pending, Effect::Denied), (AccessStatus::Approved, Effect::Withdrawn)];
        self.decide(actor, id, &effects).await
    }

    /// Decides a request. `effects` lists the statuses from which the decision is possible.
    async fn decide(
        &self,
        actor: &Actor,
        id: &AccessRequestId,
        effects: &[(AccessStatus, Effect)],
    ) -> Result<AccessRequest, Problem> {
        authorize(actor, Action::WriteOwned)?;
        let request = self.read(id).await?;
        let resource = ResourceKey::new(&request.resource_type, request.resource_id);
        authorize(actor, Action::DecideAccess { resource })?;
        let notification = self.apply(actor, &request, effects).await?;
        self.feed.publish(vec![Change::Notification(notification)]);
        Ok(self.read(id).await?)
    }

    async fn apply(
        &self,
        actor: &Actor,
        request: &AccessRequest,
        effects: &[(AccessStatus, Effect)],
    ) -> Result<Notification> {
        let tx = self.context.begin_change().await?;
        let effect = self.update_status(&tx, actor, request, effects).await?;
        let grant = access_grants::Model { resource_id: request.resource_id, username: request.user_id.clone() };
        match effect {
            Effect::Granted => {
                let grant = grant.into_active_model().reset_all();
                access_grants::Entity::insert(grant).on_conflict_do_nothing().exec_without_returning(&tx).await?;
            }
            Effect::Withdrawn => {
                access_grants::Entity::delete_by_id((grant.resource_id, grant.username)).exec(&tx).await?;
            }
            Effect::Denied => {}
        }
        let name = &request.resource_name;
        let (message, severity) = match effect {
            Effect::Granted => (format!("You may now reserve {name}."), Severity::Info),
            Effect::Denied => (format!("Your request for {name} was denied."), Severity::Warning),
            Effect::Withdrawn => (format!("Your access to {name} was withdrawn."), Severity::Warning),
        };
        let link = format!("/reserve?resource={}", request.resource_id);
        let recipient = Recipient::User(&request.user_id);
        let notification = self.notifications.create(&tx, recipient, severity, &message, Some(&link)).await?;
        let (action, status) = match effect {
            Effect::Granted => (AuditAction::AccessRequestApproved, AccessStatus::Approved),
            Effect::Denied => (AuditAction::AccessRequestDenied, AccessStatus::Denied),
            Effect::Withdrawn => (AuditAction::AccessRequestWithdrawn, AccessStatus::Denied),
        };
        let before = if effect == Effect::Withdrawn { AccessStatus::Approved } else { AccessStatus::Pending };
        let changes = Changes::none().field("status", before, status).field("user_id", (), &request.user_id);
        tx.commit(record(actor, action, &request.id, name).changes(changes)).await?;
        Ok(notification)
    }

    /// Sets the new status if the current one allows it, and returns the effect.
    async fn update_status(
        &self,
        tx: &DatabaseTransaction,
        actor: &Actor,
        request: &AccessRequest,
        effects: &[(AccessStatus, Effect)],
    ) -> Result<Effect> {
        for (current, effect) in effects {
            let status = match effect {
                Effect::Granted => AccessStatus::Approved,
                Effect::Denied | Effect::Withdrawn => AccessStatus::Denied,
            };
            let change = access_requests::ActiveModel {
                status: Set(Text(status)),
                decided_by: Set(Some(actor.username.clone())),
                decided_at: Set(Some(self.context.now().timestamp_millis())),
                ..Default::default()
            };
            // The current status is part of the condition, because two managers may decide at the same time.
            let updated = access_requests::Entity::update_many()
                .set(change)
                .filter(access_requests::COLUMN.id.eq(request.id.as_str()))
                .filter(access_requests::COLUMN.status.eq(Text(*current)))
                .exec(tx)
                .await?;
            if updated.rows_affected > 0 {
                return Ok(*effect);
            }
        }
        Err(Problem::conflict("This request is decided already. Refresh the list.").into())
    }
}

/// An entry of the audit log about an access request for the resource of this name.
fn record(actor: &Actor, action: AuditAction, id: &AccessRequestId, resource: &str) -> Record {
    Record::new(actor, action, Target::named(AuditTargetType::AccessRequest, id, resource))
}

/// Access requests of a user with an id after `after`, oldest first.
pub(crate) async fn requests_of(
    connection: &impl ConnectionTrait,
    username: &str,
    after: &str,
    limit: u64,
) -> Result<Vec<AccessRequest>> {
    let query = select()
        .filter(access_requests::COLUMN.username.eq(username))
        .filter(access_requests::COLUMN.id.gt(after))
        .order_by_asc(access_requests::Column::Id)
        .limit(limit);
    let rows = query.into_partial_model::<AccessRequestRow>().all(connection).await?;
    Ok(rows.into_iter().map(AccessRequest::from).collect())
}

/// The restricted resources that a user may reserve, by id.
pub(crate) async fn grants_of(connection: &impl ConnectionTrait, username: &str) -> Result<Vec<ExportedGrant>> {
    let rows: Vec<(ResourceId, String)> = access_grants::Entity::find()
        .select_only()
        .column(access_grants::Column::ResourceId)
        .column(resources::Column::Name)
        .inner_join(resources::Entity)
        .filter(access_grants::COLUMN.username.eq(username))
        .order_by_asc(access_grants::Column::ResourceId)
        .into_tuple()
        .all(connection)
        .await?;
    Ok(rows.into_iter().map(|(resource_id, resource_name)| ExportedGrant { resource_id, resource_name }).collect())
}

/// Access requests with their resources.
fn select() -> Select<access_requests::Entity> {
    access_requests::Entity::find().inner_join(resources::Entity)
}

fn validate(input: &AccessRequestInput) -> Result<(), Problem> {
    let mut validator = Validator::new();
    if !validation::is_visible(&input.reason) {
        validator.error("reason", "Enter the reason for your request.");
    }
    validator.check("reason", validation::text(&input.reason, 1_000));
    validator.finish()
}
