//! Signatures of requests (docs/contract.md §1; Standard Webhooks `v1` and `v1a`).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_URL};
use ed25519_dalek::Signer as _;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The prefix of a generated secret.
pub const SECRET_PREFIX: &str = "whsec_";

/// Secrets of examples.
const PUBLISHED_SECRETS: [&str; 1] = ["your-secret-key"];
/// Minimum length of a signing key in production, in bytes.
const MIN_KEY: usize = 16;

/// A webhook's signing secret. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Parses a secret that an administrator entered.
    ///
    /// # Errors
    /// A message for the field `secret` when it is not 8 to 255 bytes, contains control characters, or is `whsec_`
    /// without valid base64.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !(8..=255).contains(&text.len()) {
            return Err("Use a secret of 8 to 255 bytes.".into());
        }
        if text.chars().any(char::is_control) || text.trim() != text {
            return Err("Remove spaces at the ends, line breaks and control characters from the secret.".into());
        }
        if let Some(encoded) = text.strip_prefix(SECRET_PREFIX)
            && BASE64.decode(encoded).map_or(true, |key| key.is_empty())
        {
            return Err(
                "The part after whsec_ must be base64. Copy the whole secret, or use one without this prefix.".into()
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// Why the secret is too weak for production; `None` for a strong one.
    pub fn weakness(&self) -> Option<&'static str> {
        if PUBLISHED_SECRETS.contains(&self.0.as_str()) {
            return Some("This secret is published in a guide, so anybody can sign with it. Generate one instead.");
        }
        let short = self.standard_key().len() < MIN_KEY;
        short.then_some("This secret has fewer than 16 bytes, so it can be guessed. Generate one instead.")
    }

    /// A generated secret from 32 random bytes.
    pub fn generate(random: [u8; 32]) -> Self {
        Self(format!("{SECRET_PREFIX}{}", BASE64.encode(random)))
    }

    /// The secret in clear text. Show it once; store it encrypted.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last characters of the secret, which identify it: at most four, and at most a quarter of it. More would help to
    /// guess the rest.
    pub fn hint(&self) -> String {
        let characters: Vec<char> = self.0.chars().collect();
        characters[characters.len() - (characters.len() / 4).min(4)..].iter().collect()
    }

    /// The HMAC key of `webhook-signature`: the decoded bytes of a `whsec_` secret, else the UTF-8 bytes.
    fn standard_key(&self) -> Vec<u8> {
        self.0
            .strip_prefix(SECRET_PREFIX)
            .and_then(|encoded| BASE64.decode(encoded).ok())
            .unwrap_or_else(|| self.0.as_bytes().to_vec())
    }
}

/// The prefix of a public key (Standard Webhooks).
pub const PUBLIC_KEY_PREFIX: &str = "whpk_";

/// A webhook's Ed25519 key for `v1a` signatures. Receivers verify with [`SigningKey::public`]. `Debug` does not print
/// it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// The key for a seed of 32 random bytes (RFC 8032 §5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Parses the output of [`SigningKey::expose`]; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self::from_seed(BASE64.decode(text).ok()?.try_into().ok()?))
    }

    /// The seed in base64. Store it encrypted; never show it.
    pub fn expose(&self) -> String {
        BASE64.encode(self.0.to_bytes())
    }

    /// The public key: `whpk_` + base64 of 32 bytes.
    pub fn public(&self) -> String {
        format!("{PUBLIC_KEY_PREFIX}{}", BASE64.encode(self.0.verifying_key().to_bytes()))
    }
}

/// A public Ed25519 key as a JSON Web Key (RFC 7517, RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Jwk {
    /// Always `OKP`.
    pub kty: &'static str,
    /// Always `Ed25519`.
    pub crv: &'static str,
    /// Always `EdDSA`.
    pub alg: &'static str,
    /// Always `sig`.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// The thumbprint of the key (RFC 7638).
    pub kid: String,
    /// The 32 bytes of the key in base64url.
    pub x: String,
}

impl SigningKey {
    /// The public key as a JSON Web Key.
    pub fn jwk(&self) -> Jwk {
        let x = BASE64_URL.encode(self.0.verifying_key().to_bytes());
        // RFC 7638 §3: the required members in the order of their names, without white space.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = BASE64_URL.encode(Sha256::digest(members.as_bytes()));
        Jwk { kty: "OKP", crv: "Ed25519", alg: "EdDSA", usage: "sig", kid, x }
    }
}

/// HMAC-SHA256 of the concatenated parts.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC accepts keys of any length (RFC 2104), so this cannot fail.
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

/// `X-Webhook-Signature` of the classic payload format: Base64 without a prefix. The key is the UTF-8 text of the secret.
pub fn sign_classic(secret: &Secret, body: &[u8]) -> String {
    BASE64.encode(mac(secret.0.as_bytes(), &[body]))
}

/// Verifies an `X-Webhook-Signature` of the classic payload format in constant time.
pub fn verify_classic(secret: &Secret, body: &[u8], header: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    let Ok(received) = BASE64.decode(header) else { return false };
    let expected = mac(secret.0.as_bytes(), &[body]);
    received.as_slice().ct_eq(&expected).into()
}

