//! Settings from flags, environment variables and a file, in this order of precedence. `berth serve --help` lists them;
//! docs/configuration.md describes them.

use crate::telemetry::{self, LogFormat};
use domain::endpoint::{Network, UrlPolicy};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Networks that webhooks may reach in development.
const LOOPBACK: &str = "127.0.0.0/8,::1";
/// Length of the master key in bytes.
const KEY_LENGTH: usize = 32;

/// Environment in which Berth runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Allows `http://` and loopback endpoints; cookies work without TLS.
    Development,
    /// Allows only `https://` endpoints; sets Secure cookies and HSTS.
    Production,
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
    /// URL at which people and receivers reach this server [default: http://LISTEN].
    #[arg(long, env = "BERTH_PUBLIC_URL", global = true)]
    pub public_url: Option<String>,
    /// development or production [default: development].
    #[arg(long, env = "BERTH_ENV", global = true)]
    pub env: Option<Environment>,
    /// Key that encrypts secrets at rest, 64 hex digits [default: a file with mode 0600 in the data folder].
    #[arg(long, env = "BERTH_MASTER_KEY", global = true, hide_env_values = true)]
    pub master_key: Option<String>,
    /// Private networks that webhooks may reach, CIDR, comma-separated [default: loopback in development, else none].
    #[arg(long, env = "BERTH_ALLOW_NETWORKS", global = true)]
    pub allow_networks: Option<String>,
    /// Requests per second for each API token or client address, 0 for no limit [default: 100].
    #[arg(long, env = "BERTH_API_RATE", global = true)]
    pub api_rate: Option<u32>,
    /// Days that deliveries, payloads and attempts are kept [default: 90].
    #[arg(long, env = "BERTH_RETENTION_DAYS", global = true)]
    pub retention_days: Option<u32>,
    /// Timeout of one attempt in seconds, 0.1 to 30 [default: 30]. A lease lasts 15 s longer.
    #[arg(long, env = "BERTH_DELIVERY_TIMEOUT", global = true)]
    pub delivery_timeout: Option<f64>,
    /// Login name of the administrator that the first start creates.
    #[arg(long, env = "BERTH_ADMIN_USERNAME", global = true)]
    pub admin_username: Option<String>,
    /// Password of the administrator that the first start creates.
    #[arg(long, env = "BERTH_ADMIN_PASSWORD", global = true, hide_env_values = true)]
    pub admin_password: Option<String>,
    /// Take the client address from the X-Forwarded-For header of a reverse proxy [default: false].
    #[arg(long, env = "BERTH_TRUST_PROXY", global = true, num_args = 0..=1, default_missing_value = "true")]
    pub trust_proxy: Option<bool>,
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
    /// URL at which people and receivers reach this server, without a trailing slash.
    pub public_url: String,
    /// Development or production.
    pub env: Environment,
    /// Settings of the service.
    pub service: service::Settings,
    /// Requests per second for each API token or client address; 0 = no limit.
    pub api_rate: u32,
    /// Login name and password of the first administrator.
    pub admin: Option<(String, String)>,
    /// Whether to take the client address from `X-Forwarded-For`.
    pub trust_proxy: bool,
    /// Folder of the SQLite database and the master key.
    pub data_dir: PathBuf,
    /// Settings of logs and traces.
    pub telemetry: telemetry::Settings,
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
            None => PathBuf::from("berth.toml"),
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
            .map_err(|error| format!("{}: {error}", file.display()))?;
        merged.config = config;
        Ok(merged)
    }

    /// Validates the settings, and creates the data folder and master key if they do not exist.
    ///
    /// # Errors
    /// Returns a message with the invalid setting and the remedy.
    pub fn resolve(self) -> Result<Config, String> {
        let telemetry = self.telemetry()?;
        let listen = self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 3000)));
        let env = self.env.unwrap_or(Environment::Development);
        let public_url = public_url(self.public_url.unwrap_or_else(|| format!("http://{listen}")))?;
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
        let admin = match (self.admin_username, self.admin_password) {
            (Some(name), Some(password)) => Some((name, password)),
            (None, None) => None,
            _ => return Err("Set both BERTH_ADMIN_USERNAME and BERTH_ADMIN_PASSWORD, or neither.".into()),
        };
        let data_dir = create_data_dir(self.data_dir.unwrap_or_else(|| PathBuf::from("data")))?;
        let database_url =
            self.database_url.unwrap_or_else(|| format!("sqlite://{}?mode=rwc", data_dir.join("berth.db").display()));
        let master_key = match self.master_key {
            Some(text) => parse_key(&text)
                .ok_or("BERTH_MASTER_KEY must be 64 hex digits (32 bytes), e.g. from: openssl rand -hex 32")?,
            None => read_or_create_key_file(&data_dir)?,
        };
        Ok(Config {
            listen,
            env,
            service: service::Settings {
                database_url,
                public_url: public_url.clone(),
                master_key: master_key.into(),
                url_policy,
                retention_days,
                delivery_timeout: Duration::from_secs_f64(seconds),
            },
            public_url,
            api_rate: self.api_rate.unwrap_or(100),
            admin,
            trust_proxy: self.trust_proxy.unwrap_or(false),
            data_dir,
            telemetry,
        })
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

fn is_http_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}

fn public_url(text: String) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    if is_http_url(text) {
        return Ok(text.to_owned());
    }
    Err("BERTH_PUBLIC_URL must be a URL such as https://berth.example.com.".into())
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

fn create_data_dir(folder: PathBuf) -> Result<PathBuf, String> {
    std::fs::create_dir_all(&folder).map_err(|error| {
        let folder = folder.display();
        format!("The data folder {folder} cannot be created ({error}). Set BERTH_DATA_DIR to a writable folder.")
    })?;
    Ok(folder)
}

fn parse_key(text: &str) -> Option<[u8; KEY_LENGTH]> {
    let mut key = [0; KEY_LENGTH];
    hex::decode_to_slice(text.trim(), &mut key).ok()?;
    Some(key)
}

/// Reads the master key from the data folder. The first start creates it, readable only by its owner.
fn read_or_create_key_file(folder: &Path) -> Result<[u8; KEY_LENGTH], String> {
    use std::io::Write as _;
    let path = folder.join("master.key");
    let unusable = |error: std::io::Error| {
        format!("The master key {} cannot be used ({error}). Set BERTH_MASTER_KEY instead.", path.display())
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(&path) {
        Ok(mut file) => {
            let key = hex::encode(service::secrets::random::<KEY_LENGTH>());
            file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(unusable)?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => check_key_permissions(&path)?,
        Err(error) => return Err(unusable(error)),
    }
    let text = std::fs::read_to_string(&path).map_err(unusable)?;
    parse_key(&text).ok_or_else(|| {
        format!("{} does not contain 64 hex digits. Restore it, or set BERTH_MASTER_KEY.", path.display())
    })
}

#[cfg(unix)]
fn check_key_permissions(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let file = path.display();
    let metadata = std::fs::metadata(path)
        .map_err(|error| format!("The master key {file} cannot be used ({error}). Set BERTH_MASTER_KEY instead."))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(format!("Other users can read {file}. Run: chmod 600 {file}"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_key_permissions(_: &Path) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn master_keys_are_64_hex_digits() {
        assert_eq!(
            parse_key(&format!(" {}\n", "0aF9".repeat(16))).map(|key| key[..2].to_vec()),
            Some(vec![0x0a, 0xf9])
        );
        for invalid in ["", "00", &"g0".repeat(32), &"00".repeat(33), &"é".repeat(32)] {
            assert_eq!(parse_key(invalid), None, "{invalid}");
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
