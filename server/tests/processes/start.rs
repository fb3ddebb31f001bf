//! Starts: settings, master key, newer schemas, file descriptors, and the move from SQLite to PostgreSQL.

use super::database::Database;
use super::eventually;
use super::load::Api;
use super::process::{Berth, MASTER_KEY};
use super::stop::STOP_TIMEOUT;
use reqwest::Method;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use test_support::{DatabaseKind, Fixture as _, Receiver, on_both_databases};
use tokio::net::TcpStream;

on_both_databases![
    release_starts_on_the_schema_of_a_newer_one,
    missing_master_key_is_refused_if_secrets_exist,
    master_key_is_rotated,
];

on_both_databases![sqlite only:
    invalid_settings_are_named,
    files_are_private_and_wider_modes_are_reported,
    idle_connections_leave_descriptors_for_others,
];

on_both_databases![postgres only:
    transfer_from_sqlite_continues_on_postgres,
    replicas_print_the_same_setup_link,
    connection_url_is_redacted,
];

/// The first administrator's settings, unset.
const NO_ADMINISTRATOR: [(&str, Option<&str>); 2] = [("BERTH_ADMIN_USERNAME", None), ("BERTH_ADMIN_PASSWORD", None)];

async fn release_starts_on_the_schema_of_a_newer_one(database: Database) {
    let settings = database.settings(5.0);
    settings.run(&["migrate"]).await;
    let connection = database.connect().await;
    connection.execute_unprepared("INSERT INTO seaql_migrations VALUES ('m9000_future', 1)").await.unwrap();
    let berth = settings.serve().await;
    assert!(berth.logged("m9000_future"), "the start logs a warning");
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
    connection.execute_unprepared("INSERT INTO seaql_migrations VALUES ('m9001_x_requires_m9000', 1)").await.unwrap();
    let (code, error) = settings.run_with(&["serve"], &[]).await;
    assert_eq!(code, 1);
    assert!(error.contains("m9001_x_requires_m9000"), "{error}");
}

async fn master_key_is_rotated(database: Database) {
    let settings = database.settings(5.0);
    let key_file = database.folder().join("master.key");
    std::fs::write(&key_file, MASTER_KEY).unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let with_file = [("BERTH_MASTER_KEY", None)];
    let berth = settings.serve_with(&with_file).await;
    let api = Api::of(&settings).await;
    api.resource_type(&berth.url).await;
    let receiver = Receiver::start().await;
    api.webhook(&berth.url, &receiver, 64).await;
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());

    let (code, error) = settings.run_with(&["key", "add"], &[]).await;
    assert_eq!(code, 1);
    assert!(error.contains("BERTH_PREVIOUS_MASTER_KEYS"), "{error}");
    assert_eq!(settings.run_with(&["key", "add"], &with_file).await.0, 0);
    let both = std::fs::read_to_string(&key_file).unwrap();
    let new = both.lines().next().unwrap();
    assert_eq!((both.lines().count(), both.lines().nth(1)), (2, Some(MASTER_KEY)));
    assert_eq!(std::fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);

    // A key in a setting may have earlier ones too. One that fits nothing is reported, and nothing is lost.
    let zeros = "00".repeat(32);
    let unknown = [("BERTH_MASTER_KEY", Some(new)), ("BERTH_PREVIOUS_MASTER_KEYS", Some(zeros.as_str()))];
    let (code, error) = settings.run_with(&["key", "rotate"], &unknown).await;
    assert!(code == 1 && error.contains("webhook 1"), "{error}");
    let (code, error) = settings.run_with(&["key", "rotate"], &[("BERTH_PREVIOUS_MASTER_KEYS", Some("0g"))]).await;
    assert!(code == 2 && error.contains("BERTH_PREVIOUS_MASTER_KEYS"), "{error}");

    let berth = settings.serve_with(&with_file).await;
    assert_eq!(settings.run_with(&["key", "rotate"], &with_file).await.0, 0);
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
    let berth = settings.serve_with(&[("BERTH_MASTER_KEY", Some(new))]).await;
    let tested = api.call(&berth.url, Method::POST, "/webhooks/1/test", json!({})).await.unwrap();
    assert_eq!((tested.status, receiver.count()), (200, 1), "{tested:?}");
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
}

