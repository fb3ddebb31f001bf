//! For arbitrary response bytes, the attempt ends and at most 64 KiB are kept. The record can be stored and parsed, and
//! contains no echoed credential.
#![no_main]

use delivery::{Auth, DeliveryRequest, Destination, Sender, SenderConfig, Target};
use domain::endpoint::{Network, UrlPolicy};
use domain::event::EventType;
use domain::payload::PayloadFormat;
use domain::signature::Secret;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const KEY: &str = "a-key-that-must-not-be-shown";

struct Fixture {
    runtime: tokio::runtime::Runtime,
    listener: TcpListener,
    sender: Sender,
    request: DeliveryRequest,
}

static FIXTURE: OnceLock<Fixture> = OnceLock::new();

fn fixture() -> Fixture {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let networks = vec![Network::parse("127.0.0.0/8").unwrap()];
    let config = SenderConfig {
        url_policy: UrlPolicy { allow_http: true, allow_networks: networks },
        timeout: Duration::from_secs(1),
        user_agent: "Berth".into(),
    };
    let sender = runtime.block_on(async { Sender::new(config) }).unwrap();
    let target = Target {
        webhook_id: 1,
        auth: Auth::ApiKey { header: "X-API-Key".into(), key: KEY.into() },
        secrets: vec![Secret::parse("your-secret-key").unwrap()],
        keys: Vec::new(),
        headers: Vec::new(),
        public_url: "https://berth.example.com".into(),
        tls: None,
    };
    let request = DeliveryRequest {
        target: Arc::new(target),
        url: Destination::new(url),
        delivery_id: "dlv_1".into(),
        event_id: "evt_1".into(),
        event_type: EventType::ReservationCreated,
        attempt: 1,
        test: false,
        format: PayloadFormat::Berth,
        body: b"{}"[..].into(),
    };
    Fixture { runtime, listener, sender, request }
}

libfuzzer_sys::fuzz_target!(|response: &[u8]| {
    let Fixture { runtime, listener, sender, request } = FIXTURE.get_or_init(fixture);
    let attempted = runtime.block_on(async {
        let respond = async {
            while let Ok((mut stream, _)) = listener.accept().await {
                // The request usually arrives in one read; otherwise this tests an early response.
                let _ = stream.read(&mut [0; 16_384]).await;
                let _ = stream.write_all(response).await;
                let _ = stream.shutdown().await;
            }
        };
        tokio::select! {
            attempted = sender.attempt(request, chrono::DateTime::UNIX_EPOCH) => Some(attempted),
            () = respond => None,
        }
    });
    let Some(attempted) = attempted else { return };
    assert!(attempted.response_body.len() <= 64 * 1024);
    let shown = attempted.to_attempt("dlv_1".into()).expect("the transcript parses");
    assert_eq!(shown.response.is_some(), attempted.status_code.is_some());
    let text = attempted.transcript.into_text();
    // PostgreSQL rejects NUL.
    assert!(!text.contains('\0'));
    assert!(!text.contains(KEY));
});
