//! `berth listen`: receives the deliveries of a webhook over an outbound connection, and forwards them to a receiver on this
//! machine (docs/contract.md §7).

mod ledger;
mod output;
mod session;
mod webhook;

use super::api::{Api, ServerArgs};
use super::conform::{parse_event, parse_payload_format};
use super::{Failure, parse_header};
use clap::{Args, ValueEnum};
use domain::event::EventType;
use domain::header::Header;
use domain::id::WebhookId;
use domain::payload::PayloadFormat;
use domain::routing::{DeliveryPaths, Layout};
use output::Output;
use session::Session;

/// The layout of the URLs to which events are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LayoutName {
    /// URL/reservation, URL/reservation/cancel and URL/access-request.
    Guide,
    /// Every event to URL.
    Single,
}

/// Arguments of `berth listen`.
#[derive(Args)]
pub struct ListenArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// URL of the receiver, e.g. http://127.0.0.1:8000/api/webhook.
    #[arg(long)]
    forward_to: String,
    /// Delivery paths after the URL [default: guide, or those of the webhook with --webhook].
    #[arg(long, value_enum)]
    layout: Option<LayoutName>,
    /// Only events of this resource type; owners must name one of theirs [default: every type].
    #[arg(long)]
    resource_type: Option<String>,
    /// Only these events, separated by commas [default: every event].
    #[arg(long = "event", alias = "events", value_delimiter = ',', value_parser = parse_event)]
    events: Vec<EventType>,
    /// Format of the bodies.
    #[arg(long, value_parser = parse_payload_format)]
    payload_format: Option<PayloadFormat>,
    /// Let the responses update reservations, as those of the other webhooks do.
    ///
    /// Without it, responses are logged only, so that reservations of others do not wait for this machine.
    #[arg(long)]
    provisions: bool,
    /// Id of an existing local webhook, which is kept at the end.
    #[arg(long, conflicts_with_all = ["resource_type", "events", "payload_format", "provisions", "secret"])]
    webhook: Option<WebhookId>,
    /// Name of the webhook to create or use again [default: of the user and the resource type].
    #[arg(long, conflicts_with = "webhook")]
    name: Option<String>,
    /// Signing secret for a new webhook [default: a random one, which is printed].
    #[arg(long, env = "WEBHOOK_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Keep the webhook at the end. Its events wait for the next listener.
    #[arg(long)]
    keep: bool,
    /// Header that is only added on this machine, e.g. "X-API-Key: abc". Repeat it for each header.
    #[arg(long = "header", short = 'H', value_parser = parse_header)]
    headers: Vec<Header>,
    /// Send this delivery again, e.g. dlv_01J…. Repeat it for each delivery.
    #[arg(long = "resend")]
    resend: Vec<String>,
    /// Maximum number of requests at once, 1 to 32.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=32))]
    concurrency: u32,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

impl ListenArgs {
    fn delivery_paths(&self) -> Option<DeliveryPaths> {
        let layout = match self.layout? {
            LayoutName::Guide => Layout::ByEvent,
            LayoutName::Single => Layout::Single,
        };
        Some(DeliveryPaths { layout, ..DeliveryPaths::default() })
    }
}

/// Runs `berth listen` until Ctrl-C, SIGTERM, `q`, or a refusal of the server.
pub(super) async fn run(args: ListenArgs) -> Result<u8, Failure> {
    domain::endpoint::check_local_url(&args.forward_to)
        .map_err(|message| Failure::usage(format!("--forward-to: {message}")))?;
    let api = Api::new(&args.server)?;
    let output = Output::new(args.json);
    let webhook = webhook::set_up(&api, &args).await?;
    output.ready(&webhook, &args.forward_to);
    let session = Session::connect(api, output, &webhook, &args).await?;
    let result = session.run(&args.resend).await;
    session.disconnect(webhook.is_temporary).await;
    result.map(|()| 0)
}
