//! The page's files: embedded in release builds, read from `dist/` in debug builds. All files except the page itself are
//! compressed at build time.

use super::AppState;
use super::extract::session;
use super::message_page::escape;
use super::problem::{ApiError, unknown_route};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use domain::single_sign_on::LocalLogIn;
use domain::{Problem, ProblemKind};
use service::single_sign_on::SingleSignOnSettings;
use sha2::Digest as _;
use url::form_urlencoded;

#[derive(rust_embed::RustEmbed)]
#[folder = "../dist"]
struct Dist;

/// Content security policy of scripts. It applies to the worker of the live feed, which runs with the policy of its own file.
const SCRIPT_POLICY: &str = "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";
/// Parameter of a file's path: the number of replicas that did not have the file.
const ATTEMPT: &str = "attempt";
/// Maximum number of redirects for one file. Browsers follow 20.
const MAX_ATTEMPTS: u32 = 12;
/// The place of the identity providers in the page.
const NO_PROVIDERS: &str = r#"<div id="login-providers" class="stack" hidden></div>"#;
/// The start of the log-in form with a password in the page.
const OPEN_FORM: &str = r#"<details id="login-local" open>"#;
/// The same if the form is for emergencies only.
const CLOSED_FORM: &str = r#"<details id="login-local">"#;
/// Response body if the page was not built.
const NOT_BUILT: &str = "<!doctype html><title>Berth</title><p>The page has not been built. Run <code>cargo xtask run</code>, or <code>cargo xtask build --release</code> for one binary with everything inside. The API works: see <a href=\"/api/docs\">/api/docs</a>.";

/// Serves a file of the page, or the page itself for any other path, because routing happens in the browser.
pub async fn spa_fallback(State(app): State<AppState>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    if path.starts_with("rpc/") || path.starts_with("api/") {
        return unknown_route(request.uri().clone()).await.into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let problem = ApiError(Problem::new(ProblemKind::MethodNotAllowed, "This path only supports GET and HEAD."));
        return ([(header::ALLOW, "GET, HEAD")], problem).into_response();
    }
    if !path.is_empty() && path != "index.html" {
        if let Some(response) = file_response(&path, request.headers()) {
            return response;
        }
        if app.service.change_feed().has_peers()
            && let Some(response) = redirect_to_replica(&path, &request)
        {
            return response;
        }
        // With the page as the response to a missing script, browsers would report a misleading syntax error.
        if path.rsplit('/').next().is_some_and(|name| name.contains('.')) {
            let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            return (StatusCode::NOT_FOUND, no_store, "File not found.\n").into_response();
        }
    }
    // While no account exists, the page shows the setup form instead.
    let shows_login = path != "setup"
        && session(request.headers(), &app).is_none()
        && !app.service.accounts().needs_setup().await.unwrap_or_default();
    page_response(shows_login, &app.config.service.single_sign_on)
}

/// Redirects the request for a file of another version to the same path, so that the load balancer chooses a replica again.
///
/// During an upgrade, the page and the files that it names can come from replicas of different versions. The connection is closed,
/// because some load balancers choose a replica for each connection. `None` for other paths, and after too many attempts.
fn redirect_to_replica(path: &str, request: &Request) -> Option<Response> {
    let parameters = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let attempts = parameters.filter(|(name, _)| name == ATTEMPT).find_map(|(_, value)| value.parse::<u32>().ok());
    let next = attempts.unwrap_or_default().saturating_add(1);
    if !is_hashed(path) || next > MAX_ATTEMPTS {
        return None;
    }
    let location = HeaderValue::from_str(&format!("/{path}?{ATTEMPT}={next}")).ok()?;
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    let set = response.headers_mut();
    set.insert(header::LOCATION, location);
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if request.version() < Version::HTTP_2 {
        set.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Some(response)
}

/// Whether a client accepts an encoding.
fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|one| {
            let mut parts = one.split(';').map(str::trim);
            parts.next() == Some(encoding) && !parts.any(|q| q == "q=0")
        })
    })
}

