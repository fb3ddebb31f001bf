//! Tools around a webhook: receiver snippets, the checks before it is saved, the rotation of its secret, and the
//! signature checker.

mod checklist;
mod rotation;
mod signature_check;
mod snippets;

pub use checklist::{Checklist, DraftSource};
pub use rotation::RotateForm;
pub use signature_check::SignatureCheckPage;
pub use snippets::{SnippetSettings, Snippets};
