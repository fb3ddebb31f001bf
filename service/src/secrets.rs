//! Encryption of secrets at rest with the master key, and digests of tokens.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use domain::Problem;
use domain::id::WebhookId;
use secrecy::{ExposeSecret as _, SecretBox};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Length of an XChaCha20 nonce in bytes.
const NONCE_LEN: usize = 24;

/// `N` random bytes from a cryptographic generator that the operating system seeds.
pub fn random<const N: usize>() -> [u8; N] {
    use rand::RngCore as _;
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// A new token: 32 random bytes in URL-safe base64.
pub(crate) fn new_token() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}

/// The SHA-256 of a text in hex. Tokens are stored in this form; they are long and random, so no slow hash is needed.
pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// The key that encrypts secrets at rest. It is never printed, and its memory is overwritten when it is dropped.
#[derive(Debug)]
pub struct MasterKey(SecretBox<[u8; 32]>);

impl From<[u8; 32]> for MasterKey {
    fn from(key: [u8; 32]) -> Self {
        Self(SecretBox::new(Box::new(key)))
    }
}

impl MasterKey {
    /// Derives the key for another purpose, so that no key serves two algorithms: HMAC-SHA256 of `context`.
    pub(crate) fn derive(&self, context: &str) -> [u8; 32] {
        hmac_sha256(self.0.expose_secret(), context.as_bytes())
    }
}

/// HMAC-SHA256 of `message`.
pub(crate) fn hmac_sha256(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    // HMAC accepts keys of any length (RFC 2104), so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return random() };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

impl Clone for MasterKey {
    fn clone(&self) -> Self {
        Self::from(*self.0.expose_secret())
    }
}

/// The form of encrypted texts that this process writes. It reads both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretFormat {
    /// `v1.<base64>`: bound to its purpose. Releases before key rotation read only this form.
    Unbound,
    /// `v2.<key id>.<base64>`: bound to its purpose and its row.
    Bound,
}

