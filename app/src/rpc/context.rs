//! Context that the server provides to every server function.

use super::session_cookie::{
    CLEARED_AT_LOG_OUT, log_in_cookies, pending_log_in_cookie, removed_second_step_cookie, removed_session_cookie,
    second_step_cookie,
};
use domain::Problem;
use domain::account::SessionInfo;
use domain::authorization::Actor;
use domain::pagination::{Page, PageQuery};
use service::Service;
use service::accounts::{LogInClient, LoggedIn};

/// Context of the request that a server function handles.
#[derive(Clone)]
pub struct RequestContext {
    /// The use cases.
    pub service: Service,
    /// The user who sent the request; `None` without a session.
    pub actor: Option<Actor>,
    /// Data of the session for the page.
    pub session: Option<SessionInfo>,
    /// Value of the session cookie.
    pub session_token: Option<String>,
    /// Value of the cookie of a log-in that needs a second factor.
    pub second_step: Option<String>,
    /// The client, for a log-in.
    pub client: LogInClient,
    /// Whether the request comes from the machine of the server.
    pub local: bool,
    /// Whether cookies have the attribute `Secure`.
    pub secure_cookies: bool,
}

impl RequestContext {
    /// The user who sent the request.
    ///
    /// # Errors
    /// Returns 401 without a session, and 403 if the user must set up a second factor first.
    pub fn actor(&self) -> Result<&Actor, Problem> {
        let actor = self.actor_of_setup()?;
        actor.check_second_factor()?;
        Ok(actor)
    }

    /// The user who sent the request, also one who must set up a second factor first. Only for what such a user may do.
    ///
    /// # Errors
    /// Returns 401 without a session.
    pub fn actor_of_setup(&self) -> Result<&Actor, Problem> {
        self.actor.as_ref().ok_or_else(|| Problem::unauthenticated("Your session has ended. Log in again."))
    }
}

/// Returns the context of the current request.
///
/// # Errors
/// Returns an internal error if a server function is called outside a request.
pub fn context() -> Result<RequestContext, Problem> {
    leptos::prelude::use_context::<RequestContext>().ok_or_else(Problem::internal)
}

/// Reads all pages of a list, for selection fields and other lists without paging.
pub(super) async fn fetch_all_pages<T, F>(read: impl Fn(PageQuery) -> F) -> Result<Page<T>, Problem>
where
    F: Future<Output = Result<Page<T>, Problem>>,
{
    let mut all = Page { items: Vec::new(), next_cursor: None };
    loop {
        let page = read(PageQuery { limit: Some(PageQuery::MAX), cursor: all.next_cursor.take() }).await?;
        all.items.extend(page.items);
        if page.next_cursor.is_none() {
            return Ok(all);
        }
        all.next_cursor = page.next_cursor;
    }
}

/// Sets the status and `Retry-After` of the response to those of the problem.
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

/// Sets the cookies of a log-in in the response.
pub(super) fn set_log_in_cookies(context: &RequestContext, started: &LoggedIn) -> Result<(), Problem> {
    let lifetime = context.service.settings().accounts.session_lifetime;
    log_in_cookies(started, context.secure_cookies, lifetime).iter().try_for_each(|cookie| set_cookie(cookie))
}

/// Sets the cookie of a log-in that needs a second factor in the response.
pub(super) fn set_second_step_cookie(context: &RequestContext, token: &str) -> Result<(), Problem> {
    set_cookie(&second_step_cookie(token, context.secure_cookies))
}

/// Removes the cookie of a log-in that needs a second factor in the response.
pub(super) fn remove_second_step_cookie(context: &RequestContext) -> Result<(), Problem> {
    set_cookie(&removed_second_step_cookie(context.secure_cookies))
}

/// Sets the cookie of a started visit to an identity provider in the response.
pub(super) fn set_pending_log_in_cookie(context: &RequestContext, value: &str) -> Result<(), Problem> {
    set_cookie(&pending_log_in_cookie(value, context.secure_cookies))
}

/// Removes the session cookie and what the browser has cached in the response.
pub(super) fn remove_session_cookie(context: &RequestContext) -> Result<(), Problem> {
    use leptos::server_fn::axum_export::http::{HeaderName, HeaderValue};
    let options = leptos::prelude::use_context::<leptos_axum::ResponseOptions>().ok_or_else(Problem::internal)?;
    let name = HeaderName::from_static("clear-site-data");
    options.insert_header(name, HeaderValue::from_static(CLEARED_AT_LOG_OUT));
    set_cookie(&removed_session_cookie(context.secure_cookies))
}

fn set_cookie(cookie: &str) -> Result<(), Problem> {
    use leptos::server_fn::axum_export::http::{HeaderValue, header};
    let options = leptos::prelude::use_context::<leptos_axum::ResponseOptions>().ok_or_else(Problem::internal)?;
    let value = HeaderValue::from_str(cookie).map_err(|_| Problem::internal())?;
    options.append_header(header::SET_COOKIE, value);
    Ok(())
}
