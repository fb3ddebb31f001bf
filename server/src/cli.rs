//! The command line.

use crate::client::ClientCommand;
use crate::config::{Args, Config, Environment, default_public_url};
use crate::http::v1::audit::to_lines;
use crate::signals;
use crate::telemetry::Telemetry;
use crate::terminal::{fail, format_problem, print, print_progress, read_line};
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand, ValueEnum};
use domain::account::{ApiTokenInput, UserInput};
use domain::audit::{AuditAction, AuditFilter};
use domain::authorization::{Role, Scope};
use domain::ownership::GroupInput;
use service::audit::Verdict;
use service::deliveries::IndexBatch;
use service::transfer::{Progress, Source};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Exit code for invalid settings.
const INVALID_SETTINGS: u8 = 2;
/// Exit code for other failures.
const FAILED: u8 = 1;
/// Minimum interval between two reports of `berth index`, and on one table of `berth transfer`.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Pause of `berth index` after a batch that wrote nothing.
const INDEX_RETRY: Duration = Duration::from_millis(200);
/// Timeout of `berth healthcheck`.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Reserve computing resources and notify services by signed webhooks.
#[derive(Parser)]
#[command(name = "berth", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    args: Args,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Server(ServerCommand),
    #[command(flatten)]
    Client(ClientCommand),
}

