//! Middleware of every request: rate limit, origin check, security headers, request id, spans and metrics.

pub mod csrf;
pub mod rate_limit;
pub mod security_headers;
pub mod trace;
