//! Settings from flags, environment variables and a file, in this order of precedence. `berth serve --help` lists them;
//! docs/configuration.md describes them.

mod single_sign_on;

pub use single_sign_on::{ProviderArgs, Setting};

use crate::audit_stream;
use crate::client_address::TrustedProxies;
use crate::descriptors::Shares;
use crate::files;
use crate::listener::Limits;
use crate::master_key::{KeyFile, parse_key};
use crate::metrics;
use crate::telemetry::{self, LogFormat};
use domain::endpoint::{Network, UrlPolicy};
use serde::{Deserialize, Deserializer, Serialize};
use service::secrets::MasterKey;
use service::single_sign_on::SingleSignOnSettings;
use service::{Quotas, SmtpSettings};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// The TOML file that is read without `--config`.
const SETTINGS_FILE: &str = "berth.toml";
/// Minimum length of the token for the metrics.
const MIN_METRICS_TOKEN: usize = 16;
/// Networks that webhooks may reach in development.
const LOOPBACK: &str = "127.0.0.0/8,::1";

/// Maximum of the lifetimes of sessions and API tokens, in their unit.
const MAX_ACCOUNT_LIMIT: u32 = 36_500;
/// Minimum idle limit of sessions in minutes: the last use is stored to the minute.
const MIN_IDLE_MINUTES: u32 = 5;
/// Maximum idle limit of sessions in minutes: one year.
const MAX_IDLE_MINUTES: u32 = 525_600;

/// Environment in which Berth runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Allows `http://` and loopback endpoints; cookies work without TLS.
    Development,
    /// Allows only `https://` endpoints; sets Secure cookies and HSTS.
    Production,
}

/// Whether an optional part is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// In use.
    On,
    /// Not in use.
    Off,
}

/// A limit for one user. 0 and an empty text mean no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Limit(u32);

impl Limit {
    /// The limit; `None` means no limit.
    fn get(self) -> Option<u32> {
        (self.0 > 0).then_some(self.0)
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(Self(0)),
            number => number.parse().map(Self).map_err(|_| "write a whole number, or 0 for no limit".to_owned()),
        }
    }
}

