//! Clients of every kind at once, many of them badly behaved, and the proof that nothing went astray.
//!
//! Each client registers certificates that nobody else touches, so it knows what each of them must look like; what it did not
//! wait for, it knows nothing about.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::task::JoinSet;

use crate::certificates::{Issuer, serial};
use crate::client::{Answer, Client, Request};
use crate::random::Random;
use crate::report;
use crate::served::{Ledger, Served};

/// Clients at once.
const CLIENTS: u64 = 32;

/// What the certificates' source is called.
const SOURCE: &str = "mixed";

/// Lines of a stream.
const LINES: u64 = 40;

/// A certificate of a client's own, as it must be.
#[derive(Clone, Debug)]
struct Mine {
    id: String,
    serial: String,
    /// None once a change was not waited for.
    state: Option<State>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    status: Status,
    note: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Status {
    /// By its dates: valid or expired.
    #[default]
    Good,
    OnHold,
    Revoked,
}

/// What all clients share.
struct World {
    address: std::net::SocketAddr,
    token: String,
    issuer: Arc<Issuer>,
    /// Number of the next certificate.
    next: AtomicU64,
    /// Serials of certificates that were sent, and whose answer nobody waited for.
    unknown: Mutex<HashSet<String>>,
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

/// Lets clients work for so long; then the ledger must hold what they were told, and nothing else.
pub(crate) async fn run(
    served: Served,
    ledger: &Ledger,
    token: &str,
    issuer: Arc<Issuer>,
    next: u64,
    length: Duration,
    settle: impl AsyncFnOnce(&Served),
) {
    let world = Arc::new(World {
        address: served.address,
        token: token.to_owned(),
        issuer,
        next: AtomicU64::new(next),
        unknown: Mutex::default(),
        answers: Mutex::default(),
    });
    let (began, mut clients) = (Instant::now(), JoinSet::new());
    for client in 0..CLIENTS {
        clients.spawn(work(world.clone(), Random::new(next + client), began + length));
    }
    let mine: Vec<Mine> = clients.join_all().await.concat();
    let took = began.elapsed();

    report::title(&format!("Mixed load: {CLIENTS} clients, {:.0} s", took.as_secs_f64()));
    let answers = world.answers.lock().expect("nobody panics with it").clone();
    for ((what, status), count) in &answers {
        let status = if *status == 0 { "none waited for".to_owned() } else { status.to_string() };
        report::line(&format!("{what}: {status}"), &count.to_string());
    }
    let failed: Vec<_> = answers.keys().filter(|(_, status)| *status >= 500 && *status != 503).collect();
    assert!(failed.is_empty(), "answers that say the service failed: {failed:?}");

    // Requests whose clients have gone may take a moment to end.
    let mut under_way = String::new();
    for _ in 0..100 {
        let mut client = Client::connect(served.address).await.expect("it listens");
        let metrics = client.ask(&Request::get("/metrics", "")).await.expect("an answer").text();
        let line = metrics.lines().find(|line| line.starts_with("trust_ledger_http_requests_under_way "));
        under_way = line.unwrap_or_default().to_owned();
        if under_way.ends_with(" 1") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(under_way.ends_with(" 1"), "only the request that asks is under way: {under_way:?}");
    settle(&served).await;
    report::line("lines of the log, none of them an error", &served.log_lines().to_string());
    served.terminate();
    prove(ledger, &mine, &world.unknown.lock().expect("nobody panics with it"));
}

/// Every answered registration is there once and as it was last answered; nothing is there that nobody sent.
fn prove(ledger: &Ledger, mine: &[Mine], unknown: &HashSet<String>) {
    let mut expected: HashMap<&str, &Mine> = mine.iter().map(|mine| (mine.id.as_str(), mine)).collect();
    assert_eq!(expected.len(), mine.len(), "each registration has an id of its own");
    let (mut faults, mut unasked) = (Vec::new(), HashSet::new());
    ledger.records(SOURCE, |record| match expected.remove(record.id.as_str()) {
        Some(mine) => {
            let status = match record.status.as_str() {
                "revoked" => Status::Revoked,
                "on-hold" => Status::OnHold,
                _ => Status::Good,
            };
            let is = State { status, note: record.note };
            if mine.serial != record.serial || mine.state.as_ref().is_some_and(|state| *state != is) {
                faults.push(format!("{mine:?} is {is:?}"));
            }
        }
        None if unknown.contains(&record.serial) && unasked.insert(record.serial.clone()) => {}
        None => faults.push(format!("nobody was told of it: {} {}", record.id, record.serial)),
    });
    faults.extend(expected.values().map(|mine| format!("it is missing: {mine:?}")));
    assert!(faults.is_empty(), "{} faults: {:#?}", faults.len(), &faults[..faults.len().min(10)]);
    let certain = mine.iter().filter(|mine| mine.state.is_some()).count();
    report::line("registrations that were answered, each there once", &mine.len().to_string());
    report::line("  as it was last answered", &certain.to_string());
    report::line("those of clients that hung up: sent, there", &format!("{}, {}", unknown.len(), unasked.len()));
}

/// One client after the other, until it is time.
async fn work(world: Arc<World>, mut random: Random, until: Instant) -> Vec<Mine> {
    let mut mine = Vec::new();
    let mut client = None;
    while Instant::now() < until {
        // One in 50 connections is a new one.
        let connection = match client.take().filter(|_| random.below(50) > 0) {
            Some(connection) => connection,
            None => Client::connect(world.address).await.expect("it listens"),
        };
        client = world.attempt(connection, &mut random, &mut mine).await;
    }
    mine
}

impl World {
    /// One thing that a client does. Gives back the connection when it can be used again.
    async fn attempt(&self, mut client: Client, random: &mut Random, mine: &mut Vec<Mine>) -> Option<Client> {
        match random.below(100) {
            0..35 => {
                let serial = match mine.get(random.below(mine.len() as u64) as usize) {
                    Some(mine) => mine.serial.clone(),
                    None => serial(0),
                };
                let answer = self.get(&mut client, "get by serial", &format!("?serial={serial}")).await;
                assert!(
                    answer.status != 200 || answer.text().contains(&serial),
                    "{serial} is found: {}",
                    answer.text()
                );
            }
            35..60 => self.register(&mut client, mine).await,
            60..68 => self.annotate(&mut client, random, mine).await,
            68..76 => self.revoke(&mut client, random, mine).await,
            76..84 => {
                let filters = ["", "?status=valid", "?status=revoked&total=true", "?source=mixed&limit=20", "?name=a*"];
                let filter = filters[random.below(filters.len() as u64) as usize];
                self.get(&mut client, "list", filter).await;
            }
            84..86 => {
                self.get(&mut client, "stats", "/../stats").await;
            }
            86..88 => self.stream(&mut client, mine).await,
            88..97 => {
                self.hang_up(client, random, mine).await;
                return None;
            }
            _ => self.be_slow(&mut client, random, mine).await,
        }
        Some(client)
    }

    async fn ask(&self, client: &mut Client, what: &'static str, expected: u16, request: &Request) -> Answer {
        let answer = client.ask(request).await.unwrap_or_else(|error| panic!("{what}: no answer: {error}"));
        self.count(what, expected, answer)
    }

    fn count(&self, what: &'static str, expected: u16, answer: Answer) -> Answer {
        assert!([expected, 503].contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
        *self.answers.lock().expect("nobody panics with it").entry((what, answer.status)).or_default() += 1;
        answer
    }

    async fn get(&self, client: &mut Client, what: &'static str, query: &str) -> Answer {
        let path = match query.strip_prefix("/../") {
            Some(other) => format!("/v1/{other}"),
            None => format!("/v1/certificates{query}"),
        };
        self.ask(client, what, 200, &Request::get(&path, &self.token)).await
    }

    /// A certificate that nobody has sent: its serial and DER.
    fn new_certificate(&self) -> (String, Vec<u8>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (serial(number), self.issuer.issue(number))
    }

    fn registration(&self, der: &[u8]) -> Request {
        let path = format!("/v1/certificates?source={SOURCE}");
        Request::new("POST", &path, &self.token, "application/pkix-cert", der)
    }

    fn not_known(&self, serial: String) {
        self.unknown.lock().expect("nobody panics with it").insert(serial);
    }

    fn registered(&self, answer: &Answer, serial: String, mine: &mut Vec<Mine>) {
        if answer.status != 201 {
            // Too late to say so, it may have been committed.
            return self.not_known(serial);
        }
        let record = answer.json();
        assert_eq!(record["serial"], *serial);
        mine.push(Mine { id: record["id"].as_str().expect("an id").to_owned(), serial, state: Some(State::default()) });
    }

    async fn register(&self, client: &mut Client, mine: &mut Vec<Mine>) {
        let (serial, der) = self.new_certificate();
        let request = self.registration(&der);
        let answer = self.ask(client, "register", 201, &request).await;
        let is_new = answer.status == 201;
        self.registered(&answer, serial, mine);
        if is_new && mine.len().is_multiple_of(8) {
            let again = self.ask(client, "register again", 200, &request).await;
            assert!(
                again.status != 200
                    || Some(again.json()["id"].as_str().expect("an id")) == mine.last().map(|mine| &*mine.id)
            );
        }
    }

    async fn annotate(&self, client: &mut Client, random: &mut Random, mine: &mut [Mine]) {
        let Some(mine) = pick(random, mine) else { return };
        let note = (random.below(4) > 0).then(|| format!("note {}", random.below(1_000)));
        let body = json!({ "note": note }).to_string();
        let path = format!("/v1/certificates/{}", mine.id);
        let request = Request::new("PATCH", &path, &self.token, "application/merge-patch+json", body.as_bytes());
        let answer = self.ask(client, "patch", 200, &request).await;
        match (&mut mine.state, answer.status) {
            (Some(state), 200) => state.note = note,
            (state, _) => *state = None,
        }
    }

    async fn revoke(&self, client: &mut Client, random: &mut Random, mine: &mut [Mine]) {
        let Some(mine) = pick(random, mine) else { return };
        let Some(state) = &mut mine.state else { return };
        let (what, path, body, becomes) = match (state.status, random.below(2)) {
            (Status::Good, 0) => ("revoke", "revoke", r#"{"reason":"superseded"}"#, Status::Revoked),
            (Status::Good, _) => ("hold", "revoke", r#"{"reason":"certificateHold"}"#, Status::OnHold),
            (Status::OnHold, 0) => {
                ("make a hold final", "revoke", r#"{"reason":"cessationOfOperation"}"#, Status::Revoked)
            }
            (Status::OnHold, _) => ("lift a hold", "lift-hold", "", Status::Good),
            (Status::Revoked, _) => ("revoke again", "revoke", r#"{"reason":"superseded"}"#, Status::Revoked),
        };
        let path = format!("/v1/certificates/{}/{path}", mine.id);
        let request = Request::new("POST", &path, &self.token, "application/json", body.as_bytes());
        let answer = self.ask(client, what, 200, &request).await;
        if answer.status == 200 {
            state.status = becomes;
        } else {
            mine.state = None;
        }
    }

    /// The lines of a stream, and the serials in them.
    fn lines(&self) -> (Vec<String>, Request) {
        let (mut serials, mut lines) = (Vec::new(), String::new());
        for _ in 0..LINES {
            let (serial, der) = self.new_certificate();
            serials.push(serial);
            lines += &json!({ "der": STANDARD.encode(der), "source": SOURCE }).to_string();
            lines.push('\n');
        }
        let request = Request::new("POST", "/v1/certificates", &self.token, "application/x-ndjson", lines.as_bytes());
        (serials, request)
    }

    async fn stream(&self, client: &mut Client, mine: &mut Vec<Mine>) {
        let (serials, request) = self.lines();
        let answer = self.ask(client, "stream", 200, &request).await;
        let text = answer.text();
        if answer.status != 200 {
            return serials.into_iter().for_each(|serial| self.not_known(serial));
        }
        assert_eq!(text.lines().count(), serials.len(), "each line is answered: {text}");
        for (line, serial) in text.lines().zip(serials) {
            let line: serde_json::Value = serde_json::from_str(line).expect("NDJSON");
            match (line["status"].as_u64(), line["id"].as_str()) {
                (Some(201), Some(id)) => mine.push(Mine { id: id.to_owned(), serial, state: Some(State::default()) }),
                (Some(503), _) => self.not_known(serial),
                _ => panic!("a line of a stream: {line}"),
            }
        }
    }

    /// Sends a part of a request, or all of it, and goes away.
    async fn hang_up(&self, client: Client, random: &mut Random, mine: &mut [Mine]) {
        let request = match random.below(4) {
            0 => {
                let (serials, request) = self.lines();
                serials.into_iter().for_each(|serial| self.not_known(serial));
                request
            }
            1 if !mine.is_empty() => {
                let mine = pick(random, mine).expect("there are some");
                mine.state = None;
                let body = json!({ "note": "hung up" }).to_string();
                let path = format!("/v1/certificates/{}", mine.id);
                Request::new("PATCH", &path, &self.token, "application/merge-patch+json", body.as_bytes())
            }
            2 => Request::get("/v1/certificates?limit=1000", &self.token),
            _ => {
                let (serial, der) = self.new_certificate();
                self.not_known(serial);
                self.registration(&der)
            }
        };
        let bytes = match random.below(3) {
            0 => request.0.len(),
            _ => random.below(request.0.len() as u64) as usize,
        };
        // The service may have gone first.
        let _ = client.hang_up_after(&request, bytes).await;
        *self.answers.lock().expect("nobody panics with it").entry(("hung up", 0)).or_default() += 1;
    }

    /// Sends a registration in small pieces.
    async fn be_slow(&self, client: &mut Client, random: &mut Random, mine: &mut Vec<Mine>) {
        let (serial, der) = self.new_certificate();
        let (pieces, pause) = (10 + random.below(30) as usize, Duration::from_millis(random.below(50)));
        let request = self.registration(&der);
        let size = request.0.len().div_ceil(pieces);
        let answer = client.ask_slowly(&request, size, pause).await;
        let answer = answer.unwrap_or_else(|error| panic!("a slow client: no answer: {error}"));
        let answer = self.count("register slowly", 201, answer);
        self.registered(&answer, serial, mine);
    }
}

/// One of a client's own; none when it has none.
fn pick<'a>(random: &mut Random, mine: &'a mut [Mine]) -> Option<&'a mut Mine> {
    let one = random.below(mine.len() as u64) as usize;
    mine.get_mut(one)
}
