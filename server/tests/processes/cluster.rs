//! A PostgreSQL server of a test's own, which the test stops and starts.

use super::database::TestDatabase;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tokio::net::TcpSocket;

/// Where a server listens so that Berth finds it.
const EVERYBODY: &str = "127.0.0.1";
/// Nowhere: it is only found through its socket.
const DUMMY_HASH: &str = "''";

/// A server with its data; both go when it is dropped.
pub struct Cluster {
    pg_ctl: PathBuf,
    folder: tempfile::TempDir,
    /// Whom it runs as where this is root, as whom PostgreSQL refuses to run.
    user: Option<&'static str>,
    port: u16,
    /// Keeps the port while the server is stopped: a listener or connection of another test would be given it otherwise.
    /// Nobody listens on it, so that who connects then is refused. Linux lets both bind, other systems do not.
    _port: Option<TcpSocket>,
}

impl Cluster {
    /// Made and started; `None` where there are no programs to do so, or the tests of PostgreSQL are left out.
    pub async fn start() -> Option<Self> {
        if std::env::var("BERTH_TEST_POSTGRES").is_ok_and(|server| server == "off") {
            return None;
        }
        let Some(programs) = programs() else {
            eprintln!("left out: no initdb, pg_ctl and postgres were found to start a server of its own");
            return None;
        };
        // Where another user gets to as well.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mut user = None;
        if std::fs::metadata(folder.path()).unwrap().uid() == 0 {
            user = ["postgres", "nobody"].into_iter().find(|user| {
                let is_known = Command::new("runuser").args(["-u", *user, "--", "true"]).output();
                is_known.is_ok_and(|output| output.status.success())
            });
            let Some(user) = user else {
                eprintln!("left out: PostgreSQL does not run as root, and root can run nothing as postgres or nobody");
                return None;
            };
            let given = Command::new("chown").arg(user).arg(folder.path()).status().unwrap();
            assert!(given.success());
        }
        let socket = TcpSocket::new_v4().unwrap();
        // So that the server, which does the same, may bind the port beside it.
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let held = cfg!(target_os = "linux").then_some(socket);
        let cluster = Self { pg_ctl: programs.join("pg_ctl"), folder, user, port, _port: held };
        let mut initdb = cluster.command(&programs.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C"]);
        cluster.run(initdb).await;
        cluster.listen(EVERYBODY).await;
        Some(cluster)
    }

    /// Its database.
    pub fn database(&self) -> TestDatabase {
        TestDatabase::of_cluster(format!("postgres://postgres@127.0.0.1:{}/postgres", self.port))
    }

    /// Stops it: `fast` is how an operator does, `immediate` is a crash, after which it has to recover.
    pub async fn stop(&self, mode: &str) {
        let mut stop = self.command(&self.pg_ctl);
        stop.args(["-m", mode, "stop"]);
        self.run(stop).await;
    }

    /// Starts it where it was; after a crash, once it has recovered.
    pub async fn restart(&self) {
        self.listen(EVERYBODY).await;
    }

    /// Starts it so that this test finds it and Berth does not.
    pub async fn start_aside(&self) -> TestDatabase {
        self.listen(DUMMY_HASH).await;
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

    /// A program of PostgreSQL, at work on this cluster's data.
    fn command(&self, program: &Path) -> Command {
        let mut command = match self.user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        // Its user may have no way into the folder where the test stands.
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
        // A test that failed may have left it stopped.
        let _ = self.command(&self.pg_ctl).args(["-m", "immediate", "stop"]).output();
    }
}

/// Where the server's programs are: in PATH, where `pg_config` says, or the newest where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.and_then(|output| String::from_utf8(output.stdout).ok());
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable();
    std::env::split_paths(&path)
        .chain(told.map(|folder| PathBuf::from(folder.trim())))
        .chain(versions.into_iter().rev().map(|(_, folder)| folder))
        .find(|folder| ["initdb", "pg_ctl", "postgres"].iter().all(|program| folder.join(program).exists()))
}
