//! A full disk under SQLite: a limit on the size of the process's files, and a small file system without space.
#![cfg(target_os = "linux")]

use super::database::Database;
use super::eventually;
use super::load::is_unavailable;
use super::process::{Berth, Settings};
use super::scenario::Scenario;
use reqwest::Method;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use test_support::on_both_databases;
use tokio::process::Command;

on_both_databases![sqlite only: full_disk_loses_nothing];

/// How the disk becomes full; SQLite reports the two as different errors.
enum Disk {
    /// A limit on the file size of the process (EFBIG, an I/O error in SQLite).
    Bounded,
    /// This file takes all free space (ENOSPC, a full disk in SQLite).
    Filled(PathBuf),
}

impl Disk {
    async fn serve(&self, settings: &Settings) -> Berth {
        match self {
            Self::Bounded => settings.serve_within_file_limits().await,
            Self::Filled(_) => settings.serve().await,
        }
    }

    /// Makes the disk full.
    async fn fill(&self, berth: &Berth) {
        match self {
            // Writes beyond the limit fail even in files that are already larger.
            Self::Bounded => bound(berth, "65536").await,
            Self::Filled(file) => {
                let mut file = std::fs::File::create(file).unwrap();
                let full = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
                assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
            }
        }
    }

    /// Frees space for a running process. The limit of a process ends with it.
    async fn empty(&self, berth: Option<&Berth>) {
        match (self, berth) {
            (Self::Bounded, Some(berth)) => bound(berth, "unlimited").await,
            (Self::Bounded, None) => {}
            (Self::Filled(file), _) => std::fs::remove_file(file).unwrap(),
        }
    }

    /// SQLite's error message.
    fn failure(&self) -> &'static str {
        match self {
            Self::Bounded => "disk I/O error",
            Self::Filled(_) => "database or disk is full",
        }
    }
}

/// Sets the file size limit of a process.
async fn bound(berth: &Berth, bytes: &str) {
    let limit = format!("--fsize={bytes}:");
    let status = Command::new("prlimit").args(["--pid", &berth.pid().to_string(), &limit]).status().await.unwrap();
    assert!(status.success());
}

/// Fills the disk and waits for the error.
async fn fill(disk: &Disk, scenario: &mut Scenario) {
    disk.fill(&scenario.berth).await;
    let refused = eventually("a rejected write", async || {
        let reply = scenario.reserve().await;
        (reply.status != 201).then_some(reply)
    })
    .await;
    assert!(is_unavailable(&refused), "{refused:?}");
    let list = scenario.api.call(&scenario.berth.url, Method::GET, "/reservations", Value::Null).await.unwrap();
    assert_eq!(list.status, 200, "reads still work: {}", list.body);
    assert_eq!(scenario.status_of("/healthz").await, 200);
    eventually(disk.failure(), async || scenario.berth.logged(disk.failure()).then_some(())).await;
}

async fn assert_nothing_is_lost(test: &str, database: Database, disk: Disk) {
    let settings = database.settings(5.0);
    let mut scenario = Scenario::open(&settings, disk.serve(&settings).await).await;

    // With free space the same process recovers by itself.
    fill(&disk, &mut scenario).await;
    assert!(scenario.load.record.lock().acknowledged.len() >= 20);
    let mut interrupted = database.in_flight().await;
    disk.empty(Some(&scenario.berth)).await;
    scenario.load.progress(40).await;

    // The process ends while the disk is full; the next one starts with free space.
    fill(&disk, &mut scenario).await;
    scenario.berth.kill().await;
    interrupted.extend(database.interrupted().await);
    disk.empty(None).await;
    scenario.berth = settings.serve().await;
    scenario.load.aim(&[&scenario.berth]);
    scenario.load.progress(40).await;
    assert!(scenario.close(test, &database, &interrupted).await > 0);
    let integrity: String = database.rows("PRAGMA integrity_check").await[0].try_get_by_index(0).unwrap();
    assert_eq!(integrity, "ok");
}

async fn full_disk_loses_nothing(database: Database) {
    assert_nothing_is_lost("full disk", database, Disk::Bounded).await;
}

/// Name of the test below.
const ON_A_SMALL_FILE_SYSTEM: &str = "full_disk::full_file_system_loses_nothing";
/// Environment variable with the mount point, set in the process that runs in the namespace.
const MOUNT_POINT: &str = "BERTH_TEST_SMALL_FILE_SYSTEM";

/// Runs a command in its own mount namespace, with a small file system at `place`.
fn with_a_small_file_system(namespace: &[&str], place: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(namespace).args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=64m tmpfs \"$0\" && exec \"$@\"").arg(place);
    command
}

/// The test runs itself as a process inside the namespace: SQLite resolves every link of a path, so it could not open the
/// database through `/proc/PID/root`.
#[tokio::test(flavor = "multi_thread")]
async fn full_file_system_loses_nothing() {
    if let Some(place) = std::env::var_os(MOUNT_POINT) {
        let place = PathBuf::from(place);
        let database = Database::sqlite_in(&place);
        assert_nothing_is_lost("full file system", database, Disk::Filled(place.join("filler"))).await;
        return;
    }
    let place = tempfile::tempdir().unwrap();
    // Root can mount directly, other users as root of a user namespace.
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
            .env(MOUNT_POINT, place.path())
            .output()
            .await
            .unwrap();
        let (out, log) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        eprintln!("{log}");
        // A wrong test name would also exit with success.
        assert!(ran.status.success() && out.contains("1 passed"), "{}\n{out}", ran.status);
        return;
    }
    eprintln!("skipped: no file system can be mounted: {refusals:?}");
}
