//! The domain rules and wire types of Berth: events, endpoints, deliveries, reservations and their state transitions.
//!
//! Pure: no I/O, no async, no clock, no randomness. Times and identifiers are arguments, so the same code runs in the
//! server, in the page (WebAssembly) and in property tests.

pub mod access_request;
pub mod account;
pub mod alert;
pub mod audit;
pub mod authorization;
pub mod change;
pub mod classic;
pub mod conformance;
pub mod delivery;
pub mod draft_check;
pub mod endpoint;
pub mod event;
pub mod event_catalogue;
pub mod header;
pub mod id;
pub mod input;
pub mod json;
pub mod json_error;
pub mod local_time;
pub mod metrics;
pub mod natural_order;
pub mod notification_group;
pub mod ownership;
pub mod pagination;
pub mod payload;
pub mod privacy;
pub mod problem;
pub mod provisioning;
pub mod receiver_snippet;
mod redacted;
pub mod replay;
pub mod reservation;
pub mod resource;
pub mod retry;
pub mod revision;
pub mod routing;
pub mod sample;
pub mod search;
pub mod second_factor;
pub mod signature;
pub mod signature_check;
pub mod single_sign_on;
pub mod test_payload;
pub mod timestamp;
pub mod validation;
pub mod webhook;

pub use problem::{FieldError, Problem, ProblemKind};
