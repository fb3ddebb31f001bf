//! The audit log.

use sea_orm::entity::prelude::*;

/// One entry. Names are texts, so that an entry of a newer release is read, and verified, as it was written.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_log")]
pub(crate) struct Model {
    /// Position in the chain, from 1, without gaps.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// Time of writing.
    pub at: i64,
    /// Login name; NULL for an action without a user.
    pub actor: Option<String>,
    /// Kind of credential.
    pub credential: String,
    /// Public id of the credential.
    pub credential_id: String,
    /// Name of the credential.
    pub credential_name: String,
    /// Address of the client.
    pub source: String,
    /// Id of the request.
    pub request_id: String,
    /// The action.
    pub action: String,
    /// Succeeded or refused.
    pub outcome: String,
    /// Kind of object.
    pub target_type: String,
    /// Id of the object.
    pub target_id: String,
    /// Name of the object.
    pub target_name: String,
    /// The changed fields, as JSON.
    pub changes: String,
    /// Details in one sentence.
    pub detail: String,
    /// Number of equal actions that it stands for.
    pub occurrences: i64,
    /// Id of the key of `hash`.
    pub key_id: String,
    /// HMAC of the previous row's hash and of this row.
    pub hash: String,
}

impl ActiveModelBehavior for ActiveModel {}
