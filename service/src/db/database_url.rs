//! Connection URLs: the options of a PostgreSQL URL, the file of a SQLite URL, and the form of a URL in messages.

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use std::borrow::Cow;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;
use url::Url;

/// Parameters that the driver reads. It logs other ones with their values, so it does not receive them.
const DRIVER_PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// The schema of Berth's tables. The driver does not know it; see [`set_search_path`].
const SEARCH_PATH: &str = "search_path";
/// Parameters whose values appear in messages: they help to find a mistake and are no secrets.
const SHOWN_PARAMETERS: [&str; 8] =
    ["sslmode", "ssl-mode", "host", "hostaddr", "port", "dbname", SEARCH_PATH, "application_name"];

/// Statements that take longer are logged as warnings, with their duration and without their parameters.
const SLOW_STATEMENT: Duration = Duration::from_secs(1);

/// Whether a URL names a PostgreSQL database.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

fn is_driver_parameter(name: &str) -> bool {
    DRIVER_PARAMETERS.contains(&name) || (name.starts_with("options[") && name.ends_with(']'))
}

/// Parameters of a PostgreSQL URL that have no effect.
pub(crate) fn unknown_parameters(url: &str) -> Vec<String> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    let names = url.query_pairs().map(|(name, _)| name.into_owned());
    names.filter(|name| name != SEARCH_PATH && !is_driver_parameter(name)).collect()
}

/// Logs slow statements only: logging each statement would cost more than most statements.
pub(crate) fn log_slow_statements<O: sqlx::ConnectOptions>(options: O) -> O {
    options.log_statements(log::LevelFilter::Off).log_slow_statements(log::LevelFilter::Warn, SLOW_STATEMENT)
}

/// The options of a PostgreSQL URL.
///
/// On a loopback address TLS is off unless the URL or `PGSSLMODE` sets it: there is no network to protect. TLS splits a
/// statement of more than 16 KiB into several writes. The driver (0.9.0) does not set `TCP_NODELAY`, so each write is
/// delayed by 40 ms (Nagle's algorithm with delayed ACK).
///
/// # Errors
/// If the URL or the value of a parameter is invalid.
pub(crate) fn postgres_options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let mut url = Url::parse(url).map_err(|error| sqlx::Error::Configuration(Box::new(error)))?;
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    url.set_query(None);
    let known: Vec<_> = pairs.iter().filter(|(name, _)| is_driver_parameter(name)).collect();
    if !known.is_empty() {
        url.query_pairs_mut().extend_pairs(known);
    }
    let mut options = log_slow_statements(PgConnectOptions::from_str(url.as_str())?)
        // PgBouncer rejects this startup parameter. Floating-point numbers are exact without it: values are binary.
        .extra_float_digits(None);
    if !pairs.iter().any(|(name, _)| name == "application_name") {
        options = options.application_name("berth");
    }
    let configured = states_tls(&pairs);
    Ok(if is_on_loopback(&options) && !configured { options.ssl_mode(PgSslMode::Disable) } else { options })
}

/// The schemas in which a PostgreSQL URL searches Berth's tables; `None` for the default of the role.
pub(crate) fn search_path(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    url.query_pairs().find(|(name, _)| name == SEARCH_PATH).map(|(_, schemas)| schemas.into_owned())
}

/// Sets the search path of a new connection. It is no startup parameter, because PgBouncer rejects that one.
///
/// # Errors
/// If the connection is lost.
pub(crate) async fn set_search_path(connection: &mut PgConnection, schemas: Option<&str>) -> Result<(), sqlx::Error> {
    if let Some(schemas) = schemas {
        sqlx::query("SELECT set_config('search_path', $1, false)").bind(schemas).execute(connection).await?;
    }
    Ok(())
}

/// Whether the URL or the environment states how TLS is used.
fn states_tls(parameters: &[(String, String)]) -> bool {
    parameters.iter().any(|(name, _)| name == "sslmode" || name == "ssl-mode")
        || std::env::var_os("PGSSLMODE").is_some()
}

