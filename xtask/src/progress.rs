//! Progress messages on the terminal.

use std::time::Instant;

/// Prints a line to standard error, so that standard output stays for results.
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// A step that is announced when it begins and timed when it ends.
pub struct Step {
    name: String,
    started: Instant,
}

impl Step {
    /// Announces a step.
    pub fn begin(name: &str) -> Self {
        note(&format!("\n── {name} …"));
        Self { name: name.to_owned(), started: Instant::now() }
    }

    /// Prints the duration of the step.
    pub fn end(self) {
        note(&format!("── {}: {:.1} s", self.name, self.started.elapsed().as_secs_f64()));
    }
}
