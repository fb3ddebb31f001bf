//! Settings of log-in at identity providers: `BERTH_OIDC_PROVIDERS` names them, and each has variables with its name, such
//! as `BERTH_OIDC_CORP_ISSUER`. In the file, the provider `corp` is the table `[oidc.corp]`.

use super::Environment;
use domain::single_sign_on::{ClaimRules, LocalLogIn};
use domain::validation;
use serde::{Deserialize, Serialize};
use service::single_sign_on::{ProviderSettings, SingleSignOnSettings};
use std::collections::BTreeMap;
#[cfg(test)]
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use url::Url;

/// Start of the name of every variable of this file.
const PREFIX: &str = "BERTH_OIDC_";
/// The variable with the names of the providers. It is a flag too.
const PROVIDERS: &str = "BERTH_OIDC_PROVIDERS";
/// Maximum length of the name of a provider.
const MAX_NAME: usize = 30;
/// Maximum accepted clock skew in seconds. A larger one would make expired tokens valid.
const MAX_SKEW: i64 = 300;
/// Claim with the groups, if a setting names groups and none names a claim.
const DEFAULT_GROUPS_CLAIM: &str = "groups";

/// Keys of one provider, in lower case as in the file.
const KEYS: [&str; 16] = [
    "issuer",
    "client_id",
    "client_secret",
    "client_secret_file",
    "display_name",
    "scopes",
    "username_claim",
    "groups_claim",
    "admin_groups",
    "auditor_groups",
    "user_groups",
    "create_accounts",
    "link_existing",
    "trust_email",
    "log_out",
    "clock_skew",
];

/// A value of the environment or the file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// A text. Lists have commas.
    Text(String),
    /// A switch of the file.
    Switch(bool),
    /// A number of the file.
    Number(i64),
    /// A list of the file. Its texts can contain commas, like the names of groups in LDAP.
    List(Vec<String>),
}

/// A value can be a secret.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The settings of all providers by name and key.
pub type ProviderArgs = BTreeMap<String, BTreeMap<String, Setting>>;

/// Adds the variables of the environment, which override the file.
///
/// # Errors
/// Names a variable that belongs to no provider or has an unknown key.
pub(super) fn add_variables(
    args: &mut ProviderArgs,
    providers: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(), String> {
    for (variable, value) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX).filter(|_| variable != PROVIDERS) else { continue };
        let rest = rest.to_lowercase();
        let (name, key) = rest.split_once('_').unwrap_or((&rest, ""));
        if !names(providers).any(|known| known == name) {
            return Err(format!(
                "{variable} belongs to no identity provider. Add {name} to {PROVIDERS}, or remove the variable."
            ));
        }
        if !KEYS.contains(&key) {
            return Err(format!("{variable} is no setting of an identity provider. {}", known_keys()));
        }
        args.entry(name.to_owned()).or_default().insert(key.to_owned(), Setting::Text(value));
    }
    Ok(())
}

fn names(providers: &str) -> impl Iterator<Item = &str> {
    providers.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn known_keys() -> String {
    format!("The settings are {}.", KEYS.map(str::to_uppercase).join(", "))
}

/// The settings that are flags too.
pub(super) struct Flags<'a> {
    pub(super) providers: &'a str,
    pub(super) local_login: Option<&'a str>,
    pub(super) break_glass_admin: Option<&'a str>,
}

