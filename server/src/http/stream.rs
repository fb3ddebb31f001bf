//! `GET /api/v1/stream`: the live feed of changes as server-sent events (WHATWG HTML §9.2).

use super::AppState;
use super::extract::{AuthenticatedUser, Credential};
use super::problem::ApiError;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use domain::authorization::Actor;
use domain::change::Change;
use domain::{Problem, ProblemKind};
use futures::stream;
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use serde_json::json;
use service::change_feed::Update;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Maximum number of open feeds per session or token, in each process. People who share an account share no limit.
const MAX_STREAMS: u32 = 20;
/// Maximum number of open feeds per user, in each process: a user can have many sessions and tokens.
const MAX_STREAMS_OF_USER: u32 = 100;
/// Interval at which an idle feed checks its credential.
const RECHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Interval of the event `ping` on an idle feed. It keeps the connection open through proxies, and a client without any event
/// for more than twice this time can conclude that the connection is lost.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Delay before a browser reconnects.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);
/// `Retry-After` of a feed over the limit, in seconds.
const RETRY_AFTER: u64 = 10;

/// Number of open feeds by the digest of the credential, and by user.
#[derive(Default)]
pub struct OpenStreams(Mutex<HashMap<String, u32>>);

impl OpenStreams {
    /// Counts a new feed. Returns `None` at a limit.
    fn open(self: &Arc<Self>, digest: String, username: &str) -> Option<StreamPermit> {
        let keys = [(digest, MAX_STREAMS), (format!("user {username}"), MAX_STREAMS_OF_USER)];
        let mut open = self.0.lock();
        if keys.iter().any(|(key, limit)| open.get(key).is_some_and(|count| count >= limit)) {
            return None;
        }
        let keys = keys.map(|(key, _)| key);
        for key in &keys {
            *open.entry(key.clone()).or_default() += 1;
        }
        Some(StreamPermit { streams: self.clone(), keys })
    }
}

/// Permit of one open feed. Dropping it decrements the count.
struct StreamPermit {
    streams: Arc<OpenStreams>,
    /// The keys under which the feed is counted.
    keys: [String; 2],
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock();
        for key in &self.keys {
            if let Some(count) = open.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    open.remove(key);
                }
            }
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// Streams changes as they are committed.
///
/// The server-sent events `delivery`, `reservation`, `webhook` and `notification` contain the changed object as JSON.
/// `resync` means that changes were missed: load the lists again. `ping` is sent after 15 s without another event: a
/// client without any event for 35 s has lost its connection and should reconnect. Events have no ids and are not
/// repeated after a reconnection: load the lists again after each `hello`. The stream ends when the credential expires,
/// the account's role or ownership changes, or the server stops. Reconnect then.
#[utoipa::path(get, path = "/stream", tag = "live",
    responses((status = 200, body = String, content_type = "text/event-stream")))]
async fn stream(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some(credential) = Credential::of(&headers, &app) else {
        return Err(Problem::unauthenticated("Your session has ended. Log in again.").into());
    };
    let Some(permit) = app.streams.open(credential.digest(), &caller.actor.username) else {
        let detail = "Too many live feeds are open for this session or user. Close some pages.";
        return Err(Problem::rate_limited(detail, RETRY_AFTER).into());
    };
    let feed = Feed {
        updates: app.service.change_feed().subscribe(),
        actor: caller.actor,
        credential,
        recheck_at: Instant::now() + RECHECK_INTERVAL,
        // The account may have changed since the request was authenticated, so the first change triggers another check.
        checked_generation: None,
        _permit: permit,
        app,
    };
    let hello = Event::default().event("hello").retry(RECONNECT_DELAY).data("{}");
    // A client that knows the id of an event, from an earlier release, expects the events after it.
    let resync = headers.contains_key("last-event-id").then(resync);
    let first = stream::iter(std::iter::once(hello).chain(resync).map(Ok));
    let events = stream::unfold(feed, |mut feed| async move { Some((Ok::<_, Infallible>(feed.next().await?), feed)) });
    Ok(respond(first.chain(events), PING_INTERVAL))
}

