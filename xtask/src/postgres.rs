//! A PostgreSQL server for the tests: one that runs, or one of our own.

use crate::shell::{Step, command, say};
use anyhow::{Context as _, bail};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where tests find PostgreSQL unless `BERTH_TEST_POSTGRES` says otherwise.
const DEFAULT: &str = "postgres://postgres@127.0.0.1:5432";

/// A server for the tests; one of our own ends when this is dropped.
pub struct Postgres {
    /// Its URL, without a database.
    pub url: String,
    own: Option<Own>,
}

struct Own {
    pg_ctl: PathBuf,
    folder: PathBuf,
    user: Option<String>,
}

/// Programs of PostgreSQL, in PATH or where Debian puts them.
fn programs() -> Option<PathBuf> {
    let in_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    in_path.chain(versions).find(|folder| {
        folder.join("initdb").exists() && folder.join("pg_ctl").exists() && folder.join("postgres").exists()
    })
}

fn is_root() -> bool {
    command("id").args(["-u"]).output().is_ok_and(|text| text.trim() == "0")
}

/// Runs a program as another user where this is root: PostgreSQL refuses to be.
fn as_user(user: Option<&str>, program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let program = program.to_string_lossy();
    let run = match user {
        Some(user) => {
            command("setpriv").args(["--reuid", user, "--regid", user, "--clear-groups", &program]).args(arguments)
        }
        None => command(&program).args(arguments),
    };
    run.folder("/tmp").quiet().run()
}

impl Postgres {
    /// Finds a running server, or starts one of our own.
    pub fn find() -> anyhow::Result<Self> {
        let given = std::env::var("BERTH_TEST_POSTGRES").ok();
        let url = given.clone().unwrap_or_else(|| DEFAULT.to_owned());
        let address = url.rsplit('@').next().unwrap_or_default().split('/').next().unwrap_or_default().to_owned();
        let answers = |address: &str| {
            use std::net::ToSocketAddrs as _;
            let addresses = address.to_socket_addrs().into_iter().flatten();
            addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok())
        };
        if answers(&address) {
            say(&format!("PostgreSQL: {address} answers."));
            return Ok(Self { url, own: None });
        }
        if given.is_some() {
            bail!(
                "BERTH_TEST_POSTGRES names {address}, but nothing answers there. Start it, or unset the variable to let the tests start one."
            );
        }
        Self::start()
    }

    fn start() -> anyhow::Result<Self> {
        let step = Step::begin("Starting a PostgreSQL server for the tests");
        if programs().is_none() && is_root() && command("apt-get").args(["--version"]).works() {
            say("Installing PostgreSQL from Debian's packages.");
            command("apt-get").args(["update"]).quiet().run()?;
            command("apt-get")
                .args(["install", "--yes", "--no-install-recommends", "postgresql", "postgresql-contrib"])
                .env("DEBIAN_FRONTEND", "noninteractive")
                .quiet()
                .run()?;
        }
        let programs = programs().context(
            "The tests need PostgreSQL: nothing answers on 127.0.0.1:5432 and no initdb was found to start one. Install PostgreSQL (13 or later, with its contrib package), or point BERTH_TEST_POSTGRES to a server.",
        )?;
        let user =
            is_root().then(|| if command("id").args(["postgres"]).works() { "postgres" } else { "nobody" }.to_owned());
        let folder = std::env::temp_dir().join(format!("berth-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        if let Some(user) = &user {
            command("chown").args([user.as_str(), &folder.to_string_lossy()]).run()?;
        }
        let data = folder.join("data");
        let data_text = data.to_string_lossy().into_owned();
        as_user(
            user.as_deref(),
            &programs.join("initdb"),
            &["-D", &data_text, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C"],
        )?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300 -c fsync=off"
        );
        let log = folder.join("log").to_string_lossy().into_owned();
        let pg_ctl = programs.join("pg_ctl");
        as_user(user.as_deref(), &pg_ctl, &["-D", &data_text, "-o", &options, "-l", &log, "-w", "start"])?;
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("PostgreSQL did not start; see {log}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        step.end();
        Ok(Self { url: format!("postgres://postgres@127.0.0.1:{port}"), own: Some(Own { pg_ctl, folder, user }) })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            let data = own.folder.join("data").to_string_lossy().into_owned();
            if let Err(error) = as_user(own.user.as_deref(), &own.pg_ctl, &["-D", &data, "-m", "immediate", "stop"]) {
                say(&format!("PostgreSQL could not be stopped: {error}"));
            }
            let _ = std::fs::remove_dir_all(&own.folder);
        }
    }
}