/// Validates all settings.
///
/// # Errors
/// Names the invalid setting and the remedy.
pub(super) fn resolve(
    flags: &Flags<'_>,
    args: &ProviderArgs,
    env: Environment,
) -> Result<SingleSignOnSettings, String> {
    let mut providers = Vec::new();
    for name in names(flags.providers) {
        let is_name = name.len() <= MAX_NAME
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !is_name {
            return Err(format!(
                "{PROVIDERS}: {name} is no valid name. Write up to {MAX_NAME} lower-case letters and digits, such as corp."
            ));
        }
        let empty = BTreeMap::new();
        let values = Values { name, values: args.get(name).unwrap_or(&empty) };
        let provider = values.resolve(env)?;
        if let Some(other) = providers
            .iter()
            .find(|other: &&ProviderSettings| other.name == provider.name || other.issuer == provider.issuer)
        {
            return Err(format!(
                "{PROVIDERS} has {} and {name} with the same name or issuer. Remove one of them.",
                other.name
            ));
        }
        providers.push(provider);
    }
    if let Some(unknown) = args.keys().find(|name| !providers.iter().any(|provider| provider.name == **name)) {
        return Err(format!("The provider {unknown} has settings, but {PROVIDERS} does not name it. Add it there."));
    }
    let local_log_in = match flags.local_login.map(str::trim).filter(|text| !text.is_empty()) {
        None => LocalLogIn::On,
        Some(text) => text.parse().map_err(|_| "BERTH_LOCAL_LOGIN must be on, break-glass or off.".to_owned())?,
    };
    if local_log_in != LocalLogIn::On && providers.is_empty() {
        return Err(format!(
            "BERTH_LOCAL_LOGIN must be on without an identity provider, because nobody could log in. Set {PROVIDERS}."
        ));
    }
    let break_glass = flags.break_glass_admin.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    match (&break_glass, local_log_in) {
        (None, LocalLogIn::BreakGlass) => {
            return Err("BERTH_LOCAL_LOGIN=break-glass requires BERTH_BREAK_GLASS_ADMIN: the username of the \
                        administrator who may log in with a password."
                .into());
        }
        (Some(_), LocalLogIn::On | LocalLogIn::Off) => {
            return Err("BERTH_BREAK_GLASS_ADMIN has an effect only with BERTH_LOCAL_LOGIN=break-glass. Set both, or \
                        remove it."
                .into());
        }
        (Some(name), LocalLogIn::BreakGlass) => {
            validation::username(name).map_err(|message| format!("BERTH_BREAK_GLASS_ADMIN: {message}"))?;
        }
        (None, _) => {}
    }
    Ok(SingleSignOnSettings { providers, local_log_in, break_glass })
}

/// The settings of one provider.
struct Values<'a> {
    name: &'a str,
    values: &'a BTreeMap<String, Setting>,
}

