//! Administration of groups of users, and of the owners of resource types and resources.
//!
//! | File | Content |
//! |---|---|
//! | `user_groups` | groups and their members |
//! | `owner_lists` | owners of a resource type or a resource |
//!
//! Each change invalidates the cached credentials on every replica, because the objects that a user owns are cached with
//! the credential (`crate::ownership`).

mod owner_lists;
mod user_groups;

pub use owner_lists::{OwnedObject, OwnerLists};
pub use user_groups::Groups;
