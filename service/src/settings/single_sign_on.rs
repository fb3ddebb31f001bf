//! The settings of log-in at identity providers.

use domain::single_sign_on::{ClaimRules, LocalLogIn, ProviderView};
use secrecy::SecretString;

/// The providers, and whether accounts may log in with a password.
#[derive(Clone, Default)]
pub struct SingleSignOnSettings {
    /// The providers in the order of their buttons.
    pub providers: Vec<ProviderSettings>,
    /// Whether accounts may log in with a password.
    pub local_log_in: LocalLogIn,
    /// The account that may log in with a password if `local_log_in` is [`LocalLogIn::BreakGlass`].
    pub break_glass: Option<String>,
}

/// One provider.
#[derive(Clone)]
pub struct ProviderSettings {
    /// Name in paths: lower-case letters and digits.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// Issuer identifier, exactly as the provider states it: a URL.
    pub issuer: String,
    /// Client identifier.
    pub client_id: String,
    /// Client secret; `None` for a public client.
    pub client_secret: Option<SecretString>,
    /// Requested scopes in addition to `openid`.
    pub scopes: Vec<String>,
    /// The mapping of claims.
    pub claims: ClaimRules,
    /// Whether the first log-in of a user creates an account.
    pub creates_accounts: bool,
    /// Whether the first log-in links an existing account with the same username.
    pub links_by_username: bool,
    /// Whether a log-out also ends the session at the provider.
    pub logs_out: bool,
    /// Accepted difference between the clocks of the provider and this machine.
    pub clock_skew: chrono::Duration,
}

impl SingleSignOnSettings {
    /// The provider with this name.
    pub fn provider(&self, name: &str) -> Option<&ProviderSettings> {
        self.providers.iter().find(|provider| provider.name == name)
    }

    /// The provider with this issuer.
    pub(crate) fn provider_of(&self, issuer: &str) -> Option<&ProviderSettings> {
        self.providers.iter().find(|provider| provider.issuer == issuer)
    }

    /// Whether the groups at this provider decide on roles. A provider that is not configured any more decides nothing.
    pub(crate) fn manages_roles(&self, name: Option<&str>) -> Option<&ProviderSettings> {
        self.provider(name?).filter(|provider| provider.claims.manages_roles())
    }

    /// Whether an account may log in with its password.
    pub(crate) fn accepts_password_of(&self, username: &str) -> bool {
        match self.local_log_in {
            LocalLogIn::On => true,
            LocalLogIn::BreakGlass => self.break_glass.as_deref() == Some(username),
            LocalLogIn::Off => false,
        }
    }

    /// The display names, for messages: `Corp or Partner`.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.providers.iter().map(|provider| provider.display_name.as_str()).collect();
        names.join(" or ")
    }
}

impl ProviderSettings {
    /// The data for the page.
    pub fn view(&self) -> ProviderView {
        ProviderView { name: self.name.clone(), display_name: self.display_name.clone() }
    }
}
