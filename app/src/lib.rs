//! What people see (feature `csr`), and the server functions that the page calls (bodies with feature `ssr`).

pub mod rpc;

#[cfg(feature = "csr")]
mod address;
#[cfg(feature = "csr")]
mod components;
#[cfg(feature = "csr")]
mod layout;
#[cfg(feature = "csr")]
mod live;
#[cfg(feature = "csr")]
mod load;
#[cfg(feature = "csr")]
mod pages;
#[cfg(feature = "csr")]
mod prerendered_login;
#[cfg(feature = "csr")]
mod time;
#[cfg(feature = "csr")]
mod values;

#[cfg(feature = "csr")]
pub use layout::mount;