/// In the TOML file the setting is a number or a text.
impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Setting {
            Number(u32),
            Text(String),
        }
        match Setting::deserialize(deserializer)? {
            Setting::Number(number) => Ok(Self(number)),
            Setting::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// Settings as given by flags, environment variables (`BERTH_…`) and the keys of the file (lower case).
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Args {
    /// A TOML file with these settings (flag names with underscores).
    #[arg(long, env = "BERTH_CONFIG", global = true)]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:3000].
    #[arg(long, env = "BERTH_LISTEN", global = true)]
    pub listen: Option<SocketAddr>,
    /// sqlite://PATH or postgres://USER@HOST/DATABASE [default: berth.db in the data folder].
    #[arg(long, env = "BERTH_DATABASE_URL", global = true, hide_env_values = true)]
    pub database_url: Option<String>,
    /// Folder of the SQLite database and the master key [default: data].
    #[arg(long, env = "BERTH_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// URL at which people and receivers reach this server, e.g. `https://berth.example.com` [default in development: `http://LISTEN`].
    #[arg(long, env = "BERTH_PUBLIC_URL", global = true)]
    pub public_url: Option<String>,
    /// Further hosts under which clients reach this server, comma-separated, e.g. the name that a proxy sends as Host
    /// [default: none].
    #[arg(long, env = "BERTH_ADDITIONAL_HOSTS", global = true)]
    pub additional_hosts: Option<String>,
    /// development or production [default: development].
    #[arg(long, env = "BERTH_ENV", global = true)]
    pub env: Option<Environment>,
    /// Key that encrypts secrets at rest, 64 hex digits [default: the file master.key in the data folder].
    #[arg(long, env = "BERTH_MASTER_KEY", global = true, hide_env_values = true)]
    pub master_key: Option<String>,
    /// Earlier master keys, which only decrypt, comma-separated [default: none, or further lines of the file master.key].
    #[arg(long, env = "BERTH_PREVIOUS_MASTER_KEYS", global = true, hide_env_values = true)]
    pub previous_master_keys: Option<String>,
    /// Private networks that webhooks may reach, CIDR, comma-separated [default: loopback in development, else none].
    #[arg(long, env = "BERTH_ALLOW_NETWORKS", global = true)]
    pub allow_networks: Option<String>,
    /// Requests per second for each user or client address, 0 for no limit [default: 100].
    #[arg(long, env = "BERTH_API_RATE", global = true)]
    pub api_rate: Option<u32>,
    /// API tokens of one user, 0 for no limit [default: 50].
    #[arg(long, env = "BERTH_MAX_TOKENS", global = true)]
    pub max_tokens: Option<Limit>,
    /// Active reservations of one user, 0 for no limit [default: 100].
    #[arg(long, env = "BERTH_MAX_ACTIVE_RESERVATIONS", global = true)]
    pub max_active_reservations: Option<Limit>,
    /// Hours from now to the end of a reservation, 0 for ten years [default: 8784, which is 366 days].
    #[arg(long, env = "BERTH_MAX_HOURS_AHEAD", global = true)]
    pub max_hours_ahead: Option<Limit>,
    /// Hours from start to end of a reservation, 0 for no limit [default: 2160, which is 90 days].
    #[arg(long, env = "BERTH_MAX_RESERVATION_HOURS", global = true)]
    pub max_reservation_hours: Option<Limit>,
    /// Changes of one reservation within a minute, 0 for no limit [default: 10].
    #[arg(long, env = "BERTH_MAX_CHANGES_PER_MINUTE", global = true)]
    pub max_changes_per_minute: Option<Limit>,
    /// Token that readers of /metrics must send, at least 16 characters [default: only clients on this machine read them].
    #[arg(long, env = "BERTH_METRICS_TOKEN", global = true, hide_env_values = true)]
    pub metrics_token: Option<String>,
    /// Address and port of a separate listener for /metrics, /healthz and /readyz [default: none].
    #[arg(long, env = "BERTH_METRICS_LISTEN", global = true)]
    pub metrics_listen: Option<SocketAddr>,
    /// Days that deliveries, payloads and attempts are kept [default: 90].
    #[arg(long, env = "BERTH_RETENTION_DAYS", global = true)]
    pub retention_days: Option<u32>,
    /// Days after the end of a reservation that its access information is kept [default: 90].
    #[arg(long, env = "BERTH_ACCESS_INFO_RETENTION_DAYS", global = true)]
    pub access_info_retention_days: Option<u32>,
    /// Days that entries of the audit log are kept [default: 365].
    #[arg(long, env = "BERTH_AUDIT_RETENTION_DAYS", global = true)]
    pub audit_retention_days: Option<u32>,
    /// Days after which a signing secret is old, so that its managers are reminded to rotate it; 0 for never [default: 180].
    #[arg(long, env = "BERTH_SECRET_REMINDER_DAYS", global = true)]
    pub secret_reminder_days: Option<u32>,
    /// Mail server for alerts: smtps://USER:PASSWORD@HOST, or smtp://USER:PASSWORD@HOST:587?tls=required [default: no e-mail].
    #[arg(long, env = "BERTH_SMTP_URL", global = true, hide_env_values = true)]
    pub smtp_url: Option<String>,
    /// Sender of e-mails, e.g. `Berth <berth@example.com>`. Required with --smtp-url.
    #[arg(long, env = "BERTH_SMTP_FROM", global = true)]
    pub smtp_from: Option<String>,
    /// Index of the texts of requests, responses and diagnoses for searches [default: on].
    #[arg(long, env = "BERTH_SEARCH_TEXT", global = true)]
    pub search_text: Option<Switch>,
    /// Syslog receiver (RFC 5424) of the audit log: udp://host:514, tcp://host:601 or unix:///dev/log [default: none].
    #[arg(long, env = "BERTH_AUDIT_SYSLOG", global = true)]
    pub audit_syslog: Option<String>,
    /// Base URL of an OpenTelemetry collector (OTLP over HTTP) that receives the audit log as log records [default: none].
    #[arg(long, env = "BERTH_AUDIT_OTLP_ENDPOINT", global = true)]
    pub audit_otlp_endpoint: Option<String>,
    /// Timeout of one attempt in seconds, 0.1 to 30 [default: 30]. A lease lasts 15 s longer.
    #[arg(long, env = "BERTH_DELIVERY_TIMEOUT", global = true)]
    pub delivery_timeout: Option<f64>,
    /// Minutes without a request after which a session ends, at least 5 [default: 1440]. Replaces --session-idle-hours.
    #[arg(long, env = "BERTH_SESSION_IDLE_MINUTES", global = true)]
    pub session_idle_minutes: Option<u32>,
    /// Hours without a request after which a session ends. Use --session-idle-minutes instead.
    #[arg(long, env = "BERTH_SESSION_IDLE_HOURS", global = true)]
    pub session_idle_hours: Option<u32>,
    /// Days after which a session ends [default: 7].
    #[arg(long, env = "BERTH_SESSION_DAYS", global = true)]
    pub session_days: Option<u32>,
    /// Maximum lifetime of a new API token in days [default: 365].
    #[arg(long, env = "BERTH_TOKEN_MAX_DAYS", global = true)]
    pub token_max_days: Option<u32>,
    /// Accounts that need a second factor: none, administrators or everyone [default: none].
    #[arg(long, env = "BERTH_SECOND_FACTOR_REQUIRED", global = true)]
    pub second_factor_required: Option<String>,
    /// Login name of the administrator that the first start creates.
    #[arg(long, env = "BERTH_ADMIN_USERNAME", global = true)]
    pub admin_username: Option<String>,
    /// Password of the administrator that the first start creates.
    #[arg(long, env = "BERTH_ADMIN_PASSWORD", global = true, hide_env_values = true)]
    pub admin_password: Option<String>,
    /// Names of the identity providers (OpenID Connect), comma-separated. Each has variables such as
    /// `BERTH_OIDC_CORP_ISSUER` [default: none].
    #[arg(long, env = "BERTH_OIDC_PROVIDERS", global = true)]
    pub oidc_providers: Option<String>,
    /// Settings of the identity providers. In the file, each is a table such as `[oidc.corp]`.
    #[arg(skip)]
    pub oidc: ProviderArgs,
    /// Log-in with a password: on, break-glass (only BERTH_BREAK_GLASS_ADMIN), or off [default: on].
    #[arg(long, env = "BERTH_LOCAL_LOGIN", global = true)]
    pub local_login: Option<String>,
    /// Username of the administrator who may log in with a password if BERTH_LOCAL_LOGIN is break-glass.
    #[arg(long, env = "BERTH_BREAK_GLASS_ADMIN", global = true)]
    pub break_glass_admin: Option<String>,
    /// Reverse proxies whose X-Forwarded-For is used: their number, their networks (CIDR, comma-separated), true for one
    /// proxy, or false [default: false].
    #[arg(long, env = "BERTH_TRUST_PROXY", global = true, num_args = 0..=1, default_missing_value = "true")]
    pub trust_proxy: Option<TrustedProxies>,
    /// Log filter, e.g. info or server=debug [default: info].
    #[arg(long, env = "BERTH_LOG", global = true)]
    pub log: Option<String>,
    /// Log format, text or json [default: text].
    #[arg(long, env = "BERTH_LOG_FORMAT", global = true)]
    pub log_format: Option<LogFormat>,
    /// Base URL of an OpenTelemetry collector (OTLP over HTTP), e.g. http://localhost:4318 [default: no export].
    #[arg(long, env = "BERTH_OTLP_ENDPOINT", global = true)]
    pub otlp_endpoint: Option<String>,
    /// Share of traces to export, 0 to 1 [default: 1].
    #[arg(long, env = "BERTH_OTLP_SAMPLE_RATIO", global = true)]
    pub otlp_sample_ratio: Option<f64>,
}

/// The effective settings.
#[derive(Clone)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// URL at which people and receivers reach this server: scheme, host and port only.
    pub public_url: String,
    /// Whether the public URL is the default.
    pub public_url_is_default: bool,
    /// Further hosts that requests may name, in lower case, IPv6 in brackets.
    pub additional_hosts: Vec<String>,
    /// Development or production.
    pub env: Environment,
    /// Settings of the service.
    pub service: service::Settings,
    /// Requests per second for each user or client address; 0 = no limit.
    pub api_rate: u32,
    /// Login name and password of the first administrator.
    pub admin: Option<(String, String)>,
    /// Reverse proxies whose `X-Forwarded-For` is used.
    pub trusted_proxies: TrustedProxies,
    /// Folder of the SQLite database and the master key.
    pub data_dir: PathBuf,
    /// The master key file; `None` if `BERTH_MASTER_KEY` is set.
    pub key_file: Option<KeyFile>,
    /// Whether the first start creates the master key file.
    pub is_new_key_file: bool,
    /// Limits of the connections of clients.
    pub listener: Limits,
    /// Problems that do not prevent the start, for the log.
    pub warnings: Vec<String>,
    /// Settings of the metrics endpoint.
    pub metrics: metrics::Settings,
    /// Settings of logs and traces.
    pub telemetry: telemetry::Settings,
    /// Systems that receive the audit log.
    pub audit: audit_stream::Settings,
}

