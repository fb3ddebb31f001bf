//! Reading of responses up to the cap.

use crate::encoding::{self, Decoded, MAX_ENCODED, MAX_RESPONSE};
use bytes::{Bytes, BytesMut};
use domain::provisioning::is_intended_as_json;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// A response, with its decoded body up to the cap.
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) version: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) truncated: bool,
    /// A sentence, if the body cannot be decoded.
    pub(crate) decode_error: Option<String>,
}

impl Received {
    /// Reads and decodes the body of a response.
    ///
    /// # Errors
    /// When the body cannot be read.
    pub(crate) async fn read(response: http::Response<Incoming>) -> Result<Self, hyper::Error> {
        let (parts, body) = response.into_parts();
        let is_encoded = encoding::is_encoded(&parts.headers);
        let (body, truncated) = read_body(body, if is_encoded { MAX_ENCODED } else { MAX_RESPONSE }).await?;
        let Decoded { body, truncated, error } = encoding::decode(&parts.headers, body, truncated);
        let error = error.or_else(|| is_invalid_text(&parts.headers, &body).then(|| NOT_UTF_8.to_owned()));
        Ok(Self {
            status: parts.status.as_u16(),
            version: if parts.version == http::Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
            headers: parts.headers,
            body,
            truncated,
            decode_error: error,
        })
    }
}

/// Why a body that is intended as JSON cannot be read.
const NOT_UTF_8: &str = "The response is not valid UTF-8, which JSON requires.";

/// Whether a body is intended as JSON and is not UTF-8 (RFC 8259 §8.1). A character may be cut off at the end.
fn is_invalid_text(headers: &HeaderMap, body: &[u8]) -> bool {
    is_intended_as_json(encoding::is_json(headers), body)
        && std::str::from_utf8(body).is_err_and(|error| error.error_len().is_some())
}

/// Reads at most `cap` bytes of a body. Returns whether it is longer.
async fn read_body(mut body: Incoming, cap: usize) -> Result<(Bytes, bool), hyper::Error> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        let left = cap - read.len();
        if chunk.len() > left {
            read.extend_from_slice(&chunk[..left]);
            return Ok((read.freeze(), true));
        }
        read.extend_from_slice(&chunk);
    }
    Ok((read.freeze(), false))
}
