//! OAuth 2.0 client credentials: one token request at a time, both methods of client authentication, lifetimes, and
//! diagnoses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{attempt, attempt_after, request_with, sender};
use delivery::{Auth, Sender};
use domain::delivery::{Attempt, DiagnosisCode as Code, Outcome};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use test_support::{ReceivedRequest, Receiver, Response};

/// Number of concurrent deliveries of a webhook by default.
const CONCURRENT: usize = 64;

fn oauth(receiver: &Receiver) -> Auth {
    Auth::Oauth2 {
        token_url: format!("{}/token", receiver.url),
        client_id: "berth".into(),
        client_secret: "s3cret-s3cret".into(),
        scope: Some("gpu".into()),
        audience: None,
    }
}

/// Makes an attempt at the receiver, with tokens from the same receiver.
async fn go(sender: &Sender, receiver: &Receiver) -> Attempt {
    go_after(sender, receiver, Duration::ZERO).await
}

/// Makes a later attempt.
async fn go_after(sender: &Sender, receiver: &Receiver, later: Duration) -> Attempt {
    let request = request_with(&format!("{}/hook", receiver.url), oauth(receiver), Vec::new());
    attempt_after(sender, &request, later).await.attempt
}

async fn go_concurrently(sender: &Sender, receiver: &Receiver) -> Vec<Attempt> {
    join_all((0..CONCURRENT).map(|_| go(sender, receiver))).await
}

fn requests(receiver: &Receiver, path: &str) -> Vec<ReceivedRequest> {
    receiver.requests().into_iter().filter(|request| request.path == path).collect()
}

fn form(request: &ReceivedRequest) -> String {
    String::from_utf8(request.raw.to_vec()).unwrap()
}

/// A receiver whose token endpoint responds with `token`, and which accepts every event.
async fn issuing(token: Value) -> Receiver {
    let receiver = Receiver::start().await;
    receiver.respond_with(move |request| match request.path.as_str() {
        "/token" => Response::json(200, token.clone()),
        _ => Response::status(200),
    });
    receiver
}

fn sender_with_limit() -> Sender {
    sender(true, Duration::from_secs(5))
}

#[tokio::test]
async fn concurrent_attempts_share_one_token_request() {
    let receiver = issuing(json!({"access_token": "token-1", "token_type": "bearer", "expires_in": 3600})).await;
    let done = go_concurrently(&sender_with_limit(), &receiver).await;
    assert!(done.iter().all(|attempt| attempt.outcome == Outcome::Succeeded));
    assert_eq!(requests(&receiver, "/token").len(), 1);
}

#[tokio::test]
async fn rejected_token_that_is_issued_again_is_renewed_once() {
    let receiver = Receiver::start().await;
    receiver.respond_with(|request| match request.path.as_str() {
        "/token" => Response::json(200, json!({"access_token": "token-1", "expires_in": 3600})),
        _ => Response::status(401),
    });
    let sender = sender_with_limit();
    for _ in 0..2 {
        for attempt in go_concurrently(&sender, &receiver).await {
            assert_eq!(attempt.diagnosis.code, Code::CredentialsRefused, "{:?}", attempt.diagnosis);
        }
    }
    assert_eq!(requests(&receiver, "/token").len(), 2, "the first request and one renewal");
    assert_eq!(requests(&receiver, "/hook").len(), 2 * CONCURRENT, "the same token is not sent again");
}

#[tokio::test]
async fn concurrent_rejections_share_one_renewal() {
    let receiver = Receiver::start().await;
    let mut issued = 0;
    receiver.respond_with(move |request| match request.path.as_str() {
        "/token" => {
            issued += 1;
            Response::json(200, json!({"access_token": format!("token-{issued}"), "expires_in": 3600}))
        }
        _ => Response::status(if request.header("authorization") == "Bearer token-2" { 200 } else { 401 }),
    });
    let done = go_concurrently(&sender_with_limit(), &receiver).await;
    assert!(done.iter().all(|attempt| attempt.outcome == Outcome::Succeeded));
    assert_eq!(requests(&receiver, "/token").len(), 2);
}

