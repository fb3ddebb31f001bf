//! The pages, each with one entry component for each of its routes in [`crate::router`].

pub mod access;
pub mod account;
pub mod areas;
pub mod audit;
pub mod catalogue;
mod config_form;
pub mod deliveries;
pub mod home;
pub mod login;
pub mod not_found;
pub mod reservation;
pub mod reservations;
pub mod reserve;
pub mod tokens;
pub mod users;
pub mod webhooks;
