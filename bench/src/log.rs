//! The delivery log with a million deliveries: searches, the overview of 90 days, and the export.

use crate::berth::{Berth, Engine};
use crate::scenarios::Rows;
use reqwest::Method;
use serde_json::json;
use sqlx::Connection as _;
use std::time::{Duration, Instant};

/// Number of stored deliveries; less in a quick run.
const STORED: u64 = 1_000_000;
const STORED_QUICK: u64 = 50_000;
/// Requests for each search.
const REPEATS: usize = 20;
/// Limit of one search, 95th percentile.
const SEARCH_MS: f64 = 200.0;
/// Limit of the overview of 90 days, 95th percentile.
const OVERVIEW_MS: f64 = 100.0;
/// Least number of exported rows per second.
const EXPORT_RATE: f64 = 20_000.0;
/// Limit of the additional memory during an export.
const EXPORT_MB: f64 = 50.0;

/// One search for each key, and for text; selective and unselective ones.
const SEARCHES: [&str; 18] = [
    "status:succeeded",
    "status:failed",
    "webhook:\"Log 3\"",
    "event:cancelled",
    "code:5xx",
    "code:503",
    "error:timeout",
    "duration:>1s",
    "attempts:>1",
    "id:dlv_h777",
    "id:777777",
    "id:rsv-h4242",
    "user:user7",
    "resource:\"log 5\"",
    "test:no",
    "text:rack17",
    "text:\"no free node\"",
    "status:failed webhook:\"Log 3\" code:5xx -error:timeout \"no free node\"",
];

/// Runs the scenario.
///
/// # Errors
/// When the server does not answer, or the database cannot be filled.
pub async fn run(rows: &mut Rows<'_>, engine: Engine) -> anyhow::Result<()> {
    if !rows.is_selected("log") {
        return Ok(());
    }
    let stored = if rows.run.quick { STORED_QUICK } else { STORED };
    let berth = Berth::start(engine, &rows.run.postgres).await?;
    let resources = berth.catalogue("log", 8).await?;
    let mut webhooks = Vec::new();
    for n in 0..8 {
        webhooks.push(berth.webhook(&format!("Log {n}"), "http://127.0.0.1:9/hook", "log", json!({})).await?);
    }
    store(&berth, engine, &webhooks, &resources, stored).await?;
    let begin = Instant::now();
    berth.command(&["index"]).await?;
    let name = engine.name();
    let rate = stored as f64 / begin.elapsed().as_secs_f64();
    rows.add("log", name, "deliveries/s added by `berth index`", rate, None, "", true);
    let mut worst = (0.0, "");
    for q in SEARCHES {
        let path = format!("/deliveries?limit=50&q={}", encode(q));
        let ms = percentile_95(&berth, &path).await?;
        if ms > worst.0 {
            worst = (ms, q);
        }
        let met = ms <= SEARCH_MS;
        rows.add("log", name, &format!("search `{q}`, p95 ms"), ms, None, "≤ 200 ms", met);
    }
    let path = format!("/deliveries/count?q={}", encode(worst.1));
    let ms = percentile_95(&berth, &path).await?;
    rows.add("log", name, "count of the slowest search, p95 ms", ms, None, "", true);
    let from = chrono::Utc::now() - chrono::Duration::days(90);
    let overview = format!("/metrics/deliveries?step=86400&from={}", encode(&from.to_rfc3339()));
    let ms = percentile_95(&berth, &overview).await?;
    rows.add("log", name, "overview of 90 days, p95 ms", ms, None, "≤ 100 ms", ms <= OVERVIEW_MS);
    let (rate, memory) = export(&berth).await?;
    rows.add("log", name, "exported rows/s (CSV)", rate, None, "≥ 20,000/s", rate >= EXPORT_RATE);
    rows.add("log", name, "additional memory of an export, MB", memory, None, "< 50 MB", memory < EXPORT_MB);
    berth.stop().await
}

