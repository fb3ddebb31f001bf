//! The audit log: list, export, verify, retention and streams. `audit_trail` writes it.
//!
//! | File | Content |
//! |---|---|
//! | `queries` | list and export |
//! | `verify` | the check of the chain of hashes |
//! | `retention` | deletion of old entries from the front |
//! | `stream` | positions of the streams to other systems |

mod queries;
mod retention;
mod stream;
mod verify;

pub use queries::Export;
pub(crate) use queries::entries_about;
pub use stream::StreamName;
pub use verify::{Fault, Intact, Verdict};

use crate::audit_trail::{Author, Origin, Record, Target};
use crate::context::Context;
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType};

/// Use cases of the audit log. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    context: Context,
}

impl Audit {
    pub(crate) fn new(context: Context) -> Self {
        Self { context }
    }

    /// Records that the current request was refused for lack of permission. `request` is its method and route.
    ///
    /// Equal refusals are counted, and written once per minute ([`Self::flush_failures`]).
    pub async fn record_refusal(&self, request: &str, reason: &str) {
        let caller = Origin::current().caller();
        let author = caller.as_ref().map_or(Author::Anonymous, Author::User);
        let target = Target::new(AuditTargetType::Request, request);
        let record = Record::new(author, AuditAction::RequestRefused, target).detail(reason);
        self.context.trail.write_failure(record).await;
    }

    /// Writes the numbers of failures whose minute has passed, or of all of them at the end of the process (`all`).
    ///
    /// # Errors
    /// 503 if the database is unavailable. They are kept, and the next call writes them.
    pub async fn flush_failures(&self, all: bool) -> Result<(), Problem> {
        Ok(self.context.trail.flush_failures(all).await?)
    }
}
