//! Authentication of requests to a receiver (docs/contract.md §1).

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Authentication settings as entered, with secrets.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum AuthInput {
    /// No extra credentials; requests are signed.
    None,
    /// A header with a key.
    ApiKey {
        /// `X-API-Key` when absent. For `Authorization`, include the scheme in the key: `Bearer <key>`.
        #[serde(default = "default_key_header")]
        header: String,
        /// The key. In a PATCH, an absent or empty key keeps the stored one.
        #[serde(default)]
        key: String,
    },
    /// OAuth 2.0 client credentials (RFC 6749 §4.4).
    Oauth2 {
        /// The token endpoint.
        token_url: String,
        /// The client id.
        client_id: String,
        /// The client secret. In a PATCH, an absent or empty secret keeps the stored one.
        #[serde(default)]
        client_secret: String,
        /// Space-separated scopes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        /// Audience, if the authorisation server requires one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
    },
}

/// The fields of every method. A derived enum would read them from an array too, and would not name an invalid field.
#[derive(Deserialize)]
struct AuthFields {
    method: AuthMethod,
    #[serde(default, deserialize_with = "present")]
    header: Option<String>,
    #[serde(default, deserialize_with = "present")]
    key: Option<String>,
    #[serde(default, deserialize_with = "present")]
    token_url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    client_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    client_secret: Option<String>,
    scope: Option<String>,
    audience: Option<String>,
}

/// The method of [`AuthFields`].
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AuthMethod {
    None,
    ApiKey,
    Oauth2,
}

/// Reads a field that can be absent but not null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

impl AuthFields {
    /// The first of these fields that is set.
    fn first_of(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| match *name {
            "header" => self.header.is_some(),
            "key" => self.key.is_some(),
            "token_url" => self.token_url.is_some(),
            "client_id" => self.client_id.is_some(),
            "client_secret" => self.client_secret.is_some(),
            "scope" => self.scope.is_some(),
            _ => self.audience.is_some(),
        })
    }
}

const KEY_FIELDS: [&str; 2] = ["header", "key"];
const OAUTH2_FIELDS: [&str; 5] = ["token_url", "client_id", "client_secret", "scope", "audience"];

impl<'de> Deserialize<'de> for AuthInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = AuthFields::deserialize(deserializer)?;
        let (foreign, known): (Option<&'static str>, &'static [&'static str]) = match fields.method {
            AuthMethod::None => (fields.first_of(&KEY_FIELDS).or(fields.first_of(&OAUTH2_FIELDS)), &["method"]),
            AuthMethod::ApiKey => (fields.first_of(&OAUTH2_FIELDS), &["method", "header", "key"]),
            AuthMethod::Oauth2 => (
                fields.first_of(&KEY_FIELDS),
                &["method", "token_url", "client_id", "client_secret", "scope", "audience"],
            ),
        };
        if let Some(field) = foreign {
            return Err(D::Error::unknown_field(field, known));
        }
        Ok(match fields.method {
            AuthMethod::None => Self::None,
            AuthMethod::ApiKey => Self::ApiKey {
                header: fields.header.unwrap_or_else(default_key_header),
                key: fields.key.unwrap_or_default(),
            },
            AuthMethod::Oauth2 => Self::Oauth2 {
                token_url: fields.token_url.ok_or_else(|| D::Error::missing_field("token_url"))?,
                client_id: fields.client_id.ok_or_else(|| D::Error::missing_field("client_id"))?,
                client_secret: fields.client_secret.unwrap_or_default(),
                scope: fields.scope,
                audience: fields.audience,
            },
        })
    }
}

impl std::fmt::Debug for AuthInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.redacted().fmt(f)
    }
}

/// `X-API-Key`, the default header of [`AuthInput::ApiKey`].
pub fn default_key_header() -> String {
    "X-API-Key".to_owned()
}

/// Authentication settings without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum AuthView {
    /// No extra credentials; requests are signed.
    None,
    /// A header with a key.
    ApiKey {
        /// The header's name.
        header: String,
    },
    /// OAuth 2.0 client credentials.
    Oauth2 {
        /// The token endpoint.
        token_url: String,
        /// The client id.
        client_id: String,
        /// Space-separated scopes.
        scope: Option<String>,
        /// Audience.
        audience: Option<String>,
    },
}

impl AuthInput {
    /// The settings without secrets.
    pub fn redacted(&self) -> AuthView {
        match self {
            Self::None => AuthView::None,
            Self::ApiKey { header, .. } => AuthView::ApiKey { header: header.clone() },
            Self::Oauth2 { token_url, client_id, scope, audience, .. } => AuthView::Oauth2 {
                token_url: token_url.clone(),
                client_id: client_id.clone(),
                scope: scope.clone(),
                audience: audience.clone(),
            },
        }
    }
}
