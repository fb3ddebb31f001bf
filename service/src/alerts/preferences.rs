//! The preferences of people for alerts.

use super::Alerts;
use crate::Result;
use crate::audit_trail::{Record, Target};
use crate::db::entity::alert_preferences;
use domain::alert::AlertPreferences;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use sea_orm::ActiveValue::Set;
use sea_orm::EntityTrait as _;
use sea_orm::sea_query::OnConflict;

impl Alerts {
    /// The actor's preferences.
    ///
    /// # Errors
    /// 403 for a token that may only read.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn preferences(&self, actor: &Actor) -> Result<AlertPreferences> {
        authorize(actor, Action::SetAlertPreferences)?;
        let row = alert_preferences::Entity::find_by_id(actor.username.as_str()).one(&self.context.db.read).await?;
        Ok(AlertPreferences { email: row.is_none_or(|row| row.email) })
    }

    /// Changes the actor's preferences.
    ///
    /// # Errors
    /// 403 for a token that may only read.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn set_preferences(&self, actor: &Actor, preferences: AlertPreferences) -> Result<AlertPreferences> {
        let before = self.preferences(actor).await?;
        let row =
            alert_preferences::ActiveModel { username: Set(actor.username.clone()), email: Set(preferences.email) };
        let conflict = OnConflict::column(alert_preferences::Column::Username)
            .update_column(alert_preferences::Column::Email)
            .to_owned();
        let tx = self.context.begin_change().await?;
        alert_preferences::Entity::insert(row).on_conflict(conflict).exec_without_returning(&tx).await?;
        let target = Target::new(AuditTargetType::User, &actor.username);
        let changes = Changes::none().field("email", before.email, preferences.email);
        tx.commit(Record::new(actor, AuditAction::AlertPreferencesUpdated, target).changes(changes)).await?;
        Ok(preferences)
    }
}
