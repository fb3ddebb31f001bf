//! Encryption of secrets at rest with the master key, and digests of tokens.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use domain::Problem;
use secrecy::{ExposeSecret as _, SecretBox};
use sha2::{Digest as _, Sha256};

/// Prefix of encrypted texts. A later format will have another prefix.
const VERSION: &str = "v1.";
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

/// Encrypts and decrypts with the master key: XChaCha20-Poly1305 with random nonces.
#[derive(Clone)]
pub(crate) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    pub(crate) fn new(key: &MasterKey) -> Self {
        Self(XChaCha20Poly1305::new(key.0.expose_secret().into()))
    }

    /// Encrypts `text`. It can be decrypted only for the same `purpose`.
    pub(crate) fn encrypt(&self, purpose: &str, text: &str) -> Result<String, Problem> {
        let nonce = random::<NONCE_LEN>();
        let payload = Payload { msg: text.as_bytes(), aad: purpose.as_bytes() };
        let encrypted = self.0.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| {
            tracing::error!(purpose, "a secret cannot be encrypted");
            Problem::internal()
        })?;
        Ok(format!("{VERSION}{}", STANDARD.encode([nonce.as_slice(), &encrypted].concat())))
    }

    /// Decrypts a text. Fails if the master key or the purpose differs, or the text was modified.
    pub(crate) fn decrypt(&self, purpose: &str, encrypted: &str) -> Result<String, Problem> {
        self.try_decrypt(purpose, encrypted).ok_or_else(|| {
            tracing::error!(purpose, "a stored secret cannot be decrypted; BERTH_MASTER_KEY may have changed");
            Problem::internal()
        })
    }

    /// The same as [`Self::decrypt`], without the log entry.
    pub(crate) fn try_decrypt(&self, purpose: &str, encrypted: &str) -> Option<String> {
        let bytes = STANDARD.decode(encrypted.strip_prefix(VERSION)?).ok()?;
        let (nonce, encrypted) = bytes.split_at_checked(NONCE_LEN)?;
        let payload = Payload { msg: encrypted, aad: purpose.as_bytes() };
        String::from_utf8(self.0.decrypt(XNonce::from_slice(nonce), payload).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decryption_requires_same_key_and_purpose() {
        let cipher = Cipher::new(&[1; 32].into());
        let encrypted = cipher.encrypt("webhook", "whsec_abc").unwrap();
        assert!(!encrypted.contains("whsec"));
        assert_eq!(cipher.decrypt("webhook", &encrypted).unwrap(), "whsec_abc");
        cipher.decrypt("auth", &encrypted).unwrap_err();
        Cipher::new(&[2; 32].into()).decrypt("webhook", &encrypted).unwrap_err();
        cipher.decrypt("webhook", "nonsense").unwrap_err();
        assert_ne!(encrypted, cipher.encrypt("webhook", "whsec_abc").unwrap(), "nonces differ");
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
