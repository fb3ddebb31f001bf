//! `berth conform`: certifies a receiver.

use super::report::{junit, table};
use super::{FAILED, Failure, Format, parse_header};
use crate::terminal::{format_problem, print};
use clap::{Args, ValueEnum};
use delivery::{Auth, Certification, Sender, SenderConfig, Sources, Target, TlsSettings, certify};
use domain::conformance::Check;
use domain::endpoint::{Network, UrlPolicy};
use domain::event::EventType;
use domain::header::Header;
use domain::id::{ReservationId, WebhookId};
use domain::payload::PayloadFormat;
use domain::routing::{DeliveryPaths, Layout};
use domain::sample::Sample;
use domain::signature::Secret;
use domain::webhook::{AuthInput, CustomHeader, TlsInput, WebhookInput, default_key_header};
use serde_json::{Map, Value};
use service::{Clock as _, SystemClock};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The id of the webhook in the events.
const WEBHOOK: WebhookId = 1;
/// The base URL of Berth in the events. The host does not exist (RFC 6761 §6.4): a receiver on its own has no server to report
/// to.
const PUBLIC_URL: &str = "https://berth.invalid";

/// Where the events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LayoutName {
    /// URL/reservation, URL/reservation/cancel and URL/access-request.
    Guide,
    /// Every event to URL.
    Single,
}

/// Arguments of `berth conform`.
#[derive(Args)]
pub struct ConformArgs {
    /// Endpoint URL of the receiver, e.g. http://127.0.0.1:8000/api/webhook.
    #[arg(required_unless_present = "list")]
    url: Option<String>,
    /// Signing secret of the receiver.
    #[arg(long, env = "WEBHOOK_SECRET", hide_env_values = true, required_unless_present = "list")]
    secret: Option<String>,
    /// Delivery paths.
    #[arg(long, value_enum, default_value = "guide")]
    layout: LayoutName,
    /// Path of an event after URL, instead of a layout, e.g. reservation.created=/my/path. Repeat it for each event.
    #[arg(long = "path", value_parser = parse_path, conflicts_with = "layout")]
    paths: Vec<(EventType, String)>,
    /// API key that the receiver expects.
    #[arg(long, env = "BERTH_RECEIVER_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Header of the API key. With Authorization, the key includes the scheme.
    #[arg(long, default_value_t = default_key_header())]
    api_key_header: String,
    /// URL of the OAuth 2.0 token endpoint, instead of an API key.
    #[arg(long, requires_all = ["oauth_client_id", "oauth_client_secret"], conflicts_with = "api_key")]
    oauth_token_url: Option<String>,
    /// Client id of OAuth 2.0.
    #[arg(long)]
    oauth_client_id: Option<String>,
    /// Client secret of OAuth 2.0.
    #[arg(long, env = "BERTH_RECEIVER_OAUTH_CLIENT_SECRET", hide_env_values = true)]
    oauth_client_secret: Option<String>,
    /// Scopes of OAuth 2.0, separated by spaces.
    #[arg(long)]
    oauth_scope: Option<String>,
    /// Audience of OAuth 2.0.
    #[arg(long)]
    oauth_audience: Option<String>,
    /// File with the client certificate in PEM (mutual TLS), followed by its intermediate certificates.
    #[arg(long, requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// File with the private key of the client certificate in PEM, not encrypted.
    #[arg(long, requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// File with authorities in PEM that are trusted besides those of the system, e.g. for a self-signed certificate.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Custom header, e.g. "X-Team: ml". Repeat it for each header.
    #[arg(long = "header", short = 'H', value_parser = parse_header)]
    headers: Vec<Header>,
    /// Resource type of the events.
    #[arg(long, default_value = "gpu-cluster")]
    resource_type: String,
    /// Format of the bodies: berth, thin, cloudevents_binary or cloudevents_structured.
    #[arg(long, default_value = "berth", value_parser = parse_payload_format)]
    payload_format: PayloadFormat,
    /// Configuration of the events, a JSON object [default: gpu_type and gpu_count].
    #[arg(long = "additional-config", value_parser = parse_object)]
    additional_config: Option<Map<String, Value>>,
    /// Events that the receiver must handle, separated by commas [default: all but user.access_requested].
    #[arg(long, value_delimiter = ',', value_parser = parse_event)]
    events: Vec<EventType>,
    /// URL or path of the health check [default: /health, which may be missing].
    #[arg(long)]
    health: Option<String>,
    /// Run only these checks, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = parse_check)]
    only: Vec<Check>,
    /// Print the checks and exit.
    #[arg(long)]
    list: bool,
    /// Time limit of a request in seconds, 0.1 to 30.
    #[arg(long, default_value_t = 30.0, value_parser = parse_timeout)]
    timeout: f64,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Also write the report as JUnit XML to this file.
    #[arg(long)]
    junit: Option<PathBuf>,
    /// Exit with 1 for a warning too.
    #[arg(long)]
    strict: bool,
    /// Private networks that the receiver may be in besides loopback, CIDR, comma-separated.
    #[arg(long = "receiver-networks", value_delimiter = ',', value_parser = Network::parse)]
    networks: Vec<Network>,
}

