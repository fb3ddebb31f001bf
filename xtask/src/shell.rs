//! Running programs and saying so.

use anyhow::{Context as _, bail};
use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Says something on the terminal.
#[allow(clippy::print_stderr, reason = "xtask speaks to the developer")]
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// A step that is announced as it begins and timed as it ends.
pub struct Step {
    name: String,
    begun: Instant,
}

impl Step {
    /// Announces a step.
    pub fn begin(name: &str) -> Self {
        say(&format!("\n── {name} …"));
        Self { name: name.to_owned(), begun: Instant::now() }
    }

    /// Says how long it took.
    pub fn end(self) {
        say(&format!("── {} took {:.0} s", self.name, self.begun.elapsed().as_secs_f64()));
    }
}

/// A program to run.
pub struct Program(Command, String);

/// A program with the terminal's input and output.
pub fn command(program: &str) -> Program {
    Program(Command::new(program), program.to_owned())
}

impl Program {
    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.0.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it in another folder.
    pub fn folder(mut self, folder: &str) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Hides its output.
    pub fn quiet(mut self) -> Self {
        self.0.stdout(Stdio::null()).stderr(Stdio::null());
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> anyhow::Result<()> {
        let status = self.0.status().with_context(|| format!("{} cannot be started", self.1))?;
        if !status.success() {
            bail!("{} failed ({status})", self.1);
        }
        Ok(())
    }

    /// Whether it can be run and succeeds, with its output hidden.
    pub fn works(self) -> bool {
        self.quiet().0.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Runs it and returns what it printed.
    pub fn output(mut self) -> anyhow::Result<String> {
        let output =
            self.0.stderr(Stdio::inherit()).output().with_context(|| format!("{} cannot be started", self.1))?;
        if !output.status.success() {
            bail!("{} failed ({})", self.1, output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it, shows what it prints as it comes, and returns that and whether it succeeded.
    pub fn watched(mut self) -> anyhow::Result<(String, bool)> {
        use std::io::{BufRead as _, Write as _};
        let mut child =
            self.0.stdout(Stdio::piped()).spawn().with_context(|| format!("{} cannot be started", self.1))?;
        let mut all = String::new();
        if let Some(stdout) = child.stdout.take() {
            for line in std::io::BufReader::new(stdout).lines() {
                let line = line?;
                writeln!(std::io::stdout(), "{line}")?;
                all.push_str(&line);
                all.push('\n');
            }
        }
        Ok((all, child.wait()?.success()))
    }
}