/// The response with events, and `ping` after each `interval` without one.
fn respond(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static, interval: Duration) -> Response {
    let ping = KeepAlive::new().interval(interval).event(Event::default().event("ping").data("{}"));
    let mut response = Sse::new(events).keep_alive(ping).into_response();
    let headers = response.headers_mut();
    // nginx buffers responses without this header.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// One client's live feed.
struct Feed {
    app: AppState,
    updates: Receiver<Update>,
    actor: Actor,
    credential: Credential,
    recheck_at: Instant,
    /// Generation of the credential cache at the last successful check; `None` before it.
    checked_generation: Option<u64>,
    _permit: StreamPermit,
}

impl Feed {
    /// Waits for the next event that the user may see; `None` ends the feed.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let update = tokio::select! {
                update = self.updates.recv() => Some(update),
                () = self.app.cancel.cancelled() => return None,
                () = tokio::time::sleep_until(self.recheck_at) => None,
            };
            if !self.is_still_authorized(update.is_none()).await {
                return None;
            }
            let event = match update {
                Some(Ok(Update::Change(change))) if change.visible_to(&self.actor) => to_event(&change),
                Some(Ok(Update::Resync) | Err(RecvError::Lagged(_))) => Some(resync()),
                Some(Err(RecvError::Closed)) => return None,
                Some(Ok(Update::Change(_))) | None => None,
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// Checks the credential if any account has changed since the last check, or if the interval has passed.
    async fn is_still_authorized(&mut self, interval_passed: bool) -> bool {
        let generation = Some(self.app.service.accounts().credential_generation());
        if !interval_passed && generation == self.checked_generation {
            return true;
        }
        self.recheck_at = Instant::now() + RECHECK_INTERVAL;
        match self.credential.authenticate(&self.app).await {
            // A new role, new scopes or new ownership make other changes visible, so the client must open a new feed.
            Ok((actor, _)) if actor != self.actor => false,
            Ok(_) => {
                self.checked_generation = generation;
                true
            }
            Err(problem) if is_rejection(problem.kind) => false,
            // The database is unavailable. The next change triggers another check.
            Err(_) => true,
        }
    }
}

/// Whether the credential is not valid, or the user must set up a second factor first.
fn is_rejection(kind: ProblemKind) -> bool {
    matches!(kind, ProblemKind::Unauthenticated | ProblemKind::SecondFactorSetupRequired)
}

/// The event after which a client loads its lists again.
fn resync() -> Event {
    Event::default().event("resync").data("{}")
}

fn to_event(change: &Change) -> Option<Event> {
    let data = match change {
        Change::Delivery(delivery) => serde_json::to_string(delivery),
        Change::Reservation(reservation) => serde_json::to_string(reservation),
        // The resource types only decide on the recipients.
        Change::Webhook(webhook) => serde_json::to_string(&json!({"id": webhook.id, "deleted": webhook.deleted})),
        Change::Notification(notification) => serde_json::to_string(notification),
    };
    data.ok().map(|data| Event::default().event(change.name()).data(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_are_limited_by_credential_and_by_user() {
        let streams = Arc::<OpenStreams>::default();
        let mut permits: Vec<_> = (0..MAX_STREAMS).filter_map(|_| streams.open("a".into(), "alice")).collect();
        assert!(streams.open("a".into(), "alice").is_none());
        for n in MAX_STREAMS..MAX_STREAMS_OF_USER {
            permits.push(streams.open(format!("token {n}"), "alice").unwrap());
        }
        assert!(streams.open("another token".into(), "alice").is_none());
        assert!(streams.open("b".into(), "bob").is_some());
        permits.pop();
        permits.push(streams.open("another token".into(), "alice").unwrap());
        drop(permits);
        assert!(streams.0.lock().is_empty());
    }

    #[tokio::test]
    async fn idle_feed_sends_ping_after_each_interval() {
        assert_eq!(PING_INTERVAL, Duration::from_secs(15), "the page expects one within 35 s");
        let interval = Duration::from_millis(1);
        let start = Instant::now();
        let mut body = respond(stream::pending(), interval).into_body().into_data_stream();
        for n in 1..=3 {
            let sent = body.next().await.unwrap().unwrap();
            assert_eq!(sent, "event: ping\ndata: {}\n\n");
            assert!(start.elapsed() >= interval * n);
        }
    }
}