#[tokio::test]
async fn refusal_is_shared_and_named_however_long_it_takes() {
    let receiver = Receiver::start().await;
    receiver.respond(Response::json(401, json!({"error": "invalid_client", "error_description": "unknown client"})));
    receiver.hold();
    let sender = sender_with_limit();
    let (done, ()) = tokio::join!(go_concurrently(&sender, &receiver), async {
        receiver.wait_for(1).await;
        receiver.release();
    });
    for attempt in done {
        assert_eq!(attempt.diagnosis.code, Code::TokenFailed);
        let message = &attempt.diagnosis.message;
        assert!(message.contains("401: invalid_client: unknown client"), "{message}");
    }
    assert_eq!(receiver.count(), 2, "one request for each method of client authentication");
    // The failure is shared for a moment.
    assert_eq!(go(&sender, &receiver).await.diagnosis.code, Code::TokenFailed);
    assert_eq!(receiver.count(), 2);
    let later = Duration::from_secs(10);
    assert_eq!(go_after(&sender, &receiver, later).await.diagnosis.code, Code::TokenFailed);
    assert_eq!(receiver.count(), 4);
}

#[tokio::test]
async fn credentials_in_the_body_are_tried_after_any_refusal_and_remembered() {
    for refusal in [
        Response::status(400),
        Response::status(401),
        Response::status(403),
        Response::json(200, json!({"error": "invalid_client"})),
        Response::json(400, json!({"error": "invalid_request"})),
        Response::status(500),
    ] {
        let receiver = Receiver::start().await;
        receiver.respond_with(move |request| match request.path.as_str() {
            "/token" if String::from_utf8_lossy(&request.raw).contains("client_secret=s3cret-s3cret") => {
                Response::json(200, json!({"access_token": "token-1", "expires_in": 0}))
            }
            "/token" => refusal.clone(),
            _ => Response::status(200),
        });
        let sender = sender_with_limit();
        for later in [Duration::ZERO, Duration::from_secs(10)] {
            let done = go_after(&sender, &receiver, later).await;
            assert_eq!(done.outcome, Outcome::Succeeded, "{:?}", done.diagnosis);
        }
        let tokens = requests(&receiver, "/token");
        let basic: Vec<bool> = tokens.iter().map(|request| request.headers.contains_key("authorization")).collect();
        assert_eq!(basic, [true, false, false], "the working method is remembered");
        assert!(form(&tokens[1]).contains("client_id=berth"));
    }
}

#[tokio::test]
async fn other_method_is_not_tried_when_it_cannot_help() {
    for (refusal, expected) in [
        (Response::json(400, json!({"error": "invalid_scope"})), "400: invalid_scope"),
        (Response::status(503).with_body("busy"), "503"),
        (Response::status(302).with_header("location", "https://a.example/login"), "https://a.example/login"),
    ] {
        let receiver = Receiver::start().await;
        receiver.respond(refusal);
        let message = go(&sender_with_limit(), &receiver).await.diagnosis.message;
        assert!(message.contains(expected), "{message}");
        assert_eq!(receiver.count(), 1);
    }
}

#[tokio::test]
async fn both_refusals_are_named_if_they_differ() {
    let receiver = Receiver::start().await;
    receiver.respond_in_order([
        Response::json(401, json!({"error": "invalid_client"})),
        Response::json(400, json!({"error": "invalid_request", "error_description": "use the header"})),
    ]);
    let message = go(&sender_with_limit(), &receiver).await.diagnosis.message;
    assert!(message.contains("in the Authorization header it responded with 401: invalid_client"), "{message}");
    assert!(message.contains("in the body, with 400: invalid_request: use the header"), "{message}");
}

