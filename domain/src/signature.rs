//! Signing and verifying (CONTRACT §1, Standard Webhooks v1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a generated secret begins with.
pub const SECRET_PREFIX: &str = "whsec_";

/// A webhook's secret as the administrator sees it. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Takes a pasted secret.
    ///
    /// # Errors
    /// A sentence for the field `secret` when it is not 8 to 255 bytes, holds control characters, or is `whsec_` followed
    /// by what is not base64.
    pub fn paste(text: &str) -> Result<Self, String> {
        if !(8..=255).contains(&text.len()) {
            return Err("A secret has 8 to 255 bytes.".into());
        }
        if text.chars().any(char::is_control) || text.trim() != text {
            return Err("Remove spaces at the ends, line breaks and control characters from the secret.".into());
        }
        if let Some(encoded) = text.strip_prefix(SECRET_PREFIX)
            && BASE64.decode(encoded).map_or(true, |key| key.is_empty())
        {
            return Err(
                "What follows whsec_ must be base64. Copy the whole secret, or use one without that prefix.".into()
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The generated form of 32 random bytes.
    pub fn generate(random: [u8; 32]) -> Self {
        Self(format!("{SECRET_PREFIX}{}", BASE64.encode(random)))
    }

    /// The secret itself; show it once, keep it encrypted.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key of `webhook-signature`: the decoded bytes of a `whsec_` secret, else the UTF-8 bytes.
    fn standard_key(&self) -> Vec<u8> {
        self.0
            .strip_prefix(SECRET_PREFIX)
            .and_then(|encoded| BASE64.decode(encoded).ok())
            .unwrap_or_else(|| self.0.as_bytes().to_vec())
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length (RFC 2104), so this cannot fail; an empty result would not verify anyway.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// `X-Webhook-Signature`: `sha256=` + lower-case hex HMAC-SHA256 of `body`, keyed by the secret's UTF-8 bytes.
pub fn sign_body(secret: &Secret, body: &[u8]) -> String {
    format!("sha256={}", hex::encode(mac(secret.0.as_bytes(), &[body])))
}

/// Verifies an `X-Webhook-Signature` in constant time.
pub fn verify_body(secret: &Secret, body: &[u8], header: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    let Some(received) = header.strip_prefix("sha256=").and_then(|h| hex::decode(h).ok()) else { return false };
    let expected = mac(secret.0.as_bytes(), &[body]);
    received.as_slice().ct_eq(&expected).into()
}

/// `webhook-signature` (Standard Webhooks): one `v1,<base64>` for each secret, the current one first.
pub fn sign_standard(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let signatures: Vec<String> = secrets
        .iter()
        .map(|secret| {
            let key = secret.standard_key();
            let mac = mac(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
            format!("v1,{}", BASE64.encode(mac))
        })
        .collect();
    signatures.join(" ")
}
