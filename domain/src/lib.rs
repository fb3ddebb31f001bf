//! The domain rules and wire types of Berth: events, endpoints, deliveries, reservations and their state transitions.
//!
//! Pure: no I/O, no async, no clock, no randomness. Times and identifiers are arguments, so the same code runs in the
//! server, in the page (WebAssembly) and in property tests.

pub mod access_request;
pub mod account;
pub mod audit;
pub mod authorization;
pub mod change;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod header;
pub mod id;
pub mod input;
pub mod json;
pub mod json_error;
pub mod local_time;
pub mod pagination;
pub mod problem;
pub mod provisioning;
pub mod reservation;
pub mod resource;
pub mod retry;
pub mod routing;
pub mod signature;
pub mod single_sign_on;
pub mod timestamp;
pub mod validation;
pub mod webhook;

pub use problem::{FieldError, Problem, ProblemKind};