#[tokio::test]
async fn token_of_another_type_is_not_sent() {
    for (kind, accepted) in
        [(json!("mac"), false), (json!("DPoP"), false), (json!(7), false), (json!("BEARER"), true), (Value::Null, true)]
    {
        let receiver = issuing(json!({"access_token": "token-1", "token_type": kind})).await;
        let done = go(&sender_with_limit(), &receiver).await;
        assert_eq!(done.outcome == Outcome::Succeeded, accepted, "{kind}: {:?}", done.diagnosis);
        assert_eq!(requests(&receiver, "/hook").len(), usize::from(accepted));
        if !accepted {
            assert_eq!(done.diagnosis.code, Code::TokenFailed);
            assert!(done.diagnosis.message.contains(kind.to_string().trim_matches('"')), "{:?}", done.diagnosis);
        }
    }
}

#[tokio::test]
async fn short_and_fractional_lifetimes_are_honoured() {
    let receiver = issuing(json!({"access_token": "token-1", "expires_in": 2.5})).await;
    let sender = sender_with_limit();
    let tokens = || requests(&receiver, "/token").len();
    for _ in 0..2 {
        assert_eq!(go(&sender, &receiver).await.outcome, Outcome::Succeeded);
    }
    assert_eq!(tokens(), 1, "it is reused for half of its lifetime");
    let later = Duration::from_millis(1_300);
    assert_eq!(go_after(&sender, &receiver, later).await.outcome, Outcome::Succeeded);
    assert_eq!(tokens(), 2);
    // A token that expires at once is shared by the attempts that wait for it.
    let receiver = issuing(json!({"access_token": "token-1", "expires_in": 0})).await;
    let done = go_concurrently(&sender, &receiver).await;
    assert!(done.iter().all(|attempt| attempt.outcome == Outcome::Succeeded));
    assert_eq!(requests(&receiver, "/token").len(), 1);
}

#[tokio::test]
async fn failed_token_request_is_recorded_instead_of_the_event() {
    let receiver = Receiver::start().await;
    receiver.respond(Response::json(400, json!({"error": "invalid_client"})));
    let done = go(&sender_with_limit(), &receiver).await;
    assert_eq!(done.request.url, format!("{}/token", receiver.url));
    assert!(done.request.sent && done.response.is_none());
    let names: Vec<&str> = done.request.headers.iter().map(|header| header.name.as_str()).collect();
    assert!(names.contains(&"Content-Type") && !names.contains(&"X-Webhook-Signature"), "{names:?}");
    assert_eq!(done.request.body, "grant_type=client_credentials&scope=gpu&client_id=berth&client_secret=••••");
    assert!(!serde_json::to_string(&done).unwrap().contains("s3cret"));
    assert!(requests(&receiver, "/hook").is_empty());
}

#[tokio::test]
async fn token_endpoint_without_a_connection_or_response_is_named() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let receiver = Receiver::start().await;
    let auth = |url: String| match oauth(&receiver) {
        Auth::Oauth2 { client_id, client_secret, scope, audience, .. } => {
            Auth::Oauth2 { token_url: url, client_id, client_secret, scope, audience }
        }
        other => other,
    };
    let request = request_with(&receiver.url, auth(format!("http://{closed}/token")), Vec::new());
    let done = attempt(&sender_with_limit(), &request).await.attempt;
    assert_eq!(done.diagnosis.code, Code::TokenFailed);
    assert!(done.diagnosis.message.contains("refused the connection"), "{:?}", done.diagnosis);
    assert!(!done.request.sent && done.request.url.ends_with("/token"));
    receiver.hold();
    let request = request_with(&receiver.url, oauth(&receiver), Vec::new());
    let done = attempt(&sender(true, Duration::from_millis(300)), &request).await.attempt;
    assert_eq!(done.diagnosis.code, Code::TimedOut);
    assert!(done.diagnosis.message.contains("token endpoint did not respond"), "{:?}", done.diagnosis);
    assert!(done.request.sent && done.request.url.ends_with("/token"));
}

