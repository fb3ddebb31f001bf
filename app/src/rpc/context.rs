//! What the server gives every server function.

use domain::Problem;
use domain::access::Actor;
use domain::account::SessionInfo;
use service::Service;

/// The request a server function runs for.
#[derive(Clone)]
pub struct RequestContext {
    /// The use cases.
    pub service: Service,
    /// Who asks, when logged in.
    pub actor: Option<Actor>,
    /// What the page shows of it.
    pub session: Option<SessionInfo>,
    /// The session cookie's value.
    pub session_token: Option<String>,
    /// The client's address, for throttling log-ins.
    pub source: String,
    /// Whether the visit comes from the machine itself.
    pub local: bool,
    /// The one-time code that allows the first set-up from elsewhere.
    pub setup_code: Option<String>,
    /// Whether cookies are marked Secure.
    pub secure_cookies: bool,
}

impl RequestContext {
    /// Who asks.
    ///
    /// # Errors
    /// 401 when nobody is logged in.
    pub fn actor(&self) -> Result<&Actor, Problem> {
        self.actor.as_ref().ok_or_else(|| Problem::unauthenticated("Your session has ended. Log in again."))
    }
}
