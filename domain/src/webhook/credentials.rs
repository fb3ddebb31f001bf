//! Custom headers with secret values, and the rule that stored credentials do not follow a changed URL.

use super::{AuthInput, AuthView, WebhookInput};
use crate::endpoint::same_origin;
use crate::problem::Validator;
use serde::{Deserialize, Serialize};

/// A custom header of a webhook.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CustomHeader {
    /// The name, a token of RFC 9110 §5.6.2.
    pub name: String,
    /// The value. Responses have `""` in the place of a secret one. In a PATCH, `""` keeps the stored secret value of the
    /// same name.
    pub value: String,
    /// Whether the value is a secret, which is encrypted and not shown. When absent: true if the name contains
    /// `authorization`, `key`, `token` or `secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<bool>,
}

// Keeps secret values out of logs.
impl std::fmt::Debug for CustomHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = if self.is_secret() { "…" } else { &self.value };
        write!(f, "{}: {value}", self.name)
    }
}

/// Whether a header with this name is a secret, unless the administrator states otherwise.
pub fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "key", "token", "secret"].iter().any(|word| name.contains(word))
}

impl CustomHeader {
    /// A header whose name decides whether it is a secret.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), secret: None }
    }

    /// Whether the value is a secret.
    pub fn is_secret(&self) -> bool {
        self.secret.unwrap_or_else(|| is_secret_header(&self.name))
    }

    /// The header without a secret value, for responses.
    #[must_use]
    pub fn masked(&self) -> Self {
        if !self.is_secret() {
            return self.clone();
        }
        Self { name: self.name.clone(), value: String::new(), secret: Some(true) }
    }

    /// The header of the same name, which may differ in case.
    pub fn find<'a>(&self, among: &'a [Self]) -> Option<&'a Self> {
        among.iter().find(|other| other.name.eq_ignore_ascii_case(&self.name))
    }
}

/// The stored settings on which the use of stored credentials depends.
#[derive(Debug, Clone, Copy)]
pub struct StoredCredentials<'a> {
    /// The endpoint URL.
    pub endpoint_url: &'a str,
    /// The method with a stored secret; [`AuthView::None`] without one.
    pub auth: &'a AuthView,
    /// The custom headers.
    pub headers: &'a [CustomHeader],
    /// Whether the private key of a client certificate is stored. It may be used for another endpoint: TLS does not reveal it.
    pub has_client_key: bool,
}

/// Why a stored credential cannot be kept after a change of the endpoint.
const ENDPOINT_CHANGED: &str = "The endpoint URL has another scheme, host or port. Enter this credential again: Berth does not send a stored one to another server.";

impl StoredCredentials<'_> {
    /// Checks that a change enters the credentials again that would otherwise be sent to another server or in another
    /// header. Who may change a webhook could read them there.
    pub(super) fn check(self, input: &WebhookInput, validator: &mut Validator) {
        let same_endpoint = same_origin(self.endpoint_url, &input.endpoint_url);
        match (&input.auth, self.auth) {
            (AuthInput::ApiKey { header, key }, AuthView::ApiKey { header: stored }) if key.is_empty() => {
                if !same_endpoint {
                    validator.error("auth.key", ENDPOINT_CHANGED);
                } else if !header.eq_ignore_ascii_case(stored) {
                    validator.error(
                        "auth.key",
                        "The key moves to another header. Enter it again: Berth does not send a stored one in another header.",
                    );
                }
            }
            (AuthInput::Oauth2 { token_url, client_secret, .. }, AuthView::Oauth2 { token_url: stored, .. })
                if client_secret.is_empty() =>
            {
                if !same_endpoint {
                    validator.error("auth.client_secret", ENDPOINT_CHANGED);
                } else if !same_origin(stored, token_url) {
                    validator.error(
                        "auth.client_secret",
                        "The token URL has another scheme, host or port. Enter the client secret again: Berth does not send a stored one to another server.",
                    );
                }
            }
            (AuthInput::ApiKey { key: secret, .. }, _) if secret.is_empty() => {
                validator.error("auth.key", "Enter the API key of your service.");
            }
            (AuthInput::Oauth2 { client_secret: secret, .. }, _) if secret.is_empty() => {
                validator.error("auth.client_secret", "Enter the client secret.");
            }
            _ => {}
        }
        for (n, header) in input.headers.iter().enumerate().filter(|(_, header)| keeps_value(header)) {
            let field = || format!("headers.{n}.value");
            match header.find(self.headers).filter(|stored| stored.is_secret()) {
                None => validator.error(field(), "Enter the value of this header."),
                Some(_) if !same_endpoint => validator.error(field(), ENDPOINT_CHANGED),
                Some(_) => {}
            }
        }
    }
}

