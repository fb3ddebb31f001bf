//! The raw ceiling: the same client posting the same signed bodies to the same receiver, without any database.

use delivery::{Auth, DeliveryRequest, Sender, SenderConfig, Target};
use domain::endpoint::{Network, UrlPolicy};
use domain::event::EventType;
use domain::id::{DeliveryId, EventId};
use domain::signature::Secret;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What to do.
#[derive(Debug, Clone, clap::Args)]
pub struct Ceiling {
    /// The receiver's address for the posts.
    #[arg(long)]
    pub endpoint: String,
    /// Posts in all.
    #[arg(long)]
    pub count: u64,
    /// Posts under way at once.
    #[arg(long, default_value_t = 64)]
    pub concurrency: u64,
    /// Only the bare client, all posts in one go.
    #[arg(long)]
    pub bare: bool,
}

/// Deliveries a second; printed as one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rate {
    /// Posts a second through `delivery::Sender` (signed, guarded, timed, classified); 0 when only the bare client was asked for.
    pub sender: f64,
    /// Posts a second by the bare reqwest client with a body signed once for each.
    pub raw: f64,
}

/// Rounds of either kind.
const ROUNDS: u64 = 4;

fn body(n: u64) -> bytes::Bytes {
    format!(r#"{{"event_type":"reservation.created","title":"sent_us:0 n:{n}","note":"{}"}}"#, "x".repeat(950)).into()
}

async fn flood<F, Fut>(load: &Ceiling, act: &F) -> f64
where
    F: Fn(u64) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..load.concurrency {
        let (next, act, count) = (next.clone(), act.clone(), load.count);
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return;
                }
                act(n).await;
            }
        });
    }
    tasks.join_all().await;
    load.count as f64 / started.elapsed().as_secs_f64()
}

/// Measures both.
///
/// # Errors
/// When a client cannot be made.
pub async fn run(load: Ceiling) -> anyhow::Result<Rate> {
    let secret = Secret::generate([7; 32]);
    let client = crate::berth::client()?;
    let endpoint = load.endpoint.clone();
    let key = secret.clone();
    let raw = move |n| {
        let (client, endpoint, secret) = (client.clone(), endpoint.clone(), key.clone());
        async move {
            let body = body(n);
            let request = client
                .post(&endpoint)
                .header("content-type", "application/json")
                .header("x-webhook-signature", domain::signature::sign_body(&secret, &body))
                .header("webhook-signature", domain::signature::sign_standard(&[secret], &[], "evt_0", 0, &body))
                .body(body);
            if let Ok(answer) = request.send().await {
                let _ = answer.bytes().await;
            }
        }
    };
    if load.bare {
        return Ok(Rate { raw: flood(&load, &raw).await, sender: 0.0 });
    }
    let policy = UrlPolicy {
        allow_http: true,
        allow_networks: vec![Network::parse("127.0.0.0/8").map_err(anyhow::Error::msg)?],
    };
    let sender = Sender::new(SenderConfig {
        url_policy: policy,
        timeout: Duration::from_secs(30),
        user_agent: "Berth-Webhooks/bench".into(),
    })
    .map_err(|message| anyhow::anyhow!(message))?;
    let target = Arc::new(Target {
        webhook_id: 1,
        auth: Auth::None,
        secrets: vec![secret],
        keys: Vec::new(),
        headers: Vec::new(),
    });
    let url = delivery::Destination::new(load.endpoint.clone());
    let through = move |n| {
        let (sender, target, url) = (sender.clone(), target.clone(), url.clone());
        async move {
            let job = DeliveryRequest {
                target,
                url,
                delivery_id: DeliveryId::from("dlv_bench"),
                event_id: EventId::from("evt_bench"),
                event_type: EventType::ReservationCreated,
                attempt: 1,
                test: false,
                body: body(n),
            };
            sender.attempt(&job, chrono::Utc::now()).await;
        }
    };
    // By turns, and of each the best: what else the machine does makes both slower, and never faster.
    let mut best = Rate { sender: 0.0, raw: 0.0 };
    let load = Ceiling { count: load.count / ROUNDS, ..load };
    for _ in 0..ROUNDS {
        best.raw = best.raw.max(flood(&load, &raw).await);
        best.sender = best.sender.max(flood(&load, &through).await);
    }
    Ok(best)
}
