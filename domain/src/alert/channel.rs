//! Channels of alerts: e-mail and the operations webhook.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The form of the body that the operations webhook receives.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NoticeFormat {
    /// Berth's own (docs/contract.md §9).
    #[default]
    Berth,
    /// A message for an incoming webhook of Slack, or of another chat with the same format: `{"text": "…"}`.
    Slack,
}

impl NoticeFormat {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The format with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The notices of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelStatus {
    /// Notices that are not sent yet.
    pub queued: u64,
    /// Time of the last notice that was sent.
    pub last_sent_at: Option<DateTime<Utc>>,
    /// Why the last attempt failed; null if it succeeded.
    pub last_error: Option<String>,
}

/// The operations webhook, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationsWebhook {
    /// Scheme and host of its URL, and its last characters. The rest can be a secret.
    pub url_hint: String,
    /// The form of the body.
    pub format: NoticeFormat,
    /// Whether notices are sent.
    pub enabled: bool,
    /// The last characters of the signing secret.
    pub secret_hint: String,
}

/// The channels of alerts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertChannels {
    /// Sender of e-mails; null if the operator has not configured e-mail.
    pub email_from: Option<String>,
    /// Notices by e-mail.
    pub email: ChannelStatus,
    /// The operations webhook; null if there is none.
    pub webhook: Option<OperationsWebhook>,
    /// Notices to the operations webhook.
    pub webhook_status: ChannelStatus,
    /// The signing secret of the operations webhook, only in the response that sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

crate::redacted_debug!(AlertChannels { email_from, email, webhook, webhook_status } hides { secret });

/// Body of `PUT /api/v1/alerts/channels`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AlertChannelsInput {
    /// The operations webhook; null removes it.
    pub webhook: Option<OperationsWebhookInput>,
}

/// The operations webhook.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct OperationsWebhookInput {
    /// The full URL; the stored one when absent.
    pub url: Option<String>,
    /// The form of the body; `berth` when absent.
    pub format: Option<NoticeFormat>,
    /// Whether notices are sent; true when absent.
    pub enabled: Option<bool>,
    /// Signing secret; the stored one when absent, or a generated one.
    pub secret: Option<String>,
}

crate::redacted_debug!(OperationsWebhookInput { format, enabled } hides { url, secret });

/// Scheme and host of a URL, and the last four characters of a long rest.
pub fn mask_url(url: &str) -> String {
    let Ok(parsed) = url::Url::parse(url) else { return "…".to_owned() };
    let origin = parsed.origin().ascii_serialization();
    let rest: Vec<char> = url.strip_prefix(&origin).unwrap_or_default().chars().collect();
    if rest.len() < 12 {
        return format!("{origin}/…");
    }
    format!("{origin}/…{}", rest[rest.len() - 4..].iter().collect::<String>())
}

/// What a person receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AlertPreferences {
    /// Whether alerts about their webhooks are sent to their e-mail address.
    pub email: bool,
}

/// The result of a test alert on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelResult {
    /// `email` or `webhook`.
    pub channel: String,
    /// Where it was sent: an e-mail address, or the masked URL.
    pub recipient: String,
    /// Why it was not accepted; null if it was.
    pub error: Option<String>,
}

/// The result of a test alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelTest {
    /// The result of each channel.
    pub results: Vec<ChannelResult>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_masked() {
        assert_eq!(mask_url("https://hooks.example.com/services/T0/B0/abcdef"), "https://hooks.example.com/…cdef");
        assert_eq!(mask_url("https://ops.example.com:8443/alerts"), "https://ops.example.com:8443/…");
        assert_eq!(mask_url("nonsense"), "…");
    }

    #[test]
    fn input_is_not_printed() {
        let input = OperationsWebhookInput {
            url: Some("https://hooks.example.com/services/T0".into()),
            secret: Some("whsec_geheim".into()),
            ..Default::default()
        };
        let text = format!("{input:?}");
        assert!(!text.contains("T0") && !text.contains("geheim"), "{text}");
    }
}
