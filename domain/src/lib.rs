//! The rules of Berth: what events, endpoints, deliveries and reservations are, and what may become of them.
//!
//! Pure: no I/O, no async, no clock and no randomness. Times and identifiers come in as arguments, so the same code
//! runs in the server, in the page (WebAssembly) and under property tests.

pub mod account;
pub mod authorization;
pub mod change;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod id;
pub mod json;
pub mod pagination;
pub mod problem;
pub mod provisioning;
pub mod reservation;
pub mod resource;
pub mod retry;
pub mod routing;
pub mod signature;
pub mod validation;
pub mod webhook;

pub use problem::{FieldError, Problem, ProblemKind};
