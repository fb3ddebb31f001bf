//! The key of an authenticator app, and the check of its codes (TOTP, RFC 6238: SHA-1, 6 digits, 30 s).

use super::super::Accounts;
use super::challenges::{Holder, State, expired};
use super::require_session;
use crate::Result;
use crate::audit_trail::AuditedTransaction;
use crate::db::entity::authenticator_apps;
use crate::secrets::{SecretUse, random};
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::second_factor::{AppEnrolment, FactorAdded, QrCode};
use sea_orm::{EntityTrait as _, QueryFilter as _, Set};
use std::fmt::Write as _;
use totp_rs::{Builder, Secret, Totp};
use tracing::instrument;
use url::Url;

/// Length of a key in bytes (RFC 4226 §4 recommends 160 bits).
const KEY_LEN: usize = 20;
/// Accepted difference between the clocks of the app and of this machine, in steps of 30 s.
const SKEW: u16 = 1;
/// Light modules around a QR code (ISO/IEC 18004).
const QUIET_ZONE: i32 = 4;

impl Accounts {
    /// Creates the key of a new authenticator app. It has no effect until [`Self::add_app`].
    ///
    /// # Errors
    /// 403 for an API token and without a recent confirmation; 409 for an account without a password, or with an app.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn start_app(&self, actor: &Actor) -> Result<AppEnrolment, Problem> {
        let session = self.check_may_add(actor).await?.to_owned();
        if self.second_factors(actor, &actor.username).await?.authenticator_app.is_some() {
            return Err(has_app());
        }
        let key = Secret::from(random::<KEY_LEN>()).to_base32();
        let url = self.otpauth_url(&actor.username, &key);
        let state = State::App { session, key: key.clone() };
        let challenge = self.start_challenge(Holder::User(&actor.username), &state).await?;
        Ok(AppEnrolment { challenge, key, qr: qr_code(&url)? })
    }

    /// Adds the authenticator app of an enrolment to the actor's account, if `code` is correct.
    ///
    /// # Errors
    /// 403 for an API token; 409 if the enrolment has expired or was finished before, or there is an app; 422 for `code`.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn add_app(&self, actor: &Actor, challenge: &str, code: &str) -> Result<FactorAdded, Problem> {
        authorize(actor, Action::ManageOwnFactors)?;
        let current = require_session(actor)?;
        let key = match self.find_challenge(challenge).await? {
            Some(State::App { session, key }) if session == current => key,
            _ => return Err(expired()),
        };
        let step = matching_step(&key, code, self.context.now().timestamp())
            .ok_or_else(|| Problem::field("code", "This code is wrong. Enter the one that the app shows now."))?;
        let (recovery_codes, notification) = self.insert_app(actor, challenge, &key, step).await?;
        self.invalidate_credentials();
        self.feed.publish(vec![notification]);
        Ok(FactorAdded { factors: self.second_factors(actor, &actor.username).await?, recovery_codes })
    }

    async fn insert_app(
        &self,
        actor: &Actor,
        challenge: &str,
        key: &str,
        step: i64,
    ) -> Result<(Option<Vec<String>>, Change)> {
        let username = actor.username.as_str();
        let now = self.context.now().timestamp_millis();
        let secret = self.cipher.encrypt(SecretUse::AuthenticatorApp(username), key)?;
        let tx = self.context.begin_change().await?;
        super::lock_user(&tx, username).await?;
        if !self.end_challenge(&tx, challenge).await? {
            return Err(expired().into());
        }
        let row = authenticator_apps::ActiveModel {
            username: Set(username.to_owned()),
            secret: Set(secret),
            last_step: Set(step),
            created_at: Set(now),
            last_used_at: Set(now),
        };
        let inserted = authenticator_apps::Entity::insert(row).exec_without_returning(&tx).await;
        inserted.map_err(|error| crate::Error::on_unique_violation(error, has_app))?;
        self.commit_added(tx, actor, "authenticator app").await
    }

    /// Whether a code is the one of this time, and neither it nor a later one was used before. The transaction uses it up.
    pub(super) async fn accept_code(&self, tx: &AuditedTransaction, username: &str, code: &str) -> Result<bool> {
        let Some(app) = authenticator_apps::Entity::find_by_id(username).one(&**tx).await? else { return Ok(false) };
        let key = self.cipher.decrypt(SecretUse::AuthenticatorApp(username), &app.secret)?;
        let now = self.context.now();
        let Some(step) = matching_step(&key, code, now.timestamp()) else { return Ok(false) };
        // The condition makes concurrent log-ins with the same code share it.
        let used = authenticator_apps::Entity::update_many()
            .set(authenticator_apps::ActiveModel {
                last_step: Set(step),
                last_used_at: Set(now.timestamp_millis()),
                ..Default::default()
            })
            .filter(authenticator_apps::COLUMN.username.eq(username))
            .filter(authenticator_apps::COLUMN.last_step.lt(step))
            .exec(&**tx)
            .await?;
        Ok(used.rows_affected == 1)
    }

    /// The key as a URL for authenticator apps (Key URI format), with the host name to distinguish installations.
    fn otpauth_url(&self, username: &str, key: &str) -> String {
        let url = Url::parse(&self.context.settings.public_url).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or("berth").replace(['[', ']', ':'], "");
        format!("otpauth://totp/Berth:{username}@{host}?secret={key}&issuer=Berth")
    }
}