async fn missing_master_key_is_refused_if_secrets_exist(database: Database) {
    let settings = database.settings(5.0);
    let key_file = database.folder().join("master.key");
    let without_key = [("BERTH_MASTER_KEY", None)];
    // Without secrets, each start may create a key.
    assert_eq!(settings.run_with(&["migrate"], &without_key).await.0, 0);
    let first = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(std::fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(&key_file).unwrap();
    let berth = settings.serve_with(&without_key).await;
    let key = std::fs::read_to_string(&key_file).unwrap();
    assert_ne!(key, first);
    let api = Api::of(&settings).await;
    api.resource_type(&berth.url).await;
    api.webhook(&berth.url, &Receiver::start().await, 64).await;
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());

    std::fs::remove_file(&key_file).unwrap();
    let (code, error) = settings.run_with(&["migrate"], &without_key).await;
    assert_eq!(code, 1);
    assert!(error.contains("master.key does not exist") && error.contains("BERTH_MASTER_KEY"), "{error}");
    assert!(!key_file.exists(), "no key was created");
    assert_eq!(settings.run_with(&["migrate"], &[]).await.0, 0, "an explicit key is accepted");
    // A group may read the key, e.g. with the fsGroup of a pod.
    for (mode, expected) in [(0o660, 0), (0o640, 0), (0o440, 0), (0o644, 2)] {
        std::fs::write(&key_file, &key).unwrap();
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(mode)).unwrap();
        let (code, error) = settings.run_with(&["migrate"], &without_key).await;
        assert_eq!(code, expected, "{mode:o}: {error}");
        std::fs::remove_file(&key_file).unwrap();
    }
}

async fn invalid_settings_are_named(database: Database) {
    let settings = database.settings(5.0);
    let production = ("BERTH_ENV", Some("production"));
    for (env, part) in [
        ([production, ("BERTH_PUBLIC_URL", None)], "BERTH_PUBLIC_URL is required in production"),
        ([production, ("BERTH_PUBLIC_URL", Some("http://berth.example.com"))], "must begin with https://"),
        ([production, ("BERTH_PUBLIC_URL", Some("https://berth.example.com/app"))], "contains a path"),
        ([production, ("BERTH_PUBLIC_URL", Some("https://u:s3cret@berth.example.com"))], "contains a user name"),
        ([production, ("BERTH_TRUST_PROXY", Some("proxy.internal"))], "BERTH_TRUST_PROXY"),
    ] {
        let (code, error) = settings.run_with(&["serve"], &env).await;
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(part) && !error.contains("s3cret"), "{error}");
    }
    // In development, only this machine can reach the listener.
    for (command, setting) in [("serve", "BERTH_LISTEN"), ("worker", "BERTH_WORKER_LISTEN")] {
        let (code, error) = settings.run_with(&[command], &[(setting, Some("0.0.0.0:0"))]).await;
        assert!(code == 2 && error.contains(setting) && error.contains("BERTH_ENV=production"), "{error}");
    }
    // Commands that serve nothing need no public URL.
    let backup = database.folder().join("backup.db").display().to_string();
    let (code, error) = settings.run_with(&["backup", &backup], &[production, ("BERTH_PUBLIC_URL", None)]).await;
    assert_eq!(code, 0, "{error}");
}

async fn files_are_private_and_wider_modes_are_reported(database: Database) {
    let settings = database.settings(5.0);
    let data = database.folder().join("new/data");
    let url = format!("sqlite://{}?mode=rwc", data.join("berth.db").display());
    let folder = data.display().to_string();
    let env = [("BERTH_DATA_DIR", Some(&*folder)), ("BERTH_DATABASE_URL", Some(&*url)), ("BERTH_MASTER_KEY", None)];
    let berth = settings.serve_with_umask("022", &env).await;
    assert!(!berth.logged("chmod"), "{:?}", berth.log_lines());
    let backup = data.join("backup").display().to_string();
    let (code, error) = settings.run_with(&["backup", &backup], &env).await;
    assert_eq!(code, 0, "{error}");
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names = Vec::new();
    for file in std::fs::read_dir(&data).unwrap() {
        let file = file.unwrap();
        names.push(file.file_name().into_string().unwrap());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{names:?}");
    }
    for name in ["berth.db", "berth.db-wal", "master.key", "backup"] {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
    }
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());

    let widen = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    widen(&data, 0o755);
    widen(&data.join("berth.db"), 0o644);
    let berth = settings.serve_with(&env).await;
    assert!(berth.logged(&format!("chmod 700 {folder}")), "{:?}", berth.log_lines());
    assert!(berth.logged(&format!("chmod 600 {folder}/berth.db")), "{:?}", berth.log_lines());
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
}

