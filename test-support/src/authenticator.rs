//! An authenticator in software, which answers WebAuthn requests as a browser with a platform authenticator does.
#![expect(clippy::expect_used, reason = "a request that is not valid fails the test")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Flags of the authenticator data: user present, user verified.
const PRESENT_AND_VERIFIED: u8 = 0b101;
/// Flag of the authenticator data: user present only.
const PRESENT: u8 = 0b1;
/// Flag of the authenticator data: it has a credential.
const HAS_CREDENTIAL: u8 = 0b100_0000;

/// One passkey.
#[derive(Clone)]
pub struct Authenticator {
    key: SigningKey,
    id: [u8; 16],
    user_handle: String,
    origin: String,
    /// Signature counter of the next response.
    pub counter: u32,
    /// Whether it verifies its user by PIN or fingerprint.
    pub verifies: bool,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Authenticator {
    /// A passkey for pages of an origin, e.g. `https://berth.example.com`.
    ///
    /// # Panics
    /// If the random bytes are no key, with a probability of 2⁻³².
    pub fn new(origin: &str) -> Self {
        let (key, id) = (rand::random::<[u8; 32]>(), rand::random());
        let key = SigningKey::from_slice(&key).expect("a key");
        Self { key, id, user_handle: String::new(), origin: origin.into(), counter: 1, verifies: true }
    }

    fn client_data(&self, kind: &str, challenge: &Value) -> Vec<u8> {
        let data = json!({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false});
        data.to_string().into_bytes()
    }

    fn authenticator_data(&mut self, relying_party: &str, flags: u8) -> Vec<u8> {
        let verified = if self.verifies { PRESENT_AND_VERIFIED } else { PRESENT };
        let mut data = Sha256::digest(relying_party.as_bytes()).to_vec();
        data.push(flags | verified);
        data.extend(self.counter.to_be_bytes());
        self.counter += 1;
        data
    }

    /// The public key in COSE form (RFC 9053 §7.1.1): a CBOR map for ES256.
    fn cose_key(&self) -> Vec<u8> {
        let point = self.key.verifying_key().to_sec1_point(false);
        let point = point.as_bytes();
        let mut key = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
        key.extend(&point[1..33]);
        key.extend([0x22, 0x58, 0x20]);
        key.extend(&point[33..65]);
        key
    }

    /// The credential for the options of `navigator.credentials.create`, both as JSON.
    ///
    /// # Panics
    /// If the options are not valid.
    pub fn register(&mut self, options: &str) -> String {
        let options: Value = serde_json::from_str(options).expect("options");
        options["user"]["id"].as_str().expect("a user handle").clone_into(&mut self.user_handle);
        let relying_party = options["rp"]["id"].as_str().expect("a relying party").to_owned();
        let mut data = self.authenticator_data(&relying_party, HAS_CREDENTIAL);
        data.extend([0; 16]);
        data.extend([0, 16]);
        data.extend(self.id);
        data.extend(self.cose_key());
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let mut attestation = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        attestation.push(u8::try_from(data.len()).expect("a short text"));
        attestation.extend(data);
        let client_data = self.client_data("webauthn.create", &options["challenge"]);
        json!({
            "id": encode(self.id), "rawId": encode(self.id), "type": "public-key", "extensions": {},
            "response": {"clientDataJSON": encode(client_data), "attestationObject": encode(attestation)},
        })
        .to_string()
    }

    /// The credential for the options of `navigator.credentials.get`, both as JSON.
    ///
    /// # Panics
    /// If the options are not valid.
    pub fn answer(&mut self, options: &str) -> String {
        let options: Value = serde_json::from_str(options).expect("options");
        let relying_party = options["rpId"].as_str().expect("a relying party").to_owned();
        let data = self.authenticator_data(&relying_party, 0);
        let client_data = self.client_data("webauthn.get", &options["challenge"]);
        let signed = [data.as_slice(), &Sha256::digest(&client_data)].concat();
        let signature: DerSignature = self.key.sign(&signed);
        json!({
            "id": encode(self.id), "rawId": encode(self.id), "type": "public-key", "extensions": {},
            "response": {
                "clientDataJSON": encode(client_data), "authenticatorData": encode(data),
                "signature": encode(signature.as_bytes()), "userHandle": self.user_handle,
            },
        })
        .to_string()
    }
}