#[tokio::test]
async fn renewal_that_fails_is_named_next_to_the_rejection() {
    let receiver = Receiver::start().await;
    let mut issued = false;
    receiver.respond_with(move |request| match request.path.as_str() {
        "/token" if !std::mem::replace(&mut issued, true) => Response::json(200, json!({"access_token": "token-1"})),
        "/token" => Response::status(503),
        _ => Response::status(401),
    });
    let done = go(&sender_with_limit(), &receiver).await;
    assert_eq!((done.diagnosis.code, done.status_code), (Code::TokenFailed, Some(401)));
    let message = &done.diagnosis.message;
    assert!(message.contains("responded with 401") && message.contains("503"), "{message}");
    assert!(done.request.sent && done.request.url.ends_with("/hook"), "this request was sent");
}

#[tokio::test]
async fn token_endpoint_errors_are_storable() {
    let receiver = Receiver::start().await;
    let error = r#"{"error":"a\u0000b","error_description":"c\u001b[2Jd"}"#;
    receiver.respond(Response::status(400).with_body(error));
    let url = &receiver.url;
    let auth = Auth::Oauth2 {
        token_url: format!("{url}/token"),
        client_id: "berth".into(),
        client_secret: "s3cret-s3cret".into(),
        scope: None,
        audience: None,
    };
    let done =
        attempt(&sender(true, Duration::from_secs(5)), &request_with(&format!("{url}/hook"), auth, Vec::new())).await;
    assert_eq!(done.attempt.diagnosis.code, Code::TokenFailed);
    assert_eq!(receiver.last().path, "/token");
    let message = done.attempt.diagnosis.message;
    assert!(message.contains("a b") && !message.contains(char::is_control), "{message:?}");
}

#[tokio::test]
async fn oauth_token_is_cached_and_renewed_once_on_401() {
    let receiver = Receiver::start().await;
    let mut tokens = 0;
    receiver.respond_with(move |request| {
        let accept_only =
            |token: &str| Response::status(if request.header("authorization") == token { 200 } else { 401 });
        match request.path.as_str() {
            "/token" => {
                tokens += 1;
                let token = format!("token-{tokens}");
                Response::json(200, json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600}))
            }
            "/first-token" => accept_only("Bearer token-1"),
            "/second-token" => accept_only("Bearer token-2"),
            "/refused-token" => Response::json(401, json!({"error": "invalid_client"})),
            _ => Response::status(401),
        }
    });
    let token_requests = || -> Vec<ReceivedRequest> {
        receiver.requests().into_iter().filter(|request| request.path == "/token").collect()
    };
    let url = &receiver.url;
    let sender = sender(true, Duration::from_secs(5));
    let auth = |token: &str| Auth::Oauth2 {
        token_url: format!("{url}{token}"),
        client_id: "berth".into(),
        client_secret: "s3cret-s3cret".into(),
        scope: Some("gpu".into()),
        audience: None,
    };
    let go = async |path: &str, token: &str| {
        attempt(&sender, &request_with(&format!("{url}{path}"), auth(token), Vec::new())).await.attempt
    };
    for _ in 0..3 {
        assert_eq!(go("/first-token", "/token").await.outcome, Outcome::Succeeded);
    }
    assert_eq!(token_requests().len(), 1);
    let renewed = go("/second-token", "/token").await;
    assert_eq!(renewed.outcome, Outcome::Succeeded);
    assert!(!serde_json::to_string(&renewed).unwrap().contains("token-2"));
    assert_eq!(token_requests().len(), 2);
    assert_eq!(go("/never", "/token").await.diagnosis.code, Code::CredentialsRefused);
    assert_eq!(token_requests().len(), 3);
    let refused = go("/first-token", "/refused-token").await;
    assert_eq!(refused.diagnosis.code, Code::TokenFailed);
    assert!(refused.diagnosis.message.contains("invalid_client"), "{}", refused.diagnosis.message);
    for request in token_requests() {
        let form = String::from_utf8(request.raw.to_vec()).unwrap();
        assert!(form.contains("grant_type=client_credentials") && form.contains("scope=gpu"), "{form}");
    }
}
