//! Settings: by flag, environment and file, in this order of precedence. This module is their one documentation;
//! `berth serve --help` prints it.

use domain::endpoint::{Network, UrlPolicy};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where Berth runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// `http://` endpoints and loopback are allowed; cookies work without TLS.
    Development,
    /// Only `https://`; cookies are Secure; HSTS is sent.
    Production,
}

/// The settings as given; every one also as `BERTH_…` and, in lower case, in the file.
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Args {
    /// A TOML file with these settings (keys as the flags, with underscores).
    #[arg(long, env = "BERTH_CONFIG", global = true)]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:3000].
    #[arg(long, env = "BERTH_LISTEN", global = true)]
    pub listen: Option<SocketAddr>,
    /// sqlite://PATH or postgres://USER@HOST/DATABASE [default: berth.db in the data folder].
    #[arg(long, env = "BERTH_DATABASE_URL", global = true, hide_env_values = true)]
    pub database_url: Option<String>,
    /// Where the SQLite database and the master key live [default: data].
    #[arg(long, env = "BERTH_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// How people and receivers reach this Berth [default: http://LISTEN].
    #[arg(long, env = "BERTH_PUBLIC_URL", global = true)]
    pub public_url: Option<String>,
    /// development or production [default: development].
    #[arg(long, env = "BERTH_ENV", global = true)]
    pub env: Option<Environment>,
    /// 64 hex digits that encrypt secrets at rest [default: a 0600 file made in the data folder].
    #[arg(long, env = "BERTH_MASTER_KEY", global = true, hide_env_values = true)]
    pub master_key: Option<String>,
    /// Networks (CIDR, comma-separated) that webhooks may reach although private [development: loopback].
    #[arg(long, env = "BERTH_ALLOW_NETWORKS", global = true)]
    pub allow_networks: Option<String>,
    /// Requests a second for one token or address; 0 = no limit [default: 100].
    #[arg(long, env = "BERTH_API_RATE", global = true)]
    pub api_rate: Option<u32>,
    /// Days that deliveries with their payloads and attempts are kept [default: 90].
    #[arg(long, env = "BERTH_RETENTION_DAYS", global = true)]
    pub retention_days: Option<u32>,
    /// Seconds for one exchange with a receiver, 0.1 to 30 [default: 30]. A lease lasts 15 s longer.
    #[arg(long, env = "BERTH_DELIVERY_TIMEOUT", global = true)]
    pub delivery_timeout: Option<f64>,
    /// The first administrator's login name, made at the first start.
    #[arg(long, env = "BERTH_ADMIN_USERNAME", global = true)]
    pub admin_username: Option<String>,
    /// The first administrator's password.
    #[arg(long, env = "BERTH_ADMIN_PASSWORD", global = true, hide_env_values = true)]
    pub admin_password: Option<String>,
    /// Whether X-Forwarded-For of a reverse proxy names the client [default: false].
    #[arg(long, env = "BERTH_TRUST_PROXY", global = true, num_args = 0..=1, default_missing_value = "true")]
    pub trust_proxy: Option<bool>,
    /// What is logged, e.g. info or server=debug [default: info].
    #[arg(long, env = "BERTH_LOG", global = true)]
    pub log: Option<String>,
    /// text or json [default: text].
    #[arg(long, env = "BERTH_LOG_FORMAT", global = true)]
    pub log_format: Option<String>,
}

/// The settings in force.
#[derive(Clone)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// How people and receivers reach this Berth, without a trailing slash.
    pub public_url: String,
    /// Where Berth runs.
    pub env: Environment,
    /// What the service is opened with.
    pub service: service::Settings,
    /// Requests a second for one token or address; 0 = no limit.
    pub api_rate: u32,
    /// The first administrator, if given.
    pub admin: Option<(String, String)>,
    /// Whether X-Forwarded-For counts.
    pub trust_proxy: bool,
    /// The data folder.
    pub data_dir: PathBuf,
}

impl Args {
    /// The settings, with what the file gives filled in.
    ///
    /// # Errors
    /// A sentence that names the setting and the remedy.
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
        // What was not given is null here, and a null must not hide the file's value.
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

    /// Checks the settings and makes what is missing (data folder, master key).
    ///
    /// # Errors
    /// A sentence that names the setting and the remedy.
    pub fn resolve(self) -> Result<Config, String> {
        let listen = self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 3000)));
        let env = self.env.unwrap_or(Environment::Development);
        let public_url = self.public_url.unwrap_or_else(|| format!("http://{listen}"));
        let public_url = public_url.trim_end_matches('/').to_owned();
        let sound = url::Url::parse(&public_url)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        if !sound {
            return Err("BERTH_PUBLIC_URL must be a URL such as https://berth.example.com.".into());
        }
        let data_dir = self.data_dir.unwrap_or_else(|| PathBuf::from("data"));
        std::fs::create_dir_all(&data_dir).map_err(|error| {
            format!(
                "The data folder {} cannot be made ({error}). Set BERTH_DATA_DIR to a folder that can be written.",
                data_dir.display()
            )
        })?;
        let database_url =
            self.database_url.unwrap_or_else(|| format!("sqlite://{}?mode=rwc", data_dir.join("berth.db").display()));
        let mut allow_networks = Vec::new();
        match &self.allow_networks {
            Some(list) => {
                for network in list.split(',').map(str::trim).filter(|network| !network.is_empty()) {
                    allow_networks
                        .push(Network::parse(network).map_err(|message| format!("BERTH_ALLOW_NETWORKS: {message}"))?);
                }
            }
            None if env == Environment::Development => {
                for network in ["127.0.0.0/8", "::1"] {
                    allow_networks.push(Network::parse(network)?);
                }
            }
            None => {}
        }
        let master_key = match self.master_key {
            Some(text) => parse_key(&text)
                .ok_or("BERTH_MASTER_KEY must be 64 hex digits (32 bytes), e.g. from: openssl rand -hex 32")?,
            None => key_file(&data_dir)?,
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
        Ok(Config {
            listen,
            env,
            service: service::Settings {
                database_url,
                public_url: public_url.clone(),
                master_key,
                url_policy: UrlPolicy { allow_http: env == Environment::Development, allow_networks },
                retention_days,
                delivery_timeout: Duration::from_secs_f64(seconds),
            },
            public_url,
            api_rate: self.api_rate.unwrap_or(100),
            admin,
            trust_proxy: self.trust_proxy.unwrap_or(false),
            data_dir,
        })
    }
}

fn parse_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (n, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(key)
}

/// The key in the data folder; made at the first start, readable by its owner alone.
fn key_file(folder: &std::path::Path) -> Result<[u8; 32], String> {
    use std::io::Write as _;
    let path = folder.join("master.key");
    let unusable = |error: std::io::Error| {
        format!("The master key {} cannot be used ({error}). Set BERTH_MASTER_KEY instead.", path.display())
    };
    let read = || -> Result<[u8; 32], String> {
        let text = std::fs::read_to_string(&path).map_err(unusable)?;
        parse_key(&text).ok_or_else(|| format!("{} does not hold 64 hex digits.", path.display()))
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(&path) {
        Ok(mut file) => {
            let key: String = service::secrets::random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
            file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(unusable)?;
            read()
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = std::fs::metadata(&path).map_err(unusable)?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(format!("{} can be read by others. Run: chmod 600 {}", path.display(), path.display()));
                }
            }
            read()
        }
        Err(error) => Err(unusable(error)),
    }
}
