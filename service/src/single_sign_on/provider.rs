//! The protocol with one identity provider: discovery, the request for authorization, tokens and their verification.

use super::http::{HttpClient, HttpError};
use crate::settings::ProviderSettings;
use chrono::{DateTime, Duration, Utc};
use domain::single_sign_on::Claims;
use domain::{Problem, ProblemKind};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreGrantType, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreSubjectIdentifierType, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AdditionalClaims, AdditionalProviderMetadata, AuthType, AuthorizationCode,
    ClaimsVerificationError, Client, ClientId, ClientSecret, CsrfToken, EmptyExtraTokenFields, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, IdTokenFields, IdTokenVerifier, IssuerUrl, JsonWebTokenType, LogoutProviderMetadata,
    LogoutRequest, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl,
    ProviderMetadata, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError, StandardErrorResponse,
    StandardTokenResponse, TokenResponse as _, UserInfoClaims,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Age after which the configuration and the keys of a provider are read again.
const FRESH: Duration = Duration::hours(1);
/// Age until which they are used while the provider cannot be reached.
const USABLE: Duration = Duration::hours(24);
/// Minimum time between two reads because of an unknown key or after a failure. Tokens with invented keys must not cause
/// a request each.
const REFRESH_INTERVAL: Duration = Duration::seconds(10);
/// Maximum age of the session at a provider. Providers must state when the user entered a credential (`auth_time`) if a
/// request has a maximum; this one is too long to have another effect.
const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3_600);
/// The event of a log-out token (OpenID Connect Back-Channel Logout 1.0 §2.4).
const LOG_OUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Accepted algorithms of signatures. All are asymmetric: with HMAC, everybody who knows the client secret could sign, and
/// a public key could be taken for a secret.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Metadata that the specification of OpenID Connect does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Extensions {
    /// Whether responses name the issuer (RFC 9207).
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}
impl AdditionalProviderMetadata for Extensions {}

/// Every claim that the crate has no field for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OtherClaims {
    #[serde(flatten)]
    claims: Claims,
}
impl AdditionalClaims for OtherClaims {}

type Metadata = ProviderMetadata<
    LogoutProviderMetadata<Extensions>,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;
type Fields = IdTokenFields<
    OtherClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Tokens = StandardTokenResponse<Fields, CoreTokenType>;
type TokenError = StandardErrorResponse<CoreErrorResponseType>;
type OpenIdClient = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    TokenError,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;
type IdToken =
    openidconnect::IdToken<OtherClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

/// A request for authorization, to which the browser is redirected.
pub(super) struct Authorization {
    pub(super) url: String,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
}

/// A verified user of a provider.
pub(super) struct Verified {
    pub(super) subject: String,
    /// The claims of the ID token and of the user info endpoint.
    pub(super) claims: Claims,
    /// Time at which the user entered a credential at the provider, if the provider states it.
    pub(super) authenticated_at: Option<DateTime<Utc>>,
    /// Session at the provider (claim `sid`).
    pub(super) session: Option<String>,
    pub(super) id_token: SecretString,
}

/// The configuration of a provider, as read from it.
struct Discovered {
    metadata: Metadata,
    read_at: DateTime<Utc>,
}

#[derive(Default)]
struct Cache {
    current: Option<Arc<Discovered>>,
    /// Time of the last read that failed or was caused by an unknown key.
    held_back_since: Option<DateTime<Utc>>,
}

/// One provider.
pub(super) struct Provider {
    pub(super) settings: ProviderSettings,
    http: HttpClient,
    redirect_url: RedirectUrl,
    issuer: IssuerUrl,
    /// Locked during a read, so that concurrent log-ins share it.
    cache: Mutex<Cache>,
}

