//! `cargo xtask`: everything a developer types. `run`, `test`, `build`, `bench`.

mod fuzz;
mod page;
mod postgres;
mod shell;
mod suite;
mod tools;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use shell::{Step, command};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs and tests Berth; installs what it needs and says so.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring Berth up on SQLite with a demonstration set-up at http://127.0.0.1:3000.
    Run {
        /// Arguments for `berth`, instead of `serve --demo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        berth: Vec<String>,
    },
    /// Run every test.
    Test {
        /// Leave the browser tests out.
        #[arg(long)]
        no_browser: bool,
        /// Only the browser tests; with words, only the specs whose file name holds one of them.
        #[arg(long, num_args = 0..)]
        browser: Option<Vec<String>>,
    },
    /// Build the page and the server.
    Build {
        /// Leave the one binary, target/release/berth, with the page inside.
        #[arg(long)]
        release: bool,
    },
    /// Formatting and lints.
    Check,
    /// Fuzz what strangers send: signatures, answers, status updates, URLs. Needs a nightly toolchain.
    Fuzz {
        /// Only this target.
        target: Option<String>,
        /// For each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Measure; see `cargo xtask bench --help`.
    Bench {
        /// Arguments for the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    // Paths below are from the repository's root, wherever this was called.
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no repository around xtask")?;
    std::env::set_current_dir(root)?;
    match Arguments::parse().command {
        Command::Run { berth } => run(&berth),
        Command::Test { no_browser, browser } => suite::run(no_browser, browser.as_deref()),
        Command::Build { release } => build(release),
        Command::Check => suite::lints(),
        Command::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
        Command::Bench { arguments } => {
            build(true)?;
            let step = Step::begin("Building the benchmark");
            command("cargo")
                .args(["build", "--release", "--workspace", "--exclude", "frontend", "--bin", "bench"])
                .run()?;
            step.end();
            command("target/release/bench").args(arguments).run()
        }
    }
}

fn run(berth: &[String]) -> anyhow::Result<()> {
    page::build(page::Profile::Dev)?;
    build_server(false)?;
    let demo = ["serve".to_owned(), "--demo".to_owned()];
    let arguments = if berth.is_empty() { &demo[..] } else { berth };
    command("target/debug/berth").args(arguments).run()
}

/// Builds `berth`. The selection is that of the tests: cargo unites the features of what is selected, and with another one it
/// would build every dependency twice.
fn build_server(release: bool) -> anyhow::Result<()> {
    let step = Step::begin("Building the server");
    let cargo = command("cargo").args(["build", "--workspace", "--exclude", "frontend", "--bin", "berth"]);
    if release { cargo.args(["--release"]) } else { cargo }.run()?;
    step.end();
    Ok(())
}

fn build(release: bool) -> anyhow::Result<()> {
    page::build(if release { page::Profile::Release } else { page::Profile::Dev })?;
    build_server(release)?;
    if release {
        shell::say("The one binary is target/release/berth.");
    }
    Ok(())
}
