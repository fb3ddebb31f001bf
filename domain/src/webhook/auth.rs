//! Authentication of requests to a receiver (docs/contract.md §1).

use serde::{Deserialize, Serialize};

/// Authentication settings as entered, with secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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
