//! Notices: what the operations webhook and e-mails contain (docs/contract.md §9).

use super::AlertKind;
use crate::id::{EventId, WebhookId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The reason of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NoticeKind {
    /// An alert began to fire.
    #[serde(rename = "alert.firing")]
    #[strum(serialize = "alert.firing")]
    Firing,
    /// An alert ended.
    #[serde(rename = "alert.resolved")]
    #[strum(serialize = "alert.resolved")]
    Resolved,
    /// A test alert.
    #[serde(rename = "alert.test")]
    #[strum(serialize = "alert.test")]
    Test,
    /// The receiver of a paused webhook is healthy again.
    #[serde(rename = "webhook.recovered")]
    #[strum(serialize = "webhook.recovered")]
    Recovered,
}

impl NoticeKind {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The webhook of a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NoticeWebhook {
    /// Its id.
    pub id: WebhookId,
    /// Its name.
    pub name: String,
    /// The slug of its only resource type; null = every type.
    pub resource_type: Option<String>,
    /// Its page in Berth.
    pub url: String,
}

/// The alert of a notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NoticeAlert {
    /// Its id.
    pub id: i64,
    /// What was measured.
    pub kind: AlertKind,
    /// The value.
    pub value: f64,
    /// The threshold of the rule.
    pub threshold: f64,
    /// Time at which it fired.
    pub fired_at: DateTime<Utc>,
    /// Time at which it ended; null while it fires.
    pub resolved_at: Option<DateTime<Utc>>,
}

/// The body of a request to the operations webhook in the format `berth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notice {
    /// The reason.
    pub event_type: NoticeKind,
    /// Id of the notice, the same for retries.
    pub event_id: EventId,
    /// Time of the change.
    pub occurred_at: DateTime<Utc>,
    /// One sentence.
    pub message: String,
    /// The alert; null for a test or a recovery.
    pub alert: Option<NoticeAlert>,
    /// The webhook; null for a test.
    pub webhook: Option<NoticeWebhook>,
}

/// The body of a request to the operations webhook in the format `slack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlackNotice {
    /// The message, with `&`, `<` and `>` escaped.
    pub text: String,
}

impl Notice {
    /// The state as a word, for subjects.
    fn state(&self) -> &'static str {
        match self.event_type {
            NoticeKind::Firing => "Firing",
            NoticeKind::Resolved => "Resolved",
            NoticeKind::Test => "Test",
            NoticeKind::Recovered => "Recovered",
        }
    }

    /// The subject of an e-mail, on one line.
    pub fn subject(&self) -> String {
        let name = self.webhook.as_ref().map(|webhook| one_line(&webhook.name));
        match (&self.alert, name) {
            (Some(alert), Some(name)) => format!("[Berth] {}: {} of {name}", self.state(), alert.kind.label()),
            (None, Some(name)) => format!("[Berth] {}: {name}", self.state()),
            _ => format!("[Berth] {} alert", self.state()),
        }
    }

    /// The text of an e-mail. `settings_url` is the page on which a person turns e-mails off.
    pub fn text(&self, settings_url: &str) -> String {
        let mut lines = vec![self.message.clone(), String::new()];
        if let Some(alert) = &self.alert {
            lines.push(format!("Rule: {}", alert.kind.label()));
            lines.push(format!("Value: {}", alert.kind.format(alert.value)));
            lines.push(format!("Threshold: {}", alert.kind.format(alert.threshold)));
            lines.push(format!("Firing since: {}", alert.fired_at.format("%Y-%m-%d %H:%M:%S UTC")));
            if let Some(at) = alert.resolved_at {
                lines.push(format!("Resolved: {}", at.format("%Y-%m-%d %H:%M:%S UTC")));
            }
            lines.push(String::new());
        }
        if let Some(webhook) = &self.webhook {
            lines.extend([format!("Open {}: {}", webhook.name, webhook.url), String::new()]);
        }
        lines.push(format!("Turn these e-mails off: {settings_url}"));
        lines.join("\n") + "\n"
    }

    /// The message for a chat.
    pub fn slack(&self) -> SlackNotice {
        let mark = match self.event_type {
            NoticeKind::Firing => "🔴",
            NoticeKind::Resolved | NoticeKind::Recovered => "🟢",
            NoticeKind::Test => "🔵",
        };
        let mut text = format!("{mark} *{}* {}", self.state(), escape(&self.message));
        if let Some(webhook) = &self.webhook {
            text.push_str(&format!("\n<{}|Open in Berth>", escape(&webhook.url)));
        }
        SlackNotice { text }
    }
}

/// A text without line breaks and other control characters: a header of an e-mail is one line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Escapes the control characters of Slack's format.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        let at = DateTime::UNIX_EPOCH;
        Notice {
            event_type: NoticeKind::Firing,
            event_id: "evt_1".into(),
            occurred_at: at,
            message: "50 % of the attempts to A <!channel> & B failed.".into(),
            alert: Some(NoticeAlert {
                id: 1,
                kind: AlertKind::ErrorRate,
                value: 0.5,
                threshold: 0.2,
                fired_at: at,
                resolved_at: None,
            }),
            webhook: Some(NoticeWebhook {
                id: 3,
                name: "A\r\nBcc: eve@example.com".into(),
                resource_type: None,
                url: "https://berth.example.com/settings/webhooks/3".into(),
            }),
        }
    }

    #[test]
    fn subject_has_one_line() {
        assert_eq!(notice().subject(), "[Berth] Firing: Error rate of A  Bcc: eve@example.com");
        let test = Notice { event_type: NoticeKind::Test, alert: None, webhook: None, ..notice() };
        assert_eq!(test.subject(), "[Berth] Test alert");
    }

    #[test]
    fn slack_message_is_escaped() {
        let text = notice().slack().text;
        assert!(text.contains("A &lt;!channel&gt; &amp; B"), "{text}");
        assert!(text.ends_with("<https://berth.example.com/settings/webhooks/3|Open in Berth>"), "{text}");
    }

    #[test]
    fn text_has_value_threshold_and_link() {
        let text = notice().text("https://berth.example.com/alerts");
        for part in ["Value: 50 %", "Threshold: 20 %", "/settings/webhooks/3", "Turn these e-mails off: https://"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("Resolved:"));
    }
}