pub(super) fn parse_event(text: &str) -> Result<EventType, String> {
    EventType::parse(text).ok_or_else(|| format!("use one of {}", EventType::ALL.map(EventType::as_str).join(", ")))
}

pub(super) fn parse_payload_format(text: &str) -> Result<PayloadFormat, String> {
    let known = || PayloadFormat::ALL.map(PayloadFormat::as_str).join(", ");
    PayloadFormat::parse(text).ok_or_else(|| format!("use one of {}", known()))
}

fn parse_path(text: &str) -> Result<(EventType, String), String> {
    let (event, path) = text.split_once('=').ok_or("write it as EVENT=/path")?;
    Ok((parse_event(event)?, path.to_owned()))
}

fn parse_check(text: &str) -> Result<Check, String> {
    let known = || Check::ALL.iter().map(|check| check.as_str()).collect::<Vec<_>>().join(", ");
    Check::parse(text).ok_or_else(|| format!("use one of {}", known()))
}

fn parse_object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err("write a JSON object".into()),
    }
}

fn parse_timeout(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=30.0).contains(&seconds) => Ok(seconds),
        _ => Err("use 0.1 to 30 seconds".into()),
    }
}

/// Runs `berth conform`.
pub(super) async fn run(mut args: ConformArgs) -> Result<u8, Failure> {
    if args.payload_format.uses_exact_url() {
        return Err(Failure::usage(
            "--payload-format: the certification checks the formats of Berth, not the classic one.",
        ));
    }
    if args.list {
        let width = Check::ALL.iter().map(|check| check.as_str().len()).max().unwrap_or_default();
        for check in Check::ALL {
            print(&format!("{:width$}  {}", check.as_str(), check.title()));
        }
        return Ok(0);
    }
    let networks = ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|network| Network::parse(network).ok());
    let policy =
        UrlPolicy { allow_http: true, allow_networks: networks.chain(std::mem::take(&mut args.networks)).collect() };
    let certification = certification(&args, &policy)?;
    let sender = Sender::new(SenderConfig {
        url_policy: policy,
        timeout: Duration::from_secs_f64(args.timeout),
        user_agent: concat!("Berth-Webhooks/", env!("CARGO_PKG_VERSION")).into(),
    })
    .map_err(Failure::new)?;
    let sources = Sources {
        now: &|| SystemClock.now(),
        new_ulid: &mut ulid::Ulid::new,
        status_url: &|id: &ReservationId, _| format!("{PUBLIC_URL}/api/v1/reservations/{id}/status?mac=certification"),
    };
    let report = certify(&sender, &certification, sources).await;
    match args.format {
        Format::Table => print(&table(&report)),
        Format::Json => print(&serde_json::to_string_pretty(&report).map_err(|error| Failure::new(error.to_string()))?),
    }
    if let Some(file) = &args.junit {
        std::fs::write(file, junit(&report))
            .map_err(|error| Failure::new(format!("{} cannot be written: {error}", file.display())))?;
    }
    let fails = report.failed > 0 || (args.strict && report.warnings > 0);
    Ok(if fails { FAILED } else { 0 })
}

