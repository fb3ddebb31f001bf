//! Reading of responses up to the cap.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

/// Maximum size of a response body that is read and recorded, in bytes (docs/contract.md §2).
pub(crate) const MAX_RESPONSE: usize = 64 * 1024;

/// A response, with its body up to the cap.
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) version: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) truncated: bool,
}

/// Reads at most `cap` bytes of a body. Returns whether it is longer.
pub(crate) async fn read_body(response: &mut reqwest::Response, cap: usize) -> Result<(Bytes, bool), reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        let left = cap - body.len();
        if chunk.len() > left {
            body.extend_from_slice(&chunk[..left]);
            return Ok((body.freeze(), true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body.freeze(), false))
}
