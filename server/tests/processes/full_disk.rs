//! A disk without room under SQLite: a bound on the size of a process's files, and a small file system that is full.
#![cfg(target_os = "linux")]

use super::database::TestDatabase;
use super::eventually;
use super::load::is_unavailable;
use super::process::{Berth, Setting};
use super::site::Site;
use reqwest::Method;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// How the disk comes to be full; SQLite takes the two for different failures.
enum Disk {
    /// No file of the process may grow beyond a bound (EFBIG, an I/O error to SQLite).
    Bounded,
    /// This file takes all that is free (ENOSPC, a full disk to SQLite).
    Filled(PathBuf),
}

impl Disk {
    async fn serve(&self, setting: &Setting) -> Berth {
        match self {
            Self::Bounded => setting.serve_within_file_limits().await,
            Self::Filled(_) => setting.serve().await,
        }
    }

    /// From now on there is no room for the process.
    async fn fill(&self, berth: &Berth) {
        match self {
            // What is beyond it already cannot be written either.
            Self::Bounded => bound(berth, "65536").await,
            Self::Filled(file) => {
                let mut file = std::fs::File::create(file).unwrap();
                let full = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
                assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
            }
        }
    }

    /// There is room again, for a process that goes on if there is one. The bound of one that ended went with it.
    async fn empty(&self, berth: Option<&Berth>) {
        match (self, berth) {
            (Self::Bounded, Some(berth)) => bound(berth, "unlimited").await,
            (Self::Bounded, None) => {}
            (Self::Filled(file), _) => std::fs::remove_file(file).unwrap(),
        }
    }

    /// What SQLite calls it.
    fn failure(&self) -> &'static str {
        match self {
            Self::Bounded => "disk I/O error",
            Self::Filled(_) => "database or disk is full",
        }
    }
}

/// No file of the process may grow beyond this from now on.
async fn bound(berth: &Berth, bytes: &str) {
    let limit = format!("--fsize={bytes}:");
    let status = Command::new("prlimit").args(["--pid", &berth.pid().to_string(), &limit]).status().await.unwrap();
    assert!(status.success());
}

/// Fills the disk and waits until it shows.
async fn fill(disk: &Disk, site: &mut Site) {
    disk.fill(&site.berth).await;
    let refused = eventually("a write that is refused", async || {
        let reply = site.reserve().await;
        (reply.status != 201).then_some(reply)
    })
    .await;
    assert!(is_unavailable(&refused), "{refused:?}");
    let list = site.api.call(&site.berth.url, Method::GET, "/reservations", Value::Null).await.unwrap();
    assert_eq!(list.status, 200, "what is there can be read: {}", list.body);
    assert_eq!(site.status_of("/healthz").await, 200);
    eventually(disk.failure(), async || site.berth.logged(disk.failure()).then_some(())).await;
}

async fn loses_nothing(test: &str, database: TestDatabase, disk: Disk) {
    let setting = Setting { database_url: database.url.clone(), folder: database.folder().to_owned(), timeout: 5.0 };
    let mut site = Site::open(&setting, disk.serve(&setting).await).await;

    // Room again: the same process goes on by itself.
    fill(&disk, &mut site).await;
    assert!(site.load.told.lock().acknowledged.len() >= 20);
    let mut interrupted = database.under_way().await;
    disk.empty(Some(&site.berth)).await;
    site.load.progress(40).await;

    // It ends while the disk is full; the next one finds room.
    fill(&disk, &mut site).await;
    site.berth.kill().await;
    interrupted.extend(database.interrupted().await);
    disk.empty(None).await;
    site.berth = setting.serve().await;
    site.load.aim(&[&site.berth]);
    site.load.progress(40).await;
    assert!(site.close(test, &database, &interrupted).await > 0);
    let sound: String = database.rows("PRAGMA integrity_check").await[0].try_get_by_index(0).unwrap();
    assert_eq!(sound, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_sqlite_loses_nothing() {
    loses_nothing("full disk", TestDatabase::sqlite(), Disk::Bounded).await;
}

/// The name of the test below.
const ON_A_SMALL_FILE_SYSTEM: &str = "full_disk::a_full_file_system_under_sqlite_loses_nothing";
/// Where the small file system is, for a process of that test which sees one.
const PLACE: &str = "BERTH_TEST_SMALL_FILE_SYSTEM";

/// Runs what is appended in a mount namespace of its own, with a small file system at `place` that nobody else sees.
fn with_a_small_file_system(namespace: &[&str], place: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(namespace).args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=64m tmpfs \"$0\" && exec \"$@\"").arg(place);
    command
}

/// The test runs once more as a process inside the namespace: SQLite, which follows every link of a path, would not find
/// the database through `/proc/PID/root`.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_system_under_sqlite_loses_nothing() {
    if let Some(place) = std::env::var_os(PLACE) {
        let place = PathBuf::from(place);
        loses_nothing("full file system", TestDatabase::sqlite_on(&place), Disk::Filled(place.join("filler"))).await;
        return;
    }
    let place = tempfile::tempdir().unwrap();
    // Root may mount as it is; others as root of a namespace of users.
    let namespaces: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    let mut refusals = Vec::new();
    for namespace in namespaces {
        let tried = with_a_small_file_system(namespace, place.path()).arg("true").output().await.unwrap();
        if !tried.status.success() {
            refusals.push(String::from_utf8_lossy(&tried.stderr).trim().to_owned());
            continue;
        }
        let ran = with_a_small_file_system(namespace, place.path())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", ON_A_SMALL_FILE_SYSTEM, "--nocapture"])
            .env(PLACE, place.path())
            .output()
            .await
            .unwrap();
        let (out, log) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        eprintln!("{log}");
        // A name that no test has would be a success as well.
        assert!(ran.status.success() && out.contains("1 passed"), "{}\n{out}", ran.status);
        return;
    }
    eprintln!("left out: no file system may be mounted here: {refusals:?}");
}