/// The checked settings.
fn certification(args: &ConformArgs, policy: &UrlPolicy) -> Result<Certification, Failure> {
    let endpoint_url = args.url.clone().unwrap_or_default();
    let paths = match args.layout {
        _ if !args.paths.is_empty() => {
            DeliveryPaths { layout: Layout::Custom, paths: args.paths.iter().cloned().collect() }
        }
        LayoutName::Guide => DeliveryPaths::default(),
        LayoutName::Single => DeliveryPaths { layout: Layout::Single, ..DeliveryPaths::default() },
    };
    let headers = args.headers.iter().map(|header| CustomHeader::new(&header.name, &header.value));
    let input = WebhookInput {
        delivery_paths: Some(paths.clone()),
        secret: args.secret.clone(),
        headers: headers.collect(),
        payload_format: Some(args.payload_format),
        tls: tls_input(args)?,
        ..WebhookInput::new("berth conform", &endpoint_url, auth_input(args))
    };
    domain::webhook::check(&input, policy, None).map_err(|mut problem| {
        for error in &mut problem.errors {
            error.field = option_of(&error.field).to_owned();
        }
        Failure::usage(format_problem(problem))
    })?;
    let tls = input.tls.as_ref();
    let tls = tls.and_then(|tls| TlsSettings::new(&tls.ca_certificates, &tls.client_certificate, &tls.client_key));
    if let Some(error) = tls.iter().flat_map(|tls| tls.check(None, SystemClock.now())).next() {
        return Err(Failure::usage(format!("{}: {}", option_of(&error.field), error.message)));
    }
    let secret = Secret::parse(args.secret.as_deref().unwrap_or_default()).map_err(Failure::usage)?;
    let health_url = match &args.health {
        Some(health) => {
            let url = url::Url::parse(&endpoint_url).and_then(|url| url.join(health));
            let url = url.map(String::from).map_err(|_| Failure::usage("--health is not a URL or path."))?;
            domain::endpoint::check_url(&url, policy)
                .map_err(|message| Failure::usage(format!("--health: {message}")))?;
            Some(url)
        }
        None => None,
    };
    let all_but_access_requests =
        || EventType::DEFAULT.into_iter().filter(|event| *event != EventType::AccessRequested);
    let sample = Sample { resource_type: args.resource_type.clone(), ..Sample::default() };
    Ok(Certification {
        endpoint_url,
        paths,
        target: Arc::new(Target {
            webhook_id: WEBHOOK,
            auth: auth(input.auth),
            secrets: vec![secret],
            keys: Vec::new(),
            headers: input.headers,
            public_url: PUBLIC_URL.into(),
            tls,
        }),
        format: args.payload_format,
        sample: match &args.additional_config {
            Some(config) => Sample { config: config.clone(), ..sample },
            None => sample,
        },
        events: if args.events.is_empty() { all_but_access_requests().collect() } else { args.events.clone() },
        health_url,
        only: args.only.clone(),
        time_limit: None,
    })
}

/// The TLS settings of the files.
fn tls_input(args: &ConformArgs) -> Result<Option<TlsInput>, Failure> {
    let read = |option: &str, file: &Option<PathBuf>| match file.as_deref() {
        None => Ok(String::new()),
        Some(file) => std::fs::read_to_string(file).map_err(|error| unreadable(option, file, &error)),
    };
    let tls = TlsInput {
        ca_certificates: read("--ca", &args.ca)?,
        client_certificate: read("--client-cert", &args.client_cert)?,
        client_key: read("--client-key", &args.client_key)?,
    };
    Ok(Some(tls).filter(|tls| !tls.is_empty()))
}

fn unreadable(option: &str, file: &Path, error: &std::io::Error) -> Failure {
    let hint = match error.kind() {
        std::io::ErrorKind::InvalidData => ". The file is not a text; convert it to PEM",
        _ => "",
    };
    Failure::usage(format!("{option}: {} cannot be read: {error}{hint}.", file.display()))
}

/// The option of a field of the TLS settings; the field itself for others.
fn option_of(field: &str) -> &str {
    match field {
        "tls.ca_certificates" => "--ca",
        "tls.client_certificate" => "--client-cert",
        "tls.client_key" => "--client-key",
        other => other,
    }
}

fn auth_input(args: &ConformArgs) -> AuthInput {
    match (&args.oauth_token_url, &args.api_key) {
        (Some(token_url), _) => AuthInput::Oauth2 {
            token_url: token_url.clone(),
            client_id: args.oauth_client_id.clone().unwrap_or_default(),
            client_secret: args.oauth_client_secret.clone().unwrap_or_default(),
            scope: args.oauth_scope.clone(),
            audience: args.oauth_audience.clone(),
        },
        (None, Some(key)) => AuthInput::ApiKey { header: args.api_key_header.clone(), key: key.clone() },
        (None, None) => AuthInput::None,
    }
}

fn auth(input: AuthInput) -> Auth {
    match input {
        AuthInput::None => Auth::None,
        AuthInput::ApiKey { header, key } => Auth::ApiKey { header, key },
        AuthInput::Oauth2 { token_url, client_id, client_secret, scope, audience } => {
            Auth::Oauth2 { token_url, client_id, client_secret, scope, audience }
        }
    }
}
