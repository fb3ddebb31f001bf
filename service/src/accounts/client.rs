//! The client of a log-in.

/// Maximum number of characters of a description.
const MAX_CHARS: usize = 100;

/// Names in user agents, in the order in which they are searched: browsers add the names of others.
const BROWSERS: [(&str, &str); 6] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];
const SYSTEMS: [(&str, &str); 6] = [
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// The client of a log-in.
#[derive(Clone, Default)]
pub struct LogInClient {
    /// Its address, or its IPv6 /64 network.
    pub source: String,
    /// Header `User-Agent`; empty if absent.
    pub user_agent: String,
    /// Value of the device cookie.
    pub device: Option<String>,
    /// Token of the present session in the same browser. The log-in ends it.
    pub session: Option<String>,
}

domain::redacted_debug!(LogInClient { source, user_agent } hides { device, session });

impl From<&str> for LogInClient {
    fn from(source: &str) -> Self {
        Self { source: source.to_owned(), ..Self::default() }
    }
}

impl From<&String> for LogInClient {
    fn from(source: &String) -> Self {
        source.as_str().into()
    }
}

impl LogInClient {
    /// Whether the user agent is that of a browser, which keeps cookies.
    pub(super) fn is_browser(&self) -> bool {
        BROWSERS.iter().any(|(part, _)| self.user_agent.contains(part))
    }

    /// A short description for the list of sessions, e.g. `Firefox on Linux`.
    pub(super) fn description(&self) -> String {
        let find = |names: &[(&str, &'static str)]| {
            names.iter().find(|(part, _)| self.user_agent.contains(part)).map(|(_, name)| *name)
        };
        match (find(&BROWSERS), find(&SYSTEMS)) {
            (Some(browser), Some(system)) => format!("{browser} on {system}"),
            (Some(browser), None) => browser.to_owned(),
            // A script, e.g. `curl/8.5.0`.
            (None, _) => {
                self.user_agent.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_CHARS).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agents_are_described_by_browser_and_system() {
        let description =
            |user_agent: &str| LogInClient { user_agent: user_agent.into(), ..Default::default() }.description();
        let chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
        assert_eq!(description(chrome), "Chrome on Windows");
        assert_eq!(description(&format!("{chrome} Edg/142.0")), "Edge on Windows");
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
        assert_eq!(description(firefox), "Firefox on Linux");
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";
        assert_eq!(description(phone), "Safari on iOS");
        assert_eq!(description("curl/8.5.0"), "curl/8.5.0");
        assert_eq!(description("\u{1b}[31m\u{202e}x"), "[31mx", "control characters are removed");
        assert_eq!(description(&"x".repeat(1_000)).len(), MAX_CHARS);
        assert_eq!(description(""), "");
    }
}
