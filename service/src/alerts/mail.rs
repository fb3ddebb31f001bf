//! E-mails over SMTP.

use crate::settings::SmtpSettings;
use lettre::message::header::{ContentType, MessageId};
use lettre::message::{Mailbox, Message};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::ExposeSecret as _;
use std::net::IpAddr;
use std::time::Duration;

/// Time limit of one command of a mail server.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Time limit of one e-mail. It is shorter than the lease of a notice.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends e-mails. Cheap to clone.
#[derive(Clone)]
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

/// Checks the settings of e-mail.
///
/// # Errors
/// A sentence for the operator. It does not contain the password.
pub fn check_smtp(settings: &SmtpSettings) -> Result<(), String> {
    Mailer::new(settings).map(drop)
}

impl Mailer {
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn new(settings: &SmtpSettings) -> Result<Self, String> {
        let from = settings.from.parse().map_err(|_| {
            format!("BERTH_SMTP_FROM is not an e-mail address: {}. Use e.g. Berth <berth@example.com>.", settings.from)
        })?;
        let url = settings.url.expose_secret();
        let invalid = || {
            "BERTH_SMTP_URL is not valid. Use smtps://USER:PASSWORD@HOST, or smtp://USER:PASSWORD@HOST:587?tls=required \
             for STARTTLS."
                .to_owned()
        };
        let parsed = url::Url::parse(url).map_err(|_| invalid())?;
        let has_credentials = !parsed.username().is_empty();
        let is_encrypted = parsed.scheme() == "smtps"
            || parsed.query_pairs().any(|(name, value)| name == "tls" && value == "required");
        let is_local = parsed.host_str().is_some_and(is_loopback);
        if has_credentials && !is_encrypted && !is_local {
            return Err("BERTH_SMTP_URL would send the password without encryption. Use smtps://, or smtp:// with \
                        ?tls=required."
                .to_owned());
        }
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(|_| invalid())?;
        Ok(Self { transport: builder.timeout(Some(TIMEOUT)).build(), from })
    }

    /// The sender.
    pub(super) fn from(&self) -> String {
        self.from.to_string()
    }

    /// Sends one e-mail. `id` is the same for retries, so that a mail server can recognise a duplicate.
    ///
    /// # Errors
    /// The reason for the operator.
    pub(super) async fn send(&self, to: &str, subject: &str, text: &str, id: &str) -> Result<(), String> {
        let to: Mailbox = to.parse().map_err(|_| "The e-mail address of the account is not valid.".to_owned())?;
        let domain = self.from.email.domain();
        let message = Message::builder()
            .from(self.from.clone())
            .header(MessageId::from(format!("<{id}.{}@{domain}>", hash(&to.to_string()))))
            .to(to)
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text.to_owned())
            .map_err(|error| format!("The e-mail cannot be built: {error}."))?;
        match tokio::time::timeout(TOTAL_TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("The mail server did not accept the e-mail: {error}.")),
            Err(_) => Err("The mail server did not answer in time.".to_owned()),
        }
    }
}

/// Whether a mail server runs on this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A short digest, so that each recipient's e-mail has its own id and no address is in it.
fn hash(text: &str) -> String {
    crate::secrets::digest(text).chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, from: &str) -> Result<(), String> {
        check_smtp(&SmtpSettings { url: url.to_owned().into(), from: from.into() })
    }

    #[test]
    fn settings_are_checked_and_errors_do_not_contain_the_password() {
        let from = "Berth <berth@example.com>";
        for url in [
            "smtps://user:geheim@mail.example.com",
            "smtp://user:geheim@mail.example.com:587?tls=required",
            "smtp://mail.example.com",
            "smtp://127.0.0.1:2525",
            "smtp://user:geheim@localhost:2525",
        ] {
            check(url, from).unwrap();
        }
        for url in ["", "mail.example.com", "https://mail.example.com", "smtp://user:geheim@mail.example.com"] {
            let error = check(url, from).unwrap_err();
            assert!(error.contains("BERTH_SMTP_URL") && !error.contains("geheim"), "{url}: {error}");
        }
        assert!(check("smtp://127.0.0.1", "nobody").unwrap_err().contains("BERTH_SMTP_FROM"));
    }
}
