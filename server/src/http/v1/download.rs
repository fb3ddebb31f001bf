//! Responses that are sent while they are read from the database, so that their size needs no memory.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use domain::Problem;
use futures::TryStreamExt as _;

/// A body that is read in batches.
pub(super) trait Batches: Send + Sized + 'static {
    /// The next part of the body; `None` after the last one.
    ///
    /// # Errors
    /// The body then breaks off.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Problem>> + Send;
}

/// A response with a file that browsers save.
pub(super) fn attachment(batches: impl Batches, content_type: &'static str, file: &'static str) -> Response {
    let parts = futures::stream::try_unfold(batches, async |mut batches| {
        Ok::<_, Problem>(batches.next().await?.map(|part| (part, batches)))
    });
    let body =
        Body::from_stream(parts.inspect_err(move |problem| tracing::warn!(%problem, file, "an export broke off")));
    let disposition = format!("attachment; filename=\"{file}\"");
    ([(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_DISPOSITION, disposition)], body)
        .into_response()
}

/// Lines of a CSV file (RFC 4180). A text that spreadsheets would read as a formula begins with `'`.
///
/// # Errors
/// An internal problem if a line cannot be written.
pub(super) fn csv_lines(rows: impl Iterator<Item = Vec<String>>) -> Result<Vec<u8>, Problem> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let not_written = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a line of CSV cannot be written");
        Problem::internal()
    };
    for row in rows {
        writer.write_record(row.into_iter().map(without_formula)).map_err(|error| not_written(&error))?;
    }
    writer.into_inner().map_err(|error| not_written(&error))
}

/// Prevents formula injection (OWASP): the first character decides whether a spreadsheet evaluates a cell.
fn without_formula(mut cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        cell.insert(0, '\'');
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_texts_and_lines_are_quoted() {
        let row = ["=1+1", "@SUM(A1)", "-2", "\tx", "plain", "a,\"b\"\nc", ""].map(str::to_owned).to_vec();
        let lines = csv_lines([row].into_iter()).unwrap();
        let expected = "'=1+1,'@SUM(A1),'-2,'\tx,plain,\"a,\"\"b\"\"\nc\",\r\n";
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
    }
}
