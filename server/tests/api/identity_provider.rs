//! An identity provider (OpenID Connect) for tests. It signs real tokens; a test decides on their content, also on wrong
//! ones. `end2end` tests against a provider that we did not write.

use crate::client::Reply;
use crate::support::TestServer;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Duration;
use domain::single_sign_on::ClaimRules;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{KeyInit as _, Mac as _};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use server::config::Config;
use service::single_sign_on::ProviderSettings;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use test_support::DatabaseKind;
use tokio::net::TcpListener;

pub const CLIENT_ID: &str = "berth";
pub const CLIENT_SECRET: &str = "hush hush/+";

/// How an ID token is signed.
#[derive(Clone)]
pub enum Signature {
    /// With the current key.
    Current,
    /// With a key that the provider does not publish, under this key id.
    Foreign(String),
    /// `alg: none`.
    None,
    /// HMAC with this secret.
    Hmac(Vec<u8>),
}

/// What the provider returns for a code.
#[derive(Clone)]
struct Grant {
    id_token: String,
    /// Claims of the user info endpoint.
    user_info: Value,
    /// The PKCE challenge.
    challenge: String,
}

struct Inner {
    key: SigningKey,
    key_id: String,
    grants: HashMap<String, Grant>,
    /// Claims of the user info endpoint by access token.
    users: HashMap<String, Value>,
    is_down: bool,
    /// Whether responses name the issuer (RFC 9207).
    names_issuer: bool,
    key_reads: u32,
    codes: u32,
}

/// The provider. It stops with the test's runtime.
#[derive(Clone)]
pub struct IdentityProvider {
    pub issuer: String,
    inner: Arc<Mutex<Inner>>,
}