impl Provider {
    /// Creates the client of a provider. Reads nothing yet: a provider that is down does not prevent the start.
    ///
    /// # Errors
    /// A sentence for the operator if a URL is invalid.
    pub(super) fn new(settings: ProviderSettings, http: reqwest::Client, redirect_url: String) -> Result<Self, String> {
        let invalid = |error: url::ParseError| format!("The provider {} has an invalid URL: {error}", settings.name);
        Ok(Self {
            redirect_url: RedirectUrl::new(redirect_url).map_err(invalid)?,
            issuer: IssuerUrl::new(settings.issuer.clone()).map_err(invalid)?,
            // Only in development, a provider on this machine may work without TLS.
            http: HttpClient::new(http, settings.issuer.starts_with("http://")),
            settings,
            cache: Mutex::default(),
        })
    }

    fn display_name(&self) -> &str {
        &self.settings.display_name
    }

    /// The problem for users while the provider does not work. The log contains the cause.
    fn unavailable(&self) -> Problem {
        let mut problem = Problem::new(
            ProblemKind::Unavailable,
            format!(
                "{} cannot be reached, or its configuration is wrong. Try again in a minute, or ask an administrator.",
                self.display_name()
            ),
        );
        problem.retry_after = Some(10);
        problem
    }

    /// The problem for users if a response cannot be trusted. The log contains the cause.
    fn untrusted(&self, reason: &str) -> Problem {
        tracing::warn!(provider = %self.settings.name, reason, "the response of an identity provider was rejected");
        metrics::counter!("berth_oidc_log_ins_total", "provider" => self.settings.name.clone(), "outcome" => "rejected")
            .increment(1);
        Problem::forbidden(format!(
            "The response of {} could not be verified. Log in again. If it happens again, ask an administrator: the server \
             log contains the reason.",
            self.display_name()
        ))
    }

    /// Reads the configuration if it is older than an hour. Keeps the last one while the provider cannot be reached.
    ///
    /// # Errors
    /// 503 if there is none.
    pub(super) async fn refresh(&self, now: DateTime<Utc>) -> Result<(), Problem> {
        self.discovered(now).await.map(drop)
    }

    async fn discovered(&self, now: DateTime<Utc>) -> Result<Arc<Discovered>, Problem> {
        let mut cache = self.cache.lock().await;
        let age = cache.current.as_ref().map(|current| (now - current.read_at).abs());
        let is_held_back = cache.held_back_since.is_some_and(|at| (now - at).abs() < REFRESH_INTERVAL);
        match &cache.current {
            Some(current) if age.is_some_and(|age| age < FRESH) => Ok(current.clone()),
            current if is_held_back => {
                current.clone().filter(|_| age.is_some_and(|age| age < USABLE)).ok_or_else(|| self.unavailable())
            }
            _ => self.read(&mut cache, now).await,
        }
    }

    /// Reads the configuration and the keys because of an unknown key; `None` if they were read just before.
    async fn rediscovered(&self, now: DateTime<Utc>) -> Option<Arc<Discovered>> {
        let mut cache = self.cache.lock().await;
        if cache.held_back_since.is_some_and(|at| (now - at).abs() < REFRESH_INTERVAL) {
            return None;
        }
        cache.held_back_since = Some(now);
        self.read(&mut cache, now).await.ok()
    }

    async fn read(&self, cache: &mut Cache, now: DateTime<Utc>) -> Result<Arc<Discovered>, Problem> {
        let result = Metadata::discover_async(self.issuer.clone(), &self.http).await;
        let gauge = metrics::gauge!("berth_oidc_provider_up", "provider" => self.settings.name.clone());
        match result {
            Ok(metadata) => {
                gauge.set(1.0);
                let discovered = Arc::new(Discovered { metadata, read_at: now });
                cache.current = Some(discovered.clone());
                Ok(discovered)
            }
            Err(error) => {
                gauge.set(0.0);
                cache.held_back_since = Some(now);
                let error = error_text(&error);
                tracing::warn!(
                    provider = %self.settings.name,
                    issuer = %self.settings.issuer,
                    error,
                    "the configuration of an identity provider cannot be read"
                );
                let usable = cache.current.clone().filter(|current| (now - current.read_at).abs() < USABLE);
                usable.ok_or_else(|| self.unavailable())
            }
        }
    }

