//! Cache of resources with their config schemas, for the hot path of reservations.

use super::Catalogue;
use crate::Result;
use crate::db::entity::{access_grants, resource_types, resources};
use chrono::TimeDelta;
use domain::id::ResourceId;
use domain::resource::{ConfigSchema, ResourceStatus};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, EntityTrait as _, SelectExt as _};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a cached resource is valid. The transaction of a reservation checks again what must hold.
const TIME_TO_LIVE: Duration = Duration::from_secs(3);

/// The part of a resource that a reservation needs.
#[derive(Clone)]
pub(crate) struct Bookable {
    pub(crate) id: ResourceId,
    pub(crate) name: String,
    pub(crate) resource_type: String,
    pub(crate) status: ResourceStatus,
    pub(crate) schema: Arc<ConfigSchema>,
    /// Time after each reservation in which it is not free.
    pub(crate) turnaround: TimeDelta,
}

/// Cached resources of this process.
#[derive(Default)]
pub(super) struct ResourceCache(Mutex<Entries>);

/// Entries of one generation (see [`crate::change_feed::ChangeFeed::cache_generation`]).
#[derive(Default)]
struct Entries {
    generation: u64,
    resources: HashMap<ResourceId, (Instant, Arc<Bookable>)>,
}

impl ResourceCache {
    pub(super) fn clear(&self) {
        self.0.lock().resources.clear();
    }

    fn get(&self, id: ResourceId, generation: u64) -> Option<Arc<Bookable>> {
        let mut entries = self.0.lock();
        if entries.generation != generation {
            *entries = Entries { generation, resources: HashMap::new() };
        }
        let (at, resource) = entries.resources.get(&id)?;
        (at.elapsed() < TIME_TO_LIVE).then(|| resource.clone())
    }

    fn put(&self, resource: Arc<Bookable>) {
        self.0.lock().resources.insert(resource.id, (Instant::now(), resource));
    }
}

impl Catalogue {
    /// A resource with the schema of its type, from the cache if possible.
    pub(crate) async fn bookable(&self, id: ResourceId) -> Result<Option<Arc<Bookable>>> {
        if let Some(resource) = self.cache.get(id, self.feed.cache_generation()) {
            return Ok(Some(resource));
        }
        let Some(resource) = read_bookable(&self.context.db.read, id).await? else { return Ok(None) };
        let resource = Arc::new(resource);
        self.cache.put(resource.clone());
        Ok(Some(resource))
    }
}

/// Reads a resource with the schema of its type.
pub(crate) async fn read_bookable(connection: &impl ConnectionTrait, id: ResourceId) -> Result<Option<Bookable>> {
    let found = resources::Entity::find_by_id(id).find_also_related(resource_types::Entity).one(connection).await?;
    let Some((resource, Some(resource_type))) = found else { return Ok(None) };
    Ok(Some(Bookable {
        id,
        name: resource.name,
        resource_type: resource.resource_type,
        status: resource.status.0,
        // Schemas are validated before they are stored. One that a later version cannot parse has no fields.
        schema: Arc::new(ConfigSchema::parse(&resource_type.config_schema.0).unwrap_or_default()),
        turnaround: TimeDelta::minutes(resource_type.turnaround_minutes.into()),
    }))
}

/// Whether a user has access to a restricted resource.
pub(crate) async fn is_granted(connection: &impl ConnectionTrait, id: ResourceId, username: &str) -> Result<bool> {
    let grant = access_grants::Entity::find_by_id((id, username.to_owned()));
    Ok(grant.exists(connection).await?)
}
