//! The pages, each with one entry component for each of its routes in [`crate::router`].

pub mod access;
pub mod account;
pub mod alerts;
pub mod areas;
pub mod audit;
pub mod catalogue;
mod chart;
mod config_form;
pub mod confirmation;
pub mod deliveries;
pub mod groups;
pub mod home;
pub mod leave_question;
pub mod login;
pub mod not_found;
pub mod notification_list;
pub mod operations;
pub mod palette;
mod personal_data;
pub mod reservation;
pub mod reservations;
pub mod reserve;
pub mod second_factors;
pub mod shortcut_list;
pub mod tokens;
pub mod users;
pub mod webhooks;
