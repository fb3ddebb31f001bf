//! A PostgreSQL server that a test or `cargo xtask test` starts, stops and removes.

use socket2::{Domain, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Why no server could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The programs of the server are missing.
    #[error(
        "No initdb, pg_ctl and postgres were found. Install PostgreSQL 13 or later with its contrib package, or name a \
         server in BERTH_TEST_POSTGRES."
    )]
    NotInstalled,
    /// PostgreSQL does not run as root, and no other user is available to run it.
    #[error(
        "PostgreSQL does not run as root, and `runuser` cannot run it as postgres or nobody. Use another user, or name a \
         server in BERTH_TEST_POSTGRES."
    )]
    NoUnprivilegedUser,
    /// A program failed.
    #[error("{0}")]
    Failed(String),
    /// The operating system denied a file, a process or a port.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How a server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends all sessions and writes a checkpoint, as an operator stops it.
    Fast,
    /// Ends at once, as in a crash; the next start recovers.
    Immediate,
}

impl StopMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// A PostgreSQL server with its data. Drop stops the server and removes the data.
pub struct PostgresServer {
    pg_ctl: PathBuf,
    folder: TempDir,
    /// The user that runs the server when this process is root.
    user: Option<&'static str>,
    port: u16,
    settings: Vec<&'static str>,
    /// Reserves the port while the server is stopped; otherwise another test could get it. The socket does not listen, so
    /// connections are refused. Only Linux lets the server bind the same port beside it.
    _reserved_port: Option<Socket>,
}

impl PostgresServer {
    /// Creates and starts a server on a free port of 127.0.0.1, with settings such as `fsync=off`.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(settings: &[&'static str]) -> Result<Self, StartError> {
        let programs = find_programs().ok_or(StartError::NotInstalled)?;
        // /tmp: the unprivileged user can enter it, and the path of the socket stays short.
        let folder = tempfile::Builder::new().prefix("berth-postgres-").tempdir_in("/tmp")?;
        let user = unprivileged_user(folder.path())?;
        if let Some(user) = user {
            run(Command::new("chown").arg(user).arg(folder.path()))?;
        }
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let port = socket.local_addr()?.as_socket().map_or(0, |address| address.port());
        let reserved = cfg!(target_os = "linux").then_some(socket);
        let server = Self {
            pg_ctl: programs.join("pg_ctl"),
            folder,
            user,
            port,
            settings: settings.to_vec(),
            _reserved_port: reserved,
        };
        let mut initdb = server.command(&programs.join("initdb"));
        server.run(initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C"]))?;
        server.listen("127.0.0.1")?;
        Ok(server)
    }

    /// Its URL, without a database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }

    /// The URL of a database through the server's socket. It works while the server does not listen on its port.
    pub fn socket_url(&self, database: &str) -> String {
        let folder = self.folder.path().display();
        format!("postgres://postgres@localhost:{}/{database}?host={folder}", self.port)
    }

    /// Stops the server.
    ///
    /// # Errors
    /// [`StartError::Failed`] when `pg_ctl` fails.
    pub fn stop(&self, mode: StopMode) -> Result<(), StartError> {
        self.run(self.command(&self.pg_ctl).args(["-m", mode.as_str(), "stop"]))
    }

    /// Starts the stopped server on the same port; after a crash it returns when recovery is complete.
    ///
    /// # Errors
    /// [`StartError::Failed`] when `pg_ctl` fails.
    pub fn restart(&self) -> Result<(), StartError> {
        self.listen("127.0.0.1")
    }

    /// Starts the stopped server on its socket alone, so that only the test reaches it, by [`PostgresServer::socket_url`].
    ///
    /// # Errors
    /// [`StartError::Failed`] when `pg_ctl` fails.
    pub fn restart_on_socket(&self) -> Result<(), StartError> {
        self.listen("''")
    }

    fn listen(&self, addresses: &str) -> Result<(), StartError> {
        let folder = self.folder.path().display();
        let mut options =
            format!("-p {} -c listen_addresses={addresses} -c unix_socket_directories={folder}", self.port);
        for setting in &self.settings {
            options.push_str(" -c ");
            options.push_str(setting);
        }
        self.run(self.command(&self.pg_ctl).arg("-l").arg(self.log()).args(["-o", &options, "-w", "start"]))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// A program of PostgreSQL that works on this server's data.
    fn command(&self, program: &Path) -> Command {
        let mut command = match self.user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        // The other user may have no access to the current folder.
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.arg("-D").arg(self.folder.path().join("data"));
        command
    }

    fn run(&self, command: &mut Command) -> Result<(), StartError> {
        run(command).map_err(|error| {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            StartError::Failed(format!("{error}\n{log}"))
        })
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // The server may be stopped already.
        let _ = self.command(&self.pg_ctl).args(["-m", "immediate", "stop"]).output();
    }
}

/// The user to run a server as, with `own` as a file of this process; `None` when this process is not root and runs it itself.
#[cfg(unix)]
pub(crate) fn unprivileged_user(own: &Path) -> Result<Option<&'static str>, StartError> {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata(own)?.uid() != 0 {
        return Ok(None);
    }
    let usable = |user: &&str| {
        let probe = Command::new("runuser").args(["-u", *user, "--", "true"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    ["postgres", "nobody"].into_iter().find(usable).map(Some).ok_or(StartError::NoUnprivilegedUser)
}

#[cfg(not(unix))]
pub(crate) fn unprivileged_user(_: &Path) -> Result<Option<&'static str>, StartError> {
    Ok(None)
}

fn run(command: &mut Command) -> Result<(), StartError> {
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(StartError::Failed(format!("{command:?}: {}\n{stderr}", output.status)))
}

/// The folder of the server's programs: in PATH, where `pg_config` points, or the newest version in Debian's folder.
fn find_programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let pg_config = Command::new("pg_config").arg("--bindir").output().ok();
    let configured = pg_config.and_then(|output| String::from_utf8(output.stdout).ok());
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable();
    std::env::split_paths(&path)
        .chain(configured.map(|folder| PathBuf::from(folder.trim())))
        .chain(versions.into_iter().rev().map(|(_, folder)| folder))
        .find(|folder| ["initdb", "pg_ctl", "postgres"].iter().all(|program| folder.join(program).exists()))
}
