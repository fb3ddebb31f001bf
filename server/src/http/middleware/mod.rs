//! Middleware of every request: audit log, host check, rate limit, origin check, query parameters, security headers, request id, spans and metrics.

pub mod audit;
pub mod csrf;
pub mod host;
pub mod query_parameters;
pub mod rate_limit;
pub mod security_headers;
pub mod session_cookie;
pub mod trace;