impl Values<'_> {
    fn variable(&self, key: &str) -> String {
        format!("{PREFIX}{}_{}", self.name.to_uppercase(), key.to_uppercase())
    }

    fn invalid(&self, key: &str, reason: &str) -> String {
        format!("{} {reason}", self.variable(key))
    }

    /// A text that is not empty.
    fn text(&self, key: &str) -> Result<Option<String>, String> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Setting::Text(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Some(Setting::Number(number)) => Ok(Some(number.to_string())),
            Some(Setting::Switch(switch)) => Ok(Some(switch.to_string())),
            Some(Setting::List(_)) => Err(self.invalid(key, "must be one value, not a list.")),
        }
    }

    fn list(&self, key: &str) -> Result<Vec<String>, String> {
        if let Some(Setting::List(items)) = self.values.get(key) {
            return Ok(items.clone());
        }
        let text = self.text(key)?.unwrap_or_default();
        Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    fn switch(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.text(key)?.as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(self.invalid(key, "must be true or false.")),
        }
    }

    /// One of two words; whether it is the second.
    fn choice(&self, key: &str, words: [&str; 2], default: bool) -> Result<bool, String> {
        match self.text(key)? {
            None => Ok(default),
            Some(text) => match words.iter().position(|word| *word == text) {
                Some(at) => Ok(at == 1),
                None => Err(self.invalid(key, &format!("must be {} or {}.", words[0], words[1]))),
            },
        }
    }

    fn required(&self, key: &str, example: &str) -> Result<String, String> {
        self.text(key)?.ok_or_else(|| self.invalid(key, &format!("is required for this identity provider, {example}.")))
    }

    fn resolve(&self, env: Environment) -> Result<ProviderSettings, String> {
        if let Some(unknown) = self.values.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!(
                "oidc.{}.{unknown} is no setting of an identity provider. {}",
                self.name,
                known_keys()
            ));
        }
        let (admin_groups, user_groups) = (self.list("admin_groups")?, self.list("user_groups")?);
        let auditor_groups = self.list("auditor_groups")?;
        let groups_claim = self.text("groups_claim")?;
        let needs_groups = [&admin_groups, &auditor_groups, &user_groups].iter().any(|groups| !groups.is_empty());
        let seconds = match self.text("clock_skew")? {
            None => 60,
            Some(text) => text
                .parse()
                .ok()
                .filter(|seconds| (0..=MAX_SKEW).contains(seconds))
                .ok_or_else(|| self.invalid("clock_skew", &format!("must be 0 to {MAX_SKEW} seconds.")))?,
        };
        let mut scopes = self.list("scopes")?;
        if scopes.iter().any(|scope| scope.contains(|c: char| c.is_whitespace() || c.is_control())) {
            return Err(self.invalid("scopes", "must be separated by commas, e.g. profile,email,groups."));
        }
        if scopes.is_empty() {
            scopes = vec!["profile".into(), "email".into()];
        }
        // The crate adds this scope.
        scopes.retain(|scope| scope != "openid");
        Ok(ProviderSettings {
            name: self.name.to_owned(),
            display_name: self.text("display_name")?.unwrap_or_else(|| self.name.to_owned()),
            issuer: self.issuer(env)?,
            client_id: self.required("client_id", "as registered there")?,
            client_secret: self.client_secret()?.map(Into::into),
            scopes,
            claims: ClaimRules {
                username: self.text("username_claim")?.unwrap_or_else(|| "preferred_username".into()),
                groups: groups_claim.or_else(|| needs_groups.then(|| DEFAULT_GROUPS_CLAIM.into())),
                admin_groups,
                auditor_groups,
                user_groups,
                trusts_email: self.switch("trust_email", false)?,
            },
            creates_accounts: self.switch("create_accounts", true)?,
            links_by_username: self.choice("link_existing", ["never", "username"], false)?,
            logs_out: self.choice("log_out", ["berth", "provider"], true)?,
            clock_skew: chrono::Duration::seconds(seconds),
        })
    }

    fn issuer(&self, env: Environment) -> Result<String, String> {
        let example = "e.g. https://id.example.com/realms/corp";
        let issuer = self.required("issuer", example)?;
        let url = Url::parse(&issuer).map_err(|error| {
            self.invalid("issuer", &format!("is not a URL ({error}); write it as the provider states it, {example}."))
        })?;
        if !url.username().is_empty() || url.password().is_some() || issuer.contains(['?', '#']) {
            return Err(self.invalid("issuer", "must have no user name, query and fragment."));
        }
        let is_loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => Ok(issuer),
            "http" if is_loopback && env == Environment::Development => Ok(issuer),
            _ => Err(self.invalid(
                "issuer",
                "must begin with https://. Only in development, a provider on this machine may use http://.",
            )),
        }
    }

    fn client_secret(&self) -> Result<Option<String>, String> {
        let secret = self.text("client_secret")?;
        match (secret, self.text("client_secret_file")?) {
            (Some(_), Some(_)) => Err(format!(
                "Set {} or {}, not both.",
                self.variable("client_secret"),
                self.variable("client_secret_file")
            )),
            (secret, None) => Ok(secret),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(Path::new(&file)).map_err(|error| {
                    self.invalid("client_secret_file", &format!("names a file that cannot be read: {file} ({error})."))
                })?;
                let secret = text.trim().to_owned();
                if secret.is_empty() {
                    return Err(self.invalid("client_secret_file", &format!("names an empty file: {file}.")));
                }
                Ok(Some(secret))
            }
        }
    }
}