/// A command that uses the settings and the database of a server.
#[derive(Subcommand)]
enum ServerCommand {
    /// Run the whole product: page, API, live feed and workers.
    Serve {
        /// Create sample users and resources, and start a sample receiver.
        ///
        /// Only in development, on a database that is empty or that an earlier demo has filled.
        #[arg(long)]
        demo: bool,
        /// Password of both demo accounts, e.g. for tests [default: random ones, printed at the first start].
        #[arg(long, env = "BERTH_DEMO_PASSWORD", hide_env_values = true)]
        demo_password: Option<String>,
    },
    /// Run only the workers (PostgreSQL, next to `berth serve` processes).
    Worker {
        /// Address and port of `/healthz`, `/readyz` and `/metrics` [default: not served].
        #[arg(long, env = "BERTH_WORKER_LISTEN")]
        worker_listen: Option<SocketAddr>,
    },
    /// Apply pending database migrations and exit.
    Migrate,
    /// Manage API tokens.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Manage user accounts.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Manage groups of users.
    Group {
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// Verify or export the audit log.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Replace the master key, which encrypts the secrets in the database.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Write a consistent copy of the SQLite database to FILE while Berth runs.
    Backup {
        /// Path of the copy; the file must not exist.
        file: PathBuf,
    },
    /// Copy a SQLite database to an empty PostgreSQL database, while Berth is stopped.
    Transfer {
        /// URL of the SQLite database, e.g. sqlite:///var/lib/berth/berth.db.
        #[arg(long)]
        from: String,
        /// URL of the PostgreSQL database [default: BERTH_DATABASE_URL].
        #[arg(long)]
        to: Option<String>,
    },
    /// Complete the index of the delivery log at once, e.g. after an upgrade or a transfer of many deliveries.
    ///
    /// Searches, failures by cause and charts cover the indexed deliveries. `berth serve` indexes in small steps beside the
    /// deliveries; this command uses all of the database's time, and may run while Berth runs.
    Index,
    /// Check that the running process is ready, e.g. as a container health check.
    Healthcheck,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Create a token and print only the token on standard output.
    Create {
        /// Login name of the token's owner.
        #[arg(long)]
        user: String,
        /// Name of the token, e.g. its purpose.
        #[arg(long)]
        name: String,
        /// read, reserve, admin; all when absent.
        #[arg(long, value_delimiter = ',')]
        scopes: Vec<ScopeName>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum ScopeName {
    Read,
    Reserve,
    Admin,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Read => Self::Read,
            ScopeName::Reserve => Self::Reserve,
            ScopeName::Admin => Self::Admin,
        }
    }
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Add a new master key to the file master.key. The earlier keys still decrypt.
    Add,
    /// Encrypt every secret in the database again with the current master key, while Berth runs.
    Rotate,
}

#[derive(Subcommand)]
enum UserCommand {
    /// Create an account. The password is read from BERTH_USER_PASSWORD or standard input.
    Create {
        /// Login name.
        #[arg(long)]
        name: String,
        /// E-mail address.
        #[arg(long)]
        email: String,
        /// Give the account the administrator role.
        #[arg(long)]
        admin: bool,
    },
    /// Remove all second factors of an account whose user has lost them. The user then logs in with the password.
    ResetSecondFactor {
        /// Login name.
        #[arg(long)]
        name: String,
    },
}

#[derive(Subcommand)]
enum GroupCommand {
    /// Create a group, which can then own resource types and resources.
    Create {
        /// Name, which no other group has.
        #[arg(long)]
        name: String,
        /// Purpose of the group.
        #[arg(long)]
        description: Option<String>,
        /// Login names of the members, separated by commas.
        #[arg(long, value_delimiter = ',')]
        members: Vec<String>,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Check that no entry was modified, removed or reordered. Exit code 1 and the first fault if one was.
    Verify {
        /// Hash that an earlier verification printed and that was kept elsewhere: the entry with it must still exist.
        #[arg(long, value_parser = parse_hash)]
        head: Option<String>,
    },
    /// Print entries as JSON Lines, oldest first.
    Export {
        /// Only entries written at or after this time, e.g. 2026-11-28T00:00:00Z.
        #[arg(long)]
        since: Option<DateTime<Utc>>,
        /// Only entries written before this time.
        #[arg(long)]
        until: Option<DateTime<Utc>>,
        /// Only entries of this user, by login name.
        #[arg(long)]
        actor: Option<String>,
        /// Only entries with this action, e.g. webhook.updated.
        #[arg(long, value_parser = parse_action)]
        action: Option<AuditAction>,
    },
}

/// A hash of the chain: 64 hex digits.
fn parse_hash(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err("a hash has 64 hex digits, as `berth audit verify` prints it".into())
    }
}

fn parse_action(text: &str) -> Result<AuditAction, String> {
    AuditAction::parse(text).ok_or_else(|| {
        let known: Vec<&str> = AuditAction::ALL.iter().map(|action| action.as_str()).collect();
        format!("use one of {}", known.join(", "))
    })
}

/// Runs the command. Returns exit code 2 for invalid settings and 1 for other failures.
pub fn main() -> ExitCode {
    let CommandLine { command, args } = CommandLine::parse();
    let command = match command {
        Command::Client(command) => return crate::client::main(command),
        Command::Server(command) => command,
    };
    crate::files::restrict_new_files();
    crate::descriptors::raise_limit();
    let check = |args: Args| check_command(&command, &args).map(|()| args);
    let config = match args.with_file().and_then(check).and_then(Args::resolve) {
        Ok(config) => config,
        Err(message) => return fail(&message, INVALID_SETTINGS),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("The async runtime cannot start: {error}"), FAILED),
    };
    let telemetry = match Telemetry::install(&config.telemetry, runtime.handle()) {
        Ok(telemetry) => telemetry,
        Err(message) => return fail(&message, INVALID_SETTINGS),
    };
    let result = runtime.block_on(async {
        let result = run(command, config).await;
        telemetry.shutdown().await;
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message, FAILED),
    }
}

/// Checks the settings that only a server needs.
fn check_command(command: &ServerCommand, args: &Args) -> Result<(), String> {
    match command {
        ServerCommand::Serve { demo, .. } => {
            args.check_for_server(Some((args.listen(), "BERTH_LISTEN")))?;
            if *demo && args.env() == Environment::Production {
                return Err("--demo creates accounts for trying Berth out. It is not available in production: remove \
                            --demo, or set BERTH_ENV=development."
                    .into());
            }
            Ok(())
        }
        ServerCommand::Worker { worker_listen } => {
            args.check_for_server(worker_listen.map(|address| (address, "BERTH_WORKER_LISTEN")))
        }
        _ => Ok(()),
    }
}

