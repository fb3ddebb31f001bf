//! Syslog messages (RFC 5424) over UDP (RFC 5426), TCP (RFC 6587, octet counting) or a Unix socket.

use chrono::SecondsFormat;
use domain::audit::{AuditEntry, AuditOutcome};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Time limit of connecting and of each write.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Facility "log audit" (13).
const FACILITY: u8 = 13;
/// Severity "notice" of performed actions.
const NOTICE: u8 = 5;
/// Severity "warning" of refused actions.
const WARNING: u8 = 4;
/// Maximum number of bytes of the host name in the header.
const MAX_HOST: usize = 255;

/// The receiver of syslog messages: `udp://host:514`, `tcp://host:601` or `unix:///dev/log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogTarget {
    /// Host and port.
    Udp(String),
    /// Host and port.
    Tcp(String),
    /// Path of a datagram socket.
    Unix(PathBuf),
}

impl std::str::FromStr for SyslogTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid =
            || format!("\"{text}\" is no syslog receiver. Use udp://host:514, tcp://host:601 or unix:///dev/log.");
        let url = url::Url::parse(text).map_err(|_| invalid())?;
        let is_bare =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        let address = || {
            let (host, port) = (url.host_str().filter(|host| !host.is_empty())?, url.port().unwrap_or(514));
            matches!(url.path(), "" | "/").then(|| format!("{host}:{port}"))
        };
        match url.scheme() {
            _ if !is_bare => Err(invalid()),
            "udp" => address().map(Self::Udp).ok_or_else(invalid),
            "tcp" => address().map(Self::Tcp).ok_or_else(invalid),
            "unix" if url.host_str().unwrap_or_default().is_empty() && url.path().len() > 1 => {
                Ok(Self::Unix(url.path().into()))
            }
            _ => Err(invalid()),
        }
    }
}

/// An open connection.
enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixDatagram),
}

/// A sender of syslog messages. It connects when it sends, and again after a failure.
pub(super) struct SyslogSender {
    target: SyslogTarget,
    host: String,
    connection: Option<Connection>,
}

impl SyslogSender {
    pub(super) fn new(target: SyslogTarget) -> Self {
        Self { target, host: host_name(), connection: None }
    }

    pub(super) async fn send(&mut self, entries: &[AuditEntry]) -> Result<(), String> {
        let sent = timeout(TIMEOUT, self.try_send(entries)).await;
        let result = sent.unwrap_or_else(|_| Err(format!("no progress within {TIMEOUT:?}")));
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    async fn try_send(&mut self, entries: &[AuditEntry]) -> Result<(), String> {
        let failed = |error: std::io::Error| error.to_string();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(connect(&self.target).await.map_err(failed)?),
        };
        connection.check().map_err(failed)?;
        for entry in entries {
            connection.write(&message(entry, &self.host)?).await.map_err(failed)?;
        }
        connection.flush().await.map_err(failed)
    }
}

async fn connect(target: &SyslogTarget) -> std::io::Result<Connection> {
    match target {
        SyslogTarget::Udp(address) => {
            let socket = UdpSocket::bind("[::]:0").await;
            let socket = match socket {
                Ok(socket) => socket,
                // A machine without IPv6.
                Err(_) => UdpSocket::bind("0.0.0.0:0").await?,
            };
            match socket.connect(address).await {
                Ok(()) => Ok(Connection::Udp(socket)),
                Err(_) => {
                    let socket = UdpSocket::bind("0.0.0.0:0").await?;
                    socket.connect(address).await?;
                    Ok(Connection::Udp(socket))
                }
            }
        }
        SyslogTarget::Tcp(address) => Ok(Connection::Tcp(TcpStream::connect(address).await?)),
        #[cfg(unix)]
        SyslogTarget::Unix(path) => {
            let socket = tokio::net::UnixDatagram::unbound()?;
            socket.connect(path)?;
            Ok(Connection::Unix(socket))
        }
        #[cfg(not(unix))]
        SyslogTarget::Unix(_) => Err(std::io::Error::from(std::io::ErrorKind::Unsupported)),
    }
}

impl Connection {
    /// Fails if the receiver has closed the connection: the first write after that would succeed, and its message be lost.
    fn check(&self) -> std::io::Result<()> {
        let Self::Tcp(stream) = self else { return Ok(()) };
        match stream.try_read(&mut [0; 64]) {
            Ok(0) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn write(&mut self, message: &str) -> std::io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message.as_bytes()).await.map(drop),
            Self::Tcp(stream) => stream.write_all(format!("{} {message}", message.len()).as_bytes()).await,
            #[cfg(unix)]
            Self::Unix(socket) => socket.send(message.as_bytes()).await.map(drop),
        }
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush().await,
            _ => Ok(()),
        }
    }
}