/// Checks that new settings contain every credential.
pub(super) fn check_new(input: &WebhookInput, validator: &mut Validator) {
    StoredCredentials { endpoint_url: "", auth: &AuthView::None, headers: &[], has_client_key: false }
        .check(input, validator);
}

/// Whether an input keeps the stored value of a secret header.
fn keeps_value(header: &CustomHeader) -> bool {
    header.is_secret() && header.value.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::UrlPolicy;
    use crate::webhook::check;
    use serde_json::{Value, json};

    fn invalid(change: Value) -> Vec<String> {
        let auth = json!({"method": "api_key", "header": "X-API-Key"});
        invalid_with(&serde_json::from_value(auth).unwrap(), change)
    }

    fn invalid_with(auth: &AuthView, change: Value) -> Vec<String> {
        let headers = [CustomHeader::new("X-Token", ""), CustomHeader::new("X-Team", "ml")];
        let stored = StoredCredentials {
            endpoint_url: "https://a.example/hook",
            auth,
            headers: &headers,
            has_client_key: false,
        };
        let mut input = json!({
            "name": "A", "endpoint_url": "https://a.example/hook", "events": ["reservation.created"],
            "auth": {"method": "api_key", "header": "X-API-Key"},
        });
        input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let input: WebhookInput = serde_json::from_value(input).unwrap();
        let checked = check(&input, &UrlPolicy { allow_http: true, ..UrlPolicy::default() }, Some(stored));
        checked.err().into_iter().flat_map(|problem| problem.errors).map(|error| error.field).collect()
    }

    #[test]
    fn changed_origin_or_header_requires_the_credential_again() {
        let token = |value: &str| json!([{"name": "x-token", "value": value}, {"name": "X-Team", "value": "ml"}]);
        for kept in ["https://a.example/hook", "https://A.example:443/other?x=1", "https://a.example"] {
            assert_eq!(invalid(json!({"endpoint_url": kept, "headers": token("")})), [""; 0], "{kept}");
        }
        for url in ["http://a.example/hook", "https://b.example/hook", "https://a.example:8443/hook"] {
            let fields = invalid(json!({"endpoint_url": url, "headers": token("")}));
            assert_eq!(fields, ["auth.key", "headers.0.value"], "{url}");
            let auth = json!({"method": "api_key", "header": "X-API-Key", "key": "again"});
            assert_eq!(invalid(json!({"endpoint_url": url, "auth": auth, "headers": token("again")})), [""; 0]);
        }
        let renamed = |key: &str| json!({"auth": {"method": "api_key", "header": "X-Other", "key": key}});
        assert_eq!(invalid(renamed("")), ["auth.key"]);
        assert_eq!(invalid(renamed("again")), [""; 0]);
        assert_eq!(invalid(json!({"headers": [{"name": "X-Secret", "value": ""}]})), ["headers.0.value"]);
        assert_eq!(invalid(json!({"headers": [{"name": "X-Team", "value": "", "secret": true}]})), ["headers.0.value"]);
    }

    #[test]
    fn changed_token_url_requires_the_client_secret_again() {
        let oauth = |url: &str, secret: &str| json!({"method": "oauth2", "token_url": url, "client_id": "b", "client_secret": secret});
        let mut stored = oauth("https://idp.example/token", "");
        stored.as_object_mut().unwrap().remove("client_secret");
        let stored: AuthView = serde_json::from_value(stored).unwrap();
        let fields = |url: &str, secret: &str| invalid_with(&stored, json!({"auth": oauth(url, secret)}));
        assert_eq!(fields("https://idp.example/oauth", ""), [""; 0]);
        assert_eq!(fields("https://evil.example/token", ""), ["auth.client_secret"]);
        assert_eq!(fields("https://evil.example/token", "again"), [""; 0]);
        let moved = json!({"auth": oauth("https://idp.example/token", ""), "endpoint_url": "https://evil.example/"});
        assert_eq!(invalid_with(&stored, moved), ["auth.client_secret"], "the token would be sent to the new endpoint");
        assert_eq!(fields("https://idp.example/token", ""), [""; 0]);
    }

    #[test]
    fn secret_headers_are_masked() {
        for name in ["Proxy-Authorization", "X-API-Key", "x-auth-TOKEN", "Client-Secret"] {
            let header = CustomHeader::new(name, "hunter2");
            assert_eq!((header.masked().value.as_str(), header.masked().secret), ("", Some(true)), "{name}");
            assert!(!format!("{header:?}").contains("hunter2"));
        }
        assert_eq!(CustomHeader::new("X-Team", "ml").masked().value, "ml");
        let public = CustomHeader { secret: Some(false), ..CustomHeader::new("X-Keyboard", "us") };
        assert_eq!(public.masked(), public);
        let marked = CustomHeader { secret: Some(true), ..CustomHeader::new("X-Team", "ml") };
        assert_eq!(marked.masked().value, "");
    }
}
