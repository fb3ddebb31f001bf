//! Processes of the binary under test.

use super::{DEADLINE, eventually};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// The master key of every process.
pub const MASTER_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";

/// The first administrator of every database under test.
pub const ADMINISTRATOR: &str = "root";

/// Settings of a process.
#[derive(Clone)]
pub struct Settings {
    pub database_url: String,
    /// The data folder and working directory.
    pub folder: PathBuf,
    /// Time-out of one attempt in seconds. A lease lasts 15 s longer.
    pub timeout: f64,
}

impl Settings {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("NO_COLOR", "1")
            .env("BERTH_LISTEN", "127.0.0.1:0")
            .env("BERTH_PUBLIC_URL", "http://berth.example.com")
            .env("BERTH_DATABASE_URL", &self.database_url)
            .env("BERTH_DATA_DIR", &self.folder)
            .env("BERTH_MASTER_KEY", MASTER_KEY)
            .env("BERTH_API_RATE", "0")
            .env("BERTH_MAX_ACTIVE_RESERVATIONS", "0")
            .env("BERTH_MAX_HOURS_AHEAD", "0")
            .env("BERTH_MAX_CHANGES_PER_MINUTE", "0")
            .env("BERTH_DELIVERY_TIMEOUT", self.timeout.to_string())
            .env("BERTH_ADMIN_USERNAME", ADMINISTRATOR)
            .env("BERTH_ADMIN_PASSWORD", "correct horse battery")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts `berth serve` on a free port and waits until it is ready.
    pub async fn serve(&self) -> Berth {
        self.serve_with(&[]).await
    }

    /// Like [`Settings::serve`], with additional or (`None`) without environment variables.
    pub async fn serve_with(&self, env: &[(&str, Option<&str>)]) -> Berth {
        let mut command = self.command(env!("CARGO_BIN_EXE_berth"));
        set_env(command.arg("serve"), env);
        Berth::ready(Berth::spawn(command, "Berth listens on ").await).await
    }

    /// Like [`Settings::serve`], with a limit on open file descriptors.
    pub async fn serve_with_descriptors(&self, limit: u32) -> Berth {
        let mut command = self.command("sh");
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_berth"), "serve"]);
        Berth::ready(Berth::spawn(command, "Berth listens on ").await).await
    }

    /// Starts `berth serve --demo`.
    pub async fn demo(&self) -> Berth {
        self.demo_with(&[]).await
    }

    /// Like [`Settings::demo`], with additional or (`None`) without environment variables.
    pub async fn demo_with(&self, env: &[(&str, Option<&str>)]) -> Berth {
        let mut command = self.command(env!("CARGO_BIN_EXE_berth"));
        set_env(command.args(["serve", "--demo"]), env);
        Berth::ready(Berth::spawn(command, "Berth listens on ").await).await
    }

    /// Like [`Settings::serve_with`], in a process that inherits a file mode creation mask.
    pub async fn serve_with_umask(&self, mask: &str, env: &[(&str, Option<&str>)]) -> Berth {
        let mut command = self.command("sh");
        let script = format!("umask {mask}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_berth"), "serve"]);
        set_env(&mut command, env);
        Berth::ready(Berth::spawn(command, "Berth listens on ").await).await
    }

    /// Like [`Settings::serve`], but ignores SIGXFSZ, so that a write over the file size limit fails.
    pub async fn serve_within_file_limits(&self) -> Berth {
        let mut command = self.command("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_berth"), "serve"]);
        Berth::ready(Berth::spawn(command, "Berth listens on ").await).await
    }

    /// Starts `berth worker` and waits until it is ready.
    pub async fn worker(&self) -> Berth {
        let mut command = self.command(env!("CARGO_BIN_EXE_berth"));
        command.arg("worker").env("BERTH_WORKER_LISTEN", "127.0.0.1:0");
        Berth::ready(Berth::spawn(command, "worker started, serving health on ").await).await
    }

    /// Runs a command with additional or (`None`) without environment variables; returns its exit code and what it wrote
    /// to standard error.
    pub async fn run_with(&self, arguments: &[&str], env: &[(&str, Option<&str>)]) -> (i32, String) {
        let mut command = self.command(env!("CARGO_BIN_EXE_berth"));
        set_env(command.args(arguments), env);
        let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("the command should end").unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Runs a command to its end and returns its output.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(env!("CARGO_BIN_EXE_berth")).args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn set_env(command: &mut Command, env: &[(&str, Option<&str>)]) {
    for (name, value) in env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// A running process. A failed test prints the end of its log.
pub struct Berth {
    /// Base URL.
    pub url: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reading: tokio::task::JoinHandle<()>,
}

impl Berth {
    /// Starts a process and waits for a log line with `marker`; the base URL follows it.
    async fn spawn(mut command: Command, marker: &'static str) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (seen, marker_seen) = oneshot::channel();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = log.clone();
        let reading = tokio::spawn(async move {
            let mut seen = Some(seen);
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, rest)) = line.split_once(marker)
                    && let Some(seen) = seen.take()
                {
                    // In JSON logs a quotation mark follows the URL.
                    let _ = seen.send(rest.split(['"', ' ']).next().unwrap_or_default().to_owned());
                }
                kept.lock().push(line);
            }
        });
        let mut berth = Self { url: String::new(), child, log, reading };
        berth.url = match tokio::time::timeout(DEADLINE, marker_seen).await {
            Ok(Ok(rest)) => rest,
            _ => panic!("the process did not start"),
        };
        berth
    }

    async fn ready(self) -> Self {
        let http = super::load::client();
        let url = format!("{}/readyz", self.url);
        eventually("a ready process", async || http.get(&url).send().await.ok()?.status().is_success().then_some(()))
            .await;
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process should still run")
    }

    /// The sum of a metric over all labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = super::load::client().get(format!("{}/metrics", self.url)).send().await.unwrap();
        let page = page.error_for_status().unwrap().text().await.unwrap();
        let lines: Vec<_> = page.lines().filter(|line| line.starts_with(name)).collect();
        assert!(!lines.is_empty(), "{name} is not in {page}");
        lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Standard output up to a line with `marker`. Call it once.
    pub async fn output_until(&mut self, marker: &str) -> String {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let mut output = String::new();
        while !output.contains(marker) {
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("a line in time").unwrap();
            output.push_str(&line.expect("the output should contain the marker"));
            output.push('\n');
        }
        output
    }

    /// Whether the log contains a text.
    pub fn logged(&self, words: &str) -> bool {
        self.log.lock().iter().any(|line| line.contains(words))
    }

    /// All log lines so far.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// Closes the reading end of standard error, so that writes of the process fail.
    pub async fn close_stderr(&mut self) {
        self.reading.abort();
        assert!((&mut self.reading).await.unwrap_err().is_cancelled());
    }

    /// Sends SIGKILL and waits for the end.
    pub async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }

    /// Sends SIGTERM; returns the exit status and the duration, which is at most `bound`.
    pub async fn stop(mut self, bound: Duration) -> (ExitStatus, Duration) {
        let started = Instant::now();
        signal(self.pid(), "TERM").await;
        match tokio::time::timeout(bound, self.child.wait()).await {
            Ok(status) => (status.unwrap(), started.elapsed()),
            Err(_) => panic!("the process still runs {bound:?} after SIGTERM"),
        }
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log.lock();
            eprintln!("--- end of the log of {} ---", self.url);
            for line in log.iter().skip(log.len().saturating_sub(60)) {
                eprintln!("{line}");
            }
        }
    }
}

/// Sends a signal to one process.
pub async fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().await.unwrap();
    assert!(status.success());
}
