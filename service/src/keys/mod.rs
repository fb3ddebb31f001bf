//! The keys of a database: the cipher of its secrets, keys that outlive a rotation of the master key, and the rotation.

mod rotation;

pub use rotation::Rotated;
pub(crate) use rotation::rotate;

use crate::Result;
use crate::db::connect::Database;
use crate::db::entity::{audit_log, idempotency_keys, stored_keys, unbound_secrets, webhooks};
use crate::error::OpenError;
use crate::secrets::{Cipher, SecretFormat, SecretUse};
use crate::settings::Settings;
use sea_orm::{DbErr, EntityTrait as _, QueryFilter as _, SelectExt as _, Set};

/// Purpose of the key that authenticates `status_url`, and the context by which it was derived from the master key.
const STATUS_URL: &str = "berth status_url v1";
/// Purpose of the key of the audit log's hashes, and the context of its derivation.
const AUDIT_LOG: &str = "berth audit log v1";

/// The cipher for the secrets of a database, in the form that its mark requires.
///
/// # Errors
/// A sentence for the operator if the database is unavailable.
pub(crate) async fn cipher_of(database: &Database, settings: &Settings) -> Result<Cipher, OpenError> {
    let mark = unbound_secrets::Entity::find_by_id(unbound_secrets::ID).one(&database.read).await;
    let mark = mark.map_err(|error| OpenError(format!("The database cannot be read: {error}")))?;
    let format = if mark.is_some() { SecretFormat::Unbound } else { SecretFormat::Bound };
    Ok(Cipher::new(&settings.master_key, &settings.previous_master_keys, format))
}

/// Whether the database contains secrets that are encrypted with the master key. Only that key can decrypt them.
///
/// # Errors
/// A sentence for the operator if the database is unavailable.
pub async fn secrets_exist(database: &Database) -> Result<bool, OpenError> {
    let read = async || -> Result<bool, DbErr> {
        let webhook = webhooks::Entity::find().filter(webhooks::COLUMN.secret.ne(""));
        let response = idempotency_keys::Entity::find().filter(idempotency_keys::COLUMN.body.is_not_null());
        Ok(webhook.exists(&database.read).await? || response.exists(&database.read).await?)
    };
    read().await.map_err(|error| OpenError(format!("The database cannot be read: {error}")))
}

/// The key that authenticates `status_url`. It outlives a rotation of the master key, so that the URLs that receivers have
/// stay valid.
///
/// # Errors
/// A sentence for the operator if the database is unavailable.
pub(crate) async fn status_url_key(
    database: &Database,
    settings: &Settings,
    cipher: &Cipher,
) -> Result<[u8; 32], OpenError> {
    stored_key(database, settings, cipher, STATUS_URL, secrets_exist(database)).await
}

/// The key of the audit log's hashes. It outlives a rotation of the master key, so that old entries can be verified.
///
/// # Errors
/// A sentence for the operator if the database is unavailable.
pub(crate) async fn audit_log_key(
    database: &Database,
    settings: &Settings,
    cipher: &Cipher,
) -> Result<[u8; 32], OpenError> {
    stored_key(database, settings, cipher, AUDIT_LOG, has_audit_entries(database)).await
}

/// The key of a purpose. It is derived from the master key and stored at the first start. A process with another master
/// key cannot read it, and uses a derived one.
async fn stored_key(
    database: &Database,
    settings: &Settings,
    cipher: &Cipher,
    purpose: &str,
    is_in_use: impl Future<Output = Result<bool, OpenError>>,
) -> Result<[u8; 32], OpenError> {
    let derived = settings.master_key.derive(purpose);
    let read = async || {
        read_or_insert(database, cipher, purpose, &derived).await.map_err(|error| OpenError(error.to_string()))
    };
    if let Some(key) = read().await? {
        return Ok(key);
    }
    if is_in_use.await? {
        tracing::error!(purpose, "a key was stored with another master key; BERTH_MASTER_KEY may have changed");
        return Ok(derived);
    }
    // The other master key is lost, and nothing depends on the key yet.
    let delete = stored_keys::Entity::delete_by_id(purpose).exec(&database.write).await;
    delete.map_err(|error| OpenError(format!("The database cannot be written: {error}")))?;
    Ok(read().await?.unwrap_or(derived))
}

/// Whether the audit log has entries, whose hashes need their key.
async fn has_audit_entries(database: &Database) -> Result<bool, OpenError> {
    let exists = audit_log::Entity::find().exists(&database.read).await;
    exists.map_err(|error| OpenError(format!("The database cannot be read: {error}")))
}

/// The stored key of a purpose; first stores `initial` if there is none. `None` if no master key decrypts it.
async fn read_or_insert(
    database: &Database,
    cipher: &Cipher,
    purpose: &str,
    initial: &[u8; 32],
) -> Result<Option<[u8; 32]>> {
    let read = || async { stored_keys::Entity::find_by_id(purpose).one(&database.read).await };
    let of = SecretUse::StoredKey(purpose);
    let row = match read().await? {
        Some(row) => Some(row),
        None => {
            let encrypted = cipher.encrypt(of, &hex::encode(initial))?;
            insert_unless_stored(database, purpose, encrypted).await?;
            // Another process may have stored its key first.
            read().await?
        }
    };
    let text = row.and_then(|row| cipher.try_decrypt(of, &row.encrypted));
    let mut key = [0; 32];
    Ok(text.filter(|text| hex::decode_to_slice(text, &mut key).is_ok()).map(|_| key))
}

async fn insert_unless_stored(database: &Database, purpose: &str, encrypted: String) -> Result<(), DbErr> {
    let row = stored_keys::ActiveModel { purpose: Set(purpose.to_owned()), encrypted: Set(encrypted) };
    stored_keys::Entity::insert(row).on_conflict_do_nothing().exec_without_returning(&database.write).await?;
    Ok(())
}
