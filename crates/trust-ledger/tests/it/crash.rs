//! SIGKILL in the middle of imports.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use strongroom::{Config, Database, KeySource, params};

use crate::certificates::{Plan, bundle};
use crate::home::Home;

/// Certificates in the bundle: more than a debug build imports before the latest kill.
const CERTIFICATES: u64 = 30_000;

/// Kills.
const ROUNDS: u32 = 100;

/// Rounds after which a new ledger is begun; in those between, the import goes on with what is there.
const ROUNDS_PER_LEDGER: u32 = 4;

/// Certificates that may be under way out of their order: chunks of 3,000, of which three are worked on at once.
const UNDER_WAY: u64 = 2 * 3_000;

#[test]
fn killed_in_mid_import_nothing_that_was_acknowledged_is_lost_and_the_ledger_is_whole() {
    // Goal: a line `committed N certificates` means that they survive anything. Method: 100 kills at random moments, each
    // followed by a look into the file with the database's own checks. CRASH_SEED repeats a run.
    let seed = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    });
    println!("CRASH_SEED={seed}");
    let mut random = Random(seed);
    let plans: Vec<Plan> =
        (1..=CERTIFICATES).map(|serial| Plan::server(serial, &format!("n{serial}.example"))).collect();
    let text = bundle(&plans);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    // From at once, before there is a ledger or even a key, to when two chunks are in, however fast the machine is; and, since
    // that may change meanwhile, every other one soon after it has acknowledged something.
    let latest = time_of_second_commit(&text).min(Duration::from_secs(3));
    println!("killing after up to {latest:?}");

    let mut home = Home::new();
    let (mut killed, mut with_progress, mut known) = (0, 0, 0);
    for round in 0..ROUNDS {
        if round % ROUNDS_PER_LEDGER == 0 {
            home = Home::new();
            home.file("bundle.pem", &text);
            known = 0;
        }
        let moment = random.below(latest);
        let mut child =
            home.command(["import", "-v", "bundle.pem"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stderr, mut said) = (BufReader::new(child.stderr.take().unwrap()), String::new());
        if round % 2 == 0 {
            std::thread::sleep(moment);
        } else {
            while acknowledged(&said) == 0 && stderr.read_line(&mut said).unwrap() > 0 {}
            std::thread::sleep(moment / 20);
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += u32::from(!status.success());
        stderr.read_to_string(&mut said).unwrap();
        let acknowledged = acknowledged(&said);
        with_progress += u32::from(acknowledged > 0);

        let found = runtime.block_on(look(&home));
        let context = format!("round {round}, killed after {moment:?}, acknowledged {acknowledged}, found {found:?}");
        assert!(found.certificates >= acknowledged, "acknowledged certificates are lost: {context}");
        assert!(found.certificates >= known, "what an earlier run had stored is lost: {context}");
        known = found.certificates;
    }
    // Else the moments were badly chosen, and the test would prove nothing.
    assert!(killed >= ROUNDS * 9 / 10, "only {killed} of {ROUNDS} imports were killed before their end");
    assert!(with_progress >= ROUNDS / 10, "only {with_progress} of {ROUNDS} imports had committed anything");

    // The last ledger still takes all there is.
    home.run(["import", "-q", "bundle.pem"]).expect(0);
    let found = runtime.block_on(look(&home));
    assert_eq!(found.certificates, CERTIFICATES);
}

/// How long an import into a new ledger takes until it has acknowledged twice.
fn time_of_second_commit(text: &str) -> Duration {
    let home = Home::new();
    home.file("bundle.pem", text);
    let began = Instant::now();
    let mut child =
        home.command(["import", "-v", "bundle.pem"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    lines.filter(|line| line.starts_with("committed ")).nth(1).expect("two chunks");
    let took = began.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    took
}

/// The last count that a line acknowledged. A line cut off by the kill does not count.
fn acknowledged(said: &str) -> u64 {
    let complete = said.rfind('\n').map_or("", |end| &said[..end]);
    let mut counts = complete.lines().filter_map(|line| line.strip_prefix("committed ")?.strip_suffix(" certificates"));
    counts.next_back().map_or(0, |count| count.parse().expect("a number"))
}

#[derive(Debug, Default)]
struct Found {
    certificates: u64,
}

/// Opens what the killed program left, and checks all that can be checked of it.
async fn look(home: &Home) -> Found {
    // The kill may have come before the ledger was begun, or before its first page was written.
    if std::fs::metadata(home.ledger()).map_or(0, |metadata| metadata.len()) == 0 {
        return Found::default();
    }
    assert!(home.key().exists(), "a ledger without its key");
    let db = Config::sqlite(home.ledger()).key(KeySource::file(home.key())).create(false).connect().await.unwrap();
    let integrity = db.fetch_all("PRAGMA integrity_check", params![]).await.unwrap();
    let verdicts: Vec<String> = integrity.iter().map(|row| row.get(0).unwrap()).collect();
    assert_eq!(verdicts, ["ok"]);
    let pages = db.fetch_all("PRAGMA cipher_integrity_check", params![]).await.unwrap();
    assert!(pages.is_empty(), "{} damaged pages", pages.len());
    let mut found = Found::default();
    // The kill may have come before the schema was there.
    if db.table_exists("certificate").await.unwrap() && db.table_exists("event").await.unwrap() {
        found.certificates = count(&db, "SELECT count(*) FROM certificate").await;
        whole(&db, found.certificates).await;
    }
    db.close().await.unwrap();
    found
}

/// No certificate without what belongs to it, and none left out in the middle of the bundle.
async fn whole(db: &Database, certificates: u64) {
    let events = "SELECT count(*) FROM event WHERE action = 'certificate.registered'";
    assert_eq!(count(db, events).await, certificates, "a certificate without its event, or the other way round");
    if db.table_exists("certificate_name").await.unwrap() {
        let names = "SELECT count(*) FROM certificate_name AS n JOIN certificate AS c ON c.id = n.certificate";
        assert_eq!(count(db, names).await, certificates, "a certificate without its name, or the other way round");
    }
    if certificates > UNDER_WAY {
        let rows = db.fetch_all("SELECT serial FROM certificate", params![]).await.unwrap();
        let serials: HashSet<u64> = rows
            .iter()
            .map(|row| {
                let bytes: Vec<u8> = row.get(0).unwrap();
                bytes.iter().fold(0, |serial, byte| (serial << 8) | u64::from(*byte))
            })
            .collect();
        let missing = (1..=certificates - UNDER_WAY).find(|serial| !serials.contains(serial));
        assert_eq!(missing, None, "{certificates} are there, but not the first of the bundle");
    }
}

async fn count(db: &Database, sql: &str) -> u64 {
    db.fetch_one(sql, params![]).await.unwrap().get(0).unwrap()
}

/// SplitMix64: small, and the same for a seed everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let micros = u64::try_from(limit.as_micros()).unwrap();
        Duration::from_micros((mixed ^ (mixed >> 31)) % micros)
    }
}