impl Config {
    /// Whether cookies are sent over TLS only: they are if people reach Berth by `https://`.
    pub fn secure_cookies(&self) -> bool {
        self.public_url.starts_with("https://")
    }
}

impl Args {
    /// Adds the settings of the file.
    ///
    /// # Errors
    /// Returns a message for the operator if the file does not exist or contains an invalid setting.
    pub fn with_file(self) -> Result<Self, String> {
        use figment::Figment;
        use figment::providers::{Format as _, Serialized, Toml};
        let file = match &self.config {
            Some(file) if !file.exists() => {
                return Err(format!("The file {} named by --config does not exist.", file.display()));
            }
            Some(file) => file.clone(),
            None => PathBuf::from(SETTINGS_FILE),
        };
        let config = self.config.clone();
        // Absent settings serialize as null, which must not override the file.
        let given = serde_json::to_value(&self).map_err(|error| error.to_string())?;
        let given: serde_json::Map<String, serde_json::Value> =
            given.as_object().cloned().unwrap_or_default().into_iter().filter(|(_, value)| !value.is_null()).collect();
        let mut merged: Self = Figment::new()
            .merge(Toml::file(&file))
            .merge(Serialized::defaults(given))
            .extract()
            .map_err(|error| format!("{}: {}", file.display(), describe(error)))?;
        merged.config = config;
        let providers = merged.oidc_providers.clone().unwrap_or_default();
        // Variables that are not Unicode cannot be settings.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        single_sign_on::add_variables(&mut merged.oidc, &providers, variables)?;
        Ok(merged)
    }

