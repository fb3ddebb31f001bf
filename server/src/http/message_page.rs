//! Short pages that work without the app: a message with links, and the end of a visit to an identity provider.

use super::spa;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};

/// Applies the chosen theme, as in `frontend/index.html`.
const THEME_SCRIPT: &str =
    r#"try { const t = localStorage.getItem("theme"); if (t) document.documentElement.dataset.theme = t; } catch {}"#;
/// Continues other pages whose session has expired (`app/src/session.rs`). Then opens the next page or closes the window.
const DONE_SCRIPT: &str = r#"new BroadcastChannel("berth-session").postMessage("started"); const { to } = document.body.dataset; if (to) location.replace(to); else close();"#;

/// A link of a page.
pub struct Link<'a> {
    /// Its text.
    pub text: &'a str,
    /// Its address.
    pub href: &'a str,
}

/// Escapes a text for HTML.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A page with a title, a message and links. The first link is the main one.
pub fn message_page(title: &str, message: &str, links: &[Link<'_>]) -> Response {
    let links: Vec<String> = links
        .iter()
        .enumerate()
        .map(|(n, Link { text, href })| {
            let class = if n == 0 { "button primary" } else { "button" };
            format!(r#"<a class="{class}" href="{}">{}</a>"#, escape(href), escape(text))
        })
        .collect();
    page(
        title,
        "",
        &format!(
            r#"<h1>{}</h1><p role="alert">{}</p><div class="row">{}</div>"#,
            escape(title),
            escape(message),
            links.join("")
        ),
        "",
    )
}

/// The page at the end of a visit: opens `to`, or closes the window if there is none.
pub fn closing_page(to: Option<&str>) -> Response {
    let (data, text) = match to {
        Some(to) => {
            let to = escape(to);
            (format!(r#" data-to="{to}""#), format!(r#"<p><a href="{to}">Continue</a></p>"#))
        }
        None => {
            (String::new(), "<p>You can close this window and continue on the page that you came from.</p>".to_owned())
        }
    };
    page("Logged in", &data, &format!("<h1>Logged in</h1>{text}"), DONE_SCRIPT)
}

fn page(title: &str, data: &str, content: &str, script: &str) -> Response {
    let styles = spa::style_links();
    let script = if script.is_empty() { String::new() } else { format!("<script>{script}</script>") };
    let html = format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8" /><meta name="viewport" content="width=device-width, initial-scale=1" /><meta name="color-scheme" content="light dark" /><title>{} · Berth</title><link rel="icon" href="/favicon.svg" type="image/svg+xml" /><script>{THEME_SCRIPT}</script>{styles}</head><body{data}><main class="centered-page"><div><div class="brand"><img src="/favicon.svg" alt="" />Berth</div><div class="card stack">{content}</div></div></main>{script}</body></html>"#,
        escape(title)
    );
    let policy = spa::content_security_policy(&html);
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn texts_of_others_are_escaped() {
        let attack = r#"<script>alert("1")</script>&'"#;
        let links = [Link { text: attack, href: attack }];
        for response in [message_page(attack, attack, &links), closing_page(Some(attack))] {
            let html = body(response).await;
            assert!(!html.contains("alert(\"1\")") && html.contains("&lt;script&gt;"), "{html}");
        }
    }
}
