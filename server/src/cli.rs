//! The command line.

use crate::config::{Args, Config};
use clap::{Parser, Subcommand, ValueEnum};
use domain::Problem;
use domain::account::{ApiTokenInput, UserInput};
use domain::authorization::{Role, Scope};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Berth reserves computing resources and tells their owners by signed webhooks.
#[derive(Parser)]
#[command(name = "berth", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    given: Args,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole product: page, API, live feed and workers.
    Serve {
        /// Fill an empty database with people, resources and a sample receiver, so that there is something to see.
        #[arg(long)]
        demo: bool,
    },
    /// Run the workers alone (PostgreSQL, beside `berth serve` processes).
    Worker {
        /// Address and port of its `/healthz`, `/readyz` and `/metrics` [default: they are not served].
        #[arg(long, env = "BERTH_WORKER_LISTEN")]
        worker_listen: Option<std::net::SocketAddr>,
    },
    /// Bring the database schema up to date and end.
    Migrate,
    /// API tokens.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// User accounts.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Copy the SQLite database consistently to FILE, while Berth runs.
    Backup {
        /// A file that does not exist yet.
        file: PathBuf,
    },
    /// Ask the running process whether it is ready; for container health validator.
    Healthcheck,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token and print it, and nothing else, on standard output.
    Create {
        /// Whose token.
        #[arg(long)]
        user: String,
        /// What it is for.
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

#[derive(Subcommand)]
enum UserCommand {
    /// Make an account; the password comes from standard input or BERTH_USER_PASSWORD.
    Create {
        /// Login name.
        #[arg(long)]
        name: String,
        /// E-mail address.
        #[arg(long)]
        email: String,
        /// Make an administrator.
        #[arg(long)]
        admin: bool,
    },
}

/// Runs the command; the exit code is 2 for bad settings and 1 for other failures.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = arguments.given.with_file().and_then(|given| {
        let log = (given.log.clone(), given.log_format.clone());
        given.resolve().map(|config| (config, log))
    });
    let (config, (log, format)) = match settings {
        Ok(settings) => settings,
        Err(message) => return fail(&message, 2),
    };
    if let Err(message) =
        log_to_stderr(log.as_deref().unwrap_or("info,sea_orm_migration=warn"), format.as_deref().unwrap_or("text"))
    {
        return fail(&message, 2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("Berth cannot start: {error}"), 1),
    };
    match runtime.block_on(run(arguments.command, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message, 1),
    }
}

#[allow(clippy::print_stderr, reason = "the operator reads it")]
fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("berth: {message}");
    ExitCode::from(code)
}

fn log_to_stderr(filter: &str, format: &str) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| format!("BERTH_LOG: {error}"))?;
    // Colours are for people; a journal or a file would keep their codes.
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    // Where nobody reads the log any more, to say so on the same standard error would end the task that logs.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match format {
        "json" => builder.json().init(),
        "text" => builder.init(),
        _ => return Err("BERTH_LOG_FORMAT is text or json.".into()),
    }
    Ok(())
}

/// A problem as a sentence for the terminal.
fn format_problem(problem: Problem) -> String {
    let mut text = problem.detail;
    for error in problem.errors {
        text.push_str(&format!("\n  {}: {}", error.field, error.message));
    }
    text
}

#[allow(clippy::print_stdout, reason = "the answer of a command")]
async fn run(command: Command, mut config: Config) -> Result<(), String> {
    match command {
        Command::Serve { demo } => {
            let listener = TcpListener::bind(config.listen).await.map_err(|error| {
                format!("{} cannot be listened on ({error}). Choose another with BERTH_LISTEN.", config.listen)
            })?;
            let address = listener.local_addr().map_err(|error| error.to_string())?;
            // Which port 0 became is known only now.
            if config.public_url == format!("http://{}", config.listen) {
                config.public_url = format!("http://{address}");
                config.service.public_url.clone_from(&config.public_url);
            }
            let cancel = stopped();
            let service = crate::open(&config).await?;
            if demo {
                crate::demo::set_up(&service, &cancel).await?;
            }
            tracing::info!("Berth listens on http://{address}");
            if demo {
                println!("{}", crate::demo::welcome(&config.public_url));
            }
            crate::serve(config, service, listener, cancel).await
        }
        Command::Worker { worker_listen } => {
            let service = crate::open(&config).await?;
            if !service.is_postgres() {
                return Err("`berth worker` needs PostgreSQL; on SQLite `berth serve` does this work itself.".into());
            }
            let listener = match worker_listen {
                None => None,
                Some(address) => Some(TcpListener::bind(address).await.map_err(|error| {
                    format!("{address} cannot be listened on ({error}). Choose another with BERTH_WORKER_LISTEN.")
                })?),
            };
            let cancel = stopped();
            match listener.as_ref().and_then(|listener| listener.local_addr().ok()) {
                Some(address) => tracing::info!("the worker runs and tells of itself on http://{address}"),
                None => tracing::info!("the worker runs"),
            }
            crate::work(service, listener, cancel).await
        }
        Command::Migrate => {
            crate::open(&config).await?;
            println!("The database schema is up to date.");
            Ok(())
        }
        Command::Token { command: TokenCommand::Create { user, name, scopes } } => {
            let service = crate::open(&config).await?;
            let scopes = scopes.into_iter().map(|scope| match scope {
                ScopeName::Read => Scope::Read,
                ScopeName::Reserve => Scope::Reserve,
                ScopeName::Admin => Scope::Admin,
            });
            let scopes: Vec<Scope> = scopes.collect();
            let input = ApiTokenInput { name, scopes: (!scopes.is_empty()).then_some(scopes), expires_at: None };
            println!("{}", service.create_token_as_operator(&user, input).await.map_err(format_problem)?.token);
            Ok(())
        }
        Command::User { command: UserCommand::Create { name, email, admin } } => {
            let password = match std::env::var("BERTH_USER_PASSWORD") {
                Ok(password) => password,
                Err(_) => {
                    let mut line = String::new();
                    std::io::stdin()
                        .read_line(&mut line)
                        .map_err(|error| format!("The password cannot be read: {error}"))?;
                    line.trim_end_matches(['\r', '\n']).to_owned()
                }
            };
            let role = if admin { Role::Administrator } else { Role::User };
            let service = crate::open(&config).await?;
            let user = service
                .create_user_as_operator(UserInput { username: name, email, password, role })
                .await
                .map_err(format_problem)?;
            println!("Made the account {}.", user.username);
            Ok(())
        }
        Command::Backup { file } => {
            let service = crate::open(&config).await?;
            service.backup(&file).await.map_err(format_problem)?;
            println!(
                "Wrote {}. Keep the master key with it: without it the secrets inside cannot be read.",
                file.display()
            );
            Ok(())
        }
        Command::Healthcheck => {
            let mut address = config.listen;
            if address.ip().is_unspecified() {
                address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
            }
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let away = |error: std::io::Error| format!("Berth does not answer on {address}: {error}");
            let mut stream = tokio::net::TcpStream::connect(address).await.map_err(away)?;
            stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await.map_err(away)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.map_err(away)?;
            if answer.split(' ').nth(1) == Some("200") { Ok(()) } else { Err("Berth is not ready.".into()) }
        }
    }
}

/// Cancelled by SIGTERM or Ctrl-C.
fn stopped() -> CancellationToken {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            if let Ok(mut terminate) = signal(SignalKind::terminate()) {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
            }
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
        tracing::info!("stopping: open requests and deliveries may end first");
    });
    cancel
}
