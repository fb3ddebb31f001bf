//! The output of `berth listen`: one line per event for people, or one JSON object per line.

use super::webhook::ListenedWebhook;
use crate::terminal::{print, print_progress};
use delivery::Forwarded;
use domain::webhook::{ListenerDelivery, ListenerRecorded};
use serde_json::{Value, json};
use service::{Clock as _, SystemClock};
use std::io::IsTerminal as _;

/// Where and how lines are printed.
#[derive(Clone, Copy)]
pub(super) struct Output {
    json: bool,
    colour: bool,
}

/// Colours of ECMA-48 (SGR).
#[derive(Clone, Copy)]
enum Colour {
    Green,
    Red,
    Grey,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Red => "31",
            Self::Grey => "90",
        }
    }
}

/// Text of a server or receiver without control characters, which a terminal would interpret.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colour: !json && !no_colour && std::io::stdout().is_terminal() }
    }

    fn paint(self, text: &str, colour: Colour) -> String {
        if self.colour { format!("\u{1b}[{}m{text}\u{1b}[0m", colour.code()) } else { text.to_owned() }
    }

    /// Prints an object, or a line for people.
    fn line(self, object: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        print(&if self.json { object().to_string() } else { text() });
    }

    /// Prints the webhook, and its signing secret if it is new.
    pub(super) fn ready(self, webhook: &ListenedWebhook, forward_to: &str) {
        self.line(
            || {
                json!({
                    "type": "ready",
                    "webhook_id": webhook.id,
                    "name": webhook.name,
                    "forward_to": forward_to,
                    "secret": webhook.secret,
                    "provisions": webhook.provisions,
                    "waiting": webhook.waiting,
                })
            },
            || {
                let mut text =
                    format!("Webhook {} ({}) forwards to {forward_to}", webhook.id, printable(&webhook.name));
                match &webhook.secret {
                    Some(secret) => text.push_str(&format!("\nSigning secret, shown once: {secret}")),
                    None => text.push_str("\nSigning secret: unchanged; rotate it on the page if you do not have it"),
                }
                if !webhook.provisions {
                    text.push_str("\nResponses are logged only; --provisions lets them update reservations");
                }
                if !webhook.is_enabled {
                    text.push_str("\nThe webhook is paused: resume it to receive its events");
                }
                text.push_str("\nEnter r to resend the last event, r ID to resend a delivery, q to quit");
                text
            },
        );
    }

    /// Prints that the connection is made, or made again.
    pub(super) fn connected(self, again: bool) {
        let text = if again { "Connected again" } else { "Connected; waiting for events" };
        self.line(|| json!({"type": "connected", "again": again}), || self.paint(text, Colour::Grey));
    }

    /// Prints that the connection was lost.
    pub(super) fn disconnected(self, reason: &str) {
        self.line(
            || json!({"type": "disconnected", "reason": reason}),
            || self.paint(&format!("Connection lost, reconnecting: {}", printable(reason)), Colour::Red),
        );
    }

    /// Prints a forwarded event. Signatures and bodies are not printed.
    pub(super) fn forwarded(self, delivery: &ListenerDelivery, url: &str, forwarded: &Forwarded) {
        let status = forwarded.result.as_ref().ok().map(|reply| reply.status_code);
        let problem = forwarded.result.as_ref().err();
        let duration = forwarded.timings.total_ms;
        let now = SystemClock.now();
        self.line(
            || {
                json!({
                    "type": "forwarded",
                    "at": now,
                    "event_type": delivery.event_type,
                    "event_id": delivery.event_id,
                    "delivery_id": delivery.delivery_id,
                    "reservation_id": delivery.reservation_id,
                    "attempt": delivery.attempt,
                    "redelivery_of": delivery.redelivery_of,
                    "url": url,
                    "status_code": status,
                    "duration_ms": duration,
                    "problem": problem.map(|problem| &problem.message),
                })
            },
            || {
                let succeeded = status.is_some_and(|status| (200..300).contains(&status));
                let result = match (status, problem) {
                    (Some(status), _) => status.to_string(),
                    (None, Some(problem)) => printable(&problem.message),
                    (None, None) => String::new(),
                };
                let result = self.paint(&result, if succeeded { Colour::Green } else { Colour::Red });
                let attempt =
                    if delivery.attempt > 1 { format!(" attempt {}", delivery.attempt) } else { String::new() };
                format!(
                    "{}  {}  {}{attempt}  POST {url}  {result}  {duration:.0} ms",
                    now.format("%H:%M:%S"),
                    delivery.event_type,
                    printable(&delivery.delivery_id.0),
                )
            },
        );
    }

    /// Prints the effect of a result. For people only if something follows.
    pub(super) fn recorded(self, delivery: &ListenerDelivery, recorded: &ListenerRecorded) {
        let id = printable(&delivery.delivery_id.0);
        match (self.json, recorded.next_attempt_at, recorded.status) {
            (true, ..) => print(
                &json!({
                    "type": "recorded",
                    "delivery_id": delivery.delivery_id,
                    "attempt": delivery.attempt,
                    "status": recorded.status,
                    "next_attempt_at": recorded.next_attempt_at,
                })
                .to_string(),
            ),
            (false, Some(at), _) => {
                print(&self.paint(&format!("          {id}  next attempt at {}", at.format("%H:%M:%S")), Colour::Grey));
            }
            (false, None, Some(status)) if status != domain::delivery::DeliveryStatus::Succeeded => {
                print(&self.paint(&format!("          {id}  {}", status.as_str()), Colour::Red));
            }
            (false, ..) => {}
        }
    }

    /// Prints that a delivery was queued again.
    pub(super) fn resent(self, original: &str, delivery: &str) {
        self.line(
            || json!({"type": "resent", "redelivery_of": original, "delivery_id": delivery}),
            || self.paint(&format!("Resending {} as {}", printable(original), printable(delivery)), Colour::Grey),
        );
    }

    /// Prints a problem that does not end the command.
    pub(super) fn problem(self, text: &str) {
        match self.json {
            true => print(&json!({"type": "problem", "message": text}).to_string()),
            false => print_progress(&self.paint(&printable(text), Colour::Red)),
        }
    }
}
