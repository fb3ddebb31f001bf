//! `berth verify-signature`: names the part of a request with which its signature does not fit.

use super::{FAILED, Failure, Format, parse_header};
use crate::terminal::print;
use chrono::{DateTime, Utc};
use clap::Args;
use domain::header::Header;
use domain::signature_check::{SignatureReport, check_signature};
use service::{Clock as _, SystemClock};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Arguments of `berth verify-signature`.
#[derive(Args)]
pub struct VerifyArgs {
    /// File with the exact bytes of the request's body; - for standard input.
    #[arg(default_value = "-")]
    body: PathBuf,
    /// Header of the request, e.g. "X-Webhook-Signature: sha256=…". Repeat it for each header.
    #[arg(long = "header", short = 'H', value_parser = parse_header, required = true)]
    headers: Vec<Header>,
    /// Signing secret as the receiver has it.
    #[arg(long, env = "WEBHOOK_SECRET", hide_env_values = true)]
    secret: String,
    /// Earlier secret. Repeat it for each.
    #[arg(long)]
    previous_secret: Vec<String>,
    /// Time at which the request arrived, e.g. 2026-11-28T10:00:00Z [default: now].
    #[arg(long)]
    at: Option<DateTime<Utc>>,
    /// Form of the result.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// Runs `berth verify-signature`.
pub(super) fn run(args: VerifyArgs) -> Result<u8, Failure> {
    let body = read_body(&args.body)
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", args.body.display())))?;
    let now = args.at.unwrap_or_else(|| SystemClock.now());
    let report = check_signature(&body, &args.headers, &args.secret, &args.previous_secret, now);
    match args.format {
        Format::Table => print(&table(&report)),
        Format::Json => print(&serde_json::to_string_pretty(&report).map_err(|error| Failure::new(error.to_string()))?),
    }
    Ok(if report.valid { 0 } else { FAILED })
}

fn read_body(path: &Path) -> std::io::Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return std::fs::read(path);
    }
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    Ok(body)
}

fn table(report: &SignatureReport) -> String {
    let width = report.headers.iter().map(|header| header.header.len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for header in &report.headers {
        let verdict = if header.valid { "VALID  " } else { "INVALID" };
        lines.push(format!("{verdict}  {:width$}  {} ({})", header.header, header.message, header.cause.as_str()));
        if !header.remedy.is_empty() {
            lines.push(format!("         change  {}", header.remedy));
        }
    }
    lines.join("\n")
}
