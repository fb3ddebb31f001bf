//! The public Ed25519 keys of all webhooks.

use super::Webhooks;
use crate::Result;
use domain::webhook::WebhookKey;

impl Webhooks {
    /// The keys with which requests are signed now: those of each webhook, the current one first, by the ids of the
    /// webhooks. They are public, so no actor is needed.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn public_keys(&self) -> Result<Vec<WebhookKey>> {
        let now = self.context.now();
        let configs = self.configs.load(&self.context.db.read).await?;
        let mut keys = Vec::new();
        for config in configs.all() {
            let target = config.target(now);
            keys.extend(target.keys.iter().map(|key| WebhookKey { webhook_id: config.id, key: key.jwk() }));
        }
        // Stable: the keys of one webhook keep their order.
        keys.sort_by_key(|key| key.webhook_id);
        Ok(keys)
    }
}
