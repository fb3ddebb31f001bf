//! Budgets of failed log-ins.

use sea_orm::entity::prelude::*;

/// The budget of one account or of one known device of an account.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "login_budgets")]
pub(crate) struct Model {
    /// Kind and digest of the subject.
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: String,
    /// The budget is complete again from this time on. Each failure moves it.
    pub spent_until: i64,
}

impl ActiveModelBehavior for ActiveModel {}
