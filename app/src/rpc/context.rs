//! What the server gives every server function.

use super::session_cookie::{removed_session_cookie, session_cookie};
use domain::Problem;
use domain::account::SessionInfo;
use domain::authorization::Actor;
use domain::pagination::{Page, PageQuery};
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

/// The request that runs.
///
/// # Errors
/// Internal, when a server function is called outside a request.
pub fn context() -> Result<RequestContext, Problem> {
    leptos::prelude::use_context::<RequestContext>().ok_or_else(Problem::internal)
}

/// A whole list, read page by page: for choices that people search in rather than leaf through.
pub(super) async fn whole<T, F>(read: impl Fn(PageQuery) -> F) -> Result<Page<T>, Problem>
where
    F: Future<Output = Result<Page<T>, Problem>>,
{
    let mut all = Page { items: Vec::new(), next_cursor: None };
    loop {
        let page = read(PageQuery { limit: Some(200), cursor: all.next_cursor.take() }).await?;
        all.items.extend(page.items);
        if page.next_cursor.is_none() {
            return Ok(all);
        }
        all.next_cursor = page.next_cursor;
    }
}

/// Gives the response the problem's status.
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

/// Starts a session in the browser.
pub(super) fn set_session_cookie(context: &RequestContext, token: &str) -> Result<(), Problem> {
    set_cookie(&session_cookie(token, context.secure_cookies))
}

/// Ends the session in the browser.
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
