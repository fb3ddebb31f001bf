//! A PostgreSQL server for the tests: one that runs already, or a temporary one.

use crate::progress::{Step, note};
use crate::tools;
use crate::workspace::{Workspace, succeeds};
use anyhow::{Context as _, bail};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// The server that the tests use unless `BERTH_TEST_POSTGRES` names another one.
const DEFAULT_URL: &str = "postgres://postgres@127.0.0.1:5432";
/// The time that a temporary server has to accept connections.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A server for the tests. Dropping it stops a temporary server.
pub struct Postgres {
    /// Its URL, without a database.
    pub url: String,
    _temporary: Option<TemporaryServer>,
}

struct TemporaryServer {
    programs: PathBuf,
    folder: PathBuf,
    /// The user that runs the server where this process is root: PostgreSQL refuses to run as root.
    user: Option<&'static str>,
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
                "BERTH_TEST_POSTGRES names {address}, which accepts no connection. Start that server, or unset the variable: the tests then start a temporary one."
            );
        }
        let step = Step::begin("Starting a temporary PostgreSQL server for the tests");
        let programs = find_or_install_programs(workspace)?;
        let (server, port) = TemporaryServer::start(programs)?;
        step.end();
        Ok(Self { url: format!("postgres://postgres@127.0.0.1:{port}"), _temporary: Some(server) })
    }
}

impl TemporaryServer {
    /// Creates a cluster and starts it on a free port.
    fn start(programs: PathBuf) -> anyhow::Result<(Self, u16)> {
        let sh = Shell::new()?;
        let user = is_root(&sh).then(|| if succeeds(cmd!(sh, "id postgres")) { "postgres" } else { "nobody" });
        let folder = std::env::temp_dir().join(format!("berth-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        if let Some(user) = user {
            cmd!(sh, "chown {user} {folder}").quiet().run()?;
        }
        let server = Self { programs, folder, user };
        server.command("initdb", &["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C"])?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300 -c fsync=off"
        );
        let log = server.folder.join("log");
        server.command("pg_ctl", &["-o", &options, "-l", &log.to_string_lossy(), "-w", "start"])?;
        let started = Instant::now();
        while !accepts_connections(&format!("127.0.0.1:{port}")) {
            if started.elapsed() > START_TIMEOUT {
                bail!("PostgreSQL accepts no connection after 30 s. Read its log: {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok((server, port))
    }

    /// Runs a program of PostgreSQL on this cluster, as the server's user.
    fn command(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let sh = Shell::new()?;
        // The server's user may not be allowed to enter the current directory.
        sh.change_dir(&self.folder);
        let (program, data) = (self.programs.join(program), self.folder.join("data"));
        let cmd = match self.user {
            Some(user) => {
                cmd!(sh, "setpriv --reuid {user} --regid {user} --clear-groups {program} -D {data} {arguments...}")
            }
            None => cmd!(sh, "{program} -D {data} {arguments...}"),
        };
        // `pg_ctl start` leaves the server running with inherited streams: a captured stream would never end.
        Ok(cmd.quiet().ignore_stdout().run()?)
    }
}

impl Drop for TemporaryServer {
    fn drop(&mut self) {
        if let Err(error) = self.command("pg_ctl", &["-m", "immediate", "stop"]) {
            note(&format!("The temporary PostgreSQL server did not stop: {error}"));
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            note(&format!("{} cannot be removed: {error}", self.folder.display()));
        }
    }
}

fn accepts_connections(address: &str) -> bool {
    let mut addresses = address.to_socket_addrs().into_iter().flatten();
    addresses.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok())
}

fn is_root(sh: &Shell) -> bool {
    cmd!(sh, "id -u").quiet().read().is_ok_and(|id| id == "0")
}

fn find_or_install_programs(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    if let Some(programs) = find_programs() {
        return Ok(programs);
    }
    if is_root(&workspace.sh) && tools::has_apt(workspace) {
        note("Installing PostgreSQL from Debian packages.");
        tools::install_debian_packages(workspace, &["postgresql", "postgresql-contrib"])?;
    }
    find_programs().context(
        "The tests need PostgreSQL. Install version 13 or later with its contrib package, or set BERTH_TEST_POSTGRES to the URL of a server.",
    )
}

/// The folder of PostgreSQL's programs: in `PATH`, or where Debian installs them.
fn find_programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let has_all = |folder: &Path| ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).exists());
    std::env::split_paths(&path).chain(versions.map(|entry| entry.path().join("bin"))).find(|folder| has_all(folder))
}