    /// Address and port to listen on.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 3000)))
    }

    /// Development or production.
    pub(crate) fn env(&self) -> Environment {
        self.env.unwrap_or(Environment::Development)
    }

    /// Checks that a server has the settings that have no default in production, and that in development only this
    /// machine can reach its listeners. `listener` is the main one with the name of its setting.
    ///
    /// # Errors
    /// Returns a message with the setting and the remedy.
    pub fn check_for_server(&self, listener: Option<(SocketAddr, &str)>) -> Result<(), String> {
        let metrics = self.metrics_listen.map(|address| (address, "BERTH_METRICS_LISTEN"));
        let is_open = |(address, _): &(SocketAddr, &str)| !address.ip().to_canonical().is_loopback();
        let open = listener.into_iter().chain(metrics).find(is_open);
        if let Some((address, setting)) = open
            && self.env() == Environment::Development
        {
            return Err(format!(
                "{setting} is {address}, which other machines can reach. In development Berth listens only on a loopback \
                 address such as 127.0.0.1:{}, because it allows http:// and loopback endpoints. Change {setting}, or set \
                 BERTH_ENV=production and BERTH_PUBLIC_URL.",
                address.port()
            ));
        }
        if self.env() == Environment::Production && self.public_url.is_none() {
            return Err(
                "BERTH_PUBLIC_URL is required in production: the URL at which users and receivers reach Berth, \
                        such as https://berth.example.com."
                    .into(),
            );
        }
        Ok(())
    }

    /// The mail server for alerts.
    fn smtp(&self) -> Result<Option<SmtpSettings>, String> {
        match (&self.smtp_url, &self.smtp_from) {
            (Some(url), Some(from)) => {
                let settings = SmtpSettings { url: url.trim().to_owned().into(), from: from.trim().to_owned() };
                service::alerts::check_smtp(&settings)?;
                Ok(Some(settings))
            }
            (None, None) => Ok(None),
            _ => Err("Set both BERTH_SMTP_URL and BERTH_SMTP_FROM, or neither.".into()),
        }
    }

    /// Validates the settings, and creates the data folder if it does not exist.
    ///
    /// # Errors
    /// Returns a message with the invalid setting and the remedy.
    pub fn resolve(self) -> Result<Config, String> {
        let telemetry = self.telemetry()?;
        let audit = self.audit()?;
        let accounts = self.account_limits()?;
        let quotas = self.quotas();
        let metrics = self.metrics()?;
        let single_sign_on = self.single_sign_on()?;
        let smtp = self.smtp()?;
        let (listen, env) = (self.listen(), self.env());
        let public_url_is_default = self.public_url.is_none();
        let public_url = match self.public_url {
            Some(text) => public_url(&text, env)?,
            None => default_public_url(listen),
        };
        let additional_hosts = additional_hosts(self.additional_hosts.as_deref().unwrap_or_default())?;
        let url_policy = UrlPolicy {
            allow_http: env == Environment::Development,
            allow_networks: allowed_networks(self.allow_networks.as_deref(), env)?,
        };
        let seconds = self.delivery_timeout.unwrap_or(30.0);
        if !(0.1..=30.0).contains(&seconds) {
            return Err("BERTH_DELIVERY_TIMEOUT must be 0.1 to 30 seconds.".into());
        }
        let retention_days = self.retention_days.unwrap_or(90);
        if retention_days == 0 {
            return Err("BERTH_RETENTION_DAYS must be at least 1.".into());
        }
        let access_info_retention_days = self.access_info_retention_days.unwrap_or(90);
        if access_info_retention_days == 0 {
            return Err("BERTH_ACCESS_INFO_RETENTION_DAYS must be at least 1.".into());
        }
        let audit_retention_days = self.audit_retention_days.unwrap_or(365);
        if audit_retention_days == 0 {
            return Err("BERTH_AUDIT_RETENTION_DAYS must be at least 1.".into());
        }
        let admin = match (self.admin_username, self.admin_password) {
            (Some(name), Some(password)) => Some((name, password)),
            (None, None) => None,
            _ => return Err("Set both BERTH_ADMIN_USERNAME and BERTH_ADMIN_PASSWORD, or neither.".into()),
        };
        let data_dir = create_data_dir(self.data_dir.unwrap_or_else(|| PathBuf::from("data")))?;
        let database_url =
            self.database_url.unwrap_or_else(|| format!("sqlite://{}?mode=rwc", data_dir.join("berth.db").display()));
        let database_url =
            if env == Environment::Production { service::with_verified_tls(&database_url) } else { database_url };
        let (mut key_file, mut is_new_key_file, mut warnings) = (None, false, Vec::new());
        if env == Environment::Production {
            warnings.extend(service::warn_about_tls(&database_url));
        }
        let uses_key_file = self.master_key.is_none();
        let mut previous_master_keys = parse_previous_keys(self.previous_master_keys.as_deref().unwrap_or_default())?;
        let master_key: MasterKey = match self.master_key {
            Some(text) => parse_key(&text)
                .ok_or("BERTH_MASTER_KEY must be 64 hex digits (32 bytes), e.g. from: openssl rand -hex 32")?
                .into(),
            None => {
                let file = key_file.insert(KeyFile::of(&data_dir));
                match file.read()? {
                    Some(keys) => {
                        warnings.extend(keys.warning);
                        previous_master_keys.extend(keys.previous);
                        keys.current
                    }
                    None => {
                        is_new_key_file = true;
                        service::secrets::random::<32>().into()
                    }
                }
            }
        };
        let settings_file = self.config.unwrap_or_else(|| PathBuf::from(SETTINGS_FILE));
        let mut private = Vec::new();
        if files::contains_secret(&settings_file) {
            private.push(settings_file);
        }
        // An invalid URL is reported when the database is opened.
        let database = service::sqlite_file(&database_url).ok().flatten();
        if database.is_some() || uses_key_file {
            private.push(data_dir.clone());
        }
        private.extend(database.iter().flat_map(|database| files::database_files(database)));
        warnings.extend(private.iter().filter_map(|path| files::warn_if_accessible(path)));
        Ok(Config {
            listen,
            env,
            service: service::Settings {
                database_url,
                public_url: public_url.clone(),
                master_key,
                previous_master_keys,
                url_policy,
                retention_days,
                access_info_retention_days,
                audit_retention_days,
                secret_reminder_days: self.secret_reminder_days.unwrap_or(180),
                smtp,
                search_text: self.search_text != Some(Switch::Off),
                audit_is_streamed: audit.is_streamed(),
                delivery_timeout: Duration::from_secs_f64(seconds),
                max_in_flight: Shares::of_process().deliveries,
                accounts,
                quotas,
                single_sign_on,
            },
            public_url,
            public_url_is_default,
            additional_hosts,
            api_rate: self.api_rate.unwrap_or(100),
            admin,
            trusted_proxies: self.trust_proxy.unwrap_or_default(),
            data_dir,
            key_file,
            is_new_key_file,
            listener: Limits::default(),
            warnings,
            metrics,
            telemetry,
            audit,
        })
    }

    /// The systems that receive the audit log.
    fn audit(&self) -> Result<audit_stream::Settings, String> {
        fn parse<T: std::str::FromStr<Err = String>>(name: &str, text: &Option<String>) -> Result<Option<T>, String> {
            let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
            text.map(|text| text.parse().map_err(|error| format!("{name}: {error}"))).transpose()
        }
        Ok(audit_stream::Settings {
            syslog: parse("BERTH_AUDIT_SYSLOG", &self.audit_syslog)?,
            otlp: parse("BERTH_AUDIT_OTLP_ENDPOINT", &self.audit_otlp_endpoint)?,
        })
    }

    fn account_limits(&self) -> Result<service::AccountLimits, String> {
        let defaults = service::AccountLimits::default();
        let limit = |value: Option<u32>, unit: fn(i64) -> chrono::Duration, default, name: &str| match value {
            None => Ok(default),
            Some(value @ 1..=MAX_ACCOUNT_LIMIT) => Ok(unit(value.into())),
            Some(_) => Err(format!("{name} must be 1 to {MAX_ACCOUNT_LIMIT}.")),
        };
        let idle_hours =
            limit(self.session_idle_hours, chrono::Duration::hours, defaults.session_idle, "BERTH_SESSION_IDLE_HOURS")?;
        let session_idle = match (self.session_idle_minutes, self.session_idle_hours) {
            (Some(_), Some(_)) => {
                return Err("Set either BERTH_SESSION_IDLE_MINUTES or BERTH_SESSION_IDLE_HOURS.".into());
            }
            (Some(minutes @ MIN_IDLE_MINUTES..=MAX_IDLE_MINUTES), None) => chrono::Duration::minutes(minutes.into()),
            (Some(_), None) => {
                return Err(format!("BERTH_SESSION_IDLE_MINUTES must be {MIN_IDLE_MINUTES} to {MAX_IDLE_MINUTES}."));
            }
            (None, _) => idle_hours,
        };
        Ok(service::AccountLimits {
            session_idle,
            session_lifetime: limit(
                self.session_days,
                chrono::Duration::days,
                defaults.session_lifetime,
                "BERTH_SESSION_DAYS",
            )?,
            token_lifetime: limit(
                self.token_max_days,
                chrono::Duration::days,
                defaults.token_lifetime,
                "BERTH_TOKEN_MAX_DAYS",
            )?,
            second_factor_required: match self.second_factor_required.as_deref().map(str::trim).unwrap_or_default() {
                "" => defaults.second_factor_required,
                text => text
                    .parse()
                    .map_err(|_| "BERTH_SECOND_FACTOR_REQUIRED must be none, administrators or everyone.".to_owned())?,
            },
        })
    }

    fn single_sign_on(&self) -> Result<SingleSignOnSettings, String> {
        let flags = single_sign_on::Flags {
            providers: self.oidc_providers.as_deref().unwrap_or_default(),
            local_login: self.local_login.as_deref(),
            break_glass_admin: self.break_glass_admin.as_deref(),
        };
        single_sign_on::resolve(&flags, &self.oidc, self.env())
    }

    fn metrics(&self) -> Result<metrics::Settings, String> {
        let token = self.metrics_token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        if token
            .is_some_and(|token| token.len() < MIN_METRICS_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(format!(
                "BERTH_METRICS_TOKEN must have at least {MIN_METRICS_TOKEN} visible ASCII characters, e.g. from: openssl \
                 rand -hex 32"
            ));
        }
        Ok(metrics::Settings { token: token.map(service::secrets::digest), listen: self.metrics_listen })
    }

    fn quotas(&self) -> Quotas {
        let or_default = |limit: Option<Limit>, default: u32| limit.map_or(Some(default), Limit::get);
        Quotas {
            tokens: or_default(self.max_tokens, 50),
            active_reservations: or_default(self.max_active_reservations, 100),
            hours_ahead: or_default(self.max_hours_ahead, 8_784),
            reservation_hours: or_default(self.max_reservation_hours, 2_160),
            changes_per_minute: or_default(self.max_changes_per_minute, 10),
        }
    }

    fn telemetry(&self) -> Result<telemetry::Settings, String> {
        let defaults = telemetry::Settings::default();
        let sample_ratio = self.otlp_sample_ratio.unwrap_or(defaults.sample_ratio);
        if !(0.0..=1.0).contains(&sample_ratio) {
            return Err("BERTH_OTLP_SAMPLE_RATIO must be 0 to 1.".into());
        }
        let otlp_endpoint = self.otlp_endpoint.clone().filter(|endpoint| !endpoint.is_empty());
        if otlp_endpoint.as_deref().is_some_and(|endpoint| !is_http_url(endpoint)) {
            return Err("BERTH_OTLP_ENDPOINT must be a URL such as http://localhost:4318.".into());
        }
        Ok(telemetry::Settings {
            log_filter: self.log.clone().unwrap_or(defaults.log_filter),
            log_format: self.log_format.unwrap_or_default(),
            otlp_endpoint,
            sample_ratio,
        })
    }
}

