//! `GET /api/v1/stream`: changes as server-sent events (WHATWG HTML §9.2).

use super::AppState;
use super::extract::AuthenticatedUser;
use super::problem::{ApiError, ProblemBody};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use domain::change::Change;
use domain::{Problem, ProblemKind};
use futures::StreamExt as _;
use parking_lot::Mutex;
use service::change_feed::Update;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Feeds that one person may have open in one process.
const PER_PERSON: u32 = 20;
/// How often it is asked again whether the credential still holds; before a change is told it is, too, when accounts changed.
const RECHECK: Duration = Duration::from_secs(30);

/// Open feeds for each person.
#[derive(Default)]
pub struct Streams(Mutex<HashMap<String, u32>>);

struct Open {
    streams: Arc<Streams>,
    username: String,
}

impl Streams {
    fn open(self: &Arc<Self>, username: &str) -> Option<Open> {
        let mut open = self.0.lock();
        let count = open.entry(username.to_owned()).or_default();
        if *count >= PER_PERSON {
            return None;
        }
        *count += 1;
        Some(Open { streams: self.clone(), username: username.to_owned() })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock();
        if let Some(count) = open.get_mut(&self.username) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.username);
            }
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// Changes as they commit: server-sent events `delivery`, `reservation`, `webhook`, `notification` with the thing as JSON,
/// and `resync` when changes were missed. Ends when the credential does, when the account gets another role, or when the
/// process stops; open it again then.
#[utoipa::path(get, path = "/stream", tag = "live",
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
async fn stream(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some(open) = app.streams.open(&caller.actor.username) else {
        let mut problem =
            Problem::new(ProblemKind::RateLimited, "You have too many live feeds open. Close some pages.");
        problem.retry_after = Some(10);
        return Err(problem.into());
    };
    let updates = app.service.change_feed().subscribe();
    let credential = (super::extract::bearer(&headers).map(str::to_owned), super::extract::session(&headers));
    // Checked once more with the first change: the account may have been changed since the request was let in.
    let checked = (tokio::time::Instant::now() + RECHECK, None);
    let state = (app.clone(), updates, caller.actor, credential, open, checked, 0_u64);
    let first = futures::stream::once(async {
        Ok(Event::default().event("hello").retry(Duration::from_millis(1_000)).data("{}"))
    });
    let events = futures::stream::unfold(
        state,
        |(app, mut updates, actor, credential, open, (mut recheck, mut known), mut id)| async move {
            loop {
                let update = tokio::select! {
                    update = updates.recv() => Some(update),
                    () = app.cancel.cancelled() => return None,
                    () = tokio::time::sleep_until(recheck) => None,
                };
                let generation = Some(app.service.credential_generation());
                if update.is_none() || generation != known {
                    recheck = tokio::time::Instant::now() + RECHECK;
                    let holds = match &credential {
                        (Some(token), _) => app.service.actor_of_token(token).await,
                        (None, Some(token)) => app.service.actor_of_session(token).await,
                        (None, None) => return None,
                    };
                    match holds {
                        // Another role or other scopes see other things: whoever it is now opens a feed anew.
                        Ok((now, _)) if now != actor => return None,
                        Ok(_) => known = generation,
                        Err(problem) if problem.kind == ProblemKind::Unauthenticated => return None,
                        // The database is away; asked again with the next change.
                        Err(_) => {}
                    }
                }
                let Some(update) = update else { continue };
                let event = match update {
                    Ok(Update::Change(change)) if change.visible_to(&actor) => {
                        let data = match &*change {
                            Change::Delivery(delivery) => serde_json::to_string(delivery),
                            Change::Reservation(reservation) => serde_json::to_string(reservation),
                            Change::Webhook(webhook) => serde_json::to_string(webhook),
                            Change::Notification(notification) => serde_json::to_string(notification),
                        };
                        let Ok(data) = data else { continue };
                        Event::default().event(change.name()).data(data)
                    }
                    Ok(Update::Change(_)) => continue,
                    Ok(Update::Resync) | Err(RecvError::Lagged(_)) => Event::default().event("resync").data("{}"),
                    Err(RecvError::Closed) => return None,
                };
                id += 1;
                let event: Result<Event, Infallible> = Ok(event.id(id.to_string()));
                return Some((event, (app, updates, actor, credential, open, (recheck, known), id)));
            }
        },
    );
    let sse =
        Sse::new(first.chain(events)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)).text("alive"));
    let mut response = sse.into_response();
    let headers = response.headers_mut();
    headers.insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    headers.insert(axum::http::header::CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
    Ok(response)
}
