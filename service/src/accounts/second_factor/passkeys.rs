//! Registration of passkeys, and the check of their responses (WebAuthn Level 3).

use super::super::Accounts;
use super::challenges::{Holder, State, expired};
use super::require_session;
use crate::Error;
use crate::Result;
use crate::db::codec::{json, to_json};
use crate::db::entity::passkeys;
use crate::secrets::random;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::second_factor::{FactorAdded, MAX_PASSKEYS, PasskeyRequest, PasskeyResponse};
use domain::{Problem, validation};
use sea_orm::{EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, Set};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::instrument;
use webauthn_rs::prelude::{
    AuthenticationResult, CredentialID, DiscoverableAuthentication, DiscoverableKey, Passkey, PasskeyAuthentication,
    PublicKeyCredential, RegisterPublicKeyCredential, Uuid, WebauthnError,
};

/// Maximum length of a response in bytes. An attestation with certificates has some thousand.
const MAX_RESPONSE: usize = 64 * 1024;
/// Prefix of the public id of a passkey.
const ID_PREFIX: &str = "psk_";

impl Accounts {
    /// Starts the registration of a passkey for the actor.
    ///
    /// # Errors
    /// 403 for an API token and without a recent confirmation; 409 at the limit on passkeys, for an account without a
    /// password, and if the public URL has no host name.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn start_passkey(&self, actor: &Actor) -> Result<PasskeyRequest, Problem> {
        let session = self.check_may_add(actor).await?.to_owned();
        let username = actor.username.as_str();
        let rows = self.passkey_rows_of(username).await?;
        if rows.len() >= MAX_PASSKEYS {
            return Err(too_many());
        }
        let user_handle = rows.first().map_or_else(|| hex::encode(random::<16>()), |row| row.user_handle.clone());
        let handle = hex::decode(&user_handle).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
        let handle = handle.ok_or_else(Problem::internal)?;
        let known = rows.iter().map(|row| credential_id(&row.credential_id)).collect::<Option<Vec<_>>>();
        let (options, passkey) = self
            .relying_party
            .get()?
            .start_passkey_registration(handle, username, username, known)
            .map_err(|error| failed(&error))?;
        let mut options = serde_json::to_value(options.public_key).map_err(|_| Problem::internal())?;
        // With it, the passkey can log in without a username. Security keys without memory still work as a second step.
        if let Some(selection) = options.get_mut("authenticatorSelection").and_then(Value::as_object_mut) {
            selection.insert("residentKey".into(), "preferred".into());
        }
        let state = State::Registration { session, user_handle, passkey: Box::new(passkey) };
        self.request(Holder::User(username), &state, &options).await
    }

    /// Adds the passkey of a registration to the actor's account.
    ///
    /// # Errors
    /// 403 for an API token; 409 if the registration has expired or was finished before, or the passkey is registered
    /// already; 422 for `name` and `passkey`.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn add_passkey(
        &self,
        actor: &Actor,
        name: &str,
        response: PasskeyResponse,
    ) -> Result<FactorAdded, Problem> {
        authorize(actor, Action::ManageOwnFactors)?;
        let current = require_session(actor)?;
        let name = name.trim();
        validation::name(name).map_err(|message| Problem::field("name", message))?;
        let registered: RegisterPublicKeyCredential = parse(&response.credential)?;
        let (user_handle, passkey) = match self.take_challenge(&response.challenge).await? {
            Some(State::Registration { session, user_handle, passkey }) if session == current => (user_handle, passkey),
            _ => return Err(expired()),
        };
        let party = self.relying_party.get()?;
        let passkey = party.finish_passkey_registration(&registered, &passkey).map_err(|error| rejected(&error))?;
        let (recovery_codes, notification) = self.insert_passkey(actor, name, user_handle, &passkey).await?;
        self.invalidate_credentials();
        self.feed.publish(vec![notification]);
        Ok(FactorAdded { factors: self.second_factors(actor, &actor.username).await?, recovery_codes })
    }

    async fn insert_passkey(
        &self,
        actor: &Actor,
        name: &str,
        user_handle: String,
        passkey: &Passkey,
    ) -> Result<(Option<Vec<String>>, Change)> {
        let username = actor.username.as_str();
        let tx = self.context.begin_change().await?;
        super::lock_user(&tx, username).await?;
        let own = passkeys::Entity::find().filter(passkeys::COLUMN.username.eq(username));
        if own.count(&*tx).await? >= MAX_PASSKEYS as u64 {
            return Err(too_many().into());
        }
        let row = passkeys::ActiveModel {
            id: Set(format!("{ID_PREFIX}{}", self.context.new_ulid())),
            username: Set(username.to_owned()),
            name: Set(name.to_owned()),
            credential_id: Set(URL_SAFE_NO_PAD.encode(passkey.cred_id())),
            user_handle: Set(user_handle),
            credential: Set(to_json(passkey)?),
            created_at: Set(self.context.now().timestamp_millis()),
            last_used_at: Set(None),
        };
        let inserted = passkeys::Entity::insert(row).exec_without_returning(&tx).await;
        inserted.map_err(|error| Error::on_unique_violation(error, known))?;
        self.commit_added(tx, actor, &format!("passkey \"{name}\"")).await
    }

    pub(super) async fn passkey_rows_of(&self, username: &str) -> Result<Vec<passkeys::Model>> {
        let own = passkeys::Entity::find().filter(passkeys::COLUMN.username.eq(username));
        Ok(own.order_by_asc(passkeys::Column::Id).all(&self.context.db.read).await?)
    }

    /// Starts a proof with one of the passkeys of an account.
    pub(in crate::accounts) async fn start_passkey_proof(
        &self,
        username: &str,
    ) -> Result<(Value, Box<PasskeyAuthentication>), Problem> {
        let known = self.passkey_rows_of(username).await?;
        let known: Vec<Passkey> = known.iter().map(|row| json(&row.credential)).collect::<Result<_, Problem>>()?;
        if known.is_empty() {
            return Err(Problem::conflict("Your account has no passkey. Use another way."));
        }
        let started = self.relying_party.get()?.start_passkey_authentication(&known);
        let (options, state) = started.map_err(|error| failed(&error))?;
        Ok((to_options(&options.public_key)?, Box::new(state)))
    }

    /// Starts a log-in with a passkey of an account that is not known yet.
    pub(super) fn start_discoverable(&self) -> Result<(Value, Box<DiscoverableAuthentication>), Problem> {
        let started = self.relying_party.get()?.start_discoverable_authentication();
        let (options, state) = started.map_err(|error| failed(&error))?;
        Ok((to_options(&options.public_key)?, Box::new(state)))
    }

    /// Stores a challenge, and returns the request to the authenticator.
    pub(in crate::accounts) async fn request(
        &self,
        holder: Holder<'_>,
        state: &State,
        options: &Value,
    ) -> Result<PasskeyRequest, Problem> {
        let challenge = self.start_challenge(holder, state).await?;
        Ok(PasskeyRequest { challenge, options: options.to_string() })
    }

    /// Verifies the response of a passkey: challenge, origin, user verification, signature and counter. The caller accepts
    /// it in its transaction, which compares the counter again.
    pub(in crate::accounts) fn verify_passkey(
        &self,
        response: &PasskeyResponse,
        state: &PasskeyAuthentication,
    ) -> Result<AuthenticationResult, Problem> {
        let credential: PublicKeyCredential = parse(&response.credential)?;
        let party = self.relying_party.get()?;
        party.finish_passkey_authentication(&credential, state).map_err(|error| rejected(&error))
    }

    /// Verifies the response of a passkey that also names the account. Returns the account.
    pub(super) async fn verify_discoverable(
        &self,
        response: &PasskeyResponse,
        state: DiscoverableAuthentication,
    ) -> Result<(String, AuthenticationResult), Problem> {
        let credential: PublicKeyCredential = parse(&response.credential)?;
        let party = self.relying_party.get()?;
        let (handle, id) = party.identify_discoverable_authentication(&credential).map_err(|error| rejected(&error))?;
        let found = self.find_passkey(&URL_SAFE_NO_PAD.encode(id)).await?;
        let handle = hex::encode(handle.as_bytes());
        let row = found.filter(|row| row.user_handle == handle).ok_or_else(|| {
            Problem::field("passkey", "This passkey is not known here. It may have been removed. Log in another way.")
        })?;
        let passkey: Passkey = json(&row.credential)?;
        let result = party
            .finish_discoverable_authentication_v2(&credential, state, DiscoverableKey::from(&passkey))
            .map_err(|error| rejected(&error))?;
        Ok((row.username, result))
    }

    async fn find_passkey(&self, credential_id: &str) -> Result<Option<passkeys::Model>> {
        let found = passkeys::Entity::find().filter(passkeys::COLUMN.credential_id.eq(credential_id));
        Ok(found.one(&self.context.db.read).await?)
    }
}

