//! A PgBouncer that a test starts in front of PostgreSQL.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test harness fails by panicking")]

use crate::eventually;
use crate::postgres_server::unprivileged_user;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tokio::net::TcpStream;
use url::Url;

/// The places of the program: in PATH, or in Debian's folder, which is in the PATH of root only.
const PROGRAMS: [&str; 2] = ["pgbouncer", "/usr/sbin/pgbouncer"];

/// A PgBouncer in session mode on a free port of 127.0.0.1. Drop stops it.
pub struct PgBouncer {
    port: u16,
    process: Child,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts a pooler in front of the server of a URL. `None` if PgBouncer is not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(server: &str) -> Option<Self> {
        let installed = |program: &&str| Command::new(program).arg("--version").output().is_ok();
        let program = PROGRAMS.into_iter().find(installed)?;
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings(server, port, folder.path())).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let pooler = Self { port, process: command.spawn().unwrap(), _folder: folder };
        eventually("PgBouncer", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        Some(pooler)
    }

    /// A URL of the server, through the pooler.
    pub fn url_through(&self, url: &str) -> String {
        let mut url = Url::parse(url).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.to_string()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The settings: defaults, except for the log-in and the number of connections.
fn settings(server: &str, port: u16, folder: &Path) -> String {
    let url = Url::parse(server).unwrap();
    let (host, server_port) = (url.host_str().unwrap(), url.port().unwrap_or(5432));
    let password = url.password().map(|password| format!(" password={password}")).unwrap_or_default();
    // PgBouncer refuses to run as root, and changes to this user.
    let user = unprivileged_user(folder).expect("PgBouncer needs an unprivileged user");
    let user = user.map(|user| format!("user = {user}\n")).unwrap_or_default();
    format!(
        "[databases]\n* = host={host} port={server_port} user={}{password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = session\ndefault_pool_size = 100\n{user}",
        url.username()
    )
}
