//! The scenarios; each starts a new server.

use crate::berth::{Berth, Engine};
use crate::load::LoadResult;
use crate::report::{Report, Row};
use crate::{Receiver, Run, baseline, cpu, log, run_step};
use serde_json::json;
use std::time::{Duration, Instant};

/// The figures so far, and the settings that select the scenarios.
pub struct Rows<'a> {
    rows: Vec<Row>,
    /// The settings of the run.
    pub run: &'a Run,
}

impl Rows<'_> {
    /// Whether a scenario runs.
    pub fn is_selected(&self, scenario: &str) -> bool {
        self.run.only.as_deref().is_none_or(|only| scenario.contains(only))
    }

    #[expect(clippy::too_many_arguments, reason = "one call for each row of the table")]
    pub fn add(
        &mut self,
        scenario: &str,
        engine: &str,
        figure: &str,
        value: f64,
        of_baseline: Option<f64>,
        target: &str,
        met: bool,
    ) {
        #[expect(clippy::print_stderr, reason = "progress on the terminal")]
        {
            eprintln!("{scenario} · {engine} · {figure}: {value:.2}");
        }
        self.rows.push(Row {
            scenario: scenario.into(),
            engine: engine.into(),
            figure: figure.into(),
            value,
            of_baseline,
            target: target.into(),
            met,
        });
    }
}

/// Arguments of the load generator.
fn load_arguments(
    berth: &Berth,
    resources: &[i64],
    count: u64,
    clients: u64,
    rate: Option<f64>,
    offset: u64,
) -> Vec<String> {
    let ids: Vec<String> = resources.iter().map(ToString::to_string).collect();
    let mut arguments: Vec<String> = vec![
        "load".into(),
        "--url".into(),
        berth.url.clone(),
        "--token".into(),
        berth.token.clone(),
        "--resources".into(),
        ids.join(","),
        "--count".into(),
        count.to_string(),
        "--clients".into(),
        clients.to_string(),
        "--offset".into(),
        offset.to_string(),
    ];
    if let Some(rate) = rate {
        arguments.extend(["--rate".into(), rate.to_string()]);
    }
    arguments
}

