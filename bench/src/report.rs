//! The table of a run.

use serde::Serialize;
use std::fmt::Write as _;

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which scenario.
    pub scenario: String,
    /// On which database.
    pub engine: String,
    /// What was measured, with its unit.
    pub figure: String,
    /// The value.
    pub value: f64,
    /// Beside the ceiling of the same run, where that says something.
    pub of_ceiling: Option<f64>,
    /// What we aim at, in words.
    pub target: String,
    /// Whether the value meets it.
    pub met: bool,
}

/// All of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// When, RFC 3339.
    pub at: String,
    /// Processor, cores, memory, kernel.
    pub machine: String,
    /// What was measured, as git names it; empty without git.
    pub commit: String,
    /// The PostgreSQL server, and what it promises of a commit; empty without one.
    pub postgres: String,
    /// Whether it was the short run.
    pub quick: bool,
    /// The figures.
    pub rows: Vec<Row>,
}

/// What the scenarios do.
const ABOUT: &str = "
## What is measured
Bodies are of 1 KB, without TLS. SQLite runs with `synchronous=FULL`, PostgreSQL as it is installed; each scenario has a fresh database
and a fresh Berth, the release binary, driven through its public API.

- **ceiling**: how many signed posts a second the same HTTP client makes to the same receiver when there is no database, no queue and
  no record; then the same through Berth's sender, which also guards the address, times each step, and judges the answer.
- **drain**: an outbox filled while its webhook is paused; from resuming to the last recorded answer. Each delivery is claimed, sent, and
  recorded with its request and response, and moves its reservation on. Between two measurements of the ceiling,
  of as many posts in one go, and compared with their mean; of three drains the middle one.
- **latency**: from the client's `POST /api/v1/reservations` leaving to the receiver's having the request.
- **throughput**: 32 clients at once and one webhook, until the last answer is recorded; then the latency at half that rate.
- **slow receiver**: one that takes a second for each answer, with room for 2,000 requests.
- **isolation**: 100 webhooks at 400 events/s, all well, and with one receiver that never answers and one that fails at once; three
  turns of either, one after the other. The 99th percentile of a whole turn, in the best turn; and the middle one of those of all seconds, whose
  ratio counts: a machine that stalls now and then spoils whole turns, and few seconds.
- **idle**: a hundred webhooks, a reservation under way, an open page, and nothing to do.
- **history**: the drain and the log's first page with 1,000 and with 2,000,000 stored deliveries.
";

fn first_line(path: &str, mark: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix(mark))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
        .unwrap_or_default()
}

/// Facts of this machine (Linux).
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, {} memory, Linux {}",
        first_line("/proc/cpuinfo", "model name"),
        first_line("/proc/meminfo", "MemTotal"),
        std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim()
    )
}

/// The commit that is checked out, with a mark when files differ from it.
pub fn commit() -> String {
    let described = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The version of a PostgreSQL server and what it promises of a commit.
///
/// # Errors
/// When it does not answer.
pub async fn postgres(url: &str) -> anyhow::Result<String> {
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&format!("{url}/postgres")).await?;
    let sql = "SELECT 'PostgreSQL ' || current_setting('server_version') || ', fsync ' || current_setting('fsync') || ', synchronous_commit ' || current_setting('synchronous_commit') || ', wal_sync_method ' || current_setting('wal_sync_method') || '.'";
    Ok(sqlx::query_scalar(sql).fetch_one(&mut connection).await?)
}

impl Report {
    /// The targets that were missed.
    pub fn missed(&self) -> Vec<String> {
        let missed = self.rows.iter().filter(|row| !row.target.is_empty() && !row.met);
        missed
            .map(|row| {
                format!("{} on {}: {} {:.2}, wanted {}", row.scenario, row.engine, row.figure, row.value, row.target)
            })
            .collect()
    }

    /// The run as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# Benchmarks\n\nMeasured by `cargo xtask bench{}` on {}, commit {}.\n\nMachine: {}. Receiver, load generator and database run on it too. {}\n\n",
            if self.quick { " --quick" } else { "" },
            self.at,
            self.commit,
            self.machine,
            self.postgres
        );
        text.push_str(
            "| scenario | database | figure | value | of ceiling | target | met |\n|---|---|---|---:|---:|---|---|\n",
        );
        for row in &self.rows {
            let value = if row.value >= 100.0 { format!("{:.0}", row.value) } else { format!("{:.2}", row.value) };
            let ratio = row.of_ceiling.map_or_else(String::new, |r| format!("{:.0} %", r * 100.0));
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