/// A query value for a URL.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The 95th percentile of the durations of a request in milliseconds.
async fn percentile_95(berth: &Berth, path: &str) -> anyhow::Result<f64> {
    let mut times = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        let started = Instant::now();
        berth.call(Method::GET, path, None).await?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[REPEATS * 95 / 100 - 1])
}

/// Exports all deliveries. Returns the rows per second and the additional memory in MB.
async fn export(berth: &Berth) -> anyhow::Result<(f64, f64)> {
    let before = berth.memory_mb();
    let started = Instant::now();
    let mut response = berth
        .http
        .get(format!("{}/api/v1/deliveries/export?format=csv", berth.url))
        .bearer_auth(&berth.token)
        .timeout(Duration::from_secs(300))
        .send()
        .await?
        .error_for_status()?;
    let (mut lines, mut peak) = (0_usize, before);
    let mut measured = started;
    while let Some(chunk) = response.chunk().await? {
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        if measured.elapsed() > Duration::from_millis(50) {
            peak = f64::max(peak, berth.memory_mb());
            measured = Instant::now();
        }
    }
    // The first line has the names of the columns.
    let rate = lines.saturating_sub(1) as f64 / started.elapsed().as_secs_f64();
    Ok((rate, f64::max(peak, berth.memory_mb()) - before))
}

/// What the attempts of a stored delivery received: status code, duration, cause, text of the diagnosis, body.
const ANSWERS: [(Option<u16>, f64, &str, &str, &str); 5] = [
    (Some(200), 4.5, "ok", "The receiver accepted the event.", "{\"status\":\"accepted\",\"node\":\"%WORD%\"}"),
    (Some(202), 11.0, "ok", "The receiver accepted the event.", "{\"status\":\"provisioning\",\"node\":\"%WORD%\"}"),
    (
        Some(503),
        35.0,
        "server_error",
        "The receiver responded 503.",
        "{\"error\":\"There is no free node in %WORD%.\"}",
    ),
    (Some(404), 3.0, "not_found", "The receiver responded 404.", "{\"detail\":\"Not Found\"}"),
    (None, 30_000.0, "timeout", "The receiver did not respond within 30 s.", ""),
];

/// The number of the answer to a delivery: nine of ten are accepted.
const ANSWER: &str = "CASE WHEN n % 10 < 5 THEN 0 WHEN n % 10 < 9 THEN 1 ELSE 2 + (n / 10) % 3 END";

/// The transcript of an attempt, as Berth stores it.
fn transcript(answer: usize) -> String {
    let (status, duration, cause, message, body) = ANSWERS[answer];
    let footer = json!({
        "timings": {
            "dns_ms": null, "connect_ms": null, "tls_ms": null, "first_byte_ms": status.map(|_| duration), "total_ms": duration,
            "reused": true, "resent": false,
        },
        "diagnosis": {"code": cause, "message": message, "hint": ""},
        "truncated": false,
    });
    let request = "POST http://127.0.0.1:9/hook\nContent-Type: application/json\nwebhook-id: evt_h\nwebhook-timestamp: 1780000000\n\n";
    let response = status.map(|status| format!("HTTP/1.1 {status}\ncontent-type: application/json\n\n{body}\n"));
    format!("{request}{}{footer}", response.unwrap_or_default())
}

