//! Commands for developers of receivers and for configuration as code. They need no settings of a server.

mod api;
mod conform;
mod listen;
mod report;
mod verify_signature;
mod webhook_file;

use crate::terminal::fail;
use clap::Subcommand;
use std::process::ExitCode;

/// Exit code of an invalid command line, as clap uses it, and of a drift.
const USAGE: u8 = 2;
/// Exit code of a failure.
const FAILED: u8 = 1;

/// A command that uses a receiver or a server over the network.
#[derive(Subcommand)]
pub enum ClientCommand {
    /// Certify a receiver: send valid, forged, repeated and unusual test events, and report what to change.
    ///
    /// Exit status: 0 if no check failed, 1 if one failed (with --strict also for a warning), 2 for an invalid command line.
    Conform(Box<conform::ConformArgs>),
    /// Name the part of a received request with which its signature does not fit.
    ///
    /// Exit status: 0 for a valid signature, 1 for an invalid one, 2 for an invalid command line.
    VerifySignature(verify_signature::VerifyArgs),
    /// Receive events over an outbound connection, and forward them to a receiver on this machine.
    ///
    /// Works behind firewalls and through proxies (HTTPS_PROXY), and reconnects. Exit status: 0 after Ctrl-C or q, 1 for a
    /// failure, 2 for an invalid command line.
    Listen(Box<listen::ListenArgs>),
    /// Make the webhooks of a server those of a file: print the plan, ask, and apply it.
    ///
    /// Exit status: 0 if nothing is left to do, 1 for a failure, 2 for an invalid command line or file, and with
    /// --detect-drift if the server differs from the file.
    Apply(webhook_file::ApplyArgs),
    /// Write the webhooks of a server as a file for `berth apply`.
    Export(webhook_file::ExportArgs),
}

/// The failure of a command, with its exit code.
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// A failure of the work.
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: FAILED }
    }

    /// An invalid command line or file.
    fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: USAGE }
    }
}

/// Runs a command. The result is its exit code.
pub fn main(command: ClientCommand) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("The async runtime cannot start: {error}"), FAILED),
    };
    let result = runtime.block_on(async {
        match command {
            ClientCommand::Conform(args) => conform::run(*args).await,
            ClientCommand::VerifySignature(args) => verify_signature::run(args),
            ClientCommand::Listen(args) => listen::run(*args).await,
            ClientCommand::Apply(args) => webhook_file::apply(args).await,
            ClientCommand::Export(args) => webhook_file::export(args).await,
        }
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => fail(&failure.message, failure.code),
    }
}

/// Parses a header in the form `Name: value`.
fn parse_header(text: &str) -> Result<domain::header::Header, String> {
    let (name, value) = text.split_once(':').ok_or("write a header as \"Name: value\"")?;
    let name = name.trim();
    domain::validation::header_name(name)?;
    Ok(domain::header::Header { name: name.to_owned(), value: value.trim().to_owned() })
}

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}