/// The names of all variables of one provider, for the documentation's test.
#[cfg(test)]
fn variables(name: &str) -> BTreeSet<String> {
    KEYS.iter().map(|key| Values { name, values: &BTreeMap::new() }.variable(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: [(&str, &str); 2] =
        [("BERTH_OIDC_CORP_ISSUER", "https://id.example.com"), ("BERTH_OIDC_CORP_CLIENT_ID", "berth")];

    fn args(more: &[(&str, &str)]) -> Result<ProviderArgs, String> {
        let mut args = ProviderArgs::new();
        let variables = REQUIRED.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        add_variables(&mut args, "corp", variables).map(|()| args)
    }

    fn resolve_corp(more: &[(&str, &str)], env: Environment) -> Result<ProviderSettings, String> {
        let flags = Flags { providers: "corp", local_login: None, break_glass_admin: None };
        Ok(resolve(&flags, &args(more)?, env)?.providers.remove(0))
    }

    #[test]
    fn defaults_of_a_provider() {
        let provider = resolve_corp(&[], Environment::Production).unwrap();
        assert_eq!((provider.name.as_str(), provider.display_name.as_str()), ("corp", "corp"));
        assert_eq!(provider.scopes, ["profile", "email"]);
        assert_eq!(provider.claims.username, "preferred_username");
        assert_eq!(provider.claims.groups, None);
        assert_eq!(provider.clock_skew.num_seconds(), 60);
        assert!(provider.creates_accounts && provider.logs_out && !provider.links_by_username);
        assert!(!provider.claims.trusts_email && !provider.claims.manages_roles());
    }

    #[test]
    fn every_setting_of_a_provider_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "hush\n").unwrap();
        let provider = resolve_corp(
            &[
                ("BERTH_OIDC_CORP_CLIENT_SECRET_FILE", file.to_str().unwrap()),
                ("BERTH_OIDC_CORP_DISPLAY_NAME", "Example Corp"),
                ("BERTH_OIDC_CORP_SCOPES", "openid, profile,groups"),
                ("BERTH_OIDC_CORP_USERNAME_CLAIM", "upn"),
                ("BERTH_OIDC_CORP_ADMIN_GROUPS", "admins"),
                ("BERTH_OIDC_CORP_USER_GROUPS", "staff, guests"),
                ("BERTH_OIDC_CORP_CREATE_ACCOUNTS", "false"),
                ("BERTH_OIDC_CORP_LINK_EXISTING", "username"),
                ("BERTH_OIDC_CORP_TRUST_EMAIL", "true"),
                ("BERTH_OIDC_CORP_LOG_OUT", "berth"),
                ("BERTH_OIDC_CORP_CLOCK_SKEW", "5"),
            ],
            Environment::Production,
        )
        .unwrap();
        assert_eq!(secrecy_of(&provider), Some("hush".to_owned()));
        assert_eq!(provider.display_name, "Example Corp");
        assert_eq!(provider.scopes, ["profile", "groups"]);
        let claims = &provider.claims;
        assert_eq!((claims.username.as_str(), claims.groups.as_deref()), ("upn", Some("groups")));
        assert_eq!((claims.admin_groups.len(), claims.user_groups.len()), (1, 2));
        assert!(!provider.creates_accounts && provider.links_by_username && claims.trusts_email && !provider.logs_out);
        assert_eq!(provider.clock_skew.num_seconds(), 5);
    }

    fn secrecy_of(provider: &ProviderSettings) -> Option<String> {
        use service::single_sign_on::ExposeSecret as _;
        provider.client_secret.as_ref().map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn errors_name_the_variable_and_no_secret() {
        for (variable, value, part) in [
            ("BERTH_OIDC_CORP_ISSUER", "http://id.example.com", "https://"),
            ("BERTH_OIDC_CORP_ISSUER", "id.example.com", "URL"),
            ("BERTH_OIDC_CORP_ISSUER", "https://id.example.com?x", "query"),
            ("BERTH_OIDC_CORP_ISSUER", "", "required"),
            ("BERTH_OIDC_CORP_CLIENT_ID", " ", "required"),
            ("BERTH_OIDC_CORP_CLIENT_SECRET_FILE", "/nowhere/secret", "cannot be read"),
            ("BERTH_OIDC_CORP_SCOPES", "profile email", "commas"),
            ("BERTH_OIDC_CORP_CREATE_ACCOUNTS", "yes", "true or false"),
            ("BERTH_OIDC_CORP_LINK_EXISTING", "email", "never or username"),
            ("BERTH_OIDC_CORP_LOG_OUT", "yes", "berth or provider"),
            ("BERTH_OIDC_CORP_CLOCK_SKEW", "301", "0 to 300"),
            ("BERTH_OIDC_CORP_ISSUR", "x", "ISSUER"),
            ("BERTH_OIDC_CROP_ISSUER", "x", "BERTH_OIDC_PROVIDERS"),
        ] {
            let error = resolve_corp(&[(variable, value)], Environment::Production).err().expect(variable);
            assert!(error.contains(variable) && error.contains(part), "{variable}={value}: {error}");
        }
        let both = [("BERTH_OIDC_CORP_CLIENT_SECRET", "hush"), ("BERTH_OIDC_CORP_CLIENT_SECRET_FILE", "/x")];
        let error = resolve_corp(&both, Environment::Production).err().unwrap();
        assert!(error.contains("BERTH_OIDC_CORP_CLIENT_SECRET_FILE") && !error.contains("hush"), "{error}");
        assert!(!format!("{:?}", args(&both).unwrap()).contains("hush"));
    }

    #[test]
    fn provider_without_tls_is_accepted_only_on_this_machine_in_development() {
        let issuer = |url| resolve_corp(&[("BERTH_OIDC_CORP_ISSUER", url)], Environment::Development);
        assert!(issuer("http://127.0.0.1:9000").is_ok());
        assert!(issuer("http://localhost:9000/realms/x").is_ok());
        assert!(issuer("http://id.example.com").is_err());
        assert!(resolve_corp(&[("BERTH_OIDC_CORP_ISSUER", "http://127.0.0.1:9000")], Environment::Production).is_err());
    }

    #[test]
    fn providers_have_different_names_and_issuers() {
        let resolve = |providers| {
            let flags = Flags { providers, local_login: None, break_glass_admin: None };
            let mut args = args(&[]).unwrap();
            let corp = args["corp"].clone();
            if providers.contains("other") {
                args.insert("other".into(), corp);
            }
            resolve(&flags, &args, Environment::Production).map(|settings| settings.providers.len())
        };
        assert_eq!(resolve("corp"), Ok(1));
        assert!(resolve("corp,corp").unwrap_err().contains("corp and corp"));
        assert!(resolve("corp,other").unwrap_err().contains("issuer"));
        assert!(resolve("Corp").unwrap_err().contains("lower-case"));
        assert!(resolve("corp,my_idp").unwrap_err().contains("my_idp"));
        assert!(resolve("").unwrap_err().contains("does not name it"));
    }

    #[test]
    fn local_log_in_needs_another_way_to_log_in() {
        let resolve = |providers: &str, local_login, break_glass_admin| {
            let args = if providers.is_empty() { ProviderArgs::new() } else { args(&[]).unwrap() };
            let flags = Flags { providers, local_login: Some(local_login), break_glass_admin };
            resolve(&flags, &args, Environment::Production).map(|settings| settings.local_log_in)
        };
        assert_eq!(resolve("corp", "off", None), Ok(LocalLogIn::Off));
        assert_eq!(resolve("corp", "on", None), Ok(LocalLogIn::On));
        assert_eq!(resolve("corp", "break-glass", Some("root")), Ok(LocalLogIn::BreakGlass));
        assert!(resolve("", "off", None).unwrap_err().contains("BERTH_OIDC_PROVIDERS"));
        assert!(resolve("corp", "break-glass", None).unwrap_err().contains("BERTH_BREAK_GLASS_ADMIN"));
        assert!(resolve("corp", "off", Some("root")).unwrap_err().contains("break-glass"));
        assert!(resolve("corp", "break-glass", Some("Root")).unwrap_err().contains("BERTH_BREAK_GLASS_ADMIN"));
        assert!(resolve("corp", "no", None).unwrap_err().contains("BERTH_LOCAL_LOGIN"));
    }

    #[test]
    fn every_setting_is_documented() {
        let documented = include_str!("../../../docs/configuration.md");
        for variable in variables("corp") {
            let key = variable.strip_prefix("BERTH_OIDC_CORP").unwrap_or_default();
            assert!(documented.contains(&format!("`{key}`")), "docs/configuration.md does not contain {key}");
        }
    }
}
