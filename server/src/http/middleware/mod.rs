//! Middleware of every request: rate limit, origin check, query parameters, security headers, request id, spans and metrics.

pub mod csrf;
pub mod query_parameters;
pub mod rate_limit;
pub mod security_headers;
pub mod session_cookie;
pub mod trace;
