//! The URLs to which receivers post status updates (docs/contract.md §4). Their MAC binds an update to a reservation and
//! a webhook.

use crate::secrets::hmac_sha256;
use domain::id::{ReservationId, WebhookId};
use subtle::ConstantTimeEq as _;

/// Creates and verifies the URLs. They are the same in all replicas, and need no storage but the key.
pub(crate) struct StatusUrls {
    public_url: String,
    key: [u8; 32],
}

impl StatusUrls {
    pub(crate) fn new(public_url: &str, key: [u8; 32]) -> Self {
        Self { public_url: public_url.to_owned(), key }
    }

    /// The URL for status updates of a reservation by the receiver of a webhook.
    pub(crate) fn url(&self, id: &ReservationId, webhook_id: WebhookId) -> String {
        format!("{}/api/v1/reservations/{id}/status?mac={}", self.public_url, self.mac(id, webhook_id))
    }

    /// Compares the MAC of a URL in constant time.
    pub(crate) fn verify(&self, id: &ReservationId, webhook_id: WebhookId, mac: &str) -> bool {
        self.mac(id, webhook_id).as_bytes().ct_eq(mac.as_bytes()).into()
    }

    /// 128 bits in hex.
    fn mac(&self, id: &ReservationId, webhook_id: WebhookId) -> String {
        hex::encode(&hmac_sha256(&self.key, format!("{webhook_id} {id}").as_bytes())[..16])
    }
}