/// An error of the settings file, without the values of settings: they may be secrets.
fn describe(error: figment::Error) -> String {
    use figment::error::Kind;
    let describe_one = |error: figment::Error| match &error.kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("the setting {} must be {expected}", error.path.join("."))
        }
        _ => error.to_string(),
    };
    error.into_iter().map(describe_one).collect::<Vec<_>>().join("; ")
}

fn is_http_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}

/// Validates `BERTH_PUBLIC_URL` and returns its normal form: scheme, host in lower case and ASCII, and an unusual port.
/// Browsers send this form as `Origin`.
fn public_url(text: &str, env: Environment) -> Result<String, String> {
    let invalid = |reason: &str| {
        format!("BERTH_PUBLIC_URL {reason}. It must be a URL without a path, such as https://berth.example.com.")
    };
    let text = text.trim();
    if !text.is_ascii() {
        return Err(invalid(
            "contains international letters; write the ASCII form of the host, such as xn--bcher-kva.example",
        ));
    }
    let url = Url::parse(text).map_err(|error| invalid(&format!("is not a URL ({error})")))?;
    let has_scheme = text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://"));
    if !matches!(url.scheme(), "http" | "https") || !has_scheme {
        return Err(invalid("does not begin with http:// or https://"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(invalid("contains a space, a control character or a backslash"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("contains a user name or a password"));
    }
    if url.path() != "/" {
        return Err(invalid("contains a path; Berth must be at the root of its host"));
    }
    if text.contains(['?', '#']) {
        return Err(invalid("contains a query or a fragment"));
    }
    let host = url.host().ok_or_else(|| invalid("has no host"))?;
    let is_unspecified = match host {
        url::Host::Ipv4(ip) => ip.is_unspecified(),
        url::Host::Ipv6(ip) => ip.is_unspecified(),
        url::Host::Domain(_) => false,
    };
    if is_unspecified || url.port() == Some(0) {
        return Err(invalid("has a host or port that nobody can reach"));
    }
    if env == Environment::Production && url.scheme() != "https" {
        return Err(
            "BERTH_PUBLIC_URL must begin with https:// in production, because browsers send the session cookie \
                    over TLS only."
                .into(),
        );
    }
    Ok(url.origin().ascii_serialization())
}

/// The public URL in development: the listening address, which is loopback if the server listens on all addresses.
pub(crate) fn default_public_url(mut listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{listen}")
}

fn allowed_networks(list: Option<&str>, env: Environment) -> Result<Vec<Network>, String> {
    let default = if env == Environment::Development { LOOPBACK } else { "" };
    list.unwrap_or(default)
        .split(',')
        .map(str::trim)
        .filter(|network| !network.is_empty())
        .map(|network| Network::parse(network).map_err(|message| format!("BERTH_ALLOW_NETWORKS: {message}")))
        .collect()
}

/// Parses `BERTH_PREVIOUS_MASTER_KEYS`.
fn parse_previous_keys(list: &str) -> Result<Vec<MasterKey>, String> {
    list.split(',')
        .map(str::trim)
        .filter(|key| !key.is_empty())
        .map(|key| parse_key(key).map(MasterKey::from))
        .collect::<Option<_>>()
        .ok_or_else(|| "BERTH_PREVIOUS_MASTER_KEYS must be keys of 64 hex digits each, separated by commas.".into())
}

/// Validates `BERTH_ADDITIONAL_HOSTS`.
fn additional_hosts(list: &str) -> Result<Vec<String>, String> {
    let hosts = list.split(',').map(str::trim).filter(|host| !host.is_empty());
    hosts
        .map(|text| {
            let bracketed = if text.parse::<Ipv6Addr>().is_ok() { format!("[{text}]") } else { text.to_owned() };
            let is_host = text.is_ascii() && !text.contains(['*', '%', '@', '/']);
            url::Host::parse(&bracketed).ok().filter(|_| is_host).map(|host| host.to_string()).ok_or_else(|| {
                format!(
                    "BERTH_ADDITIONAL_HOSTS: {text} is not a host name or address. Write names without scheme, port and \
                     wildcard, separated by commas, such as berth.internal,10.0.0.5."
                )
            })
        })
        .collect()
}

fn create_data_dir(folder: PathBuf) -> Result<PathBuf, String> {
    files::create_private_folder(&folder).map_err(|error| {
        let folder = folder.display();
        format!("The data folder {folder} cannot be created ({error}). Set BERTH_DATA_DIR to a writable folder.")
    })?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::second_factor::SecondFactorPolicy;

    #[test]
    fn public_url_is_an_origin_in_normal_form() {
        for (text, normal) in [
            ("https://berth.example.com", "https://berth.example.com"),
            (" https://Berth.Example.com/ ", "https://berth.example.com"),
            ("https://berth.example.com:443/", "https://berth.example.com"),
            ("https://berth.example.com:8443", "https://berth.example.com:8443"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443"),
        ] {
            assert_eq!(public_url(text, Environment::Production).as_deref(), Ok(normal), "{text}");
        }
        for text in [
            "",
            "berth.example.com",
            "localhost:3000",
            "ftp://berth.example.com",
            "https:berth.example.com",
            "https://",
            "https://berth.example.com/berth",
            "https://berth.example.com//",
            "https://berth.example.com/?",
            "https://berth.example.com?tenant=1",
            "https://berth.example.com/#",
            "https://user@berth.example.com",
            "https://user:secret@berth.example.com",
            "https://berth example.com",
            "https://berth.example.com /",
            "https://berth.exam\tple.com",
            "https:\\\\berth.example.com",
            "https://0.0.0.0:3000",
            "https://[::]",
            "https://berth.example.com:0",
            "https://bücher.example",
        ] {
            let error = public_url(text, Environment::Development).expect_err(text);
            assert!(error.contains("BERTH_PUBLIC_URL") && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn production_requires_a_public_url_with_https() {
        assert!(public_url("http://berth.example.com", Environment::Production).unwrap_err().contains("https://"));
        assert_eq!(
            public_url("http://127.0.0.1:3000/", Environment::Development).as_deref(),
            Ok("http://127.0.0.1:3000")
        );
        let production = Args { env: Some(Environment::Production), ..Args::default() };
        assert!(production.check_for_server(None).unwrap_err().contains("BERTH_PUBLIC_URL"));
        assert!(Args::default().check_for_server(None).is_ok());
        let given = Args { public_url: Some("https://berth.example.com".into()), ..production };
        assert!(given.check_for_server(None).is_ok());
    }

    #[test]
    fn development_refuses_listeners_that_other_machines_can_reach() {
        let check =
            |args: &Args, address: &str| args.check_for_server(Some((address.parse().unwrap(), "BERTH_LISTEN")));
        let production = Args {
            env: Some(Environment::Production),
            public_url: Some("https://berth.example.com".into()),
            ..Args::default()
        };
        for address in ["0.0.0.0:3000", "[::]:3000", "192.0.2.1:80", "[2001:db8::1]:80", "[::ffff:192.0.2.1]:80"] {
            let error = check(&Args::default(), address).unwrap_err();
            assert!(error.contains("BERTH_LISTEN") && error.contains("BERTH_ENV=production"), "{error}");
            assert!(check(&production, address).is_ok(), "{address}");
        }
        for address in ["127.0.0.1:3000", "127.0.0.9:80", "[::1]:3000", "[::ffff:127.0.0.1]:0"] {
            assert!(check(&Args::default(), address).is_ok(), "{address}");
        }
    }

    #[test]
    fn default_public_url_can_be_reached() {
        assert_eq!(default_public_url("0.0.0.0:3000".parse().unwrap()), "http://127.0.0.1:3000");
        assert_eq!(default_public_url("[::]:3000".parse().unwrap()), "http://[::1]:3000");
        assert_eq!(default_public_url("192.0.2.1:80".parse().unwrap()), "http://192.0.2.1:80");
    }

    #[test]
    fn errors_of_the_file_contain_no_values() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("berth.toml");
        for setting in ["admin_password = 1234567890", "master_key = [1234567890]", "database_url = 1234567890"] {
            std::fs::write(&file, setting).unwrap();
            let error = Args { config: Some(file.clone()), ..Args::default() }.with_file().unwrap_err();
            let name = setting.split(' ').next().unwrap();
            assert!(error.contains(name) && !error.contains("1234567890"), "{error}");
        }
    }

    #[test]
    fn loopback_is_allowed_by_default_only_in_development() {
        assert_eq!(allowed_networks(None, Environment::Development).unwrap().len(), 2);
        assert!(allowed_networks(None, Environment::Production).unwrap().is_empty());
        assert!(allowed_networks(Some(""), Environment::Development).unwrap().is_empty());
        assert_eq!(allowed_networks(Some("10.0.0.0/8, fd00::/8"), Environment::Production).unwrap().len(), 2);
        assert!(
            allowed_networks(Some("10.0.0.0/33"), Environment::Production)
                .unwrap_err()
                .contains("BERTH_ALLOW_NETWORKS")
        );
    }

    #[test]
    fn lifetimes_of_sessions_and_tokens_are_validated() {
        let limits = Args::default().account_limits().unwrap();
        assert_eq!(limits, service::AccountLimits::default());
        let args =
            Args { session_idle_hours: Some(1), session_days: Some(2), token_max_days: Some(3), ..Args::default() };
        let limits = args.account_limits().unwrap();
        assert_eq!(limits.session_idle.num_minutes(), 60);
        let args = Args { session_idle_minutes: Some(30), ..Args::default() };
        assert_eq!(args.account_limits().unwrap().session_idle.num_minutes(), 30);
        for (minutes, hours) in [(4, None), (0, None), (u32::MAX, None), (30, Some(1))] {
            let args = Args { session_idle_minutes: Some(minutes), session_idle_hours: hours, ..Args::default() };
            assert!(args.account_limits().unwrap_err().contains("BERTH_SESSION_IDLE_MINUTES"), "{minutes}");
        }
        assert_eq!((limits.session_lifetime.num_days(), limits.token_lifetime.num_days()), (2, 3));
        let invalid = Args { session_days: Some(0), ..Args::default() };
        assert!(invalid.account_limits().unwrap_err().contains("BERTH_SESSION_DAYS"));
        let invalid = Args { token_max_days: Some(u32::MAX), ..Args::default() };
        assert!(invalid.account_limits().unwrap_err().contains("BERTH_TOKEN_MAX_DAYS"));
        let required = |text: &str| {
            let args = Args { second_factor_required: Some(text.into()), ..Args::default() };
            args.account_limits().map(|limits| limits.second_factor_required)
        };
        assert_eq!(required(" administrators "), Ok(SecondFactorPolicy::Administrators));
        assert_eq!(required(""), Ok(SecondFactorPolicy::None));
        assert!(required("admins").unwrap_err().contains("none, administrators or everyone"));
    }

    #[test]
    fn limits_are_numbers_and_0_means_none() {
        for (text, expected) in [("", None), ("0", None), (" 7 ", Some(7)), ("4294967295", Some(u32::MAX))] {
            assert_eq!(text.parse::<Limit>().map(Limit::get), Ok(expected), "{text}");
        }
        for invalid in ["-1", "many", "1.5", "4294967296"] {
            assert!(invalid.parse::<Limit>().unwrap_err().contains("0 for no limit"), "{invalid}");
        }
        for (json, expected) in [("7", Some(7)), ("0", None), ("\"\"", None), ("\"7\"", Some(7))] {
            assert_eq!(serde_json::from_str::<Limit>(json).unwrap().get(), expected, "{json}");
        }
        let quotas = Args::default().quotas();
        assert_eq!((quotas.tokens, quotas.active_reservations), (Some(50), Some(100)));
        assert_eq!((quotas.hours_ahead, quotas.reservation_hours), (Some(366 * 24), Some(90 * 24)));
        assert_eq!(quotas.changes_per_minute, Some(10));
        let unlimited = Args { max_tokens: Some(Limit(0)), ..Args::default() };
        assert_eq!(unlimited.quotas().tokens, None);
    }

    #[test]
    fn additional_hosts_are_names_or_addresses() {
        assert_eq!(
            additional_hosts("Berth.Internal, 10.0.0.5,2001:DB8::1,[::1]").unwrap(),
            ["berth.internal", "10.0.0.5", "[2001:db8::1]", "[::1]"]
        );
        assert!(additional_hosts("").unwrap().is_empty());
        for invalid in ["*.example.com", "berth.internal:3000", "https://berth.internal", "a b", "u@h", "h/x", "bücher"]
        {
            let error = additional_hosts(invalid).unwrap_err();
            assert!(error.contains("BERTH_ADDITIONAL_HOSTS") && error.contains(invalid), "{error}");
        }
    }

    #[test]
    fn telemetry_settings_outside_their_range_are_rejected() {
        let with = |endpoint: &str, ratio: f64| {
            Args { otlp_endpoint: Some(endpoint.into()), otlp_sample_ratio: Some(ratio), ..Args::default() }.telemetry()
        };
        assert!(with("http://localhost:4318", 0.5).is_ok());
        assert_eq!(with("", 1.0).unwrap().otlp_endpoint, None);
        assert!(with("localhost:4318", 1.0).unwrap_err().contains("BERTH_OTLP_ENDPOINT"));
        for ratio in [-0.1, 1.1, f64::NAN] {
            assert!(with("http://localhost:4318", ratio).unwrap_err().contains("BERTH_OTLP_SAMPLE_RATIO"));
        }
    }
}