/// What is encrypted: each use with the row that has the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretUse<'a> {
    /// A signing secret of a webhook.
    WebhookSecret(WebhookId),
    /// An Ed25519 signing key of a webhook.
    WebhookSigningKey(WebhookId),
    /// The secret of a webhook's authentication method.
    WebhookAuth(WebhookId),
    /// The private key of a webhook's client certificate.
    WebhookClientKey(WebhookId),
    /// The value of the named custom header of a webhook.
    WebhookHeader(WebhookId, &'a str),
    /// A stored response.
    Idempotency {
        /// Owner of the key.
        username: &'a str,
        /// The idempotency key.
        key: &'a str,
    },
    /// The URL of the operations webhook.
    AlertChannelUrl,
    /// The signing secret of the operations webhook.
    AlertChannelSecret,
    /// The code of the first set-up.
    SetupCode,
    /// The cookie of a known device, which is not stored. Its text names the account.
    KnownDevice,
    /// The ID token of the session whose token has this digest.
    IdToken(&'a str),
    /// The cookie of a log-in at an identity provider that has not ended.
    PendingLogIn,
    /// The key of the authenticator app of an account.
    AuthenticatorApp(&'a str),
    /// The state of the challenge whose token has this digest.
    Challenge(&'a str),
    /// A key for a purpose that outlives a rotation of the master key.
    StoredKey(&'a str),
}

impl SecretUse<'_> {
    /// The name of the use. It is part of the stored texts, so it never changes.
    fn purpose(self) -> &'static str {
        match self {
            Self::WebhookSecret(_) => "webhook-secret",
            Self::WebhookSigningKey(_) => "webhook-signing-key",
            Self::WebhookAuth(_) => "webhook-auth",
            Self::WebhookClientKey(_) => "webhook-client-key",
            Self::WebhookHeader(..) => "webhook-header",
            Self::Idempotency { .. } => "idempotency",
            Self::AlertChannelUrl => "alert-channel-url",
            Self::AlertChannelSecret => "alert-channel-secret",
            Self::SetupCode => "setup-code",
            Self::KnownDevice => "known-device",
            Self::IdToken(_) => "id-token",
            Self::PendingLogIn => "pending-log-in",
            Self::AuthenticatorApp(_) => "authenticator-app",
            Self::Challenge(_) => "challenge",
            Self::StoredKey(_) => "stored-key",
        }
    }

    /// The row of the text. Usernames, keys and header names contain no spaces, so different rows have different texts.
    fn row(self) -> String {
        match self {
            Self::WebhookSecret(id)
            | Self::WebhookSigningKey(id)
            | Self::WebhookAuth(id)
            | Self::WebhookClientKey(id) => id.to_string(),
            Self::WebhookHeader(id, name) => format!("{id} {}", name.to_ascii_lowercase()),
            Self::Idempotency { username, key } => format!("{username} {key}"),
            Self::AlertChannelUrl
            | Self::AlertChannelSecret
            | Self::SetupCode
            | Self::KnownDevice
            | Self::PendingLogIn => String::new(),
            Self::IdToken(text) | Self::AuthenticatorApp(text) | Self::Challenge(text) | Self::StoredKey(text) => {
                text.to_owned()
            }
        }
    }

    /// The authenticated data of a text.
    fn binding(self, format: SecretFormat) -> Vec<u8> {
        match format {
            SecretFormat::Unbound => self.purpose().into(),
            SecretFormat::Bound => format!("berth v2\0{}\0{}", self.purpose(), self.row()).into(),
        }
    }
}

/// A master key that can decrypt.
struct DecryptionKey {
    /// Eight hex digits that identify the key; they do not reveal it.
    id: String,
    aead: XChaCha20Poly1305,
}

impl DecryptionKey {
    fn new(key: &MasterKey) -> Self {
        Self {
            id: hex::encode(&key.derive("berth key id")[..4]),
            aead: XChaCha20Poly1305::new(key.0.expose_secret().into()),
        }
    }

    fn decrypt(&self, bytes: &[u8], aad: &[u8]) -> Option<String> {
        let (nonce, encrypted) = bytes.split_at_checked(NONCE_LEN)?;
        let payload = Payload { msg: encrypted, aad };
        String::from_utf8(self.aead.decrypt(XNonce::from_slice(nonce), payload).ok()?).ok()
    }
}

/// Encrypts with the master key, and decrypts with it and the previous ones: XChaCha20-Poly1305 with random nonces.
#[derive(Clone)]
pub(crate) struct Cipher {
    current: Arc<DecryptionKey>,
    previous: Arc<[DecryptionKey]>,
    format: SecretFormat,
}

impl Cipher {
    pub(crate) fn new(current: &MasterKey, previous: &[MasterKey], format: SecretFormat) -> Self {
        Self {
            current: Arc::new(DecryptionKey::new(current)),
            previous: previous.iter().map(DecryptionKey::new).collect(),
            format,
        }
    }

    /// The same keys, which write `format`.
    pub(crate) fn with_format(&self, format: SecretFormat) -> Self {
        Self { format, ..self.clone() }
    }

    /// Encrypts `text`. It can be decrypted only for the same purpose and, in the bound form, the same row.
    pub(crate) fn encrypt(&self, of: SecretUse<'_>, text: &str) -> Result<String, Problem> {
        let prefix = match self.format {
            SecretFormat::Unbound => "v1.".to_owned(),
            SecretFormat::Bound => self.bound_prefix(),
        };
        let nonce = random::<NONCE_LEN>();
        let aad = of.binding(self.format);
        let payload = Payload { msg: text.as_bytes(), aad: &aad };
        let encrypted = self.current.aead.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| {
            tracing::error!(purpose = of.purpose(), "a secret cannot be encrypted");
            Problem::internal()
        })?;
        Ok(format!("{prefix}{}", STANDARD.encode([nonce.as_slice(), &encrypted].concat())))
    }

    /// Decrypts a text. Fails if no key fits, the purpose or the row differs, or the text was modified.
    pub(crate) fn decrypt(&self, of: SecretUse<'_>, encrypted: &str) -> Result<String, Problem> {
        self.try_decrypt(of, encrypted).ok_or_else(|| {
            tracing::error!(
                purpose = of.purpose(),
                "a stored secret cannot be decrypted; BERTH_MASTER_KEY may have changed"
            );
            Problem::internal()
        })
    }

    /// The same as [`Self::decrypt`], without the log entry.
    pub(crate) fn try_decrypt(&self, of: SecretUse<'_>, encrypted: &str) -> Option<String> {
        let mut keys = std::iter::once(&*self.current).chain(self.previous.iter());
        let (version, text) = encrypted.split_once('.')?;
        match version {
            "v1" => {
                let bytes = STANDARD.decode(text).ok()?;
                let aad = of.binding(SecretFormat::Unbound);
                keys.find_map(|key| key.decrypt(&bytes, &aad))
            }
            "v2" => {
                let (id, text) = text.split_once('.')?;
                let bytes = STANDARD.decode(text).ok()?;
                let aad = of.binding(SecretFormat::Bound);
                keys.filter(|key| key.id == id).find_map(|key| key.decrypt(&bytes, &aad))
            }
            _ => None,
        }
    }

    /// Whether a text is bound to its row and encrypted with the current master key.
    pub(crate) fn is_current(&self, encrypted: &str) -> bool {
        encrypted.starts_with(&self.bound_prefix())
    }

    /// The start of texts in the current form.
    pub(crate) fn bound_prefix(&self) -> String {
        format!("v2.{}.", self.current.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [u8; 32] = [1; 32];
    const NEW: [u8; 32] = [2; 32];
    const SECRET: SecretUse<'static> = SecretUse::WebhookSecret(7);

    #[test]
    fn decryption_requires_same_key_purpose_and_row() {
        let cipher = Cipher::new(&OLD.into(), &[], SecretFormat::Bound);
        let encrypted = cipher.encrypt(SECRET, "whsec_abc").unwrap();
        assert!(!encrypted.contains("whsec"));
        assert_eq!(cipher.decrypt(SECRET, &encrypted).unwrap(), "whsec_abc");
        cipher.decrypt(SecretUse::WebhookAuth(7), &encrypted).unwrap_err();
        cipher.decrypt(SecretUse::WebhookSecret(8), &encrypted).unwrap_err();
        Cipher::new(&NEW.into(), &[], SecretFormat::Bound).decrypt(SECRET, &encrypted).unwrap_err();
        for nonsense in ["", "nonsense", "v1.", "v2.", "v2.0.", "v3.aa", "v1.aa", "v2.aa.%%"] {
            cipher.decrypt(SECRET, nonsense).unwrap_err();
        }
        assert_ne!(encrypted, cipher.encrypt(SECRET, "whsec_abc").unwrap(), "nonces differ");
    }

    #[test]
    fn previous_keys_and_the_unbound_form_are_read() {
        let old = Cipher::new(&OLD.into(), &[], SecretFormat::Unbound);
        let unbound = old.encrypt(SECRET, "a").unwrap();
        let bound = old.with_format(SecretFormat::Bound).encrypt(SECRET, "b").unwrap();
        assert!(unbound.starts_with("v1."));
        let new = Cipher::new(&NEW.into(), &[OLD.into()], SecretFormat::Bound);
        for (encrypted, text) in [(&unbound, "a"), (&bound, "b")] {
            assert_eq!(new.decrypt(SECRET, encrypted).unwrap(), text);
            assert!(!new.is_current(encrypted));
        }
        let current = new.encrypt(SECRET, "c").unwrap();
        assert!(new.is_current(&current));
        old.decrypt(SECRET, &current).unwrap_err();
        new.decrypt(SecretUse::WebhookAuth(7), &unbound).unwrap_err();
        new.decrypt(SecretUse::WebhookSecret(8), &bound).unwrap_err();
    }

    #[test]
    fn derived_keys_depend_on_key_and_context() {
        let key = MasterKey::from([1; 32]);
        assert_eq!(key.derive("a"), key.clone().derive("a"));
        assert_ne!(key.derive("a"), key.derive("b"));
        assert_ne!(key.derive("a"), MasterKey::from([2; 32]).derive("a"));
        assert_ne!(key.derive("a"), [1; 32]);
    }

    #[test]
    fn master_key_is_not_printed() {
        let key = MasterKey::from([171; 32]);
        assert!(!format!("{key:?}").contains("171"));
    }
}