/// Waits until a path of the receiver got `count` requests; returns the seconds.
async fn wait_until_received(receiver: &Receiver, path: &str, count: u64, limit: Duration) -> anyhow::Result<f64> {
    let started = Instant::now();
    loop {
        let report = receiver.report(path).await?;
        if report.count >= count {
            return Ok(started.elapsed().as_secs_f64());
        }
        anyhow::ensure!(started.elapsed() < limit, "only {} of {count} deliveries arrived", report.count);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until every received delivery is recorded.
async fn wait_until_recorded(berth: &Berth, limit: Duration) -> anyhow::Result<()> {
    let started = Instant::now();
    while berth.is_sending().await? {
        anyhow::ensure!(started.elapsed() < limit, "deliveries are still unfinished");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Measures the baseline with `count` posts; `bare` measures only the bare client, in one round, for comparison with a drain.
async fn baseline(receiver: &Receiver, count: u64, bare: bool) -> anyhow::Result<baseline::Rate> {
    let endpoint = receiver.endpoint("baseline", "");
    let mut arguments = vec!["baseline".into(), "--endpoint".into(), endpoint, "--count".into(), count.to_string()];
    if bare {
        arguments.push("--bare".into());
    }
    run_step(&arguments).await
}

/// Runs the selected scenarios.
///
/// # Errors
/// When a process cannot be started, or does not finish in time.
pub async fn run(run: &Run) -> anyhow::Result<Report> {
    let mut rows = Rows { rows: Vec::new(), run };
    let receiver = Receiver::start().await?;
    let count = if run.quick { 20_000_u64 } else { 100_000 };
    let baseline = baseline(&receiver, count, false).await?;
    rows.add("baseline", "none", "signed posts/s, bare reqwest", baseline.raw, Some(1.0), "", true);
    rows.add(
        "baseline",
        "none",
        "posts/s through Berth's sender",
        baseline.sender,
        Some(baseline.sender / baseline.raw),
        "",
        true,
    );
    for engine in &run.engine {
        drain(&mut rows, &receiver, *engine).await?;
        latency(&mut rows, &receiver, *engine).await?;
        throughput(&mut rows, &receiver, *engine).await?;
        slow(&mut rows, &receiver, *engine).await?;
        isolation(&mut rows, &receiver, *engine).await?;
        idle(&mut rows, &receiver, *engine).await?;
        log::run(&mut rows, *engine).await?;
        if !run.quick {
            history(&mut rows, &receiver, *engine, baseline.raw).await?;
        }
    }
    let postgres = if run.engine.contains(&Engine::Postgres) {
        crate::report::postgres(&run.postgres).await?
    } else {
        String::new()
    };
    Ok(Report {
        at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        machine: crate::report::machine(),
        commit: crate::report::commit(),
        postgres,
        quick: run.quick,
        rows: rows.rows,
    })
}

/// The result of a drain.
struct Drained {
    /// Recorded deliveries per second.
    rate: f64,
    /// CPU time per delivery in microseconds: Berth, database server, receiver.
    cpu_us: [f64; 3],
}

/// Fills a paused webhook's outbox with `count` deliveries.
async fn fill(berth: &Berth, resources: &[i64], webhook: i64, count: u64, offset: u64) -> anyhow::Result<()> {
    berth.call(reqwest::Method::POST, &format!("/webhooks/{webhook}/pause"), Some(json!({}))).await?;
    let loaded: LoadResult = run_step(&load_arguments(berth, resources, count, 32, None, offset)).await?;
    anyhow::ensure!(loaded.errors == 0, "{} reservations failed", loaded.errors);
    Ok(())
}

/// Resumes a webhook with `count` deliveries in its outbox and measures until the last result is recorded.
async fn measure_drain(berth: &Berth, receiver: &Receiver, webhook: i64, count: u64) -> anyhow::Result<Drained> {
    receiver.reset().await?;
    let used = || [cpu::seconds(berth.pid()), cpu::postgres_seconds(), cpu::seconds(receiver.pid())];
    let before = used();
    let started = Instant::now();
    berth.call(reqwest::Method::POST, &format!("/webhooks/{webhook}/resume"), Some(json!({}))).await?;
    wait_until_received(receiver, "drain", count, Duration::from_secs(300)).await?;
    wait_until_recorded(berth, Duration::from_secs(60)).await?;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    let after = used();
    let cpu_us = std::array::from_fn(|n| (after[n] - before[n]) * 1e6 / count as f64);
    Ok(Drained { rate, cpu_us })
}

/// Number of drains.
const DRAINS: u64 = 3;

/// Durable deliveries per second: the outbox is filled while the webhook is paused, and drained on resume. Each drain is
/// compared with the mean of the baselines before and after it, because the speed of a machine varies. The median counts.
async fn drain(rows: &mut Rows<'_>, receiver: &Receiver, engine: Engine) -> anyhow::Result<()> {
    if !rows.is_selected("drain") {
        return Ok(());
    }
    let berth = Berth::start(engine, &rows.run.postgres).await?;
    let resources = berth.catalogue("bench", 64).await?;
    let webhook =
        berth.webhook("drain", &receiver.endpoint("drain", ""), "bench", json!({"max_in_flight": 1000})).await?;
    let count = if rows.run.quick { 4_000 } else { 50_000 };
    let mut drains = Vec::new();
    for round in 0..DRAINS {
        fill(&berth, &resources, webhook, count, round * count).await?;
        let before = baseline(receiver, count, true).await?.raw;
        let drained = measure_drain(&berth, receiver, webhook, count).await?;
        let after = baseline(receiver, count, true).await?.raw;
        drains.push(((before + after) / 2.0, drained));
    }
    drains.sort_by(|(a_raw, a), (b_raw, b)| (a.rate / a_raw).total_cmp(&(b.rate / b_raw)));
    let (raw, median) = drains.swap_remove(drains.len() / 2);
    let (share, target) = match engine {
        Engine::Postgres => (0.4, "≥ 40 % of the baseline"),
        Engine::Sqlite => (0.3, "≥ 30 % of the baseline"),
    };
    let name = engine.name();
    rows.add("drain", name, "signed posts/s, bare reqwest, before and after", raw, Some(1.0), "", true);
    let of_baseline = median.rate / raw;
    rows.add("drain", name, "durable deliveries/s", median.rate, Some(of_baseline), target, of_baseline >= share);
    let processes =
        [("Berth's", true), ("the database server's", engine == Engine::Postgres), ("the receiver's", true)];
    for ((process, is_involved), us) in processes.iter().zip(median.cpu_us) {
        if *is_involved && us > 0.0 {
            rows.add("drain", name, &format!("{process} processor time for each, µs"), us, None, "", true);
        }
    }
    berth.stop().await
}

/// Latency from the client's POST to the receiver, at 20 reservations per second.
async fn latency(rows: &mut Rows<'_>, receiver: &Receiver, engine: Engine) -> anyhow::Result<()> {
    if !rows.is_selected("latency") {
        return Ok(());
    }
    let berth = Berth::start(engine, &rows.run.postgres).await?;
    let resources = berth.catalogue("bench", 8).await?;
    berth.webhook("latency", &receiver.endpoint("latency", ""), "bench", json!({})).await?;
    let _: LoadResult = run_step(&load_arguments(&berth, &resources, 40, 4, Some(20.0), 0)).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    receiver.reset().await?;
    let count = if rows.run.quick { 200 } else { 1_200 };
    let _: LoadResult = run_step(&load_arguments(&berth, &resources, count, 8, Some(20.0), 1_000)).await?;
    wait_until_received(receiver, "latency", count, Duration::from_secs(30)).await?;
    let report = receiver.report("latency").await?;
    rows.add("latency at 20/s", engine.name(), "p50 ms", report.p50_ms, None, "< 3 ms", report.p50_ms < 3.0);
    rows.add("latency at 20/s", engine.name(), "p99 ms", report.p99_ms, None, "< 10 ms", report.p99_ms < 10.0);
    berth.stop().await
}

/// Reservations accepted and delivered per second with 32 clients; then the latency at half that rate.
async fn throughput(rows: &mut Rows<'_>, receiver: &Receiver, engine: Engine) -> anyhow::Result<()> {
    if !rows.is_selected("throughput") {
        return Ok(());
    }
    let berth = Berth::start(engine, &rows.run.postgres).await?;
    let resources = berth.catalogue("bench", 64).await?;
    berth.webhook("throughput", &receiver.endpoint("throughput", ""), "bench", json!({"max_in_flight": 256})).await?;
    receiver.reset().await?;
    let count = if rows.run.quick { 8_000 } else { 40_000 };
    let started = Instant::now();
    let loaded: LoadResult = run_step(&load_arguments(&berth, &resources, count, 32, None, 0)).await?;
    anyhow::ensure!(loaded.errors == 0, "{} reservations failed", loaded.errors);
    wait_until_received(receiver, "throughput", count, Duration::from_secs(120)).await?;
    wait_until_recorded(&berth, Duration::from_secs(60)).await?;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    let target = if engine == Engine::Postgres { "≥ 3,000/s" } else { "" };
    rows.add(
        "throughput",
        engine.name(),
        "reservations accepted/s",
        loaded.accepted as f64 / loaded.seconds,
        None,
        "",
        true,
    );
    rows.add("throughput", engine.name(), "reservations accepted and delivered/s", rate, None, target, rate >= 3_000.0);
    receiver.reset().await?;
    let half = (rate / 2.0).floor();
    let seconds = if rows.run.quick { 5.0 } else { 20.0 };
    let n = (half * seconds) as u64;
    let _: LoadResult = run_step(&load_arguments(&berth, &resources, n, 32, Some(half), 100_000)).await?;
    wait_until_received(receiver, "throughput", n, Duration::from_secs(60)).await?;
    let report = receiver.report("throughput").await?;
    rows.add("half load", engine.name(), "p50 ms", report.p50_ms, None, "", true);
    rows.add("half load", engine.name(), "p99 ms", report.p99_ms, None, "< 100 ms", report.p99_ms < 100.0);
    berth.stop().await
}

/// A receiver that responds after one second.
async fn slow(rows: &mut Rows<'_>, receiver: &Receiver, engine: Engine) -> anyhow::Result<()> {
    if !rows.is_selected("slow receiver") {
        return Ok(());
    }
    let berth = Berth::start(engine, &rows.run.postgres).await?;
    let resources = berth.catalogue("bench", 64).await?;
    let webhook = berth
        .webhook(
            "slow",
            &receiver.endpoint("slow", "?delay_ms=1000"),
            "bench",
            json!({"max_in_flight": 2000, "enabled": false}),
        )
        .await?;
    let count = if rows.run.quick { 6_000 } else { 20_000 };
    let _: LoadResult = run_step(&load_arguments(&berth, &resources, count, 32, None, 0)).await?;
    receiver.reset().await?;
    berth.call(reqwest::Method::POST, &format!("/webhooks/{webhook}/resume"), Some(json!({}))).await?;
    let started = Instant::now();
    let mut memory: f64 = 0.0;
    while receiver.report("slow").await?.count < count && started.elapsed() < Duration::from_secs(120) {
        memory = memory.max(berth.memory_mb());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let report = receiver.report("slow").await?;
    rows.add(
        "slow receiver (1 s)",
        engine.name(),
        "peak in flight",
        report.peak_in_flight as f64,
        None,
        "2,000",
        report.peak_in_flight >= 1_990,
    );
    rows.add("slow receiver (1 s)", engine.name(), "memory MB", memory, None, "< 200 MB", memory < 200.0);
    berth.stop().await
}

/// 100 webhooks, alternately all healthy, and with one that never responds and one that always fails. The target compares
/// the median second: a stall of the machine affects one second, but also the slowest percent of a whole round.
async fn isolation(rows: &mut Rows<'_>, receiver: &Receiver, engine: Engine) -> anyhow::Result<()> {
    if !rows.is_selected("isolation") {
        return Ok(());
    }
    let mut p99 = [f64::INFINITY; 2];
    let mut seconds = [Vec::new(), Vec::new()];
    let turns = if rows.run.quick { 2 } else { 6 };
    for turn in 0..turns {
        let with_failures = turn % 2 == 1;
        let berth = Berth::start(engine, &rows.run.postgres).await?;
        let mut resources = Vec::new();
        for webhook in 0..100 {
            let slug = format!("type-{webhook}");
            resources.extend(berth.catalogue(&slug, 1).await?);
            let endpoint = match (with_failures, webhook) {
                (true, 0) => receiver.endpoint("failing", "?delay_ms=600000"),
                (true, 1) => receiver.endpoint("failing", "?status=500"),
                (false, 0 | 1) => receiver.endpoint("failing", ""),
                _ => receiver.endpoint("healthy", ""),
            };
            berth.webhook(&slug, &endpoint, &slug, json!({})).await?;
        }
        let warm_up = if rows.run.quick { 400 } else { 1_000 };
        let _: LoadResult = run_step(&load_arguments(&berth, &resources, warm_up, 8, Some(200.0), 0)).await?;
        receiver.reset().await?;
        let count = if rows.run.quick { 1_600 } else { 12_000 };
        let _: LoadResult = run_step(&load_arguments(&berth, &resources, count, 16, Some(400.0), 1_000)).await?;
        wait_until_received(receiver, "healthy", count / 100 * 98, Duration::from_secs(60)).await?;
        let report = receiver.report("healthy").await?;
        let group = usize::from(with_failures);
        p99[group] = p99[group].min(report.p99_ms);
        seconds[group].extend(report.seconds_p99_ms);
        berth.stop().await?;
    }
    rows.add("isolation", engine.name(), "healthy p99 ms, best turn, all healthy", p99[0], None, "", true);
    rows.add("isolation", engine.name(), "healthy p99 ms, best turn, two failing", p99[1], None, "", true);
    let medians = seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
    });
    rows.add("isolation", engine.name(), "healthy p99 ms, median second, all healthy", medians[0], None, "", true);
    rows.add("isolation", engine.name(), "healthy p99 ms, median second, two failing", medians[1], None, "", true);
    let ratio = medians[1] / medians[0];
    rows.add("isolation", engine.name(), "ratio", ratio, None, "≤ 1.2", ratio <= 1.2);
    Ok(())
}

/// Idle: 100 webhooks, an active reservation, an open page, no events.
async fn idle(rows: &mut Rows<'_>, receiver: &Receiver, engine: Engine) -> anyhow::Result<()> {
    if !rows.is_selected("idle") {
        return Ok(());
    }
    let berth = Berth::start(engine, &rows.run.postgres).await?;
    let resource = berth.catalogue("idle", 1).await?.first().copied().unwrap_or_default();
    for webhook in 0..100 {
        berth.webhook(&format!("idle {webhook}"), &receiver.endpoint("idle", ""), "idle", json!({})).await?;
    }
    let start = chrono::Utc::now();
    let reservation =
        json!({"resource_id": resource, "start_time": start, "end_time": start + chrono::Duration::hours(1)});
    berth.call(reqwest::Method::POST, "/reservations", Some(reservation)).await?;
    wait_until_received(receiver, "idle", 100, Duration::from_secs(60)).await?;
    let _page = berth.http.get(format!("{}/api/v1/stream", berth.url)).bearer_auth(&berth.token).send().await?;
    // PostgreSQL's sessions report their statistics with a delay of up to ten seconds.
    tokio::time::sleep(Duration::from_secs(if engine == Engine::Postgres { 11 } else { 3 })).await;
    let seconds = if rows.run.quick { 6 } else { 30 };
    let before = (cpu::seconds(berth.pid()), statements(&berth, engine).await?);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = (cpu::seconds(berth.pid()), statements(&berth, engine).await?);
    let cpu = (after.0 - before.0) / seconds as f64 * 100.0;
    rows.add("idle", engine.name(), "CPU %", cpu, None, "< 1 %", cpu < 1.0);
    if engine == Engine::Postgres {
        // The measurement itself is one transaction.
        let rate = (after.1 - before.1 - 1.0).max(0.0) / seconds as f64;
        rows.add("idle", engine.name(), "transactions/s", rate, None, "≤ 1", rate <= 1.0);
    }
    berth.stop().await
}

/// Transaction counter of the database (PostgreSQL).
async fn statements(berth: &Berth, engine: Engine) -> anyhow::Result<f64> {
    if engine != Engine::Postgres {
        return Ok(0.0);
    }
    // Read from another database, so that the query is not counted.
    let (server, name) =
        berth.database_url().rsplit_once('/').ok_or_else(|| anyhow::anyhow!("the database URL has no path"))?;
    let mut connection: sqlx::PgConnection =
        <sqlx::PgConnection as sqlx::Connection>::connect(&format!("{server}/postgres")).await?;
    let count: i64 =
        sqlx::query_scalar("SELECT (xact_commit + xact_rollback)::bigint FROM pg_stat_database WHERE datname = $1")
            .bind(name)
            .fetch_one(&mut connection)
            .await?;
    Ok(count as f64)
}

/// The cost of a long history: drain and first page of the log with 1,000 and with 2,000,000 stored deliveries.
async fn history(rows: &mut Rows<'_>, receiver: &Receiver, engine: Engine, baseline: f64) -> anyhow::Result<()> {
    if !rows.is_selected("history") {
        return Ok(());
    }
    let mut rates = [0.0, 0.0];
    let mut pages = [0.0, 0.0];
    for (n, stored) in [1_000_u64, 2_000_000].into_iter().enumerate() {
        let berth = Berth::start(engine, &rows.run.postgres).await?;
        let resources = berth.catalogue("bench", 64).await?;
        let webhook =
            berth.webhook("history", &receiver.endpoint("drain", ""), "bench", json!({"max_in_flight": 256})).await?;
        store_history(&berth, engine, webhook, stored).await?;
        fill(&berth, &resources, webhook, 20_000, 0).await?;
        rates[n] = measure_drain(&berth, receiver, webhook, 20_000).await?.rate;
        let mut times = Vec::new();
        for _ in 0..50 {
            let started = Instant::now();
            berth.call(reqwest::Method::GET, "/deliveries?limit=50", None).await?;
            times.push(started.elapsed().as_secs_f64() * 1_000.0);
        }
        times.sort_by(f64::total_cmp);
        pages[n] = times[times.len() / 2];
        rows.add(
            "history",
            engine.name(),
            &format!("durable deliveries/s with {stored} stored"),
            rates[n],
            Some(rates[n] / baseline),
            "",
            true,
        );
        rows.add(
            "history",
            engine.name(),
            &format!("log's first page, median ms, with {stored} stored"),
            pages[n],
            None,
            "",
            true,
        );
        berth.stop().await?;
    }
    let cost = rates[0] / rates[1];
    rows.add("history", engine.name(), "cost per delivery, 2,000,000 : 1,000", cost, None, "≤ 1.2", cost <= 1.2);
    let page = pages[1] / pages[0];
    rows.add("history", engine.name(), "first page, 2,000,000 : 1,000", page, None, "≤ 1.2", page <= 1.2);
    Ok(())
}

/// Inserts finished deliveries directly into the database; sending two million requests would take too long.
async fn store_history(berth: &Berth, engine: Engine, webhook: i64, count: u64) -> anyhow::Result<()> {
    let columns = "id, event_id, event_type, webhook_id, ordering_key, reservation_id, body, status, test, attempts, max_attempts, status_code, duration_ms, created_at, updated_at, ended_at";
    let now = chrono::Utc::now().timestamp_millis() - 86_400_000;
    match engine {
        Engine::Postgres => {
            let mut connection: sqlx::PgConnection =
                <sqlx::PgConnection as sqlx::Connection>::connect(berth.database_url()).await?;
            let sql = format!(
                "INSERT INTO deliveries ({columns}) SELECT 'dlv_h' || n, 'evt_h' || n, 'reservation.created', {webhook}, 'rsv-h' || n, 'rsv-h' || n, repeat('x', 900), 'succeeded', false, 1, 4, 200, 1.0, {now}, {now}, {now} FROM generate_series(1, {count}) n"
            );
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
            let sql = format!(
                "INSERT INTO attempts (delivery_seq, attempt, webhook_id, started_at, outcome, status_code, duration_ms, delivery_status, record) SELECT seq, 1, {webhook}, {now}, 'succeeded', 200, 1.0, 'succeeded', '{{}}' FROM deliveries WHERE id LIKE 'dlv_h%'"
            );
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
            sqlx::query("VACUUM ANALYZE").execute(&mut connection).await?;
        }
        Engine::Sqlite => {
            let mut connection: sqlx::SqliteConnection =
                <sqlx::SqliteConnection as sqlx::Connection>::connect(berth.database_url()).await?;
            let series = format!("WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count})");
            let sql = format!(
                "{series} INSERT INTO deliveries ({columns}) SELECT 'dlv_h' || n, 'evt_h' || n, 'reservation.created', {webhook}, 'rsv-h' || n, 'rsv-h' || n, printf('%.900c', 'x'), 'succeeded', 0, 1, 4, 200, 1.0, {now}, {now}, {now} FROM s"
            );
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
            let sql = format!(
                "INSERT INTO attempts (delivery_seq, attempt, webhook_id, started_at, outcome, status_code, duration_ms, delivery_status, record) SELECT seq, 1, {webhook}, {now}, 'succeeded', 200, 1.0, 'succeeded', '{{}}' FROM deliveries WHERE id LIKE 'dlv_h%'"
            );
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
            // Otherwise the first commit would checkpoint gigabytes of WAL.
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
        }
    }
    Ok(())
}
