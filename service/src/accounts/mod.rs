//! Accounts: users, log-in sessions and API tokens.
//!
//! | File | Content |
//! |---|---|
//! | `users` | accounts |
//! | `setup` | the first set-up and its code |
//! | `sessions` | log-in, log-out, the check of session cookies |
//! | `session_list` | the list of a user's sessions, and their end |
//! | `client`, `devices` | the client of a log-in; devices that have logged in before |
//! | `confirmation` | a credential that is entered again before a sensitive change |
//! | `second_factor` | passkeys, authenticator apps, recovery codes, and the second step of a log-in |
//! | `identities` | accounts of users of identity providers |
//! | `tokens` | API tokens |
//! | `token_expiry` | reminders of API tokens that expire soon |
//! | `passwords` | Argon2 hashes |
//! | `password_policy` | the check of new passwords |
//! | `login_throttle` | limits on failed log-ins by source, in memory |
//! | `budgets` | limits on failed log-ins by account, stored |
//! | `rejections` | entries of the audit log about invalid credentials |
//! | `security_notices` | notifications about log-ins and tokens that can come from somebody else |
//! | `credential_cache` | checked credentials, for 3 s |
//! | `stored_data` | what is stored about an account; usernames of erased accounts |
//! | `demo` | the accounts of the demo |

mod budgets;
mod client;
mod confirmation;
mod credential_cache;
mod demo;
mod devices;
mod identities;
mod login_throttle;
mod password_policy;
mod passwords;
mod rejections;
mod second_factor;
mod security_notices;
mod session_list;
mod sessions;
mod setup;
mod stored_data;
mod token_expiry;
mod tokens;
mod users;

pub use client::LogInClient;
pub use devices::DEVICE_LIFETIME;
pub(crate) use identities::ExternalLogIn;
pub use second_factor::{CHALLENGE_LIFETIME, SecondStep};
pub use sessions::{LogIn, LoggedIn};
pub(crate) use stored_data::StoredAccount;

use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::notifications::Notifications;
use crate::secrets::Cipher;
use credential_cache::CredentialCache;
use domain::account::SessionInfo;
use domain::authorization::Actor;
use login_throttle::LoginThrottle;
use parking_lot::{Mutex, MutexGuard};
use second_factor::RelyingParty;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Use cases of users, sessions, second factors and API tokens.
#[derive(Clone)]
pub struct Accounts {
    context: Context,
    feed: ChangeFeed,
    cipher: Cipher,
    notifications: Notifications,
    relying_party: RelyingParty,
    state: Arc<AuthState>,
}

/// Authentication state of this process; replicas do not share it.
struct AuthState {
    credentials: Mutex<CredentialCache>,
    throttle: Mutex<LoginThrottle>,
    /// Permits for concurrent log-ins.
    log_ins: Semaphore,
    /// Permits for log-ins from known devices, in addition.
    reserved_log_ins: Semaphore,
}

impl Accounts {
    pub(crate) fn new(context: Context, feed: ChangeFeed, cipher: Cipher) -> Self {
        let state = AuthState {
            credentials: Mutex::default(),
            throttle: Mutex::default(),
            log_ins: Semaphore::new(login_throttle::MAX_CONCURRENT_LOG_INS),
            reserved_log_ins: Semaphore::new(login_throttle::RESERVED_LOG_INS),
        };
        let notifications = Notifications::new(context.clone());
        let relying_party = RelyingParty::of(&context.settings.public_url);
        Self { context, feed, cipher, notifications, relying_party, state: Arc::new(state) }
    }

    /// The generation of accounts and credentials. It differs from an earlier one if they may have changed on any
    /// replica.
    pub fn credential_generation(&self) -> u64 {
        self.feed.cache_generation()
    }

    /// Invalidates cached credentials on every replica, after a committed change.
    pub(crate) fn invalidate_credentials(&self) {
        // The generation advances first, so that `cache_credential` rejects a concurrent read of the old state.
        self.feed.advance_cache_generation();
        self.state.credentials.lock().clear();
        self.feed.broadcast_invalidation();
    }

    /// The cached holder of a credential, if it is fresh and the credential has not expired.
    fn cached_credential(&self, credential: &str) -> Option<(Actor, SessionInfo)> {
        let mut cache = self.state.credentials.lock();
        cache.clear_if_outdated(self.feed.cache_generation());
        cache.get(credential, self.context.now())
    }

    /// Caches a credential that was read at `generation`, unless accounts have changed since: the read may be stale.
    fn cache_credential(&self, credential: String, generation: u64, holder: &(Actor, SessionInfo)) {
        let mut cache = self.state.credentials.lock();
        if generation == self.feed.cache_generation() {
            cache.put(credential, holder);
        }
    }

    fn throttle(&self) -> MutexGuard<'_, LoginThrottle> {
        self.state.throttle.lock()
    }
}
