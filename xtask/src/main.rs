//! `cargo xtask`: commands that build, run, check and test Berth.

mod browser;
mod check;
mod environment;
mod frontend;
mod fuzz;
mod postgres;
mod progress;
mod test;
mod tools;
mod workspace;

use clap::{Parser, Subcommand};
use progress::{Step, note};
use workspace::Workspace;
use xshell::cmd;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs, checks and tests Berth. Installs missing tools on first use.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start Berth on SQLite with demo data at http://127.0.0.1:3000.
    Run {
        /// Arguments for `berth`, instead of `serve --demo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        berth: Vec<String>,
    },
    /// Run the quick checks (fmt, features, clippy, layers, modules, doc), then every Rust test, then the browser tests.
    Test {
        /// Skip the browser tests.
        #[arg(long)]
        no_browser: bool,
        /// Run only the browser tests. Words select the specs whose file names contain one of them.
        #[arg(long, num_args = 0..)]
        browser: Option<Vec<String>>,
    },
    /// Build the page and the server.
    Build {
        /// Build target/release/berth, which contains the page, and enforce the size budget of the page.
        #[arg(long)]
        release: bool,
    },
    /// Run static checks and short fuzzing.
    #[command(long_about = check::HELP)]
    Check {
        /// Checks to run [default: all].
        checks: Vec<check::Check>,
    },
    /// Fuzz the parsers of external input: signatures, responses, status updates, bodies, URLs. Needs a nightly toolchain.
    Fuzz {
        /// Target to fuzz [default: all].
        target: Option<String>,
        /// Duration for each target in seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Run the benchmarks; see `cargo xtask bench -- --help`.
    Bench {
        /// Arguments for the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    environment::remove_package_variables()?;
    let arguments = Arguments::parse();
    let workspace = Workspace::open()?;
    match arguments.command {
        Command::Run { berth } => run(&workspace, berth),
        Command::Test { no_browser, browser: None } => test::run(&workspace, !no_browser),
        Command::Test { browser: Some(specs), .. } => test::run_browser(&workspace, &specs),
        Command::Build { release } => build(&workspace, release),
        Command::Check { checks } => check::run(&workspace, &checks),
        Command::Fuzz { target, seconds } => fuzz::run(&workspace, target.as_deref(), seconds),
        Command::Bench { arguments } => bench(&workspace, &arguments),
    }
}

fn run(workspace: &Workspace, berth: Vec<String>) -> anyhow::Result<()> {
    frontend::build(workspace, frontend::Profile::Dev)?;
    workspace.build_server(false)?;
    let arguments = if berth.is_empty() { vec!["serve".to_owned(), "--demo".to_owned()] } else { berth };
    let binary = workspace.binary("berth", false);
    Ok(cmd!(workspace.sh, "{binary} {arguments...}").quiet().run()?)
}

fn build(workspace: &Workspace, release: bool) -> anyhow::Result<()> {
    frontend::build(workspace, if release { frontend::Profile::Release } else { frontend::Profile::Dev })?;
    workspace.build_server(release)?;
    note(&format!("Built {}.", workspace.binary("berth", release).display()));
    Ok(())
}

fn bench(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    build(workspace, true)?;
    let step = Step::begin("Building the benchmark");
    cmd!(workspace.sh, "cargo build --release --workspace --exclude frontend --bin bench").run()?;
    step.end();
    let binary = workspace.binary("bench", true);
    Ok(cmd!(workspace.sh, "{binary} {arguments...}").run()?)
}
