//! What is measured of the service, a function for each case; what is aimed at stands beside it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::certificates::{Issuer, host, serial};
use crate::client::{Client, Request};
use crate::random::mixed;
use crate::report::{self, ms, quantile};
use crate::served::Served;

/// Connections at once.
const CONNECTIONS: usize = 64;

/// Certificates that one request brings: few enough that a large ledger is filled from little memory.
const TOGETHER: u64 = 20_000;

/// How often each list is asked for.
const LISTS: usize = 20;

/// Clients that send nothing.
const SILENT: usize = 10_000;

pub(crate) fn machine(issuer: &Issuer) {
    report::line("P-256 verifications on one core", &format!("{}/s", report::number(issuer.verifications().round())));
}

pub(crate) fn start(served: &Served, what: &str) {
    report::at_most(&format!("cold start to ready, {what}"), served.started_in.as_secs_f64(), 0.5, " s", "");
}

/// Memory of a service that has only been asked whether it is ready; in MB.
pub(crate) async fn idle_memory(served: &Served) -> f64 {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = served.resident();
    report::at_most("resident memory, idle", idle, 40.0, " MB", "");
    idle
}

/// Memory after the load, once it is back within 20 % of `idle` or after `patience`.
pub(crate) async fn memory_after(served: &Served, idle: f64, patience: Duration) {
    let (began, loaded) = (Instant::now(), served.resident());
    while served.resident() > 1.2 * idle && began.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    report::line("resident memory when the load ends", &format!("{loaded:.0} MB"));
    let what = format!("the same after {:.0} s without load", began.elapsed().as_secs_f64());
    report::at_most(&what, served.resident(), 1.2 * idle, " MB", "");
}

/// Fills the ledger by streams of NDJSON, one after the other: ten owners, two sources, a tenth with a tag.
pub(crate) async fn bulk(served: &Served, token: &str, issuer: &Issuer, rows: u64) {
    let mut client = Client::connect(served.address).await.expect("it listens");
    let ca = Request::new("POST", "/v1/certificates", token, "application/pkix-cert", &issuer.der());
    let answer = client.ask(&ca).await.expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.text());
    let (mut took, mut first, mut memory) = (Duration::ZERO, None, Vec::new());
    let cpu = served.processor_time();
    for start in (0..rows).step_by(usize::try_from(TOGETHER).expect("it is small")) {
        let end = (start + TOGETHER).min(rows);
        let certificates = issuer.issue_all(start..end);
        let (part, source) = (start * 10 / rows, if start == 0 { "vault" } else { "step-ca" });
        let tags = if part == 5 || rows <= TOGETHER { r#","tags":["prod"]"# } else { "" };
        let lines: String = certificates
            .iter()
            .map(|der| {
                format!(
                    "{{\"der\":\"{}\",\"owner\":\"team{part}\",\"source\":\"{source}\"{tags}}}\n",
                    STANDARD.encode(der)
                )
            })
            .collect();
        let request = Request::new("POST", "/v1/certificates", token, "application/x-ndjson", lines.as_bytes());
        let began = Instant::now();
        let answer = client.ask(&request).await.expect("an answer");
        took += began.elapsed();
        assert_eq!(answer.status, 200);
        let text = answer.text();
        let done = text.lines().filter(|line| line.contains("\"status\":201,")).count();
        assert_eq!(done as u64, end - start, "{:?}", text.lines().find(|line| !line.contains("\"status\":201,")));
        if end <= 100_000 {
            first = Some((end, took));
        }
        memory.push(served.resident());
    }
    let each = (served.processor_time() - cpu).as_micros() / u128::from(rows);
    let (count, of_first) = first.expect("there is a first part");
    let rate = count as f64 / of_first.as_secs_f64();
    let what = format!("NDJSON, the first {count} certificates of one stream each");
    report::at_least(&what, rate, 12_000.0, "/s", &format!(", {each} µs CPU"));
    if rows > count {
        report::line(&format!("  all {rows}"), &format!("{:.0}/s", rows as f64 / took.as_secs_f64()));
    }
    let (half, end) = (memory[memory.len() / 2], memory[memory.len() - 1]);
    report::at_most("  memory at the end, against half-way", end / half, 1.1, "", &format!(" ({end:.0} MB)"));
}

