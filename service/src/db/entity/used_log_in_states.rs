//! Used states of log-ins at identity providers.

use sea_orm::entity::prelude::*;

/// A state that a browser has returned. It cannot be used again.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "used_log_in_states")]
pub(crate) struct Model {
    /// SHA-256 of the state, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub state_hash: String,
    /// The state is invalid from this time on, so the row is not needed any more.
    pub expires_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
