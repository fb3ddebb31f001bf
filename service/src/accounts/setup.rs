//! The first set-up: the code of its link, and the first administrator.

use super::users::{any_user, validate_new};
use super::{Accounts, LoggedIn};
use crate::audit_trail::Author;
use crate::db::entity::{setup_code, users};
use crate::db::table_lock::lock_users;
use crate::secrets::{SecretUse, random};
use crate::{Error, Result};
use domain::Problem;
use domain::account::{SetupInput, UserInput};
use domain::authorization::Role;
use sea_orm::{EntityTrait as _, Set};
use subtle::ConstantTimeEq as _;
use tracing::instrument;

impl Accounts {
    /// Whether no account exists yet.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn needs_setup(&self) -> Result<bool, Problem> {
        Ok(!any_user(&self.context.db.read).await.map_err(Error::from)?)
    }

    /// The code of the link that creates the first administrator; `None` if an account exists. All replicas share it.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn setup_code(&self) -> Result<Option<String>, Problem> {
        if !self.needs_setup().await? {
            return Ok(None);
        }
        if let Some(code) = self.read_setup_code().await? {
            return Ok(Some(code));
        }
        let code = hex::encode(random::<16>());
        self.insert_setup_code(self.cipher.encrypt(SecretUse::SetupCode, &code)?).await?;
        // Another replica may have inserted its code first.
        self.read_setup_code().await
    }

    /// The stored code. One that cannot be decrypted was written with another master key, and is deleted.
    async fn read_setup_code(&self) -> Result<Option<String>, Problem> {
        let stored = self.stored_setup_code().await?;
        let Some(encrypted) = stored else { return Ok(None) };
        let code = self.cipher.try_decrypt(SecretUse::SetupCode, &encrypted);
        if code.is_none() {
            tracing::warn!("the set-up code was written with another master key; it is replaced");
            self.delete_setup_code().await?;
        }
        Ok(code)
    }

    async fn stored_setup_code(&self) -> Result<Option<String>> {
        let row = setup_code::Entity::find_by_id(setup_code::ID).one(&self.context.db.read).await?;
        Ok(row.map(|row| row.code))
    }

    async fn insert_setup_code(&self, encrypted: String) -> Result<()> {
        let row = setup_code::ActiveModel { id: Set(setup_code::ID), code: Set(encrypted) };
        setup_code::Entity::insert(row).on_conflict_do_nothing().exec_without_returning(&self.context.db.write).await?;
        Ok(())
    }

    async fn delete_setup_code(&self) -> Result<()> {
        setup_code::Entity::delete_by_id(setup_code::ID).exec(&self.context.db.write).await?;
        Ok(())
    }

    /// Creates the first administrator and logs in. A request from this machine (`local`) needs no code; any other
    /// request needs the code of the link printed at start.
    ///
    /// # Errors
    /// 403 without the code; 409 if an account exists; 422 that names invalid fields.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn set_up(&self, input: SetupInput, local: bool) -> Result<LoggedIn, Problem> {
        if !local && !self.is_setup_code(input.code.as_deref().unwrap_or_default()).await? {
            return Err(Problem::forbidden(
                "The set-up code is missing or wrong. Open the link that Berth printed at start, or use a browser on the \
                 machine itself.",
            ));
        }
        let user = UserInput {
            username: input.username,
            email: input.email,
            password: input.password,
            role: Role::Administrator,
        };
        validate_new(&user)?;
        if !self.needs_setup().await? {
            return Err(already_set_up());
        }
        let username = user.username.clone();
        let account = self.new_account(user).await?;
        self.insert_first_user(account, &username).await?;
        self.open_session(&username).await
    }

    async fn is_setup_code(&self, code: &str) -> Result<bool, Problem> {
        let Some(encrypted) = self.stored_setup_code().await? else { return Ok(false) };
        let expected = self.cipher.try_decrypt(SecretUse::SetupCode, &encrypted).unwrap_or_default();
        Ok(!expected.is_empty() && bool::from(code.as_bytes().ct_eq(expected.as_bytes())))
    }

    /// Inserts the first account, unless a concurrent set-up has inserted one. The code is then used up.
    async fn insert_first_user(&self, account: users::ActiveModel, username: &str) -> Result<()> {
        let tx = self.context.begin_change().await?;
        lock_users(&tx).await?;
        if any_user(&tx).await? {
            return Err(already_set_up().into());
        }
        self.check_is_unused(&*tx, username).await?;
        users::Entity::insert(account).exec_without_returning(&tx).await?;
        setup_code::Entity::delete_by_id(setup_code::ID).exec(&tx).await?;
        let record = self.created(&tx, Author::SetupCode(username), username).await?;
        tx.commit(record).await
    }
}

fn already_set_up() -> Problem {
    Problem::conflict("Berth is already set up. Log in instead.")
}
