//! Writing of the audit log: each change writes its entry in its own transaction.
//!
//! | File | Content |
//! |---|---|
//! | `origin` | the request that causes an action: client, id, credential |
//! | `record` | an entry before it has a place in the chain |
//! | `chain` | the hashes that chain the entries, and their key |
//! | `failures` | limit on the entries about failed log-ins and refusals |
//! | `pseudonyms` | pseudonyms of erased accounts in written entries |
//! | `transaction` | a transaction that can only be committed with its entries |
//!
//! The module `audit` has the use cases: list, export, verify, retention, streams.

pub(crate) mod chain;
mod failures;
mod origin;
mod pseudonyms;
mod record;
mod transaction;

pub(crate) use origin::identify;
pub use origin::{Origin, note_refusal};
pub(crate) use pseudonyms::{ErasedSubject, previous_hash};
pub(crate) use record::{Author, Record, Target};
pub(crate) use transaction::{AuditTrail, AuditedTransaction};