/// A log-in that a browser has started.
pub struct Visit {
    pub state: String,
    pub nonce: String,
    pub challenge: String,
    /// The cookie that binds the log-in to the browser.
    pub cookie: String,
    /// All parameters of the request for authorization.
    pub parameters: BTreeMap<String, String>,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair that depends on its id.
fn key(id: &str) -> SigningKey {
    SigningKey::from_bytes(&Sha256::digest(id.as_bytes()).into())
}

impl IdentityProvider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let inner = Inner {
            key: key("k1"),
            key_id: "k1".into(),
            grants: HashMap::new(),
            users: HashMap::new(),
            is_down: false,
            names_issuer: false,
            key_reads: 0,
            codes: 0,
        };
        let provider = Self { issuer, inner: Arc::new(Mutex::new(inner)) };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/me", get(user_info))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        provider
    }

    /// Settings of this provider, with groups.
    pub fn settings(&self, name: &str) -> ProviderSettings {
        ProviderSettings {
            name: name.into(),
            display_name: "Corp".into(),
            issuer: self.issuer.clone(),
            client_id: CLIENT_ID.into(),
            client_secret: Some(CLIENT_SECRET.into()),
            scopes: vec!["profile".into(), "email".into()],
            claims: ClaimRules {
                username: "preferred_username".into(),
                groups: Some("groups".into()),
                admin_groups: vec!["admins".into()],
                auditor_groups: vec!["auditors".into()],
                user_groups: Vec::new(),
                trusts_email: false,
            },
            creates_accounts: true,
            links_by_username: false,
            logs_out: true,
            clock_skew: Duration::seconds(60),
        }
    }

    /// Starts a server with this provider as `corp`.
    pub async fn server(&self, kind: DatabaseKind, adjust: impl FnOnce(&mut Config)) -> TestServer {
        TestServer::start_with(kind, |config| {
            config.service.single_sign_on.providers.push(self.settings("corp"));
            adjust(config);
        })
        .await
    }

    pub fn set_down(&self, is_down: bool) {
        self.inner.lock().is_down = is_down;
    }

    pub fn name_issuer(&self) {
        self.inner.lock().names_issuer = true;
    }

    /// Replaces the key.
    pub fn rotate(&self, id: &str) {
        let mut inner = self.inner.lock();
        (inner.key, inner.key_id) = (key(id), id.to_owned());
    }

    /// How often the keys were read.
    pub fn key_reads(&self) -> u32 {
        self.inner.lock().key_reads
    }

    /// The public key, as a confused verifier could use it for HMAC.
    pub fn public_key(&self) -> Vec<u8> {
        self.inner.lock().key.verifying_key().as_bytes().to_vec()
    }

    pub fn sign(&self, claims: &Value, signature: &Signature) -> String {
        let inner = self.inner.lock();
        let (algorithm, id) = match signature {
            Signature::Current => ("EdDSA", inner.key_id.as_str()),
            Signature::Foreign(id) => ("EdDSA", id.as_str()),
            Signature::None => ("none", inner.key_id.as_str()),
            Signature::Hmac(_) => ("HS256", inner.key_id.as_str()),
        };
        let head = json!({"alg": algorithm, "kid": id});
        let content = format!("{}.{}", encode(head.to_string()), encode(claims.to_string()));
        let signed = match signature {
            Signature::Current => encode(inner.key.sign(content.as_bytes()).to_bytes()),
            Signature::Foreign(_) => encode(key("foreign").sign(content.as_bytes()).to_bytes()),
            Signature::None => String::new(),
            Signature::Hmac(secret) => {
                let mut mac = hmac::Hmac::<Sha256>::new_from_slice(secret).unwrap();
                mac.update(content.as_bytes());
                encode(mac.finalize().into_bytes())
            }
        };
        format!("{content}.{signed}")
    }

    /// The claims of a valid ID token for a visit, changed by `more`. A null removes a claim.
    pub fn claims(&self, t: &TestServer, visit: &Visit, more: Value) -> Value {
        let now = t.now().timestamp();
        let mut claims = json!({
            "iss": self.issuer, "sub": "42", "aud": CLIENT_ID, "iat": now, "exp": now + 300, "auth_time": now,
            "nonce": visit.nonce, "preferred_username": "Carol@corp.example", "email": "carol@corp.example",
            "email_verified": true, "groups": ["staff"], "sid": "session-1",
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    /// Registers a code for an ID token.
    pub fn code(&self, visit: &Visit, claims: &Value, signature: &Signature, user_info: Value) -> String {
        let id_token = self.sign(claims, signature);
        let mut inner = self.inner.lock();
        inner.codes += 1;
        let code = format!("code-{}", inner.codes);
        inner.grants.insert(code.clone(), Grant { id_token, user_info, challenge: visit.challenge.clone() });
        code
    }

    /// Starts a log-in, as a browser does.
    pub async fn visit(&self, t: &TestServer, path: &str) -> Visit {
        let reply = t.anonymous.send(Method::GET, path, 303, |r| r).await;
        self.visit_of(reply.header("location"), reply.header("set-cookie"))
    }

    pub fn visit_of(&self, location: &str, cookie: &str) -> Visit {
        let url = url::Url::parse(location).unwrap();
        assert!(location.starts_with(&format!("{}/authorize?", self.issuer)), "{location}");
        let parameters: BTreeMap<String, String> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Visit {
            state: parameters["state"].clone(),
            nonce: parameters["nonce"].clone(),
            challenge: parameters["code_challenge"].clone(),
            cookie: cookie.split(';').next().unwrap().to_owned(),
            parameters,
        }
    }

    /// Logs in with claims that are changed by `more`.
    pub async fn log_in(&self, t: &TestServer, more: Value, expected: u16) -> Reply {
        let visit = self.visit(t, "//oidc/corp/start?to=/reservations").await;
        let claims = self.claims(t, &visit, more);
        let code = self.code(&visit, &claims, &Signature::Current, json!({"sub": claims["sub"]}));
        self.finish(t, &visit, &format!("code={code}&state={}", visit.state), expected).await
    }

    /// Returns to the server with these parameters.
    pub async fn finish(&self, t: &TestServer, visit: &Visit, query: &str, expected: u16) -> Reply {
        let path = format!("//oidc/corp/callback?{query}");
        t.anonymous.send(Method::GET, &path, expected, |r| r.header("cookie", &visit.cookie)).await
    }
}

/// The session token of a finished log-in.
pub fn session_of(reply: &Reply) -> String {
    let cookies = reply.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
    let session = cookies.filter_map(|cookie| cookie.strip_prefix("berth_session=")).next();
    session.unwrap_or_else(|| panic!("no session in {:?}", reply.headers)).split(';').next().unwrap().to_owned()
}

async fn configuration(State(provider): State<IdentityProvider>) -> Response {
    let inner = provider.inner.lock();
    if inner.is_down {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"), "userinfo_endpoint": format!("{issuer}/me"),
        "end_session_endpoint": format!("{issuer}/end"), "response_types_supported": ["code"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["EdDSA", "HS256", "none"],
        "authorization_response_iss_parameter_supported": inner.names_issuer,
    }))
    .into_response()
}

async fn keys(State(provider): State<IdentityProvider>) -> Json<Value> {
    let mut inner = provider.inner.lock();
    inner.key_reads += 1;
    let x = encode(inner.key.verifying_key().as_bytes());
    Json(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": inner.key_id, "use": "sig", "alg": "EdDSA"}]}))
}

async fn token(
    State(provider): State<IdentityProvider>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let mut inner = provider.inner.lock();
    let reject = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    // RFC 6749 §2.3.1: both parts are encoded like the values of a form.
    let encoded = url::form_urlencoded::byte_serialize(CLIENT_SECRET.as_bytes()).collect::<String>();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT_ID}:{encoded}"));
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value.to_str().unwrap() != format!("Basic {basic}")) {
        return reject("invalid_client");
    }
    // A code can be used once.
    let Some(grant) = inner.grants.remove(&form["code"]) else { return reject("invalid_grant") };
    if encode(Sha256::digest(form["code_verifier"].as_bytes())) != grant.challenge {
        return reject("invalid_grant");
    }
    let access_token = format!("access-{}", form["code"]);
    inner.users.insert(access_token.clone(), grant.user_info);
    Json(json!({"access_token": access_token, "token_type": "Bearer", "expires_in": 300, "id_token": grant.id_token}))
        .into_response()
}

async fn user_info(State(provider): State<IdentityProvider>, headers: HeaderMap) -> Response {
    let token = headers[header::AUTHORIZATION].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    match provider.inner.lock().users.get(&token) {
        Some(claims) => Json(claims.clone()).into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}
