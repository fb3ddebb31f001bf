//! The session of the user.

use crate::erased::ErasedSignal;
use crate::live::Live;
use crate::prerendered_login;
use domain::account::SessionInfo;
use domain::authorization::Role;
use leptos::prelude::*;

/// The session of the user, as a context.
#[derive(Clone, Copy)]
pub struct Session {
    /// The user. `None` if nobody is logged in.
    pub info: ErasedSignal<Option<SessionInfo>>,
    /// Whether the server has reported the session.
    pub known: RwSignal<bool>,
    /// Whether no account exists yet.
    pub needs_setup: RwSignal<bool>,
    /// Whether the request comes from the server's own machine, so that set-up needs no code.
    pub local: RwSignal<bool>,
    live: Live,
}

impl Session {
    /// Creates a session that is not known yet. It opens and closes `live`.
    pub fn new(live: Live) -> Self {
        Self {
            info: ErasedSignal::new(None),
            known: RwSignal::new(false),
            needs_setup: RwSignal::new(false),
            local: RwSignal::new(false),
            live,
        }
    }

    /// Stores a log-in and opens the live updates.
    pub fn start(self, info: SessionInfo) {
        self.info.set(Some(info));
        self.needs_setup.set(false);
        self.known.set(true);
        prerendered_login::close();
        self.live.open();
    }

    /// Removes the user and closes the live updates.
    pub fn end(self) {
        self.info.set(None);
        self.live.close();
    }

    /// Whether somebody is logged in. Tracked.
    pub fn is_logged_in(self) -> bool {
        self.info.with(Option::is_some)
    }

    /// Whether the user is an administrator. Tracked.
    pub fn is_admin(self) -> bool {
        self.info.with(|info| info.as_ref().is_some_and(|info| info.user.role == Role::Administrator))
    }

    /// The user name, or an empty text. Tracked.
    pub fn username(self) -> String {
        self.info.with(|info| info.as_ref().map(|info| info.user.username.clone()).unwrap_or_default())
    }

    /// The user name, or an empty text. Not tracked.
    pub fn username_untracked(self) -> String {
        untrack(|| self.username())
    }
}

/// Returns the session.
pub fn use_session() -> Session {
    expect_context::<Session>()
}