async fn run(command: ServerCommand, config: Config) -> Result<(), String> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match command {
        ServerCommand::Serve { demo, demo_password } => serve(config, demo, demo_password).await,
        ServerCommand::Worker { worker_listen } => work(config, worker_listen).await,
        ServerCommand::Migrate => {
            crate::open(&config).await?;
            print("The database schema is up to date.");
            Ok(())
        }
        ServerCommand::Token { command: TokenCommand::Create { user, name, scopes } } => {
            create_token(&config, &user, name, scopes).await
        }
        ServerCommand::User { command: UserCommand::Create { name, email, admin } } => {
            create_user(&config, name, email, admin).await
        }
        ServerCommand::User { command: UserCommand::ResetSecondFactor { name } } => {
            reset_second_factor(&config, &name).await
        }
        ServerCommand::Group { command: GroupCommand::Create { name, description, members } } => {
            create_group(&config, GroupInput { name, description, members: Some(members) }).await
        }
        ServerCommand::Audit { command: AuditCommand::Verify { head } } => {
            verify_audit_log(&config, head.as_deref()).await
        }
        ServerCommand::Audit { command: AuditCommand::Export { since, until, actor, action } } => {
            export_audit_log(&config, AuditFilter { since, until, actor, action, ..AuditFilter::default() }).await
        }
        ServerCommand::Key { command: KeyCommand::Add } => add_key(&config),
        ServerCommand::Key { command: KeyCommand::Rotate } => rotate_key(&config).await,
        ServerCommand::Backup { file } => back_up(&config, &file).await,
        ServerCommand::Transfer { from, to } => {
            let is_production = config.env == Environment::Production;
            let to = match to {
                Some(to) if is_production => service::with_verified_tls(&to),
                Some(to) => to,
                None => config.service.database_url,
            };
            transfer(&from, &to).await
        }
        ServerCommand::Index => complete_index(&config).await,
        ServerCommand::Healthcheck => check_health(config.listen).await,
    }
}

/// Adds all deliveries to the index, and reports the progress once a second.
async fn complete_index(config: &Config) -> Result<(), String> {
    let service = crate::open(config).await?;
    let (mut reported, mut written) = (Instant::now(), 0);
    loop {
        let count = service.deliveries().index_batch(IndexBatch::LARGE).await.map_err(|problem| problem.detail)?;
        if count == 0 {
            if service.deliveries().is_index_complete().await.map_err(|problem| problem.detail)? {
                break;
            }
            // A running Berth has written at the same time, or on PostgreSQL a transaction is not committed yet.
            tokio::time::sleep(INDEX_RETRY).await;
        }
        written += count;
        if reported.elapsed() >= PROGRESS_INTERVAL {
            print_progress(&format!("{written} rows and texts were added to the index."));
            reported = Instant::now();
        }
    }
    print("The index of the delivery log is complete.");
    Ok(())
}

async fn serve(mut config: Config, demo: bool, demo_password: Option<String>) -> Result<(), String> {
    let listener = bind(config.listen, "BERTH_LISTEN").await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    // With port 0 the operating system chooses the port, so the default public URL is set here.
    if config.public_url_is_default {
        config.public_url = default_public_url(address);
        config.service.public_url.clone_from(&config.public_url);
    }
    let cancel = shutdown_token();
    let service = crate::open(&config).await?;
    let demo = if demo { Some(crate::demo::set_up(&service, demo_password, &cancel).await?) } else { None };
    tracing::info!("Berth listens on http://{address}");
    if let Some(accounts) = demo {
        print(&accounts.welcome(&config.public_url));
    }
    crate::serve(config, service, listener, cancel).await
}