fn too_many() -> Problem {
    Problem::conflict(format!("Your account has {MAX_PASSKEYS} passkeys. Remove one that you do not need first."))
}

fn known() -> Problem {
    Problem::conflict("This passkey is registered already. Use another device, or remove it first.")
}

fn credential_id(text: &str) -> Option<CredentialID> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn to_options(options: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(options).map_err(|_| Problem::internal())
}

/// Parses the response of an authenticator.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let parsed = (text.len() <= MAX_RESPONSE).then(|| serde_json::from_str(text).ok()).flatten();
    parsed.ok_or_else(|| {
        Problem::field(
            "passkey",
            "The response of the authenticator cannot be read. Try again, or use another browser.",
        )
    })
}

/// The problem if the library cannot start a ceremony.
fn failed(error: &WebauthnError) -> Problem {
    tracing::error!(%error, "a passkey ceremony cannot start");
    Problem::internal()
}

/// The problem if the response of an authenticator is not valid.
fn rejected(error: &WebauthnError) -> Problem {
    tracing::info!(%error, "the response of a passkey was rejected");
    let message = match error {
        WebauthnError::UserNotVerified => {
            "The passkey did not check who you are. Use one with a PIN, a fingerprint or face recognition."
        }
        WebauthnError::CredentialPossibleCompromise => CLONED,
        _ => "The passkey was not accepted. Try again, or use another way.",
    };
    Problem::field("passkey", message)
}

/// The message if the signature counter has not increased.
pub(super) const CLONED: &str =
    "The passkey was used elsewhere in between, so it may have been copied. Use another way, and remove this passkey.";