fn has_app() -> Problem {
    Problem::conflict("Your account has an authenticator app. Remove it first to add another one.")
}

/// The time step of a code, if it is the one of `now` (Unix time in seconds), or of one step before or after.
fn matching_step(key: &str, code: &str, now: i64) -> Option<i64> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    let step = totp(key)?.check(is_code.then_some(&code)?, u64::try_from(now).ok()?)?;
    i64::try_from(step).ok()
}

fn totp(key: &str) -> Option<Totp> {
    Builder::new().with_secret(Secret::try_from_base32(key).ok()?).with_skew(SKEW).build().ok()
}

/// The QR code of a text.
fn qr_code(text: &str) -> Result<QrCode, Problem> {
    let code = qrcodegen::QrCode::encode_text(text, qrcodegen::QrCodeEcc::Medium).map_err(|error| {
        tracing::error!(%error, "a QR code cannot be made");
        Problem::internal()
    })?;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
            // Writing to a text cannot fail.
            let _ = write!(path, "M{},{}h1v1h-1z", x + QUIET_ZONE, y + QUIET_ZONE);
        }
    }
    Ok(QrCode { size: code.size() + 2 * QUIET_ZONE, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the last six of the eight digits, and the key "12345678901234567890".
    const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn codes_are_those_of_rfc_6238() {
        for (now, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(matching_step(KEY, code, now), Some(now / 30), "{now}");
        }
    }

    #[test]
    fn clocks_may_differ_by_one_step() {
        let now = 1_111_111_109;
        for (later, is_accepted) in [(-60, false), (-30, true), (30, true), (60, false)] {
            assert_eq!(matching_step(KEY, "081804", now + later).is_some(), is_accepted, "{later}");
        }
        assert!(matching_step(KEY, " 081 804 ", now).is_some(), "apps show groups of digits");
        for wrong in ["", "081805", "81804", "0818040", "08180\u{664}", "abcdef"] {
            assert_eq!(matching_step(KEY, wrong, now), None, "{wrong}");
        }
    }

    #[test]
    fn qr_code_has_a_quiet_zone() {
        let code = qr_code("otpauth://totp/Berth:alice@localhost?secret=GEZDGNBVGY3TQOJQ&issuer=Berth").unwrap();
        assert!(code.path.starts_with("M4,4h1v1h-1z"), "the corner of the finder pattern");
        assert_eq!((code.size - 8 - 17) % 4, 0, "a size of ISO/IEC 18004");
    }
}
