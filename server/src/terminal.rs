//! Output of commands.

use domain::Problem;
use std::process::ExitCode;

/// Writes an error to standard error and returns the exit code.
#[expect(clippy::print_stderr, reason = "errors of the command line belong on standard error")]
pub fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("berth: {message}");
    ExitCode::from(code)
}

/// Writes progress to standard error.
#[expect(clippy::print_stderr, reason = "the progress of a command does not belong to its result")]
pub fn print_progress(text: &str) {
    eprintln!("{text}");
}

/// Writes a result to standard output.
#[expect(clippy::print_stdout, reason = "results of a command belong on standard output")]
pub fn print(text: &str) {
    println!("{text}");
}

/// Reads a line of standard input, without its line break.
///
/// # Errors
/// When standard input cannot be read.
pub fn read_line() -> std::io::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Formats a problem for the terminal, with one line per invalid field.
pub fn format_problem(problem: Problem) -> String {
    let mut text = problem.detail;
    for error in problem.errors {
        text.push_str(&format!("\n  {}: {}", error.field, error.message));
    }
    text
}
