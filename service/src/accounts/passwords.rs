//! Argon2id hashes of passwords, with the crate's parameters (the first recommendation of OWASP).
//!
//! A password is hashed in Unicode normalization form C, because systems enter the same letter as different code points
//! (RFC 8265 §4.2.1). Hashes of earlier versions are of the text as it was entered, so [`verify`] tries other forms too.

use crate::secrets::random;
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use domain::Problem;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Semaphore, SemaphorePermit};
use unicode_normalization::UnicodeNormalization as _;

/// Concurrent hash computations. Each uses 19 MiB, so the limit bounds memory under a flood of log-ins.
pub(super) const MAX_CONCURRENT_HASHES: usize = 4;
static HASHES: Semaphore = Semaphore::const_new(MAX_CONCURRENT_HASHES);
/// A computation in addition, only for log-ins from known devices: it stays free during a flood from elsewhere.
static RESERVED: Semaphore = Semaphore::const_new(1);

/// The capacity that a verification may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capacity {
    /// Shared by all.
    Shared,
    /// Shared, or reserved for known devices.
    Reserved,
}

impl Capacity {
    async fn acquire(self) -> Option<SemaphorePermit<'static>> {
        match self {
            Self::Shared => HASHES.acquire().await.ok(),
            Self::Reserved => tokio::select! {
                permit = HASHES.acquire() => permit.ok(),
                permit = RESERVED.acquire() => permit.ok(),
            },
        }
    }
}

/// Longer passwords cannot have been set and are rejected without hashing. Counted in the form that is hashed.
const MAX_CHARS: usize = 200;

/// A hash that no password matches. Verifying against it takes as long as against a real hash, so that the response
/// time does not reveal whether a username exists.
pub(super) const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$YmVydGgtbm9ib2R5LXNhbHQ$0Q7WYV2Uvqc8xHnVvbnQ5o0oYwHn0Zc5p3hq2m4Jk1c";

/// The form in which a password is validated and hashed: Unicode NFC.
pub(super) fn normalize(password: &str) -> String {
    password.nfc().collect()
}

/// The forms of a password that a stored hash can be of: NFC, and for earlier versions the text as entered, or as a
/// system that decomposes letters enters it.
fn forms(password: &str) -> Vec<SecretString> {
    let mut forms = vec![normalize(password)];
    for form in [password.to_owned(), password.nfd().collect()] {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms.retain(|form| form.chars().count() <= MAX_CHARS);
    forms.into_iter().map(SecretString::from).collect()
}

/// Hashes a password with a random salt, on a blocking thread.
pub(super) async fn hash(password: SecretString) -> Result<String, Problem> {
    let password = SecretString::from(normalize(password.expose_secret()));
    let salt = SaltString::encode_b64(&random::<16>()).map_err(|_| Problem::internal())?;
    let _permit = HASHES.acquire().await.map_err(|_| Problem::internal())?;
    let hashing = tokio::task::spawn_blocking(move || {
        let password = password.expose_secret().as_bytes();
        Argon2::default().hash_password(password, &salt).map(|hash| hash.to_string())
    });
    hashing.await.map_err(|_| Problem::internal())?.map_err(|_| Problem::internal())
}

/// Whether a password matches a stored hash. ASCII has one form, so it costs one computation; other passwords cost up to
/// three.
pub(super) async fn verify(password: SecretString, stored: String, capacity: Capacity) -> bool {
    let forms = forms(password.expose_secret());
    if forms.is_empty() {
        return false;
    }
    let Some(_permit) = capacity.acquire().await else { return false };
    let verifying = tokio::task::spawn_blocking(move || {
        let Ok(hash) = PasswordHash::new(&stored) else { return false };
        let matches =
            |form: &SecretString| Argon2::default().verify_password(form.expose_secret().as_bytes(), &hash).is_ok();
        forms.iter().any(matches)
    });
    verifying.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Größe, Größe" with composed and with decomposed letters.
    const COMPOSED: &str = "Gr\u{f6}\u{df}e, Gr\u{f6}\u{df}e";
    const DECOMPOSED: &str = "Gro\u{308}\u{df}e, Gro\u{308}\u{df}e";

    #[tokio::test]
    async fn password_matches_in_every_normalization_form() {
        for set in [COMPOSED, DECOMPOSED] {
            let stored = hash(set.into()).await.unwrap();
            for entered in [COMPOSED, DECOMPOSED] {
                assert!(verify(entered.into(), stored.clone(), Capacity::Shared).await, "{set:?} {entered:?}");
            }
            assert!(!verify("Grosse, Grosse".into(), stored, Capacity::Shared).await);
        }
    }

    #[tokio::test]
    async fn hash_of_an_unnormalized_password_stays_valid() {
        for set in [COMPOSED, DECOMPOSED] {
            let salt = SaltString::encode_b64(&[7; 16]).unwrap();
            let stored = Argon2::default().hash_password(set.as_bytes(), &salt).unwrap().to_string();
            for entered in [COMPOSED, DECOMPOSED] {
                assert!(verify(entered.into(), stored.clone(), Capacity::Shared).await, "{set:?} {entered:?}");
            }
        }
    }

    #[test]
    fn ascii_passwords_have_one_form() {
        assert_eq!(forms("correct horse battery").len(), 1);
        assert!(forms(&"x".repeat(MAX_CHARS + 1)).is_empty());
        assert_eq!(forms(&"\u{f6}".repeat(MAX_CHARS)).len(), 1, "the decomposed form cannot have been set");
    }

    #[test]
    fn dummy_hash_costs_as_much_as_a_real_one() {
        let dummy = PasswordHash::new(DUMMY_HASH).unwrap();
        let salt = SaltString::encode_b64(&[7; 16]).unwrap();
        let real = Argon2::default().hash_password(b"long enough", &salt).unwrap();
        assert_eq!(dummy.algorithm, real.algorithm);
        assert_eq!(dummy.params, real.params);
        assert_eq!(dummy.hash.unwrap().len(), real.hash.unwrap().len());
    }
}