    fn client(&self, discovered: &Discovered) -> OpenIdClient {
        let secret = self.settings.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned()));
        let metadata = discovered.metadata.clone();
        // HTTP Basic is the default of the specification; some providers accept only parameters in the body.
        let methods = metadata.token_endpoint_auth_methods_supported().cloned().unwrap_or_default();
        let is_post_only = methods.contains(&CoreClientAuthMethod::ClientSecretPost)
            && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic);
        OpenIdClient::from_provider_metadata(metadata, ClientId::new(self.settings.client_id.clone()), secret)
            .set_auth_type(if is_post_only { AuthType::RequestBody } else { AuthType::BasicAuth })
            .set_redirect_uri(self.redirect_url.clone())
    }

    /// The address to which the browser is redirected. With `confirms`, the user must enter a credential there even
    /// during a session.
    ///
    /// # Errors
    /// 503 if the provider cannot be reached.
    pub(super) async fn authorize(&self, now: DateTime<Utc>, confirms: bool) -> Result<Authorization, Problem> {
        let discovered = self.discovered(now).await?;
        let client = self.client(&discovered);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut request = client
            .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(self.settings.scopes.iter().map(|scope| Scope::new(scope.clone())))
            .set_pkce_challenge(challenge)
            .set_max_age(if confirms { std::time::Duration::ZERO } else { MAX_AGE });
        if confirms {
            request = request
                .add_prompt(CoreAuthPrompt::Login)
                .add_extra_param("claims", r#"{"id_token":{"auth_time":{"essential":true}}}"#);
        }
        let (url, state, nonce) = request.url();
        Ok(Authorization {
            url: url.into(),
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
        })
    }

    /// Checks that the response comes from this provider and not from another one (RFC 9207).
    ///
    /// # Errors
    /// 403 if it does not.
    pub(super) async fn check_issuer(&self, issuer: Option<&str>, now: DateTime<Utc>) -> Result<(), Problem> {
        match issuer {
            Some(issuer) if issuer == self.settings.issuer => Ok(()),
            Some(_) => Err(self.untrusted("the parameter iss names another provider")),
            None => {
                let metadata = &self.discovered(now).await?.metadata;
                let extensions = &metadata.additional_metadata().additional_metadata;
                if extensions.authorization_response_iss_parameter_supported {
                    return Err(self.untrusted("the parameter iss is missing"));
                }
                Ok(())
            }
        }
    }

    /// Exchanges a code for tokens, and verifies them.
    ///
    /// # Errors
    /// 403 if the response cannot be trusted; 503 if the provider cannot be reached.
    pub(super) async fn exchange(
        &self,
        code: String,
        verifier: String,
        nonce: &str,
        now: DateTime<Utc>,
    ) -> Result<Verified, Problem> {
        let discovered = self.discovered(now).await?;
        let client = self.client(&discovered);
        let request = client.exchange_code(AuthorizationCode::new(code));
        let request = request.map_err(|_| self.untrusted("the provider has no token endpoint"))?;
        let tokens = request.set_pkce_verifier(PkceCodeVerifier::new(verifier)).request_async(&self.http).await;
        let tokens = tokens.map_err(|error| self.token_problem(&error))?;
        let id_token = tokens.id_token().ok_or_else(|| self.untrusted("the response contains no ID token"))?;
        let (claims, discovered) = self.verify(id_token, Some(nonce), discovered, now).await?;
        self.check_access_token(&tokens, id_token, &discovered, &claims)?;
        let subject = text(&claims, "sub").unwrap_or_default().to_owned();
        let authenticated_at = claims.get("auth_time").and_then(Value::as_i64);
        let mut verified = Verified {
            authenticated_at: authenticated_at.and_then(|at| DateTime::from_timestamp(at, 0)).map(|at| at.min(now)),
            session: text(&claims, "sid").map(str::to_owned),
            id_token: SecretString::from(id_token.to_string()),
            subject,
            claims,
        };
        if !self.settings.claims.is_complete(&verified.claims)
            && let Some(more) = self.user_info(&client, &tokens, &verified.subject).await?
        {
            // The signed claims win.
            for (name, value) in more {
                verified.claims.entry(name).or_insert(value);
            }
        }
        Ok(verified)
    }

    fn token_problem(&self, error: &RequestTokenError<HttpError, TokenError>) -> Problem {
        match error {
            RequestTokenError::ServerResponse(response) => {
                self.untrusted(&format!("the token endpoint rejected the code: {:?}", response.error()))
            }
            RequestTokenError::Request(error) => {
                tracing::warn!(provider = %self.settings.name, %error, "the token endpoint cannot be reached");
                self.unavailable()
            }
            // The response may contain tokens.
            RequestTokenError::Parse(error, _) => {
                self.untrusted(&format!("the response of the token endpoint cannot be read at {}", error.path()))
            }
            RequestTokenError::Other(reason) => self.untrusted(reason),
        }
    }

    /// Verifies an ID token. A key that is not known may be new, so the keys are read again once.
    async fn verify(
        &self,
        token: &IdToken,
        nonce: Option<&str>,
        discovered: Arc<Discovered>,
        now: DateTime<Utc>,
    ) -> Result<(Claims, Arc<Discovered>), Problem> {
        let mut discovered = discovered;
        let mut result = self.verified_claims(token, nonce, &discovered, now);
        if matches!(&result, Err(error) if is_unknown_key(error))
            && let Some(newer) = self.rediscovered(now).await
        {
            discovered = newer;
            result = self.verified_claims(token, nonce, &discovered, now);
        }
        result.map(|claims| (claims, discovered)).map_err(|error| self.untrusted(&error_text(&error)))
    }

    fn verified_claims(
        &self,
        token: &IdToken,
        nonce: Option<&str>,
        discovered: &Discovered,
        now: DateTime<Utc>,
    ) -> Result<Claims, ClaimsVerificationError> {
        let skew = self.settings.clock_skew;
        let client_id = ClientId::new(self.settings.client_id.clone());
        let keys = discovered.metadata.jwks().clone();
        let is_log_out = nonce.is_none();
        let mut verifier = IdTokenVerifier::new_public_client(client_id, self.issuer.clone(), keys)
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(move || now - skew)
            .set_issue_time_verifier_fn(move |issued_at| {
                if issued_at <= now + skew { Ok(()) } else { Err("the token was issued in the future".into()) }
            });
        if is_log_out {
            let types = ["JWT", "logout+jwt"].map(|name| JsonWebTokenType::new(name.to_owned()).normalize());
            verifier = verifier.set_allowed_jose_types(types.into_iter().flatten());
        }
        let claims = match nonce {
            Some(nonce) => token.claims(&verifier, &Nonce::new(nonce.to_owned())),
            None => token.claims(&verifier, |nonce: Option<&Nonce>| match nonce {
                Some(_) => Err("a log-out token has no nonce".to_owned()),
                None => Ok(()),
            }),
        }?;
        let claims = serde_json::to_value(claims).map_err(|error| ClaimsVerificationError::Other(error.to_string()))?;
        match claims {
            // With one audience, the crate accepts every authorized party.
            Value::Object(claims) if text(&claims, "azp").is_some_and(|party| party != self.settings.client_id) => {
                Err(ClaimsVerificationError::InvalidAudience("the token was issued to another client".into()))
            }
            Value::Object(claims) => Ok(claims),
            _ => Err(ClaimsVerificationError::Other("the claims are no object".into())),
        }
    }

    /// Checks that the access token belongs to the ID token, if the provider states it (claim `at_hash`).
    fn check_access_token(
        &self,
        tokens: &Tokens,
        id_token: &IdToken,
        discovered: &Discovered,
        claims: &Claims,
    ) -> Result<(), Problem> {
        let Some(expected) = text(claims, "at_hash") else { return Ok(()) };
        let client_id = ClientId::new(self.settings.client_id.clone());
        let keys = discovered.metadata.jwks().clone();
        let verifier = IdTokenVerifier::new_public_client(client_id, self.issuer.clone(), keys);
        let actual = id_token.signing_alg().map_err(|error| error.to_string()).and_then(|algorithm| {
            let key = id_token.signing_key(&verifier).map_err(|error| error.to_string())?;
            AccessTokenHash::from_token(tokens.access_token(), algorithm, key).map_err(|error| error.to_string())
        });
        match actual {
            Ok(actual) if *actual == *expected => Ok(()),
            Ok(_) => Err(self.untrusted("the access token does not belong to the ID token")),
            Err(reason) => Err(self.untrusted(&reason)),
        }
    }

    /// The claims of the user info endpoint; `None` if the provider has none.
    async fn user_info(
        &self,
        client: &OpenIdClient,
        tokens: &Tokens,
        subject: &str,
    ) -> Result<Option<Claims>, Problem> {
        // The subject is compared by the crate.
        let subject = openidconnect::SubjectIdentifier::new(subject.to_owned());
        let Ok(request) = client.user_info(tokens.access_token().clone(), Some(subject)) else { return Ok(None) };
        let claims: Result<UserInfoClaims<OtherClaims, CoreGenderClaim>, _> = request.request_async(&self.http).await;
        let claims = claims.map_err(|error| self.untrusted(&format!("user info endpoint: {}", error_text(&error))))?;
        match serde_json::to_value(claims) {
            Ok(Value::Object(claims)) => Ok(Some(claims)),
            _ => Err(self.untrusted("the user info endpoint sent no object")),
        }
    }

    /// The address at the provider that ends the session there; `None` if the provider has none, or it cannot be reached.
    pub(super) async fn log_out_url(&self, id_token: &str, back_to: &str, now: DateTime<Utc>) -> Option<String> {
        if !self.settings.logs_out {
            return None;
        }
        let discovered = self.discovered(now).await.ok()?;
        let endpoint = discovered.metadata.additional_metadata().end_session_endpoint.clone()?;
        let id_token: IdToken = id_token.parse().ok()?;
        let request = LogoutRequest::from(endpoint)
            .set_id_token_hint(&id_token)
            .set_client_id(ClientId::new(self.settings.client_id.clone()))
            .set_post_logout_redirect_uri(PostLogoutRedirectUrl::new(back_to.to_owned()).ok()?);
        Some(request.http_get_url().into())
    }

    /// Verifies a log-out token. Returns the subject and the session at the provider.
    ///
    /// # Errors
    /// 403 if the token cannot be trusted.
    pub(super) async fn verify_log_out(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<(Option<String>, Option<String>), Problem> {
        let token: IdToken = token.parse().map_err(|_| self.untrusted("the log-out token cannot be read"))?;
        let discovered = self.discovered(now).await?;
        let (claims, _) = self.verify(&token, None, discovered, now).await?;
        // Without this check, an ID token would be accepted as a log-out token.
        let has_event = claims.get("events").is_some_and(|events| events[LOG_OUT_EVENT].is_object());
        if !has_event {
            return Err(self.untrusted("the log-out token has no log-out event"));
        }
        Ok((text(&claims, "sub").map(str::to_owned), text(&claims, "sid").map(str::to_owned)))
    }
}

fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

fn is_unknown_key(error: &ClaimsVerificationError) -> bool {
    matches!(error, ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey))
}

/// An error with its causes.
fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
