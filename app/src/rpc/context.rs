//! The request context of server functions, and their access to the response.

use super::session_cookie::{removed_session_cookie, session_cookie};
use domain::Problem;
use domain::account::SessionInfo;
use domain::authorization::Actor;
use domain::pagination::{Page, PageQuery};
use service::Service;

/// The request for which a server function runs.
#[derive(Clone)]
pub struct RequestContext {
    /// The use cases.
    pub service: Service,
    /// The logged-in user, for authorisation.
    pub actor: Option<Actor>,
    /// The session, for the page.
    pub session: Option<SessionInfo>,
    /// The session cookie's value.
    pub session_token: Option<String>,
    /// The client's address, for throttling log-ins.
    pub source: String,
    /// Whether the request comes from the server's own machine.
    pub local: bool,
    /// The one-time code that allows set-up from another machine.
    pub setup_code: Option<String>,
    /// Whether cookies are marked Secure.
    pub secure_cookies: bool,
}

impl RequestContext {
    /// Returns the logged-in user.
    ///
    /// # Errors
    /// Unauthenticated if nobody is logged in.
    pub fn actor(&self) -> Result<&Actor, Problem> {
        self.actor.as_ref().ok_or_else(|| Problem::unauthenticated("Your session has ended. Log in again."))
    }
}

/// Returns the context of the running request.
///
/// # Errors
/// Internal if a server function is called outside a request.
pub fn context() -> Result<RequestContext, Problem> {
    leptos::prelude::use_context::<RequestContext>().ok_or_else(Problem::internal)
}

/// Fetches all pages of a list, for screens that search or choose in the whole list.
pub(super) async fn fetch_all_pages<T, F>(fetch: impl Fn(PageQuery) -> F) -> Result<Page<T>, Problem>
where
    F: Future<Output = Result<Page<T>, Problem>>,
{
    let mut all = Page { items: Vec::new(), next_cursor: None };
    loop {
        let page = fetch(PageQuery { limit: Some(200), cursor: all.next_cursor.take() }).await?;
        all.items.extend(page.items);
        if page.next_cursor.is_none() {
            return Ok(all);
        }
        all.next_cursor = page.next_cursor;
    }
}

/// Sets the status of the response, and `Retry-After`, for a problem.
pub(super) fn set_status(problem: &Problem) {
    if let Some(options) = leptos::prelude::use_context::<leptos_axum::ResponseOptions>()
        && let Ok(status) = leptos::server_fn::axum_export::http::StatusCode::from_u16(problem.kind.status())
    {
        options.set_status(status);
        if let Some(seconds) = problem.retry_after {
            options.insert_header(leptos::server_fn::axum_export::http::header::RETRY_AFTER, seconds.into());
        }
    }
}

/// Sets the session cookie.
pub(super) fn set_session_cookie(context: &RequestContext, token: &str) -> Result<(), Problem> {
    set_cookie(&session_cookie(token, context.secure_cookies))
}

/// Removes the session cookie.
pub(super) fn remove_session_cookie(context: &RequestContext) -> Result<(), Problem> {
    set_cookie(&removed_session_cookie(context.secure_cookies))
}

fn set_cookie(cookie: &str) -> Result<(), Problem> {
    use leptos::server_fn::axum_export::http::{HeaderValue, header};
    let options = leptos::prelude::use_context::<leptos_axum::ResponseOptions>().ok_or_else(Problem::internal)?;
    let value = HeaderValue::from_str(cookie).map_err(|_| Problem::internal())?;
    options.insert_header(header::SET_COOKIE, value);
    Ok(())
}