/// Whether the server listens on a loopback address.
fn is_on_loopback(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether no network lies between this process and the server: a loopback address or a Unix socket.
fn is_local(options: &PgConnectOptions) -> bool {
    options.get_socket().is_some() || options.get_host().starts_with('/') || is_on_loopback(options)
}

/// A URL of which the TLS connection to PostgreSQL is verified, unless it states another mode or the server is local.
/// Other URLs are returned unchanged. An invalid one is reported when the database is opened.
#[must_use]
pub fn with_verified_tls(url: &str) -> String {
    let (Ok(options), Ok(mut parsed)) = (postgres_options(url), Url::parse(url)) else { return url.to_owned() };
    let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
    if !is_postgres(url) || is_local(&options) || states_tls(&pairs) {
        return url.to_owned();
    }
    parsed.query_pairs_mut().append_pair("sslmode", "verify-full");
    parsed.into()
}

/// A warning if somebody in the network could read or change the connection to PostgreSQL.
pub fn warn_about_tls(url: &str) -> Option<String> {
    let options = postgres_options(url).ok().filter(|options| is_postgres(url) && !is_local(options))?;
    let effect = match options.get_ssl_mode() {
        PgSslMode::VerifyFull => return None,
        PgSslMode::VerifyCa => "accepts the certificate of any server of the authority",
        PgSslMode::Require => "accepts any certificate",
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => "may be unencrypted",
    };
    Some(format!(
        "the connection to {} {effect}. Set sslmode=verify-full in BERTH_DATABASE_URL, and sslrootcert if the server's \
         certificate has a private authority.",
        redacted(url)
    ))
}

/// The file of a SQLite URL; `None` for a database in memory or another database.
///
/// # Errors
/// If the URL is a SQLite URL with an invalid parameter.
pub fn sqlite_file(url: &str) -> Result<Option<PathBuf>, sqlx::Error> {
    if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
        return Ok(None);
    }
    let options = sqlx::sqlite::SqliteConnectOptions::from_str(url)?;
    Ok(Some(options.get_filename().to_owned()))
}