/// Finds a file in the best encoding that the client accepts.
fn find_file(path: &str, headers: &HeaderMap) -> Option<(rust_embed::EmbeddedFile, Option<&'static str>)> {
    for (encoding, ending) in [("br", "br"), ("gzip", "gz")] {
        if accepts(headers, encoding)
            && let Some(file) = Dist::get(&format!("{path}.{ending}"))
        {
            return Some((file, Some(encoding)));
        }
    }
    Dist::get(path).map(|file| (file, None))
}

/// Whether a name contains the hash of its content, e.g. `name-0123456789abcdef.ext`.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.strip_suffix("_bg").unwrap_or(stem);
    stem.rsplit('-').next().is_some_and(|hash| hash.len() >= 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        || path.starts_with("snippets/")
}

/// Builds the response with a file; `None` for an unknown one.
fn file_response(path: &str, headers: &HeaderMap) -> Option<Response> {
    let (file, encoding) = find_file(path, headers)?;
    let mut response = Response::new(Body::from(file.data.into_owned()));
    let set = response.headers_mut();
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    if mime.subtype() == mime_guess::mime::JAVASCRIPT {
        set.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SCRIPT_POLICY));
    }
    let mime = match mime.type_() {
        mime_guess::mime::TEXT => format!("{mime}; charset=utf-8"),
        _ => mime.to_string(),
    };
    set.insert(header::CONTENT_TYPE, HeaderValue::from_str(&mime).ok()?);
    set.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let cache = if is_hashed(path) { "public, max-age=31536000, immutable" } else { "no-cache" };
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Some(encoding) = encoding {
        set.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Some(response)
}

/// The links of the page to its style sheets.
pub fn style_links() -> String {
    let Some(page) = Dist::get("index.html") else { return String::new() };
    let html = String::from_utf8_lossy(&page.data);
    let tags = html.match_indices("<link").filter_map(|(start, _)| html[start..].split_inclusive('>').next());
    tags.filter(|tag| tag.contains("stylesheet")).collect()
}