/// 300 clients connect and send nothing.
async fn idle_connections_leave_descriptors_for_others(database: Database) {
    let settings = database.settings(5.0);
    let berth = settings.serve_with_descriptors(256).await;
    let api = Api::of(&settings).await;
    let receiver = Receiver::start().await;
    api.resource_type(&berth.url).await;
    api.webhook(&berth.url, &receiver, 64).await;
    let resource = api.resource(&berth.url, "node-1").await;
    let address = berth.url.strip_prefix("http://").unwrap();
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(api.reserve(&berth.url, resource, 1).await.unwrap().status, 201);
    receiver.wait_for(1).await;
    drop(idle);
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
}

/// A queue waits on SQLite. After the transfer, its deliveries are sent from PostgreSQL, signed with the same secret.
async fn transfer_from_sqlite_continues_on_postgres(target: Database) {
    let source = Database::start(DatabaseKind::Sqlite).await;
    let settings = source.settings(5.0);
    let receiver = Receiver::start().await;
    let berth = settings.serve().await;
    let api = Api::of(&settings).await;
    api.resource_type(&berth.url).await;
    let webhook = api.webhook(&berth.url, &receiver, 64).await;
    let resource = api.resource(&berth.url, "node-1").await;
    assert_eq!(api.reserve(&berth.url, resource, 1).await.unwrap().status, 201);
    receiver.wait_for(1).await;
    source.drain().await;
    let change = async |berth: &Berth, action: &str| {
        let path = format!("/webhooks/{webhook}/{action}");
        assert_eq!(api.call(&berth.url, Method::POST, &path, json!({})).await.unwrap().status, 200);
    };
    change(&berth, "pause").await;
    assert_eq!(api.reserve(&berth.url, resource, 2).await.unwrap().status, 201);
    let arguments = ["transfer", "--from", &source.url, "--to", &target.url];
    let (code, error) = settings.run_with(&arguments, &[]).await;
    assert_eq!(code, 1);
    assert!(error.contains("Stop Berth first"), "{error}");
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());

    let (code, progress) = settings.run_with(&arguments, &[]).await;
    assert_eq!(code, 0, "{progress}");
    assert!(progress.contains("reservations: 2 of 2 rows"), "{progress}");
    let (code, error) = settings.run_with(&arguments, &[]).await;
    assert_eq!(code, 1);
    assert!(error.contains("not empty"), "{error}");

    let moved = super::process::Settings { folder: settings.folder.clone(), ..target.settings(5.0) };
    let berth = moved.serve().await;
    change(&berth, "resume").await;
    receiver.wait_for(2).await;
    target.drain().await;
    assert_eq!(api.reserve(&berth.url, resource, 3).await.unwrap().status, 201);
    receiver.wait_for(3).await;
    target.drain().await;
    let statuses: Vec<String> = target.deliveries().await.into_iter().map(|delivery| delivery.status).collect();
    assert_eq!(statuses, ["succeeded"; 3]);
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
}

async fn replicas_print_the_same_setup_link(database: Database) {
    let settings = database.settings(5.0);
    let (first, second) = (settings.serve_with(&NO_ADMINISTRATOR).await, settings.serve_with(&NO_ADMINISTRATOR).await);
    let code_of = |berth: &Berth| {
        let line = berth.log_lines().into_iter().find(|line| line.contains("/setup?code=")).expect("a link");
        line.split("code=").nth(1).unwrap().chars().take_while(char::is_ascii_hexdigit).collect::<String>()
    };
    assert_eq!(code_of(&first), code_of(&second));
    // The link of one replica works on the other, also through a proxy.
    let input = json!({
        "code": code_of(&first), "username": "root", "email": "root@example.com", "password": "correct horse battery",
    });
    let request = super::load::client().post(format!("{}/api/v1/setup", second.url)).json(&input);
    let response = request.header("x-forwarded-for", "203.0.113.9").send().await.unwrap();
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    eventually("no set-up on the other replica", async || {
        let state = super::load::client().get(format!("{}/api/v1/setup", first.url)).send().await.unwrap();
        let state: Value = state.json().await.unwrap();
        (state["needs_setup"] == false).then_some(())
    })
    .await;
}

async fn connection_url_is_redacted(database: Database) {
    let settings = database.settings(5.0);
    for url in ["postgres:///db?host=/nowhere&password=s3cret", "postgres://u:s3cret@127.0.0.1:1/db?sslpassword=s3cret"]
    {
        let (code, error) = settings.run_with(&["migrate"], &[("BERTH_DATABASE_URL", Some(url))]).await;
        assert_eq!(code, 1);
        assert!(error.contains("cannot be opened") && !error.contains("s3cret"), "{error}");
    }
    let with_unknown = format!("{}?api_token=s3cret", database.url);
    let (code, log) = settings.run_with(&["migrate"], &[("BERTH_DATABASE_URL", Some(&with_unknown))]).await;
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("api_token") && !log.contains("s3cret"), "{log}");
}
