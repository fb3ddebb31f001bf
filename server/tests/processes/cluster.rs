//! A PostgreSQL server that one test starts and stops.

use super::database::TestDatabase;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tokio::net::TcpSocket;

/// `listen_addresses` that Berth can reach.
const TCP: &str = "127.0.0.1";
/// `listen_addresses` for connections through the Unix socket only.
const UNIX_SOCKET_ONLY: &str = "''";

/// A server with its data; both are removed on drop.
pub struct Cluster {
    pg_ctl: PathBuf,
    folder: tempfile::TempDir,
    /// User to run as when the test runs as root: PostgreSQL refuses to run as root.
    user: Option<&'static str>,
    port: u16,
    /// Reserves the port while the server is stopped, so that no other test gets it. It does not listen, so connections are
    /// refused. Only Linux lets two sockets bind the port.
    _port: Option<TcpSocket>,
}

impl Cluster {
    /// Creates and starts a server; `None` without PostgreSQL programs, or when PostgreSQL tests are skipped.
    pub async fn start() -> Option<Self> {
        if std::env::var("BERTH_TEST_POSTGRES").is_ok_and(|server| server == "off") {
            return None;
        }
        let Some(programs) = programs() else {
            eprintln!("skipped: initdb, pg_ctl and postgres were not found");
            return None;
        };
        // Another user must be able to enter the folder.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mut user = None;
        if std::fs::metadata(folder.path()).unwrap().uid() == 0 {
            user = ["postgres", "nobody"].into_iter().find(|user| {
                let is_known = Command::new("runuser").args(["-u", *user, "--", "true"]).output();
                is_known.is_ok_and(|output| output.status.success())
            });
            let Some(user) = user else {
                eprintln!("skipped: PostgreSQL does not run as root, and runuser cannot run it as postgres or nobody");
                return None;
            };
            let given = Command::new("chown").arg(user).arg(folder.path()).status().unwrap();
            assert!(given.success());
        }
        let socket = TcpSocket::new_v4().unwrap();
        // The server sets the same option, so both can bind the port.
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let held = cfg!(target_os = "linux").then_some(socket);
        let cluster = Self { pg_ctl: programs.join("pg_ctl"), folder, user, port, _port: held };
        let mut initdb = cluster.command(&programs.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C"]);
        cluster.run(initdb).await;
        cluster.listen(TCP).await;
        Some(cluster)
    }

    /// The database of the server.
    pub fn database(&self) -> TestDatabase {
        TestDatabase::of_cluster(format!("postgres://postgres@127.0.0.1:{}/postgres", self.port))
    }

    /// Stops the server: `fast` is an ordinary stop, `immediate` a crash that needs recovery.
    pub async fn stop(&self, mode: &str) {
        let mut stop = self.command(&self.pg_ctl);
        stop.args(["-m", mode, "stop"]);
        self.run(stop).await;
    }

    /// Starts the server again; after a crash, waits for the recovery.
    pub async fn restart(&self) {
        self.listen(TCP).await;
    }

    /// Starts the server so that the test can connect and Berth cannot.
    pub async fn start_on_unix_socket(&self) -> TestDatabase {
        self.listen(UNIX_SOCKET_ONLY).await;
        let folder = self.folder.path().display();
        TestDatabase::of_cluster(format!("postgres://postgres@localhost:{}/postgres?host={folder}", self.port))
    }

    async fn listen(&self, addresses: &str) {
        let folder = self.folder.path().display();
        let mut start = self.command(&self.pg_ctl);
        start
            .arg("-l")
            .arg(self.log())
            .arg("-o")
            .arg(format!("-p {} -c listen_addresses={addresses} -c unix_socket_directories={folder}", self.port));
        start.arg("start");
        self.run(start).await;
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// A command of PostgreSQL for this server's data.
    fn command(&self, program: &Path) -> Command {
        let mut command = match self.user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        // The user may have no access to the current folder.
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.arg("-D").arg(self.folder.path().join("data"));
        command
    }

    async fn run(&self, command: Command) {
        let what = format!("{command:?}");
        let Output { status, stderr, .. } = tokio::process::Command::from(command).output().await.unwrap();
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        assert!(status.success(), "{what}: {status}\n{}\n{log}", String::from_utf8_lossy(&stderr));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It is already stopped if the test failed while it was down.
        let _ = self.command(&self.pg_ctl).args(["-m", "immediate", "stop"]).output();
    }
}

/// The folder of the server programs: in `PATH`, from `pg_config`, or Debian's folder of the newest version.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let record = Command::new("pg_config").arg("--bindir").output().ok();
    let record = record.and_then(|output| String::from_utf8(output.stdout).ok());
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable();
    std::env::split_paths(&path)
        .chain(record.map(|folder| PathBuf::from(folder.trim())))
        .chain(versions.into_iter().rev().map(|(_, folder)| folder))
        .find(|folder| ["initdb", "pg_ctl", "postgres"].iter().all(|program| folder.join(program).exists()))
}