/// Adds the identity providers to the log-in form, and hides the part that is switched off. The app's router
/// leaves links with `external` to the browser.
fn with_providers(html: &str, settings: &SingleSignOnSettings) -> String {
    let mut html = html.to_owned();
    if !settings.providers.is_empty() {
        let links: String = settings
            .providers
            .iter()
            .map(|provider| {
                let name = escape(&provider.display_name);
                format!(
                    r#"<a class="button" rel="external" href="/oidc/{}/start">Log in with {name}</a>"#,
                    provider.name
                )
            })
            .collect();
        html = html.replacen(NO_PROVIDERS, &format!(r#"<div id="login-providers" class="stack">{links}</div>"#), 1);
    }
    if settings.local_log_in == LocalLogIn::BreakGlass {
        html = html.replacen(OPEN_FORM, CLOSED_FORM, 1);
    }
    let mode: &str = settings.local_log_in.into();
    html.replacen("<html", &format!("<html data-local-login=\"{mode}\""), 1)
}

/// Builds the response with the page. `data-login` shows the prerendered login form, so that users can log in before the app
/// has loaded.
fn page_response(shows_login: bool, settings: &SingleSignOnSettings) -> Response {
    let Some(plain) = Dist::get("index.html") else {
        return (StatusCode::SERVICE_UNAVAILABLE, axum::response::Html(NOT_BUILT)).into_response();
    };
    let html = String::from_utf8_lossy(&plain.data);
    let policy = content_security_policy(&html);
    let html = with_providers(&html, settings);
    let html = if shows_login { html.replacen("<html", "<html data-login", 1) } else { html };
    let mut response = axum::response::Html(html).into_response();
    let set = response.headers_mut();
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    set.insert(header::VARY, HeaderValue::from_static("cookie"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        set.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Content security policy of the page: Berth's own files, and the page's inline scripts by hash.
pub fn content_security_policy(html: &str) -> String {
    let mut hashes = String::new();
    let mut rest = html;
    while let Some(start) = rest.find("<script") {
        rest = &rest[start..];
        let (Some(open), Some(close)) = (rest.find('>'), rest.find("</script>")) else { break };
        let tag = &rest[..open];
        if open < close && !tag.contains(" src=") {
            let hash = base64::engine::general_purpose::STANDARD
                .encode(sha2::Sha256::digest(&rest.as_bytes()[open + 1..close]));
            hashes.push_str(&format!(" 'sha256-{hash}'"));
        }
        rest = &rest[close + 9..];
    }
    format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{hashes}; style-src 'self'; img-src 'self' data:; \
         font-src 'self'; connect-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
         form-action 'self'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_scripts_are_allowed_only_by_hash() {
        let policy =
            content_security_policy("<script src=\"/a.js\"></script><script type=\"module\">alert(1)</script>");
        assert!(policy.contains("'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"), "{policy}");
        assert_eq!(policy.matches("sha256").count(), 1);
        assert!(!policy.contains("unsafe-inline"));
    }

    #[test]
    fn log_in_page_shows_the_providers_and_hides_the_form() {
        let page = include_str!("../../../frontend/index.html");
        let mut settings = SingleSignOnSettings::default();
        let plain = with_providers(page, &settings);
        assert!(plain.contains(NO_PROVIDERS) && plain.contains(OPEN_FORM));
        assert!(plain.contains("<html data-local-login=\"on\""), "{plain}");
        settings.providers.push(service::single_sign_on::ProviderSettings {
            name: "corp".into(),
            display_name: "R&D <Corp>".into(),
            issuer: "https://id.example.com".into(),
            client_id: "berth".into(),
            client_secret: None,
            scopes: Vec::new(),
            claims: domain::single_sign_on::ClaimRules {
                username: "sub".into(),
                groups: None,
                admin_groups: Vec::new(),
                auditor_groups: Vec::new(),
                user_groups: Vec::new(),
                trusts_email: false,
            },
            creates_accounts: true,
            links_by_username: false,
            logs_out: true,
            clock_skew: chrono::Duration::zero(),
        });
        settings.local_log_in = LocalLogIn::BreakGlass;
        let filled = with_providers(page, &settings);
        assert!(filled.contains(r#"href="/oidc/corp/start">Log in with R&amp;D &lt;Corp&gt;</a>"#), "{filled}");
        assert!(!filled.contains(NO_PROVIDERS) && filled.contains(CLOSED_FORM));
        assert!(filled.contains("data-local-login=\"break-glass\""));
        assert_eq!(content_security_policy(page), content_security_policy(&filled), "the scripts are the same");
    }

    #[test]
    fn file_of_another_version_is_requested_from_other_replicas_a_limited_number_of_times() {
        let location = |uri: &str| {
            let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
            let response = redirect_to_replica(request.uri().path().trim_start_matches('/'), &request)?;
            assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
            assert_eq!(response.headers()[header::CONNECTION], "close");
            Some(response.headers()[header::LOCATION].to_str().unwrap().to_owned())
        };
        let file = "/frontend_bg-0123456789abcdef.wasm";
        assert_eq!(location(file), Some(format!("{file}?attempt=1")));
        assert_eq!(location(&format!("{file}?attempt=1")), Some(format!("{file}?attempt=2")));
        assert_eq!(location(&format!("{file}?attempt=x")), Some(format!("{file}?attempt=1")));
        assert_eq!(location(&format!("{file}?attempt=12")), None, "12 replicas did not have it");
        assert_eq!(location(&format!("{file}?attempt=4294967295")), None);
        assert_eq!(location("/missing.js"), None, "its name does not depend on the version");
    }

    #[test]
    fn only_hashed_names_are_cached_as_immutable() {
        assert!(is_hashed("frontend-4f1a2b3c4d5e6f70_bg.wasm"));
        assert!(is_hashed("style-0123456789abcdef.css"));
        assert!(is_hashed("areas_3f-0123456789abcdef.wasm"));
        assert!(!is_hashed("index.html"));
        assert!(!is_hashed("favicon.svg"));
    }
}