/// A value for each answer as an SQL expression.
fn of_answer(value: impl Fn(usize) -> String) -> String {
    let cases: Vec<String> = (0..ANSWERS.len()).map(|answer| format!("WHEN {answer} THEN {}", value(answer))).collect();
    format!("CASE answer {} END", cases.join(" "))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The element of a list for a delivery, as an SQL expression.
fn pick(values: &[i64]) -> String {
    let cases: Vec<String> = values.iter().enumerate().map(|(n, value)| format!("WHEN {n} THEN {value}")).collect();
    format!("CASE n % {} {} END", values.len(), cases.join(" "))
}

/// Stores deliveries of the last 90 days with one attempt each and a reservation for each five, directly in the database.
async fn store(berth: &Berth, engine: Engine, webhooks: &[i64], resources: &[i64], count: u64) -> anyhow::Result<()> {
    let now = chrono::Utc::now().timestamp_millis();
    let step = 90 * 86_400_000 / i64::try_from(count)?;
    let start = now - 90 * 86_400_000;
    let is_postgres = engine == Engine::Postgres;
    let series = |first: u64, last: u64| {
        if is_postgres {
            format!("WITH s AS (SELECT n, {ANSWER} AS answer FROM generate_series({first}, {last}) n)")
        } else {
            format!(
                "WITH RECURSIVE s0(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s0 WHERE n < {last}), s AS (SELECT n, {ANSWER} AS answer FROM s0)"
            )
        }
    };
    let status = of_answer(|answer| quoted(if answer < 2 { "succeeded" } else { "failed" }));
    let code = of_answer(|answer| ANSWERS[answer].0.map_or("NULL".into(), |code| code.to_string()));
    let duration = of_answer(|answer| format!("{:.1}", ANSWERS[answer].1));
    let outcome = of_answer(|answer| quoted(if answer < 2 { "succeeded" } else { "failed" }));
    let record = of_answer(|answer| format!("replace({}, '%WORD%', 'rack' || (n % 500))", quoted(&transcript(answer))));
    let body = "'{\"event_type\":\"reservation.created\",\"data\":{\"reservation_id\":\"rsv-h' || (n / 5) || '\",\"username\":\"user' || (n / 5 % 200) || '\",\"title\":\"Training ' || n || '\",\"note\":\"' || 'Long text of a reservation with configuration. ' || 'batch' || (n % 1000) || '\"}}'";
    let webhook = pick(webhooks);
    let resource = pick(resources);
    let no = if is_postgres { "false" } else { "0" };
    let reservations = count / 5;
    let statements = vec![
        // Cancelled, so that they may overlap.
        format!(
            "{} INSERT INTO reservations (id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config, status, cancel_reason, provisioning, created_at, updated_at) SELECT 'rsv-h' || n, 'user' || (n % 200), {resource}, 'Training', {start} + n, {start} + n + 3600000, '', '{{}}', 'cancelled', '', '{{\"status\":\"not_requested\"}}', {start}, {start} FROM s",
            series(0, reservations)
        ),
        format!(
            "{} INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, reservation_id, body, status, test, attempts, max_attempts, status_code, duration_ms, created_at, updated_at, ended_at) SELECT 'dlv_h' || n, 'evt_h' || n, CASE n % 5 WHEN 0 THEN 'reservation.created' WHEN 4 THEN 'reservation.cancelled' ELSE 'reservation.updated' END, {webhook}, 'rsv-h' || (n / 5), 'rsv-h' || (n / 5), {body}, {status}, {no}, 1, 4, {code}, {duration}, {start} + n * {step}, {start} + n * {step}, {start} + n * {step} FROM s",
            series(1, count - 1)
        ),
        format!(
            "{} INSERT INTO attempts (delivery_seq, attempt, webhook_id, started_at, outcome, status_code, duration_ms, delivery_status, record) SELECT d.seq, 1, d.webhook_id, d.created_at, {outcome}, {code}, {duration}, d.status, {record} FROM s JOIN deliveries d ON d.id = 'dlv_h' || n",
            series(1, count - 1)
        ),
    ];
    if is_postgres {
        let mut connection = sqlx::PgConnection::connect(berth.database_url()).await?;
        for sql in statements {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
        }
        sqlx::query("VACUUM ANALYZE").execute(&mut connection).await?;
    } else {
        let mut connection = sqlx::SqliteConnection::connect(berth.database_url()).await?;
        for sql in statements {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
        }
        // Otherwise the first commit would checkpoint gigabytes of WAL.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
    }
    Ok(())
}