/// A connection URL without user, password and the values of unusual parameters.
pub(crate) fn redacted(url: &str) -> String {
    let scheme = url.split(':').next().unwrap_or_default();
    if scheme == "sqlite" {
        return url.split('?').next().unwrap_or_default().to_owned();
    }
    // With an unescaped `@`, `#` or `?` in the password, another part of the URL contains a part of the password.
    let is_clear = |url: &Url| {
        url.fragment().is_none() && !url.path().contains('@') && !url.query().unwrap_or_default().contains('@')
    };
    let Some(url) = Url::parse(url).ok().filter(is_clear) else { return format!("{scheme}://…") };
    let user = if url.username().is_empty() && url.password().is_none() { "" } else { "…@" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let mut shown = format!("{scheme}://{user}{}{port}{}", url.host_str().unwrap_or_default(), url.path());
    for (n, (name, value)) in url.query_pairs().enumerate() {
        let value = if SHOWN_PARAMETERS.contains(&&*name) { value } else { Cow::Borrowed("…") };
        shown.push_str(&format!("{}{name}={value}", if n == 0 { '?' } else { '&' }));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_off_on_loopback_unless_configured() {
        let without = |url: &str| matches!(postgres_options(url).unwrap().get_ssl_mode(), PgSslMode::Disable);
        assert!(without("postgres://berth@127.0.0.1:5432/berth"));
        assert!(without("postgres://berth@localhost/berth?application_name=x"));
        assert!(without("postgres://berth@[::1]/berth"));
        assert!(!without("postgres://berth@127.0.0.1/berth?sslmode=require"));
        assert!(!without("postgres://berth@localhost/berth?application_name=x&sslmode=prefer"));
        assert!(!without("postgres://berth@db.example.com/berth"));
        assert!(!without("postgres://berth@127.0.0.1.example.com/berth"));
    }

    #[test]
    fn tls_is_verified_unless_stated_or_local() {
        for url in ["postgres://berth:p%40ss@db.internal/berth", "postgresql://db.internal:6432/berth?search_path=x"] {
            let verified = with_verified_tls(url);
            assert!(verified.starts_with(url), "{verified}");
            assert!(matches!(postgres_options(&verified).unwrap().get_ssl_mode(), PgSslMode::VerifyFull), "{verified}");
            assert_eq!(warn_about_tls(&verified), None);
            assert!(warn_about_tls(url).unwrap().contains("sslmode=verify-full"), "{url}");
        }
        for url in [
            "postgres://berth@localhost/berth",
            "postgres://berth@127.0.0.1/berth",
            "postgres://berth@[::1]/berth",
            "postgres:///berth?host=/run/postgresql",
            "sqlite://berth.db",
            "not a url",
        ] {
            assert_eq!(with_verified_tls(url), url);
            assert_eq!(warn_about_tls(url), None, "{url}");
        }
        for (mode, part) in [
            ("disable", "unencrypted"),
            ("prefer", "unencrypted"),
            ("require", "any certificate"),
            ("verify-ca", "any server"),
        ] {
            let url = format!("postgres://u:s3cret@db.internal/berth?sslmode={mode}");
            assert_eq!(with_verified_tls(&url), url, "a stated mode is kept");
            let warning = warn_about_tls(&url).unwrap();
            assert!(warning.contains(part) && !warning.contains("s3cret"), "{warning}");
        }
    }

    #[test]
    fn messages_contain_no_secret_of_the_url() {
        for (url, shown) in [
            ("postgres://berth:s3cret@db.internal:6432/berth", "postgres://…@db.internal:6432/berth"),
            ("postgres:///db?host=/nowhere&password=s3cret", "postgres:///db?host=/nowhere&password=…"),
            (
                "postgres://db.internal/berth?user=s3cret&sslmode=require",
                "postgres://db.internal/berth?user=…&sslmode=require",
            ),
            ("postgres://h/d?api_token=s3cret&sslpassword=s3cret", "postgres://h/d?api_token=…&sslpassword=…"),
            // Passwords with characters that should have been escaped.
            ("postgres://berth:pa@s3cret@db/berth", "postgres://…@db/berth"),
            ("postgres://berth:pa#s3cret@db/berth", "postgres://…"),
            ("postgres://berth:12?s3cret@db/berth", "postgres://…"),
            ("postgres://berth:12/s3cret@db/berth", "postgres://…"),
            ("postgres://berth:pa?s3cret@db/berth", "postgres://…"),
            ("sqlite:///var/lib/berth.db?mode=rwc", "sqlite:///var/lib/berth.db"),
        ] {
            assert_eq!(redacted(url), shown);
            assert!(!shown.contains("s3cret"));
        }
    }

    #[test]
    fn unknown_parameters_are_named_and_not_passed_to_the_driver() {
        let url = "postgres://h/d?connect_timeout=5&options[role]=x&search_path=berth&channel_binding=s3cret";
        assert_eq!(unknown_parameters(url), ["connect_timeout", "channel_binding"]);
        let options = format!("{:?}", postgres_options(url).unwrap());
        assert!(!options.contains("search_path") && !options.contains("s3cret"), "{options}");
        assert_eq!(search_path(url).as_deref(), Some("berth"));
    }

    #[test]
    fn pgbouncer_accepts_the_startup_parameters() {
        let options = format!("{:?}", postgres_options("postgres://h/d").unwrap());
        assert!(options.contains("extra_float_digits: None"), "{options}");
    }

    #[test]
    fn sqlite_file_of_every_url_form() {
        for url in ["sqlite://data/berth.db?mode=rwc", "sqlite:data/berth.db"] {
            assert_eq!(sqlite_file(url).unwrap(), Some(PathBuf::from("data/berth.db")), "{url}");
        }
        assert_eq!(sqlite_file("sqlite::memory:").unwrap(), None);
        assert_eq!(sqlite_file("postgres://h/d").unwrap(), None);
    }
}
