//! Server functions: the page's private door to the same use cases as the public API.

#[cfg(feature = "ssr")]
pub mod context;
