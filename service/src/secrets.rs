//! Secrets at rest: XChaCha20-Poly1305 under the master key; and digests of tokens.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};

/// Marks the format, so that a later one can be told from it.
const VERSION: &str = "v1.";

/// `N` unpredictable bytes, from a cryptographic generator that the operating system seeds.
pub fn random<const N: usize>() -> [u8; N] {
    use rand::RngCore as _;
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// A new token: 32 random bytes as URL-safe text.
pub(crate) fn new_token() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}

/// The SHA-256 of a text in hex. Tokens are kept as this: they are random and long, so no slow hash is needed.
pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Encrypts and decrypts under the master key.
#[derive(Clone)]
pub(crate) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Encrypts `text` for one `purpose`; it can only be decrypted for the same.
    pub(crate) fn encrypt(&self, purpose: &str, text: &str) -> Result<String, domain::Problem> {
        let nonce = random::<24>();
        let payload = Payload { msg: text.as_bytes(), aad: purpose.as_bytes() };
        let sealed = self.0.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| {
            tracing::error!("a secret could not be encrypted");
            domain::Problem::internal()
        })?;
        Ok(format!("{VERSION}{}", STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Decrypts; fails when the master key is another or the text was tampered with.
    pub(crate) fn decrypt(&self, purpose: &str, sealed: &str) -> Result<String, domain::Problem> {
        let open = || {
            let bytes = STANDARD.decode(sealed.strip_prefix(VERSION)?).ok()?;
            let (nonce, sealed) = bytes.split_at_checked(24)?;
            let payload = Payload { msg: sealed, aad: purpose.as_bytes() };
            String::from_utf8(self.0.decrypt(XNonce::from_slice(nonce), payload).ok()?).ok()
        };
        open().ok_or_else(|| {
            tracing::error!(purpose, "a stored secret cannot be decrypted: was BERTH_MASTER_KEY changed?");
            domain::Problem::internal()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_open_only_with_their_key_and_purpose() {
        let cipher = Cipher::new(&[1; 32]);
        let sealed = cipher.encrypt("webhook", "whsec_abc").unwrap();
        assert!(!sealed.contains("whsec"));
        assert_eq!(cipher.decrypt("webhook", &sealed).unwrap(), "whsec_abc");
        assert!(cipher.decrypt("auth", &sealed).is_err());
        assert!(Cipher::new(&[2; 32]).decrypt("webhook", &sealed).is_err());
        assert!(cipher.decrypt("webhook", "nonsense").is_err());
        assert_ne!(sealed, cipher.encrypt("webhook", "whsec_abc").unwrap());
    }
}
