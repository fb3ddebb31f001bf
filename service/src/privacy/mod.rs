//! Personal data: the export of everything about a user, and the erasure of an account
//! (docs/adr/0015-erasure-of-accounts.md).
//!
//! | File | Content |
//! |---|---|
//! | `export` | one JSON document with the data about a user, in pieces |
//! | `erasure` | the erasure of an account in one transaction |
//! | `rows` | pseudonyms in reservations, access requests, notifications and the delivery log |

mod erasure;
mod export;
mod rows;

pub use export::Export;

use crate::accounts::Accounts;
use crate::context::Context;

/// Use cases of personal data. Cheap to clone.
#[derive(Clone)]
pub struct Privacy {
    context: Context,
    accounts: Accounts,
}

impl Privacy {
    pub(crate) fn new(context: Context, accounts: Accounts) -> Self {
        Self { context, accounts }
    }
}