/// The RFC 5424 message of an entry: the main fields as structured data, and the whole entry as JSON.
fn message(entry: &AuditEntry, host: &str) -> Result<String, String> {
    let severity = if entry.outcome == AuditOutcome::Refused { WARNING } else { NOTICE };
    let priority = FACILITY * 8 + severity;
    let time = entry.at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let process = std::process::id();
    let id = message_id(&entry.action);
    let mut text = format!("<{priority}>1 {time} {host} berth {process} {id} [berth@32473");
    let actor = entry.actor.as_deref().unwrap_or_default();
    let target = format!("{}/{}", entry.target.kind, entry.target.id);
    for (name, value) in [
        ("seq", entry.seq.to_string().as_str()),
        ("actor", actor),
        ("source", &entry.source),
        ("action", &entry.action),
        ("outcome", entry.outcome.as_str()),
        ("target", &target),
        ("hash", &entry.hash),
    ] {
        let _ = write!(text, " {name}=\"{}\"", escaped(value));
    }
    text.push_str("] ");
    text.push_str(&serde_json::to_string(entry).map_err(|error| error.to_string())?);
    Ok(text)
}

/// At most 32 visible ASCII characters.
fn message_id(action: &str) -> String {
    let id: String = action.chars().filter(char::is_ascii_graphic).take(32).collect();
    if id.is_empty() { "-".to_owned() } else { id }
}

/// A value of structured data (RFC 5424 §6.3.3). Control characters would break messages of receivers that split lines.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\' | ']') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// The host name of this machine, or `-`.
fn host_name() -> String {
    let name = host_name_of_machine().unwrap_or_default();
    let name: String = name.chars().filter(char::is_ascii_graphic).take(MAX_HOST).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

#[cfg(unix)]
fn host_name_of_machine() -> Option<String> {
    rustix::system::uname().nodename().to_str().ok().map(str::to_owned)
}

#[cfg(not(unix))]
fn host_name_of_machine() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use domain::audit::{AuditCredential, AuditTarget};

    fn entry() -> AuditEntry {
        AuditEntry {
            seq: 7,
            at: DateTime::from_timestamp_millis(1_772_442_000_250).unwrap(),
            actor: Some("alice".into()),
            credential: AuditCredential { kind: "session".into(), id: "ses_1".into(), name: String::new() },
            source: "192.0.2.1".into(),
            request_id: "req_1".into(),
            action: "webhook.updated".into(),
            outcome: AuditOutcome::Succeeded,
            target: AuditTarget { kind: "webhook".into(), id: "3\"]\\\n".into(), name: "GPU".into() },
            changes: Vec::new(),
            detail: String::new(),
            count: 1,
            hash: "ab".into(),
        }
    }

    #[test]
    fn message_has_the_format_of_rfc_5424() {
        let text = message(&entry(), "host").unwrap();
        let expected = format!(
            "<109>1 2026-03-02T09:00:00.250Z host berth {} webhook.updated [berth@32473 seq=\"7\" actor=\"alice\" \
             source=\"192.0.2.1\" action=\"webhook.updated\" outcome=\"succeeded\" target=\"webhook/3\\\"\\]\\\\\" \
             hash=\"ab\"] {{\"seq\":7,",
            std::process::id()
        );
        assert!(text.starts_with(&expected), "{text}");
        assert!(!text.contains('\n'));
        let refused = message(&AuditEntry { outcome: AuditOutcome::Refused, ..entry() }, "host").unwrap();
        assert!(refused.starts_with("<108>1 "), "{refused}");
    }

    #[test]
    fn receivers_are_urls() {
        let parse = |text: &str| text.parse::<SyslogTarget>();
        assert_eq!(parse("udp://logs.example.com"), Ok(SyslogTarget::Udp("logs.example.com:514".into())));
        assert_eq!(parse("udp://[::1]:5514"), Ok(SyslogTarget::Udp("[::1]:5514".into())));
        assert_eq!(parse("tcp://10.0.0.1:601/"), Ok(SyslogTarget::Tcp("10.0.0.1:601".into())));
        assert_eq!(parse("unix:///dev/log"), Ok(SyslogTarget::Unix("/dev/log".into())));
        for invalid in
            ["", "logs:514", "http://logs", "udp://", "tcp://host/path", "unix:///", "unix://dev/log", "udp://u:p@h"]
        {
            let error = parse(invalid).unwrap_err();
            assert!(error.contains("udp://host:514"), "{invalid}: {error}");
        }
    }
}
