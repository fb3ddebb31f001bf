//! Letter case of header names over HTTP/1.1. They are sent as documented, because some receivers compare them with
//! case: `X-Webhook-Signature`, but `webhook-id` (Standard Webhooks), and a webhook's own headers as entered.
//!
//! The HTTP client writes names in title case (`X-Webhook-Event`), except those in a private extension of the request
//! that it creates when it parses a response ("preserve header case"). This module therefore parses a response with
//! these names.

use crate::{Auth, Target};
use http::Extensions;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Headers that are documented in lower case.
const LOWER_CASE: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
/// Maximum number of cached entries. Changed webhooks leave stale ones.
const MAX_CACHED: usize = 1_000;
/// Size of the buffers of the parsed response; its head is shorter.
const BUFFER: usize = 64 * 1_024;

/// Extensions of requests, by the names of the webhook's own headers.
#[derive(Default)]
pub(crate) struct HeaderCases {
    known: Mutex<HashMap<String, Extensions>>,
}

impl HeaderCases {
    /// The extensions for requests to a target.
    pub(crate) async fn for_target(&self, target: &Target) -> Extensions {
        if let Some(known) = self.known(target) {
            return known;
        }
        let names = own_names(target);
        // Names in title case are legal everywhere, so a failure is not worth an error.
        let extensions = parse(&names).await.unwrap_or_default();
        let mut known = self.known.lock();
        if known.len() >= MAX_CACHED {
            known.clear();
        }
        known.insert(names.into_owned(), extensions.clone());
        extensions
    }

    /// The extensions for requests to a target that has already received one.
    pub(crate) fn known(&self, target: &Target) -> Option<Extensions> {
        self.known.lock().get(&*own_names(target)).cloned()
    }
}

/// The names of the webhook's own headers as entered, separated by line breaks.
fn own_names(target: &Target) -> Cow<'_, str> {
    let credential = match &target.auth {
        Auth::ApiKey { header, .. } => header.as_str(),
        Auth::None | Auth::Oauth2 { .. } => "",
    };
    if target.headers.is_empty() {
        return credential.into();
    }
    let custom = target.headers.iter().map(|header| header.name.as_str());
    std::iter::once(credential).chain(custom).collect::<Vec<_>>().join("\n").into()
}

/// The name of one of Berth's headers as it is sent.
pub(crate) fn write_documented(text: &mut String, name: &str) {
    if LOWER_CASE.contains(&name) {
        text.push_str(name);
        return;
    }
    let mut starts_word = true;
    text.extend(name.chars().map(|letter| {
        let letter = if starts_word { letter.to_ascii_uppercase() } else { letter };
        starts_word = letter == '-';
        letter
    }));
}

/// The extensions of a parsed response with these names; `None` if a name is invalid.
async fn parse(own: &str) -> Option<Extensions> {
    let (client, mut server) = tokio::io::duplex(BUFFER);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(client))
        .await
        .ok()?;
    let mut head = "HTTP/1.1 204 No Content\r\n".to_owned();
    for name in LOWER_CASE.into_iter().chain(own.lines().filter(|name| !name.is_empty())) {
        head.push_str(name);
        head.push_str(": \r\n");
    }
    head.push_str("\r\n");
    let exchange = async {
        let respond = async {
            // The request is not of interest; its first bytes show that it was sent.
            let _ = server.read(&mut [0; 1_024]).await?;
            server.write_all(head.as_bytes()).await
        };
        let request = sender.send_request(http::Request::new(Empty::<bytes::Bytes>::new()));
        let (response, _) = tokio::join!(request, respond);
        Some(response.ok()?.into_parts().0.extensions)
    };
    tokio::select! {
        biased;
        extensions = exchange => extensions,
        _ = connection => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_berth_are_in_title_case_except_those_of_standard_webhooks() {
        for (name, expected) in [
            ("x-webhook-signature", "X-Webhook-Signature"),
            ("webhook-id", "webhook-id"),
            ("user-agent", "User-Agent"),
            ("x-1-a", "X-1-A"),
        ] {
            let mut text = String::new();
            write_documented(&mut text, name);
            assert_eq!(text, expected);
        }
    }
}
