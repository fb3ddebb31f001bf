//! Pages of lists: opaque cursors, and whether a next page exists.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Problem;
use domain::pagination::Page;

/// An opaque cursor: base64url of the last item's sort key.
pub(crate) fn encode_cursor(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// The sort key in a cursor.
///
/// # Errors
/// 422 for a `cursor` that Berth did not create.
pub(crate) fn decode_cursor(cursor: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let key = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // PostgreSQL rejects NUL.
    key.filter(|key| !key.chars().any(char::is_control)).map(Some).ok_or_else(invalid_cursor)
}

/// The numeric sort key in a cursor.
///
/// # Errors
/// 422 for a `cursor` that Berth did not create.
pub(crate) fn decode_number_cursor(cursor: Option<&str>) -> Result<Option<i64>, Problem> {
    decode_cursor(cursor)?.map(|key| key.parse().map_err(|_| invalid_cursor())).transpose()
}

/// The problem of a cursor that Berth did not create.
pub(crate) fn invalid_cursor() -> Problem {
    Problem::field("cursor", "Use the next_cursor of the previous page, unchanged.")
}

/// A page of `limit` items. `items` was read with a limit of `limit + 1`, which shows whether a next page exists.
pub(crate) fn page_of<T>(mut items: Vec<T>, limit: u64, key: impl Fn(&T) -> String) -> Page<T> {
    let has_more = items.len() as u64 > limit;
    items.truncate(limit as usize);
    let next_cursor = if has_more { items.last().map(|last| encode_cursor(&key(last))) } else { None };
    Page { items, next_cursor }
}
