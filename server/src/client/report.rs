//! Forms of the report on a receiver: a table for people, and JUnit XML for CI servers.

use domain::conformance::{CheckResult, ConformanceReport, Verdict};
use std::fmt::Write as _;

/// The report for people.
pub(super) fn table(report: &ConformanceReport) -> String {
    let width = report.checks.iter().map(|check| check.check.as_str().len()).max().unwrap_or_default();
    let mut text = format!("{}\n\n", report.endpoint_url);
    for result in &report.checks {
        let verdict = result.verdict.as_str().to_uppercase();
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{verdict:7}  {:width$}  {}", result.check.as_str(), result.title);
        if matches!(result.verdict, Verdict::Failed | Verdict::Warning) {
            text.push_str(&exchanges(result, "         "));
        }
        if !result.remedy.is_empty() {
            let label = if result.verdict == Verdict::Skipped { "reason" } else { "change" };
            let _ = writeln!(text, "         {label}    {}", result.remedy);
        }
    }
    let _ = write!(text, "\n{}", summary(report));
    text
}

/// The counts in one line.
fn summary(report: &ConformanceReport) -> String {
    let ConformanceReport { passed, warnings, failed, skipped, duration_ms, .. } = report;
    let noun = if *warnings == 1 { "warning" } else { "warnings" };
    let seconds = duration_ms / 1_000.0;
    format!("{passed} passed, {warnings} {noun}, {failed} failed, {skipped} skipped in {seconds:.1} s")
}

/// The requests of a check with their responses.
fn exchanges(result: &CheckResult, indent: &str) -> String {
    let mut text = String::new();
    for exchange in &result.exchanges {
        let _ = writeln!(text, "{indent}sent      {} to {}", exchange.sent, exchange.url);
        let _ = writeln!(text, "{indent}received  {} ({:.1} ms)", exchange.received, exchange.duration_ms);
    }
    text
}

/// The report as JUnit XML: one test case for each check. A warning is a test case that passed, with output.
pub(super) fn junit(report: &ConformanceReport) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (tests, seconds) = (report.checks.len(), report.duration_ms / 1_000.0);
    let name = escape(&report.endpoint_url);
    let started = report.started_at.format("%Y-%m-%dT%H:%M:%S");
    let counts = format!("tests=\"{tests}\" failures=\"{}\" errors=\"0\"", report.failed);
    let _ = writeln!(text, "<testsuites name=\"berth conform\" {counts} time=\"{seconds:.3}\">");
    let _ = writeln!(
        text,
        "  <testsuite name=\"{name}\" {counts} skipped=\"{}\" time=\"{seconds:.3}\" timestamp=\"{started}\">",
        report.skipped
    );
    for result in &report.checks {
        let time: f64 = result.exchanges.iter().map(|exchange| exchange.duration_ms / 1_000.0).sum();
        let _ = write!(
            text,
            "    <testcase classname=\"berth.conform\" name=\"{}: {}\" time=\"{time:.3}\"",
            result.check.as_str(),
            escape(&result.title)
        );
        let remedy = escape(&result.remedy);
        let details = escape(&exchanges(result, ""));
        let _ = match result.verdict {
            Verdict::Passed => writeln!(text, "/>"),
            Verdict::Warning => {
                writeln!(text, "><system-out>Warning: {remedy}\n{details}</system-out></testcase>")
            }
            Verdict::Failed => {
                writeln!(text, "><failure message=\"{remedy}\">{details}</failure></testcase>")
            }
            Verdict::Skipped => writeln!(text, "><skipped message=\"{remedy}\"/></testcase>"),
        };
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

/// Text for XML 1.0, which has no form for most control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => escaped.push('\u{FFFD}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use domain::conformance::{Check, ConformanceExchange};

    fn report() -> ConformanceReport {
        let exchange = ConformanceExchange {
            sent: "reservation.created, without signatures".into(),
            url: "http://127.0.0.1/hook?a=1&b=2".into(),
            received: "200: <ok>\u{1b}".into(),
            status_code: Some(200),
            duration_ms: 1.25,
        };
        let result = |check: Check, verdict, remedy: &str, exchanges| CheckResult {
            check,
            title: check.title().into(),
            verdict,
            remedy: remedy.into(),
            exchanges,
        };
        let checks = vec![
            result(Check::Created, Verdict::Passed, "", vec![]),
            result(Check::MissingSignature, Verdict::Failed, "Reject \"it\".", vec![exchange.clone()]),
            result(Check::OldTimestamp, Verdict::Warning, "Check it.", vec![exchange]),
            result(Check::Credentials, Verdict::Skipped, "None.", vec![]),
        ];
        ConformanceReport::new("http://127.0.0.1/hook?a=1&b=2".into(), DateTime::UNIX_EPOCH, 1_234.0, checks)
    }

    #[test]
    fn table_shows_requests_and_changes_of_checks_that_did_not_pass() {
        let text = table(&report());
        assert!(text.contains("PASSED   created            Accepts reservation.created\n"), "{text}");
        assert!(text.contains("FAILED   missing_signature"), "{text}");
        assert!(text.contains("         change    Reject \"it\"."), "{text}");
        assert!(text.contains("         reason    None."), "{text}");
        assert!(text.ends_with("1 passed, 1 warning, 1 failed, 1 skipped in 1.2 s"), "{text}");
    }

    #[test]
    fn junit_is_escaped_and_counts_failures() {
        let text = junit(&report());
        assert!(text.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"1.234\""), "{text}");
        assert!(text.contains("<failure message=\"Reject &quot;it&quot;.\">"), "{text}");
        assert!(text.contains("received  200: &lt;ok&gt;\u{FFFD} (1.2 ms)"), "{text}");
        assert!(text.contains("name=\"http://127.0.0.1/hook?a=1&amp;b=2\""), "{text}");
        assert!(text.contains("<skipped message=\"None.\"/></testcase>"), "{text}");
        assert!(text.contains("<system-out>Warning: Check it."), "{text}");
    }
}