async fn work(config: Config, listen: Option<SocketAddr>) -> Result<(), String> {
    let service = crate::open(&config).await?;
    if !service.is_postgres() {
        return Err("`berth worker` needs PostgreSQL. With SQLite, `berth serve` runs the workers itself.".into());
    }
    let listener = match listen {
        Some(address) => Some(bind(address, "BERTH_WORKER_LISTEN").await?),
        None => None,
    };
    let cancel = shutdown_token();
    match listener.as_ref().and_then(|listener| listener.local_addr().ok()) {
        Some(address) => tracing::info!("worker started, serving health on http://{address}"),
        None => tracing::info!("worker started"),
    }
    crate::work(service, listener, config.metrics, config.audit, cancel).await
}

pub(crate) async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("Cannot listen on {address} ({error}). Choose another address with {setting}."))
}

async fn create_token(config: &Config, user: &str, name: String, scopes: Vec<ScopeName>) -> Result<(), String> {
    let service = crate::open(config).await?;
    let scopes: Vec<Scope> = scopes.into_iter().map(Scope::from).collect();
    let input = ApiTokenInput { name, scopes: (!scopes.is_empty()).then_some(scopes), ..Default::default() };
    let created = service.accounts().create_token_as_operator(user, input).await.map_err(format_problem)?;
    print(&created.token);
    Ok(())
}

async fn create_user(config: &Config, username: String, email: String, admin: bool) -> Result<(), String> {
    let password = match std::env::var("BERTH_USER_PASSWORD") {
        Ok(password) => password,
        Err(_) => read_line().map_err(|error| format!("The password cannot be read from standard input: {error}"))?,
    };
    let role = if admin { Role::Administrator } else { Role::User };
    let service = crate::open(config).await?;
    let input = UserInput { username, email, password, role };
    let user = service.accounts().create_user_as_operator(input).await.map_err(format_problem)?;
    print(&format!("Created the account {}.", user.username));
    Ok(())
}

async fn reset_second_factor(config: &Config, username: &str) -> Result<(), String> {
    let service = crate::open(config).await?;
    service.accounts().reset_second_factors_as_operator(username).await.map_err(format_problem)?;
    print(&format!("Removed all second factors of the account {username}."));
    Ok(())
}

async fn create_group(config: &Config, input: GroupInput) -> Result<(), String> {
    let service = crate::open(config).await?;
    let group = service.groups().create_as_operator(input).await.map_err(format_problem)?;
    print(&format!("Created the group {}.", group.name));
    Ok(())
}

async fn verify_audit_log(config: &Config, head: Option<&str>) -> Result<(), String> {
    let service = crate::open(config).await?;
    let intact = match service.audit().verify(head).await.map_err(format_problem)? {
        Verdict::Intact(intact) => intact,
        Verdict::Faulty(fault) => {
            let first = fault.seq.map(|seq| format!(" First fault at entry {seq}.")).unwrap_or_default();
            return Err(format!("The audit log is not intact.{first} {}", fault.reason));
        }
    };
    let entries = match intact.entries {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    };
    print(&format!("The audit log is intact: {entries}, the newest is {}.", intact.head));
    if intact.pruned > 0 {
        print(&format!("Retention has deleted the entries up to {}.", intact.pruned));
    }
    if !intact.hash.is_empty() {
        print(&format!("Head: {}", intact.hash));
    }
    Ok(())
}

async fn export_audit_log(config: &Config, filter: AuditFilter) -> Result<(), String> {
    let service = crate::open(config).await?;
    let mut export = service.audit().export_as_operator(filter).await.map_err(format_problem)?;
    let mut output = tokio::io::stdout();
    let failed = |error: std::io::Error| format!("The entries cannot be written to standard output: {error}");
    while let Some(entries) = export.next_batch().await.map_err(format_problem)? {
        output.write_all(to_lines(&entries).map_err(format_problem)?.as_bytes()).await.map_err(failed)?;
    }
    output.flush().await.map_err(failed)
}

