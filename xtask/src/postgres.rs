//! A PostgreSQL server for the tests: a running one, or a temporary one.

use crate::progress::{Step, note};
use crate::tools;
use crate::workspace::Workspace;
use anyhow::bail;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;
use test_support::{PostgresServer, StartError};
use xshell::cmd;

/// The server that the tests use unless `BERTH_TEST_POSTGRES` names another one.
const DEFAULT_URL: &str = "postgres://postgres@127.0.0.1:5432";
/// Settings of a temporary server: enough connections for parallel tests, and no durability, because the data is temporary.
const SETTINGS: [&str; 2] = ["max_connections=300", "fsync=off"];

/// A server for the tests. Dropping it stops a temporary server.
pub struct Postgres {
    /// Its URL, without a database.
    pub url: String,
    _temporary: Option<PostgresServer>,
}

impl Postgres {
    /// Finds a running server, or starts a temporary one.
    pub fn find(workspace: &Workspace) -> anyhow::Result<Self> {
        let configured = std::env::var("BERTH_TEST_POSTGRES").ok();
        let url = configured.clone().unwrap_or_else(|| DEFAULT_URL.to_owned());
        let address = url.rsplit('@').next().unwrap_or_default().split('/').next().unwrap_or_default();
        if accepts_connections(address) {
            note(&format!("PostgreSQL: using the server at {address}."));
            return Ok(Self { url, _temporary: None });
        }
        if configured.is_some() {
            bail!(
                "BERTH_TEST_POSTGRES names {address}, which accepts no connection. Start that server, or unset the variable to use a temporary one."
            );
        }
        let step = Step::begin("Starting a temporary PostgreSQL server for the tests");
        let server = match PostgresServer::start(&SETTINGS) {
            Err(StartError::NotInstalled) if is_root(workspace) && tools::has_apt(workspace) => {
                note("Installing PostgreSQL from Debian packages.");
                tools::install_debian_packages(workspace, &["postgresql", "postgresql-contrib", "pgbouncer"])?;
                PostgresServer::start(&SETTINGS)?
            }
            result => result?,
        };
        step.end();
        Ok(Self { url: server.url(), _temporary: Some(server) })
    }
}

fn accepts_connections(address: &str) -> bool {
    let mut addresses = address.to_socket_addrs().into_iter().flatten();
    addresses.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok())
}

fn is_root(workspace: &Workspace) -> bool {
    cmd!(workspace.sh, "id -u").quiet().read().is_ok_and(|id| id == "0")
}
