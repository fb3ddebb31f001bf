//! Responses to requests with an `Idempotency-Key`.

use sea_orm::entity::prelude::*;

/// One key of one account.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub(crate) struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub username: String,
    /// The value of the header.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// Digest of the request, to reject another request with the same key.
    pub fingerprint: String,
    /// Status code of the response; NULL while the first request runs.
    pub status: Option<i32>,
    /// Body of the response, encrypted; NULL while the first request runs.
    pub body: Option<String>,
    /// Time of the first request; old rows are deleted.
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
