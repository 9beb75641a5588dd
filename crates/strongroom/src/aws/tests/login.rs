//! Tokens at a server that checks them as RDS does, and says of each how old it was.

use std::fmt;
use std::sync::atomic::AtomicU64;

use test_servers::{Ca, IamKeys, Postgres, needs};

use super::*;
use crate::credential::{Cached, Credential, CredentialProvider, Login};
use crate::secret::BoxFuture;
use crate::{Config, Database, RdsIam, Result, params};

/// Of RDS: a token that is older is refused.
const LIFETIME: Duration = Duration::from_secs(900);

const ROUNDS: usize = 5;

/// At a time; the server can take 61 that came in so.
const CONNECTIONS: usize = 40;

/// The region is `REGION`.
fn server(ca: &Ca) -> Postgres {
    let Keys { id, secret, session_token, .. } = keys();
    let keys = IamKeys {
        access_key: id,
        secret_key: secret.to_string(),
        session_token: session_token.map(|token| token.to_string()),
        region: REGION.to_owned(),
    };
    Postgres::rds_iam("app", &keys, &ca.server()).start()
}

fn config(server: &Postgres, ca: &Ca) -> Config {
    let roots = ca.file().display();
    let url = format!("postgres://app@db.test:{}/app?hostaddr=127.0.0.1&sslrootcert={roots}", server.port());
    Config::from_url(&url).unwrap()
}

/// How old each token was that the server took, in seconds; it has refused none.
fn ages(server: &Postgres) -> Vec<u64> {
    let log = server.log();
    assert!(!log.contains("IAM token refused"), "{log}");
    let age = |line: &str| line.strip_prefix("IAM token taken: ")?.strip_suffix(" s old")?.parse().ok();
    log.lines().filter_map(age).collect()
}

/// A provider that counts how often it is asked.
struct Counting(RdsIam, Arc<AtomicU64>);

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl CredentialProvider for Counting {
    fn credential<'a>(&'a self, login: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.credential(login)
    }

    fn refused(&self, generation: u64) {
        self.0.refused(generation);
    }
}

async fn hold(db: &Database, connections: usize) {
    let held: Vec<_> = (0..connections).map(|_| db.connection()).collect();
    for connection in futures_util::future::join_all(held).await {
        connection.unwrap().fetch_value::<i64>("SELECT 1", params![]).await.unwrap();
    }
}

/// The server is restarted five times, and forty connections are made anew after each. Each has a token that was signed for it
/// and not for an earlier one, as provider and server agree.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_connections_after_restarts_come_in_each_with_a_token_of_its_own() {
    if !needs::iam() {
        return;
    }
    let ca = Ca::new();
    let (server, asked) = (server(&ca), Arc::new(AtomicU64::new(0)));
    let provider = Counting(RdsIam::with_account(account("")), Arc::clone(&asked));
    let config = config(&server, &ca).credentials(provider).pool_min_size(0).pool_max_size(CONNECTIONS);
    let db = config.connect().await.unwrap();
    for _ in 0..ROUNDS {
        server.restart();
        hold(&db, CONNECTIONS).await;
    }
    db.close().await.unwrap();
    let ages = ages(&server);
    let oldest = ages.iter().max().unwrap();
    println!("{} tokens, the oldest {oldest} s old when it came", ages.len());
    assert!(ages.len() >= ROUNDS * CONNECTIONS, "{}", ages.len());
    assert_eq!(ages.len() as u64, asked.load(Ordering::Relaxed), "a token for each connection");
    // Logging in takes its time on a busy machine, and no more.
    assert!(*oldest < 30, "{oldest}");
}

/// A token that is kept for as long as may be is gone before it is 900 s old. Provider and server have the same shifted time:
/// ours is Tokio's, which is moved, and the server is told by how much.
#[tokio::test(start_paused = true)]
async fn a_kept_token_is_replaced_before_it_is_901_s_old() {
    let provider: Cached<RdsIam> = RdsIam::with_account(account("")).cached(Duration::from_secs(86_400));
    let login = Login::new("db.test", 5432, Some("app".to_owned()));
    let (mut last, mut signed, mut kept) = (None, tokio::time::Instant::now(), Vec::new());
    for _ in 0..10_000 {
        let now = tokio::time::Instant::now();
        let generation = provider.credential(&login).await.unwrap().generation;
        if last.replace(generation) != Some(generation) {
            signed = now;
        }
        kept.push(now - signed);
        tokio::time::advance(Duration::from_millis(1_300)).await;
    }
    let oldest = *kept.iter().max().unwrap();
    assert!(oldest > LIFETIME * 8 / 10, "it is kept: {oldest:?}");
    // What is left is for the way to the server and the difference of clocks.
    assert!(oldest <= LIFETIME - Duration::from_secs(30), "{oldest:?}");
    // After a pause of any length it is a new one.
    tokio::time::advance(LIFETIME + Duration::from_secs(1)).await;
    assert_ne!(Some(provider.credential(&login).await.unwrap().generation), last);
}

/// With a clock that is 901 s behind the server's, each token is dead on arrival: refused, signed anew once, and then left.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_server_finds_901_s_old_lets_nobody_in_and_is_not_tried_again() {
    if !needs::iam() {
        return;
    }
    let ca = Ca::new();
    let server = server(&ca);
    let cached = RdsIam::with_account(account("")).cached(Duration::from_secs(600));
    let db = config(&server, &ca).credentials(cached).pool_min_size(0).connect().await.unwrap();
    hold(&db, 2).await;
    server.shift_iam_clock(901);
    server.restart();
    let error = db.fetch_value::<i64>("SELECT 1", params![]).await.unwrap_err();
    assert!(chain(&error).contains("28000"), "{error}");
    let refused = server.log().matches("IAM token refused: expired").count();
    assert_eq!(refused, 2, "the kept one, and the new one that was signed in its place");
    server.shift_iam_clock(0);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    hold(&db, 2).await;
    db.close().await.unwrap();
}
