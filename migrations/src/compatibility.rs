//! Compatibility of this release with the schema of a database.
//!
//! After a rollback, the schema has migrations that this release does not know. Most of them only expand the schema, and
//! this release works with it. A migration that contracts the schema has a name that ends in `_requires_mNNNN`: only
//! releases that contain the migration `mNNNN` work with the contracted schema.

use super::Migrator;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::EntityTrait as _;
use sea_orm_migration::{MigratorTraitSelf, seaql_migrations};

/// Separates the name of a contracting migration from the migration that it requires.
const REQUIRES: &str = "_requires_";

/// The applied migrations of a database, compared with those of this release.
pub(crate) struct Schema {
    /// Applied migrations that this release does not have.
    unknown: Vec<String>,
    /// Migrations of this release that are not applied.
    pending: Vec<String>,
}

/// An applied migration of a newer release. SeaORM's migrator refuses a database with a migration that it does not have.
struct Newer(String);

impl MigrationName for Newer {
    fn name(&self) -> &str {
        &self.0
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Newer {
    async fn up(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(format!("{} belongs to a newer release", self.0)))
    }
}

#[async_trait::async_trait]
impl MigratorTraitSelf for Schema {
    fn migrations(&self) -> Vec<Box<dyn MigrationTrait>> {
        let newer = self.unknown.iter().map(|name| Box::new(Newer(name.clone())) as Box<dyn MigrationTrait>);
        <Migrator as MigratorTrait>::migrations().into_iter().chain(newer).collect()
    }
}

impl Schema {
    /// Reads the applied migrations. Changes nothing.
    pub(crate) async fn read<'c>(database: impl IntoSchemaManagerConnection<'c>) -> Result<Self, DbErr> {
        let manager = SchemaManager::new(database);
        let applied = if manager.has_table("seaql_migrations").await? {
            seaql_migrations::Entity::find().all(manager.get_connection()).await?
        } else {
            Vec::new()
        };
        Ok(Self::of(applied.into_iter().map(|migration| migration.version).collect()))
    }

    fn of(mut applied: Vec<String>) -> Self {
        applied.sort_unstable();
        let (known, pending): (Vec<_>, Vec<_>) = names().into_iter().partition(|name| applied.contains(name));
        applied.retain(|name| !known.contains(name));
        Self { unknown: applied, pending }
    }

    /// The migrations of this release that are not applied.
    pub(crate) fn pending(&self) -> &[String] {
        &self.pending
    }

    /// Checks that this release works with the schema. Warns if the schema is newer.
    ///
    /// # Errors
    /// If a newer release has removed a part of the schema that this release needs.
    pub(crate) fn check(&self) -> Result<(), DbErr> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        let known = names();
        for name in &self.unknown {
            if let Some((_, required)) = name.rsplit_once(REQUIRES)
                && !known.iter().any(|own| own.split('_').next() == Some(required))
            {
                return Err(DbErr::Custom(format!(
                    "a newer release has removed parts that this one needs ({name}). Start a release that contains the \
                     migration {required}, or restore a backup from before the upgrade"
                )));
            }
        }
        let newer = self.unknown.join(", ");
        tracing::warn!(
            "The database schema is newer than this release ({newer}). Berth starts, because the schema was only \
             expanded. Settings that only the newer release knows have no effect."
        );
        Ok(())
    }
}

/// The names of all migrations of this release.
fn names() -> Vec<String> {
    <Migrator as MigratorTrait>::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(newer: &str) -> Schema {
        Schema::of(names().into_iter().chain([newer.to_owned()]).collect())
    }

    #[test]
    fn only_contractions_beyond_this_release_are_rejected() {
        assert!(with("m9000_future").check().is_ok());
        assert!(with("m9000_drop_old_form_requires_m0001").check().is_ok(), "this release contains m0001");
        let error = with("m9000_drop_old_form_requires_m8999").check().unwrap_err().to_string();
        assert!(error.contains("m9000_drop_old_form_requires_m8999") && error.contains("m8999"), "{error}");
    }

    #[test]
    fn pending_migrations_are_those_of_this_release() {
        assert_eq!(with("m9000_future").pending(), [""; 0]);
        assert_eq!(Schema::of(names().into_iter().skip(1).collect()).pending(), &names()[..1]);
        assert_eq!(Schema::of(Vec::new()).pending(), names());
    }
}
