//! Argon2id hashes of passwords, with the crate's parameters (the first recommendation of OWASP).

use crate::secrets::random;
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use domain::Problem;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

/// Concurrent hash computations. Each uses 19 MiB, so the limit bounds memory under a flood of log-ins.
pub(super) const MAX_CONCURRENT_HASHES: usize = 4;
static HASHES: Semaphore = Semaphore::const_new(MAX_CONCURRENT_HASHES);

/// Longer passwords cannot have been set and are rejected without hashing.
const MAX_CHARS: usize = 200;

/// A hash that no password matches. Verifying against it takes as long as against a real hash, so that the response
/// time does not reveal whether a username exists.
pub(super) const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$YmVydGgtbm9ib2R5LXNhbHQ$0Q7WYV2Uvqc8xHnVvbnQ5o0oYwHn0Zc5p3hq2m4Jk1c";

/// Hashes a password with a random salt, on a blocking thread.
pub(super) async fn hash(password: SecretString) -> Result<String, Problem> {
    let salt = SaltString::encode_b64(&random::<16>()).map_err(|_| Problem::internal())?;
    let _permit = HASHES.acquire().await.map_err(|_| Problem::internal())?;
    let hashing = tokio::task::spawn_blocking(move || {
        let password = password.expose_secret().as_bytes();
        Argon2::default().hash_password(password, &salt).map(|hash| hash.to_string())
    });
    hashing.await.map_err(|_| Problem::internal())?.map_err(|_| Problem::internal())
}

/// Whether a password matches a stored hash.
pub(super) async fn verify(password: SecretString, stored: String) -> bool {
    if password.expose_secret().chars().count() > MAX_CHARS {
        return false;
    }
    let Ok(_permit) = HASHES.acquire().await else { return false };
    let verifying = tokio::task::spawn_blocking(move || {
        let password = password.expose_secret().as_bytes();
        PasswordHash::new(&stored).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
    });
    verifying.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

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
