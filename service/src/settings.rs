//! The settings of a service.

mod single_sign_on;

pub use single_sign_on::{ProviderSettings, SingleSignOnSettings};

use crate::secrets::MasterKey;
use domain::endpoint::UrlPolicy;
use domain::second_factor::SecondFactorPolicy;
use secrecy::SecretString;
use std::time::Duration;

/// Maximum number of requests in flight of one process, if it has enough file descriptors.
pub const MAX_IN_FLIGHT: u32 = 4_096;

/// Limits for each user, so that nobody fills the disk, the queue or the calendar. `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// API tokens of one user, including expired ones.
    pub tokens: Option<u32>,
    /// Active reservations of one user that have not ended.
    pub active_reservations: Option<u32>,
    /// Hours from now to the end of a reservation.
    pub hours_ahead: Option<u32>,
    /// Hours from start to end of a reservation.
    pub reservation_hours: Option<u32>,
    /// Changes of one reservation within a minute. Each sends an event to every webhook.
    pub changes_per_minute: Option<u32>,
}

/// The settings of a [`Service`](crate::Service).
#[derive(Clone)]
pub struct Settings {
    /// `sqlite://path?mode=rwc` or `postgres://…`.
    pub database_url: String,
    /// The base URL for people and receivers, without a trailing slash. `status_url` begins with it.
    pub public_url: String,
    /// The key that encrypts secrets at rest.
    pub master_key: MasterKey,
    /// Keys of before, which only decrypt.
    pub previous_master_keys: Vec<MasterKey>,
    /// The endpoints that may be registered and called.
    pub url_policy: UrlPolicy,
    /// Retention of ended deliveries, with payloads and attempts, in days.
    pub retention_days: u32,
    /// Retention of the entries of the audit log, in days.
    pub audit_retention_days: u32,
    /// Days after the end of a reservation for which its access information is kept.
    pub access_info_retention_days: u32,
    /// Age of a signing secret in days after which its managers are reminded to rotate it; 0 for no reminders.
    pub secret_reminder_days: u32,
    /// The mail server that sends alerts; `None` without e-mail.
    pub smtp: Option<SmtpSettings>,
    /// Whether the texts of requests, responses and diagnoses are indexed for searches.
    pub search_text: bool,
    /// Whether this process sends the audit log to another system. Retention then keeps entries until they are sent.
    pub audit_is_streamed: bool,
    /// Time limit of one exchange with a receiver, at most 30 s.
    pub delivery_timeout: Duration,
    /// Maximum number of requests in flight of this process; at most [`MAX_IN_FLIGHT`] count.
    pub max_in_flight: u32,
    /// Lifetimes of sessions and API tokens, and the requirement of a second factor.
    pub accounts: AccountLimits,
    /// Limits for each user.
    pub quotas: Quotas,
    /// Log-in at identity providers.
    pub single_sign_on: SingleSignOnSettings,
}

/// The mail server and the sender of e-mails.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// `smtps://USER:PASSWORD@HOST[:465]`, or `smtp://USER:PASSWORD@HOST[:587]?tls=required`.
    pub url: SecretString,
    /// The sender, e.g. `Berth <berth@example.com>`.
    pub from: String,
}

/// Lifetimes of sessions and API tokens, and the requirement of a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountLimits {
    /// Time without a request after which a session ends.
    pub session_idle: chrono::Duration,
    /// Time from log-in to the end of a session. Use does not extend it.
    pub session_lifetime: chrono::Duration,
    /// Maximum lifetime of a new API token.
    pub token_lifetime: chrono::Duration,
    /// The accounts that need a second factor.
    pub second_factor_required: SecondFactorPolicy,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self {
            session_idle: chrono::Duration::hours(24),
            session_lifetime: chrono::Duration::days(7),
            token_lifetime: chrono::Duration::days(365),
            second_factor_required: SecondFactorPolicy::None,
        }
    }
}
