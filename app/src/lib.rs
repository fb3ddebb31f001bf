//! The page (feature `csr`), and the server functions that it calls (their bodies with feature `ssr`).

pub mod rpc;

#[cfg(feature = "csr")]
mod components;
#[cfg(feature = "csr")]
mod confirmation;
#[cfg(feature = "csr")]
mod erased;
#[cfg(feature = "csr")]
mod focus;
#[cfg(feature = "csr")]
mod history_entry;
#[cfg(feature = "csr")]
mod intl;
#[cfg(feature = "csr")]
mod layout;
#[cfg(feature = "csr")]
mod leave_dialog;
#[cfg(feature = "csr")]
mod list;
#[cfg(feature = "csr")]
mod live;
#[cfg(feature = "csr")]
mod log_in_dialog;
#[cfg(feature = "csr")]
mod new_secret;
#[cfg(feature = "csr")]
mod notification_menu;
#[cfg(feature = "csr")]
mod paged_list;
#[cfg(feature = "csr")]
mod pages;
#[cfg(feature = "csr")]
mod passkey;
#[cfg(feature = "csr")]
mod preferences;
#[cfg(feature = "csr")]
mod prerendered_login;
#[cfg(feature = "csr")]
mod proof_form;
#[cfg(feature = "csr")]
mod provider_buttons;
#[cfg(feature = "csr")]
mod query;
#[cfg(feature = "csr")]
mod query_signals;
#[cfg(feature = "csr")]
mod router;
#[cfg(feature = "csr")]
mod second_step;
#[cfg(feature = "csr")]
mod session;
#[cfg(feature = "csr")]
mod shortcut_overview;
#[cfg(feature = "csr")]
mod shortcuts;
#[cfg(feature = "csr")]
mod theme;
#[cfg(feature = "csr")]
mod time;
#[cfg(feature = "csr")]
mod time_range;
#[cfg(feature = "csr")]
mod toast;
#[cfg(feature = "csr")]
mod unsaved;
#[cfg(feature = "csr")]
mod virtual_rows;
#[cfg(feature = "csr")]
mod window_event;

#[cfg(feature = "csr")]
pub use router::mount;
