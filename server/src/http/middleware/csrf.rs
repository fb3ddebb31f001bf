//! Protection against cross-site request forgery: session cookies are accepted only from Berth's own page.

use axum::http::{HeaderMap, HeaderName, header};
use domain::{Problem, ProblemKind};

/// Rejects cross-site requests of a browser.
///
/// # Errors
/// Returns [`ProblemKind::ForeignOrigin`] unless `Origin` or `Sec-Fetch-Site` names Berth's own page.
pub fn same_origin(headers: &HeaderMap, public_url: &str) -> Result<(), Problem> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own = match text(header::ORIGIN) {
        Some(origin) => {
            let host = text(header::HOST).unwrap_or_default();
            origin == public_url
                || origin.split_once("://").is_some_and(|(_, origin_host)| !host.is_empty() && origin_host == host)
        }
        None => text(HeaderName::from_static("sec-fetch-site")) == Some("same-origin"),
    };
    if is_own {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::ForeignOrigin,
        "A session can only be used from Berth's own page. For scripts use an API token.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn is_allowed(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        same_origin(&headers, "https://berth.example.com").is_ok()
    }

    #[test]
    fn own_origins_are_accepted() {
        assert!(is_allowed(&[("origin", "https://berth.example.com")]));
        assert!(is_allowed(&[("origin", "http://localhost:3000"), ("host", "localhost:3000")]));
        assert!(is_allowed(&[("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn foreign_and_missing_origins_are_rejected() {
        assert!(!is_allowed(&[]));
        assert!(!is_allowed(&[("sec-fetch-site", "same-site")]));
        assert!(!is_allowed(&[("sec-fetch-site", "cross-site")]));
        assert!(!is_allowed(&[("origin", "https://evil.example"), ("host", "berth.example.com")]));
        assert!(!is_allowed(&[("origin", "null"), ("host", "")]));
        assert!(!is_allowed(&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")]));
    }
}
