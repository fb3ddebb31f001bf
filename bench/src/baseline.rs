//! The raw HTTP baseline: the same client posts the same signed bodies to the same receiver, without a database.

use delivery::{Auth, DeliveryRequest, Sender, SenderConfig, Target};
use domain::endpoint::{Network, UrlPolicy};
use domain::event::EventType;
use domain::id::{DeliveryId, EventId};
use domain::payload::PayloadFormat;
use domain::signature::Secret;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Parameters of the baseline.
#[derive(Debug, Clone, clap::Args)]
pub struct Baseline {
    /// The receiver's URL.
    #[arg(long)]
    pub endpoint: String,
    /// Total number of posts.
    #[arg(long)]
    pub count: u64,
    /// Concurrent posts.
    #[arg(long, default_value_t = 64)]
    pub concurrency: u64,
    /// Measure only the bare client, with all posts in one round.
    #[arg(long)]
    pub bare: bool,
}

/// Measured rates; printed as one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rate {
    /// Posts per second through `delivery::Sender` (signing, SSRF check, timing, diagnosis); 0 with `--bare`.
    pub sender: f64,
    /// Posts per second by a bare reqwest client; each body is signed.
    pub raw: f64,
}

/// Rounds of each kind.
const ROUNDS: u64 = 4;

fn body(n: u64) -> bytes::Bytes {
    format!(r#"{{"event_type":"reservation.created","title":"sent_us:0 n:{n}","note":"{}"}}"#, "x".repeat(950)).into()
}

/// Posts `count` bodies with `concurrency` at once; returns the rate per second.
async fn flood<F, Fut>(load: &Baseline, post: &F) -> f64
where
    F: Fn(u64) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..load.concurrency {
        let (next, post, count) = (next.clone(), post.clone(), load.count);
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return;
                }
                post(n).await;
            }
        });
    }
    tasks.join_all().await;
    load.count as f64 / started.elapsed().as_secs_f64()
}

/// Measures the bare client and Berth's sender.
///
/// # Errors
/// When a client cannot be built.
pub async fn run(load: Baseline) -> anyhow::Result<Rate> {
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
            if let Ok(response) = request.send().await {
                let _ = response.bytes().await;
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
        public_url: "https://berth.example.com".into(),
        tls: None,
    });
    let url = delivery::Destination::new(load.endpoint.clone());
    let by_sender = move |n| {
        let (sender, target, url) = (sender.clone(), target.clone(), url.clone());
        async move {
            let request = DeliveryRequest {
                target,
                url,
                delivery_id: DeliveryId::from("dlv_bench"),
                event_id: EventId::from("evt_bench"),
                event_type: EventType::ReservationCreated,
                attempt: 1,
                test: false,
                format: PayloadFormat::Berth,
                body: body(n),
            };
            sender.attempt(&request, chrono::Utc::now()).await;
        }
    };
    // Alternating rounds; the best of each counts, because interference only slows a round down.
    let mut best = Rate { sender: 0.0, raw: 0.0 };
    let load = Baseline { count: load.count / ROUNDS, ..load };
    for _ in 0..ROUNDS {
        best.raw = best.raw.max(flood(&load, &raw).await);
        best.sender = best.sender.max(flood(&load, &by_sender).await);
    }
    Ok(best)
}
