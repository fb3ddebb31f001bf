//! The report of a run.

use serde::Serialize;
use std::fmt::Write as _;

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// The database.
    pub engine: String,
    /// The figure, with its unit.
    pub figure: String,
    /// The value.
    pub value: f64,
    /// Share of the baseline in the same run, where comparable.
    pub of_baseline: Option<f64>,
    /// The target in words; empty without one.
    pub target: String,
    /// Whether the value meets the target.
    pub met: bool,
}

/// The figures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Time of the run, RFC 3339.
    pub at: String,
    /// Processor, cores, memory, kernel.
    pub machine: String,
    /// The measured commit (`git describe`); empty without git.
    pub commit: String,
    /// The PostgreSQL server and its durability settings; empty without one.
    pub postgres: String,
    /// Whether it was the short run.
    pub quick: bool,
    /// The figures.
    pub rows: Vec<Row>,
}

/// The description of the scenarios, printed after the table.
const ABOUT: &str = "
## What is measured
Request bodies have 1 KB; there is no TLS. SQLite runs with `synchronous=FULL`, PostgreSQL with its installed settings. Each scenario
starts the release binary on a new database and uses its public API.

- **baseline**: signed posts per second by the same HTTP client to the same receiver, without database, queue and record; then the same
  through Berth's sender, which also checks the address, times each step and classifies the response.
- **drain**: the outbox is filled while the webhook is paused; measured from resume to the last recorded result. Each delivery is claimed,
  sent, recorded with request and response, and updates its reservation. The median of three drains counts; each is compared with the
  mean of the baselines before and after it.
- **latency**: from the client's `POST /api/v1/reservations` to the arrival of the request at the receiver.
- **throughput**: 32 clients and one webhook, until the last result is recorded; then the latency at half that rate.
- **slow receiver**: a receiver that responds after one second, with a concurrency limit of 2,000.
- **isolation**: 100 webhooks at 400 events/s, all healthy; then with one receiver that never responds and one that always fails; three
  alternating rounds each. The ratio compares the medians of the per-second 99th percentiles, because a stall of the machine affects a
  whole round but only few seconds.
- **idle**: 100 webhooks, an active reservation and an open page, without events.
- **log**: a million stored deliveries of 90 days (50,000 in a quick run), of which one in ten has failed. `berth index` adds them to
  the index; then 20 requests for the first 50 results of each search, the overview of 90 days, and an export of all as CSV.
- **history**: the drain, and the first page of the delivery log, with 1,000 and with 2,000,000 stored deliveries.
";

/// The rest of the first line of a file that begins with `prefix`.
fn first_line(path: &str, prefix: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix(prefix))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
        .unwrap_or_default()
}

/// Processor, cores, memory and kernel of this machine (Linux).
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, {} memory, Linux {}",
        first_line("/proc/cpuinfo", "model name"),
        first_line("/proc/meminfo", "MemTotal"),
        std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim()
    )
}

/// The checked-out commit, marked `-dirty` when files differ from it.
pub fn commit() -> String {
    let described = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The version of a PostgreSQL server and its durability settings.
///
/// # Errors
/// When it does not respond.
pub async fn postgres(url: &str) -> anyhow::Result<String> {
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&format!("{url}/postgres")).await?;
    let sql = "SELECT 'PostgreSQL ' || current_setting('server_version') || ', fsync ' || current_setting('fsync') || ', synchronous_commit ' || current_setting('synchronous_commit') || ', wal_sync_method ' || current_setting('wal_sync_method') || '.'";
    Ok(sqlx::query_scalar(sql).fetch_one(&mut connection).await?)
}

impl Report {
    /// The missed targets.
    pub fn missed(&self) -> Vec<String> {
        let missed = self.rows.iter().filter(|row| !row.target.is_empty() && !row.met);
        missed
            .map(|row| {
                format!("{} on {}: {} {:.2}, target {}", row.scenario, row.engine, row.figure, row.value, row.target)
            })
            .collect()
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# Benchmarks\n\nMeasured by `cargo xtask bench{}` on {}, commit {}.\n\nMachine: {}. The receiver, the load generator and the database run on the same machine. {}\n\n",
            if self.quick { " --quick" } else { "" },
            self.at,
            self.commit,
            self.machine,
            self.postgres
        );
        text.push_str(
            "| scenario | database | figure | value | of baseline | target | met |\n|---|---|---|---:|---:|---|---|\n",
        );
        for row in &self.rows {
            let value = if row.value >= 100.0 { format!("{:.0}", row.value) } else { format!("{:.2}", row.value) };
            let ratio = row.of_baseline.map_or_else(String::new, |r| format!("{:.0} %", r * 100.0));
            let met = if row.target.is_empty() {
                ""
            } else if row.met {
                "yes"
            } else {
                "**no**"
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {value} | {ratio} | {} | {met} |",
                row.scenario, row.engine, row.figure, row.target
            );
        }
        text.push_str(ABOUT);
        text
    }
}