fn add_key(config: &Config) -> Result<(), String> {
    let Some(file) = &config.key_file else {
        return Err(
            "The master key is set by BERTH_MASTER_KEY. Move its value to BERTH_PREVIOUS_MASTER_KEYS, and set \
                    BERTH_MASTER_KEY to a new key, e.g. from: openssl rand -hex 32"
                .into(),
        );
    };
    file.add_key()?;
    print(&format!(
        "Added a new master key to {}. Back the file up, start Berth again, then run `berth key rotate`.",
        file.path().display()
    ));
    Ok(())
}

async fn rotate_key(config: &Config) -> Result<(), String> {
    let service = crate::open(config).await?;
    let rotated = service.maintenance().rotate_master_key().await.map_err(format_problem)?;
    let (encrypted, current) = (rotated.encrypted, rotated.current);
    print(&format!("Encrypted the secrets of {encrypted} rows again; {current} rows were up to date."));
    if rotated.unreadable.is_empty() {
        print(
            "No stored secret needs an earlier master key. Remove the earlier ones: BERTH_PREVIOUS_MASTER_KEYS, or the \
             lines after the first in the file master.key.",
        );
        return Ok(());
    }
    Err(format!(
        "No master key decrypts the secrets of: {}. Add the key that encrypted them, or set these secrets again.",
        rotated.unreadable.join(", ")
    ))
}

async fn back_up(config: &Config, file: &Path) -> Result<(), String> {
    let service = crate::open(config).await?;
    service.maintenance().backup(file).await.map_err(format_problem)?;
    print(&format!(
        "Wrote {}. Store the master key with it: secrets in the backup cannot be decrypted without it.",
        file.display()
    ));
    Ok(())
}

/// Copies the SQLite database `from` to the PostgreSQL database `to`, and reports progress on standard error.
async fn transfer(from: &str, to: &str) -> Result<(), String> {
    if !to.starts_with("postgres://") && !to.starts_with("postgresql://") {
        return Err("--to must be the URL of a PostgreSQL database, such as postgres://berth@db.internal/berth.".into());
    }
    let source = Source::open(from).await.map_err(|error| error.to_string())?;
    let target = service::connect(to).await.map_err(|error| error.to_string())?;
    migrations::up(target.writer()).await.map_err(|error| service::explain_migration_error(&error))?;
    drop(target);
    let mut last_report = Instant::now();
    let report = |progress: Progress<'_>| {
        if progress.copied == progress.rows || last_report.elapsed() >= PROGRESS_INTERVAL {
            last_report = Instant::now();
            print_progress(&format!("{}: {} of {} rows", progress.table, progress.copied, progress.rows));
        }
    };
    let copied = source.copy_to(to, report).await.map_err(|error| error.to_string())?;
    print(&format!(
        "Copied and verified {} rows in {} tables. Start Berth with this database and the same master key as before \
         (BERTH_MASTER_KEY, or the file master.key in the data folder). Keep the SQLite file until it works.",
        copied.rows, copied.tables
    ));
    Ok(())
}

/// Requests `/readyz` from the process that listens on `address`.
async fn check_health(mut address: SocketAddr) -> Result<(), String> {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let response = tokio::time::timeout(HEALTHCHECK_TIMEOUT, get_readiness(address))
        .await
        .map_err(|_| format!("Berth did not respond on {address} within {HEALTHCHECK_TIMEOUT:?}."))?
        .map_err(|error| format!("Berth does not respond on {address}: {error}"))?;
    if response.split(' ').nth(1) == Some("200") { Ok(()) } else { Err("Berth is not ready. See GET /readyz.".into()) }
}

async fn get_readiness(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

/// A token that SIGTERM or Ctrl-C cancels.
fn shutdown_token() -> CancellationToken {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        signals::wait_for_stop().await;
        stop.cancel();
        tracing::info!("shutting down; waiting for open requests and deliveries");
    });
    cancel
}
