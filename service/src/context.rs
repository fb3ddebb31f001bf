//! The dependencies of every area: the database, the clock, identifiers and the settings.

use crate::Clock;
use crate::audit_trail::{AuditTrail, AuditedTransaction};
use crate::db::connect::Database;
use crate::hidden_access::HiddenAccess;
use crate::settings::Settings;
use crate::status_urls::StatusUrls;
use chrono::{DateTime, SubsecRound as _, Utc};
use parking_lot::Mutex;
use sea_orm::DbErr;
use std::sync::Arc;

/// Dependencies shared by the handles of all areas. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) db: Database,
    pub(crate) settings: Arc<Settings>,
    /// The writer of the audit log.
    pub(crate) trail: AuditTrail,
    pub(crate) status_urls: Arc<StatusUrls>,
    /// The starts at which hidden access information becomes readable.
    pub(crate) hidden_access: HiddenAccess,
    clock: Arc<dyn Clock>,
    ulids: Arc<Mutex<ulid::Generator>>,
}

impl Context {
    pub(crate) fn new(
        db: Database,
        settings: Settings,
        status_urls: StatusUrls,
        audit_key: [u8; 32],
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            trail: AuditTrail::new(db.clone(), clock.clone(), audit_key),
            db,
            settings: Arc::new(settings),
            status_urls: Arc::new(status_urls),
            hidden_access: HiddenAccess::default(),
            clock,
            ulids: Arc::new(Mutex::new(ulid::Generator::new())),
        }
    }

    /// The current time, truncated to the millisecond, which is the precision of the database.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now().trunc_subsecs(3)
    }

    /// Begins a transaction whose change is recorded in the audit log. It can only be committed with the entries.
    pub(crate) async fn begin_change(&self) -> Result<AuditedTransaction, DbErr> {
        self.trail.begin().await
    }

    /// A new ULID, greater than every earlier one of this process.
    pub(crate) fn new_ulid(&self) -> ulid::Ulid {
        let now = self.clock.now();
        let mut generator = self.ulids.lock();
        // The generator overflows after 2^80 identifiers within one millisecond.
        generator
            .generate_from_datetime(std::time::SystemTime::from(now))
            .unwrap_or_else(|_| ulid::Ulid::from_datetime(now.into()))
    }
}
