//! Progress messages on the terminal.

use std::time::Instant;

/// Prints a line to standard error, because standard output is for results.
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// A step that prints its name at the start and its duration at the end.
pub struct Step {
    name: String,
    started: Instant,
}

impl Step {
    /// Prints the name of a step and starts its timer.
    pub fn begin(name: &str) -> Self {
        note(&format!("\n── {name} …"));
        Self { name: name.to_owned(), started: Instant::now() }
    }

    /// Prints the duration of the step.
    pub fn end(self) {
        note(&format!("── {}: {:.1} s", self.name, self.started.elapsed().as_secs_f64()));
    }
}
