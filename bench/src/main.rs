//! `cargo xtask bench`: measures the release binary from outside, next to a raw HTTP baseline of the same machine and run.
//!
//! The receiver and the load generator run as separate processes of this binary, so that their CPU time is separate.

#![expect(clippy::disallowed_methods, reason = "benchmarks measure against the machine's clock")]

mod baseline;
mod berth;
mod cpu;
mod load;
mod log;
mod receiver;
mod report;
mod scenarios;

use clap::{Parser, Subcommand};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// The allocator of Berth, so that the baseline measures the same client.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Berth.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Step>,
    #[command(flatten)]
    run: Run,
}

/// Settings of a run.
#[derive(Debug, Clone, clap::Args)]
pub struct Run {
    /// Finish within two minutes: fewer deliveries, no history of two million.
    #[arg(long)]
    pub quick: bool,
    /// Only these databases.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [berth::Engine::Sqlite, berth::Engine::Postgres])]
    pub engine: Vec<berth::Engine>,
    /// Only the scenarios whose name contains this.
    #[arg(long)]
    pub only: Option<String>,
    /// A PostgreSQL server on which databases can be created.
    #[arg(long, env = "BERTH_BENCH_POSTGRES", default_value = "postgres://postgres@127.0.0.1:5432")]
    pub postgres: String,
    /// Output folder of `benchmarks.md` and `benchmarks.json` [default: `docs` for a complete run, else `target/bench`].
    #[arg(long)]
    pub output: Option<std::path::PathBuf>,
}

impl Run {
    /// Whether the run is complete: every scenario, both databases, not quick.
    fn is_complete(&self) -> bool {
        !self.quick
            && self.only.is_none()
            && [berth::Engine::Sqlite, berth::Engine::Postgres].iter().all(|e| self.engine.contains(e))
    }
}

/// The steps that run as separate processes.
#[derive(Subcommand)]
enum Step {
    /// The receiver.
    Receiver,
    /// The load generator.
    Load(load::Load),
    /// The raw baseline.
    Baseline(baseline::Baseline),
}

/// A receiver process; killed on drop.
pub struct Receiver {
    child: Child,
    /// Its base URL.
    pub url: String,
    http: reqwest::Client,
}

impl Receiver {
    /// Starts a receiver process.
    pub async fn start() -> anyhow::Result<Self> {
        use tokio::io::AsyncBufReadExt as _;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("receiver")
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| anyhow::anyhow!("the receiver has no output"))?;
        let url = tokio::io::BufReader::new(stdout).lines().next_line().await?.unwrap_or_default();
        Ok(Self { child, url, http: berth::client()? })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// The endpoint of one path.
    pub fn endpoint(&self, path: &str, query: &str) -> String {
        format!("{}/hook/{path}{query}", self.url)
    }

    /// The report of the paths that begin with `prefix`.
    pub async fn report(&self, prefix: &str) -> anyhow::Result<receiver::Report> {
        Ok(self.http.get(format!("{}/report/{prefix}", self.url)).send().await?.json().await?)
    }

    /// Resets all counters.
    pub async fn reset(&self) -> anyhow::Result<()> {
        self.http.post(format!("{}/reset", self.url)).send().await?.error_for_status()?;
        Ok(())
    }
}

/// Runs a step as a process of this binary and parses its JSON output.
pub async fn run_step<T: serde::de::DeserializeOwned>(arguments: &[String]) -> anyhow::Result<T> {
    let output = Command::new(std::env::current_exe()?).args(arguments).stderr(Stdio::inherit()).output().await?;
    anyhow::ensure!(output.status.success(), "{} failed", arguments[0]);
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[expect(clippy::print_stdout, reason = "the report is the output of the command")]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Step::Receiver) => receiver::serve().await,
        Some(Step::Load(load)) => {
            println!("{}", serde_json::to_string(&load::run(load).await?)?);
            Ok(())
        }
        Some(Step::Baseline(baseline)) => {
            println!("{}", serde_json::to_string(&baseline::run(baseline).await?)?);
            Ok(())
        }
        None => {
            let report = scenarios::run(&arguments.run).await?;
            let markdown = report.markdown();
            println!("{markdown}");
            let usual = if arguments.run.is_complete() { "docs" } else { "target/bench" };
            let folder = arguments.run.output.unwrap_or_else(|| usual.into());
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("benchmarks.md"), markdown)?;
            std::fs::write(folder.join("benchmarks.json"), serde_json::to_string_pretty(&report)?)?;
            let missed = report.missed();
            anyhow::ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
            Ok(())
        }
    }
}