/// What many connections got together.
struct Rate {
    per_second: f64,
    count: usize,
    p50: Duration,
    p99: Duration,
}

/// Asks on many connections, each anew when it has its answer, until there is no further request.
async fn ask_all(
    address: SocketAddr,
    expected: u16,
    request: impl Fn(usize) -> Option<Request> + Send + Sync + 'static,
) -> Rate {
    let (request, next) = (Arc::new(request), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(address).await.expect("it listens"));
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (request, next) = (request.clone(), next.clone());
        tasks.spawn(async move {
            let mut took = Vec::new();
            while let Some(request) = request(next.fetch_add(1, Ordering::Relaxed)) {
                let began = Instant::now();
                let answer = client.ask(&request).await.expect("an answer");
                took.push(began.elapsed());
                assert_eq!(answer.status, expected, "{}", answer.text());
            }
            took
        });
    }
    let mut took = tasks.join_all().await.concat();
    let per_second = took.len() as f64 / began.elapsed().as_secs_f64();
    took.sort_unstable();
    Rate { per_second, count: took.len(), p50: quantile(&took, 500), p99: quantile(&took, 990) }
}

/// Registers one certificate per request, and revokes a tenth of them.
pub(crate) async fn register(served: &Served, token: &str, issuer: &Issuer, numbers: std::ops::Range<u64>) {
    let certificates = issuer.issue_all(numbers);
    let request = |der: &Vec<u8>| Request::new("POST", "/v1/certificates", token, "application/pkix-cert", der);
    let requests: Vec<Request> = certificates.iter().map(request).collect();
    let cpu = served.processor_time();
    let rate = ask_all(served.address, 201, move |number| requests.get(number).cloned()).await;
    let each = (served.processor_time() - cpu).as_micros() / rate.count as u128;
    let what = format!("register one per request, {CONNECTIONS} connections");
    report::at_least(&what, rate.per_second, 2_500.0, "/s", &format!(", {each} µs CPU"));
    report::line("  p50, p99", &format!("{:.1}, {:.1} ms", ms(rate.p50), ms(rate.p99)));

    let fingerprint = |der: &Vec<u8>| openssl::sha::sha256(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let fingerprints: Vec<String> = certificates.iter().step_by(10).map(fingerprint).collect();
    let token = token.to_owned();
    let revocation = move |number: usize| {
        let path = format!("/v1/certificates/{}/revoke", fingerprints.get(number)?);
        Some(Request::new("POST", &path, &token, "application/json", br#"{"reason":"superseded"}"#))
    };
    let rate = ask_all(served.address, 200, revocation).await;
    report::line("revoke one per request", &format!("{:.0}/s", rate.per_second));
}

async fn gets(served: &Served, token: &str, rows: u64, length: Duration) -> Rate {
    let (token, until) = (token.to_owned(), Instant::now() + length);
    ask_all(served.address, 200, move |number| {
        let serial = serial(mixed(number as u64) % rows);
        let request = || Request::get(&format!("/v1/certificates?serial={serial}"), &token);
        (Instant::now() < until).then(request)
    })
    .await
}

/// Finds certificates by their serials, in no order.
pub(crate) async fn get_by_serial(served: &Served, token: &str, rows: u64, length: Duration) {
    // Each connection to the file reads pages for the first time.
    gets(served, token, rows, length / 4).await;
    let cpu = served.processor_time();
    let rate = gets(served, token, rows, length).await;
    let each = (served.processor_time() - cpu).as_micros() / rate.count as u128;
    let what = format!("get by serial, {CONNECTIONS} connections");
    report::at_least(&what, rate.per_second, 15_000.0, "/s", &format!(", {each} µs CPU"));
    report::at_most("  p99", ms(rate.p99), 20.0, " ms", &format!(" (p50 {:.1} ms)", ms(rate.p50)));
}

/// The same beside many clients that have connected and send nothing.
pub(crate) async fn beside_silent_clients(served: &Served, token: &str, rows: u64, length: Duration) {
    let open = rustix::process::Resource::Nofile;
    let mut limit = rustix::process::getrlimit(open);
    limit.current = limit.maximum;
    rustix::process::setrlimit(open, limit).expect("what is allowed can be had");
    let most = limit.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let count = SILENT.min(most.saturating_sub(500));
    if count < SILENT {
        report::line("", &format!("{most} open files are allowed: {count} silent clients"));
    }
    let without = gets(served, token, rows, length).await;
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(TcpStream::connect(served.address).await.expect("it listens"));
    }
    let with = gets(served, token, rows, length).await;
    let memory = served.resident();
    // The service cuts them after a while; while it was measured, they were there.
    let there = silent.iter().filter(|stream| stream.try_read(&mut [0]).is_err()).count();
    assert_eq!(there, count, "silent clients are there as long as it is measured");
    let what = format!("get by serial beside {count} silent clients, against without");
    report::at_least(&what, with.per_second / without.per_second, 0.9, "", &format!(" ({memory:.0} MB)"));
    report::at_most("  p99", ms(with.p99), 20.0, " ms", &format!(" (without {:.1} ms)", ms(without.p99)));
}

/// Lists by each filter, and counts.
pub(crate) async fn lists(served: &Served, token: &str, rows: u64) {
    let mut client = Client::connect(served.address).await.expect("it listens");
    let first = client.ask(&Request::get("/v1/certificates?limit=1", token)).await.expect("an answer").json();
    let issuer = first["certificates"][0]["issuer_id"].as_str().expect("an issuer").to_owned();
    let exact = host(rows / 2);
    let in_days = |days: i64| {
        let day = time::OffsetDateTime::now_utc().date() + time::Duration::days(days);
        format!("{day}T00:00:00Z")
    };
    let (month, yesterday) = (in_days(30), in_days(-1));
    for what in [
        "",
        "total=true",
        &format!("serial={}", serial(rows / 3)),
        &format!("issuer={issuer}"),
        &format!("name={exact}"),
        "name=beef.*",
        "name=*.corp.example.com",
        "name=*.rare.example",
        "status=valid",
        "status=expired",
        "status=revoked",
        "status=on-hold",
        "status=not-yet-valid",
        "category=service",
        "category=ca",
        "owner=team0",
        "tag=prod",
        "source=vault",
        "weak=true",
        &format!("expires_before={month}"),
        &format!("expires_after={month}"),
        &format!("registered_before={yesterday}"),
        &format!("registered_after={yesterday}"),
        "status=valid&total=true",
    ] {
        let path = format!("/v1/certificates{}{what}", if what.is_empty() { "" } else { "?" });
        let shown: String = if what.is_empty() { "list".to_owned() } else { what.chars().take(40).collect() };
        ask_often(&mut client, &path, &shown, token).await;
    }
    ask_often(&mut client, "/v1/stats", "stats", token).await;
    ask_often(&mut client, "/v1/expiring", "expiring", token).await;
    ask_often(&mut client, "/v1/audit", "audit", token).await;
}

async fn ask_often(client: &mut Client, path: &str, what: &str, token: &str) {
    let mut took = Vec::new();
    for _ in 0..LISTS {
        let began = Instant::now();
        let answer = client.ask(&Request::get(path, token)).await.expect("an answer");
        took.push(began.elapsed());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    took.sort_unstable();
    let worst = took[took.len() - 1];
    report::at_most(
        &format!("{what}: worst of {LISTS}"),
        ms(worst),
        50.0,
        " ms",
        &format!(" ({:.2})", ms(took[LISTS / 2])),
    );
}