/// `webhook-signature` (Standard Webhooks): one `v1,<base64>` for each secret, the current one first, then one
/// `v1a,<base64>` for each Ed25519 key in the same order.
pub fn sign_standard(secrets: &[Secret], keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> String {
    let head = format!("{id}.{timestamp}.");
    let symmetric = secrets.iter().map(|secret| {
        let mac = mac(&secret.standard_key(), &[head.as_bytes(), body]);
        format!("v1,{}", BASE64.encode(mac))
    });
    // Ed25519 reads its message twice, so it needs one contiguous slice.
    let message = if keys.is_empty() { Vec::new() } else { [head.as_bytes(), body].concat() };
    let asymmetric = keys.iter().map(|key| format!("v1a,{}", BASE64.encode(key.0.sign(&message).to_bytes())));
    symmetric.chain(asymmetric).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn secret(text: &str) -> Secret {
        Secret::parse(text).unwrap()
    }

    fn key(seed: &str) -> SigningKey {
        SigningKey::from_seed(BASE64.decode(seed).unwrap()[..32].try_into().unwrap())
    }

    #[test]
    fn v1_matches_the_published_test_vector() {
        let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = sign_standard(&[secret], &[], ID, TIMESTAMP, BODY);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn v1a_matches_the_published_test_vector() {
        let key = key("6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==");
        assert_eq!(key.public(), "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=");
        assert_eq!(
            sign_standard(&[], &[key], ID, TIMESTAMP, BODY),
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
        );
    }

    /// RFC 8032 §7.1, test 1: the key pair.
    #[test]
    fn public_key_matches_rfc_8032() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let public = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
        let key = SigningKey::from_seed(seed.try_into().unwrap());
        assert_eq!(key.public(), format!("{PUBLIC_KEY_PREFIX}{}", BASE64.encode(public)));
        assert_eq!(SigningKey::parse(&key.expose()), Some(key));
    }

    /// RFC 8037, appendices A.2 and A.3: the public key and its thumbprint.
    #[test]
    fn jwk_matches_rfc_8037() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let jwk = SigningKey::from_seed(seed.try_into().unwrap()).jwk();
        assert_eq!(jwk.x, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(jwk.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let json = serde_json::to_value(&jwk).unwrap();
        assert_eq!((json["kty"].as_str(), json["crv"].as_str()), (Some("OKP"), Some("Ed25519")));
        assert_eq!((json["use"].as_str(), json["alg"].as_str()), (Some("sig"), Some("EdDSA")));
    }

    #[test]
    fn rotation_signs_with_both_secrets_newest_first() {
        let (new, old) = (secret("a-new-secret"), secret("an-old-secret"));
        let keys = [SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32])];
        let both = sign_standard(&[new.clone(), old.clone()], &keys, ID, TIMESTAMP, BODY);
        let alone = |secrets: &[Secret], keys: &[SigningKey]| sign_standard(secrets, keys, ID, TIMESTAMP, BODY);
        let expected = [alone(&[new], &[]), alone(&[old], &[]), alone(&[], &keys[..1]), alone(&[], &keys[1..])];
        assert_eq!(both.split(' ').collect::<Vec<_>>(), expected.each_ref().map(String::as_str));
    }

    #[test]
    fn invalid_secrets_are_rejected() {
        for bad in ["", "1234567", &"x".repeat(256), " padded-secret", "line\nbreak-secret", "whsec_???", "whsec_"] {
            assert!(Secret::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["your-secret-key", "12345678", &"x".repeat(255), "пароль-по-русски"] {
            assert!(Secret::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn weak_secrets_are_recognised() {
        for weak in ["your-secret-key", "whsec_AA==", "12345678", "whsec_MTIzNDU2Nzg5MDEyMzQ1"] {
            assert!(secret(weak).weakness().is_some(), "{weak}");
        }
        for strong in ["1234567890123456", "whsec_MTIzNDU2Nzg5MDEyMzQ1Ng=="] {
            assert_eq!(secret(strong).weakness(), None, "{strong}");
        }
        assert_eq!(Secret::generate([0; 32]).weakness(), None);
    }

    #[test]
    fn debug_output_contains_no_secret() {
        assert_eq!(format!("{:?}", secret("your-secret-key")), "Secret(…)");
        assert_eq!(format!("{:?}", SigningKey::from_seed([7; 32])), "SigningKey(…)");
    }

    proptest! {
        /// The reference library of Standard Webhooks accepts a signed body and rejects a changed one.
        #[test]
        fn standard_webhooks_library_accepts_our_signatures(random: [u8; 32], body: String) {
            let secret = Secret::generate(random);
            #[expect(clippy::disallowed_methods, reason = "the reference library compares with the machine's clock")]
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let signature = sign_standard(std::slice::from_ref(&secret), &[SigningKey::from_seed(random)], "evt_1", now as i64, body.as_bytes());
            let mut headers = http::HeaderMap::new();
            headers.insert("webhook-id", "evt_1".parse().unwrap());
            headers.insert("webhook-timestamp", now.into());
            headers.insert("webhook-signature", signature.parse().unwrap());
            let reference = standardwebhooks::Webhook::new(secret.expose()).unwrap();
            prop_assert!(reference.verify(body.as_bytes(), &headers).is_ok());
            let changed = format!("{body}x");
            prop_assert!(reference.verify(changed.as_bytes(), &headers).is_err());
        }

        #[test]
        fn signature_verifies_only_its_body_and_secret(body: Vec<u8>, other: Vec<u8>, random: [u8; 32]) {
            let (mine, theirs) = (Secret::generate(random), Secret::generate([0; 32]));
            let signature = sign_body(&mine, &body);
            prop_assert!(verify_body(&mine, &body, &signature));
            prop_assert_eq!(verify_body(&mine, &other, &signature), body == other);
            prop_assert_eq!(verify_body(&theirs, &body, &signature), random == [0; 32]);
        }

        #[test]
        fn arbitrary_signature_headers_are_rejected(header: String, body: Vec<u8>) {
            prop_assert!(!verify_body(&Secret::generate([3; 32]), &body, &header));
        }
    }
}
