//! The server under measurement: the release binary on a new database, used through its public API.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use test_support::TestDatabase;
use tokio::process::{Child, Command};

/// The database of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// SQLite with `synchronous=FULL`.
    Sqlite,
    /// PostgreSQL at `--postgres`.
    Postgres,
}

impl Engine {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// A running server; killed on drop.
pub struct Berth {
    child: Child,
    /// Its base URL.
    pub url: String,
    /// An administrator's API token.
    pub token: String,
    /// The HTTP client for its API.
    pub http: reqwest::Client,
    /// Its database and data folder; removed after the server is killed.
    database: TestDatabase,
}

/// The path of the measured binary, beside this one.
pub fn binary() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("berth");
    if beside.exists() {
        Ok(beside)
    } else {
        bail!("{} is missing: run `cargo xtask build --release` first", beside.display())
    }
}

/// An HTTP client without proxies.
pub fn client() -> anyhow::Result<reqwest::Client> {
    let roots = rustls::RootCertStore::empty();
    let tls =
        rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .pool_max_idle_per_host(4_096)
        .timeout(Duration::from_secs(60))
        .build()?)
}

impl Berth {
    /// Starts a server on a new database.
    pub async fn start(engine: Engine, postgres: &str) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}");
        let database = match engine {
            Engine::Sqlite => TestDatabase::sqlite_in(&std::env::temp_dir()),
            Engine::Postgres => TestDatabase::postgres_on(postgres.to_owned()).await,
        };
        let command = |arguments: &[&str]| -> anyhow::Result<Command> {
            let mut command = Command::new(binary()?);
            command
                .args(arguments)
                .env("BERTH_LISTEN", format!("127.0.0.1:{port}"))
                .env("BERTH_PUBLIC_URL", &url)
                .env("BERTH_DATABASE_URL", &database.url)
                .env("BERTH_DATA_DIR", database.folder())
                .env("BERTH_ENV", "development")
                .env("BERTH_API_RATE", "0")
                // One administrator makes all reservations.
                .env("BERTH_MAX_TOKENS", "0")
                .env("BERTH_MAX_ACTIVE_RESERVATIONS", "0")
                .env("BERTH_MAX_HOURS_AHEAD", "0")
                .env("BERTH_MAX_RESERVATION_HOURS", "0")
                .env("BERTH_MAX_CHANGES_PER_MINUTE", "0")
                .env("BERTH_LOG", "warn")
                .env("BERTH_ADMIN_USERNAME", "admin")
                .env("BERTH_ADMIN_PASSWORD", "correct horse battery")
                .kill_on_drop(true)
                .stdin(Stdio::null());
            Ok(command)
        };
        let log_file = database.folder().join("log");
        let log = std::fs::File::create(&log_file)?;
        let child = command(&["serve"])?.stdout(log.try_clone()?).stderr(log).spawn()?;
        let http = client()?;
        let started = Instant::now();
        while !http.get(format!("{url}/readyz")).send().await.is_ok_and(|r| r.status().is_success()) {
            if started.elapsed() > Duration::from_secs(30) {
                bail!("Berth did not start:\n{}", std::fs::read_to_string(&log_file)?);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let output = command(&["token", "create", "--user", "admin", "--name", "bench"])?.output().await?;
        let token = String::from_utf8(output.stdout)?.trim().to_owned();
        if token.is_empty() {
            bail!("no token: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Self { child, url, token, http, database })
    }

    /// The URL of its database.
    pub fn database_url(&self) -> &str {
        &self.database.url
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Runs a command of the binary on the same database.
    pub async fn command(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new(binary()?)
            .args(arguments)
            .env("BERTH_DATABASE_URL", &self.database.url)
            .env("BERTH_DATA_DIR", self.database.folder())
            .env("BERTH_ENV", "development")
            .output()
            .await?;
        if !output.status.success() {
            bail!("berth {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Calls the API; an error status is an error.
    pub async fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{path} responded with {status}: {text}");
        }
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Creates a resource type with `resources` resources; returns their ids.
    pub async fn catalogue(&self, slug: &str, resources: usize) -> anyhow::Result<Vec<i64>> {
        let schema = json!({"type": "object", "properties": {"note": {"type": "string", "maxLength": 2000}}});
        self.call(
            reqwest::Method::POST,
            "/resource-types",
            Some(json!({"slug": slug, "name": slug, "config_schema": schema})),
        )
        .await?;
        let mut ids = Vec::new();
        for n in 0..resources {
            let resource = json!({"name": format!("{slug} {n}"), "resource_type": slug, "status": "available"});
            let made = self.call(reqwest::Method::POST, "/resources", Some(resource)).await?;
            ids.push(made["id"].as_i64().context("the resource has no id")?);
        }
        Ok(ids)
    }

    /// Creates a webhook for `reservation.created` of `slug`; returns its id.
    pub async fn webhook(&self, name: &str, url: &str, slug: &str, more: Value) -> anyhow::Result<i64> {
        let mut input = json!({
            "name": name, "endpoint_url": url, "resource_type": slug, "events": ["reservation.created"],
            "auth": {"method": "none"}, "delivery_paths": {"layout": "single"},
        });
        if let (Some(input), Some(more)) = (input.as_object_mut(), more.as_object()) {
            input.extend(more.clone());
        }
        let made = self.call(reqwest::Method::POST, "/webhooks", Some(input)).await?;
        made["id"].as_i64().context("the webhook has no id")
    }

    /// Whether the result of a received delivery is not recorded yet.
    pub async fn is_sending(&self) -> anyhow::Result<bool> {
        let page = self.call(reqwest::Method::GET, "/deliveries?status=sending&limit=1", None).await?;
        Ok(!page["items"].as_array().context("the log has no items")?.is_empty())
    }

    /// Resident memory in MB (Linux).
    pub fn memory_mb(&self) -> f64 {
        let status =
            std::fs::read_to_string(Path::new("/proc").join(self.pid().to_string()).join("status")).unwrap_or_default();
        let kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|n| n.parse().ok())
            .unwrap_or_default();
        kib / 1_024.0
    }

    /// Kills the server and removes its database.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}
