//! What [`LogIn`] promises.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Cached, Credential, CredentialProvider, LogIn, Refusal};
use super::{Scripted, broken, generation, login, passing};
use crate::error::{Error, Result};

const SECOND: Duration = Duration::from_secs(1);

/// A server that lets in a generation and those after it, up to another.
struct Server {
    log_in: LogIn,
    accepts: AtomicU64,
    until: AtomicU64,
    takes: Duration,
    /// The generation of each attempt, and when it began.
    attempts: Mutex<Vec<(u64, Instant)>>,
    trying: AtomicUsize,
    most: AtomicUsize,
    is_away: std::sync::atomic::AtomicBool,
}

impl Server {
    fn new(provider: impl CredentialProvider, accepts: u64) -> Arc<Self> {
        Arc::new(Server {
            log_in: LogIn::new(Arc::new(provider)),
            accepts: accepts.into(),
            until: u64::MAX.into(),
            takes: Duration::from_millis(10),
            attempts: Mutex::default(),
            trying: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            is_away: false.into(),
        })
    }

    async fn connect(&self) -> Result<u64, Refusal<&'static str>> {
        self.log_in.connect(&login(), |credential| self.attempt(credential)).await
    }

    async fn attempt(&self, credential: Credential) -> Result<u64, Refusal<&'static str>> {
        struct Trying<'a>(&'a AtomicUsize);
        impl Drop for Trying<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.attempts.lock().unwrap().push((credential.generation, Instant::now()));
        let now = self.trying.fetch_add(1, Ordering::Relaxed) + 1;
        let _trying = Trying(&self.trying);
        self.most.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(self.takes).await;
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Refusal::Other("away"));
        }
        let accepted = self.accepts.load(Ordering::Relaxed)..=self.until.load(Ordering::Relaxed);
        match accepted.contains(&credential.generation) {
            true => Ok(credential.generation),
            false => Err(Refusal::Credential(Error::connection("db", format!("refused {}", credential.generation)))),
        }
    }

    fn attempts(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }

    fn generations(&self) -> Vec<u64> {
        self.attempts.lock().unwrap().iter().map(|(generation, _)| *generation).collect()
    }

    /// Connects by many at once.
    async fn many(self: &Arc<Self>, count: usize) -> Vec<Result<u64, Refusal<&'static str>>> {
        let connect = |_| {
            tokio::spawn({
                let server = Arc::clone(self);
                async move { server.connect().await }
            })
        };
        let connecting: Vec<_> = (0..count).map(connect).collect();
        let mut outcomes = Vec::new();
        for outcome in connecting {
            outcomes.push(outcome.await.unwrap());
        }
        outcomes
    }
}

fn refused(outcome: Result<u64, Refusal<&'static str>>) -> String {
    match outcome {
        Err(Refusal::Credential(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_log_in_asks_the_provider_and_all_run_at_once_when_it_is_proven() {
    let server = Server::new(Scripted::new([Ok(generation(1))]), 1);
    assert_eq!(server.connect().await.unwrap(), 1);
    assert!(server.many(20).await.iter().all(Result::is_ok));
    assert_eq!((server.attempts(), server.most.load(Ordering::Relaxed)), (21, 20));
}

#[tokio::test(start_paused = true)]
async fn until_the_first_success_there_is_one_log_in_at_a_time() {
    let server = Server::new(Scripted::new([Ok(generation(1))]), 1);
    let outcomes = server.many(20).await;
    assert!(outcomes.iter().all(Result::is_ok));
    // The first alone proves it; those who waited for it go together.
    let times: Vec<_> = server.attempts.lock().unwrap().iter().map(|(_, began)| *began).collect();
    assert!(times[1] >= times[0] + server.takes);
    assert_eq!(server.most.load(Ordering::Relaxed), 19, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_newer_credential_is_tried_at_once_when_one_is_refused() {
    let script = Arc::new(Scripted::new([Ok(generation(1)), Ok(generation(2))]));
    let server = Server::new(Arc::clone(&script), 2);
    let began = Instant::now();
    assert_eq!(server.connect().await.unwrap(), 2);
    assert!(began.elapsed() < SECOND / 10, "{:?}", began.elapsed());
    assert_eq!(*script.refused.lock().unwrap(), [1]);
    assert_eq!(server.generations(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_stays_the_same_is_not_tried_twice() {
    let script = Arc::new(Scripted::new([Ok(generation(1))]));
    let server = Server::new(Arc::clone(&script), 2);
    assert_eq!(refused(server.connect().await), "db: refused 1");
    assert_eq!((server.attempts(), script.asked()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_patient_provider_is_asked_until_something_new_comes() {
    let script = Arc::new(Scripted::new([Ok(generation(1))]).patient(10 * SECOND));
    let server = Server::new(Arc::clone(&script), 2);
    let connecting = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.connect().await }
    });
    tokio::time::sleep(5 * SECOND).await;
    assert!(!connecting.is_finished());
    script.put(Ok(generation(2)));
    assert_eq!(connecting.await.unwrap().unwrap(), 2);
    assert_eq!(server.generations(), [1, 2]);
    // The pauses double from 50 ms on: in 10 s a handful of looks.
    assert!((5..=12).contains(&script.asked()), "{}", script.asked());
}

#[tokio::test(start_paused = true)]
async fn patience_survives_two_rotations_in_a_row() {
    let script = Arc::new(Scripted::new([Ok(generation(1))]).patient(10 * SECOND));
    let server = Server::new(Arc::clone(&script), 3);
    let connecting = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.connect().await }
    });
    tokio::time::sleep(SECOND).await;
    script.put(Ok(generation(2)));
    tokio::time::sleep(3 * SECOND).await;
    script.put(Ok(generation(3)));
    assert_eq!(connecting.await.unwrap().unwrap(), 3);
    assert_eq!(server.generations(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn patience_has_an_end() {
    for same in [true, false] {
        let answers = (1..2000).map(|number| Ok(generation(if same { 1 } else { number })));
        let script = Arc::new(Scripted::new(answers).patient(10 * SECOND));
        let server = Server::new(Arc::clone(&script), u64::MAX);
        let began = Instant::now();
        refused(server.connect().await);
        let took = began.elapsed();
        assert!(took >= 9 * SECOND && took < 25 * SECOND, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_many_new_credentials_in_a_row_the_server_is_not_hammered() {
    let answers = (1..100_000).map(|number| Ok(generation(number)));
    let script = Arc::new(Scripted::new(answers).patient(10 * SECOND));
    let server = Server::new(Arc::clone(&script), u64::MAX);
    refused(server.connect().await);
    assert!(server.attempts() < 30, "{} attempts", server.attempts());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_final_opens_the_breaker_for_a_pause_that_grows_to_a_minute() {
    let server = Server::new(Scripted::new([Ok(generation(1))]), 2);
    let mut expected = SECOND;
    for round in 1..=10_u32 {
        assert_eq!(refused(server.connect().await), "db: refused 1");
        let attempts = server.attempts();
        // Nobody gets through.
        let outcomes = server.many(20).await;
        for outcome in outcomes {
            let line = refused(outcome);
            let times = if round == 1 { "once".to_owned() } else { format!("{round} times in a row") };
            assert!(
                line.starts_with(&format!(
                    "the script: the server refused what it gave, {times}; it is not tried again for"
                )),
                "{line}"
            );
        }
        assert_eq!(server.attempts(), attempts);
        tokio::time::sleep(expected - SECOND / 10).await;
        assert!(refused(server.connect().await).contains("not tried again"), "round {round}");
        tokio::time::sleep(SECOND / 10).await;
        expected = (expected * 2).min(60 * SECOND);
    }
    // The source is that of the last refusal.
    refused(server.connect().await);
    let Err(Refusal::Credential(error)) = server.connect().await else { panic!() };
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "db: refused 1");
    // A success closes it, and forgets.
    server.accepts.store(1, Ordering::Relaxed);
    tokio::time::sleep(61 * SECOND).await;
    assert_eq!(server.connect().await.unwrap(), 1);
    assert!(server.many(20).await.iter().all(Result::is_ok));
    server.accepts.store(2, Ordering::Relaxed);
    refused(server.connect().await);
    assert!(refused(server.connect().await).contains("gave, once;"));
}

#[tokio::test(start_paused = true)]
async fn many_that_are_refused_together_count_once() {
    let server = Server::new(Scripted::new([Ok(generation(1))]), 1);
    server.connect().await.unwrap();
    server.accepts.store(2, Ordering::Relaxed);
    server.many(20).await;
    assert!(refused(server.connect().await).contains("gave, once;"));
    tokio::time::sleep(SECOND).await;
    assert_eq!(refused(server.connect().await), "db: refused 1");
}

#[tokio::test(start_paused = true)]
async fn after_the_pause_one_is_let_through_and_the_others_go_with_its_outcome() {
    let server = Server::new(Scripted::new([Ok(generation(1))]), 2);
    refused(server.connect().await);
    tokio::time::sleep(2 * SECOND).await;
    let outcomes = server.many(20).await;
    assert_eq!(server.attempts(), 2);
    assert_eq!(outcomes.into_iter().map(refused).filter(|line| line == "db: refused 1").count(), 1);

    tokio::time::sleep(3 * SECOND).await;
    server.accepts.store(1, Ordering::Relaxed);
    let outcomes = server.many(20).await;
    let good = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(good, 20, "who waited for the one that was let through goes on when it succeeds");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_neither_opens_nor_closes_the_breaker() {
    let server = Server::new(Scripted::new([Ok(generation(1))]), 1);
    server.is_away.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        assert!(matches!(server.connect().await, Err(Refusal::Other("away"))));
    }
    server.is_away.store(false, Ordering::Relaxed);
    server.connect().await.unwrap();
    // Proven stays proven.
    server.is_away.store(true, Ordering::Relaxed);
    server.many(20).await;
    assert_eq!(server.most.load(Ordering::Relaxed), 20);
    // Opened by a refusal, it stays as it is when the one that is let through finds the server away.
    server.is_away.store(false, Ordering::Relaxed);
    server.accepts.store(2, Ordering::Relaxed);
    refused(server.connect().await);
    tokio::time::sleep(2 * SECOND).await;
    server.is_away.store(true, Ordering::Relaxed);
    assert!(matches!(server.connect().await, Err(Refusal::Other("away"))));
    // It has said nothing about the credential: the next one tries.
    assert!(matches!(server.connect().await, Err(Refusal::Other("away"))));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_is_reported_as_it_is_and_does_not_open_the_breaker() {
    let server = Server::new(Scripted::new([Err(broken()), Err(passing()), Ok(generation(1))]), 1);
    assert_eq!(refused(server.connect().await), "the script: has nothing");
    let Err(Refusal::Credential(error)) = server.connect().await else { panic!() };
    assert!(error.is_passing());
    assert_eq!(server.connect().await.unwrap(), 1);
    assert_eq!(server.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_log_in_that_is_dropped_anywhere_leaves_nothing_behind() {
    // The provider takes 1 ms, the server 10 ms; the refusal is followed by looks for something newer. Dropped after
    // each of these times, the next log-in does not wait for it, and the breaker is as closed as it was.
    for after in (0..400).map(Duration::from_millis) {
        let script = Arc::new(Scripted::new([Ok(generation(1))]).patient(SECOND));
        let server = Server::new(Arc::clone(&script), 2);
        let connecting = tokio::spawn({
            let server = Arc::clone(&server);
            async move { server.connect().await }
        });
        tokio::time::sleep(after).await;
        connecting.abort();
        let _ = connecting.await;
        assert_eq!((server.trying.load(Ordering::Relaxed), script.asking.load(Ordering::Relaxed)), (0, 0));
        server.accepts.store(1, Ordering::Relaxed);
        let began = Instant::now();
        assert_eq!(server.connect().await.unwrap(), 1, "dropped after {after:?}");
        assert!(began.elapsed() < SECOND / 10);
    }
}

#[tokio::test(start_paused = true)]
async fn the_one_that_is_let_through_may_be_dropped_and_another_takes_its_place() {
    let server = Server::new(Scripted::new([Ok(generation(1))]), 2);
    refused(server.connect().await);
    tokio::time::sleep(2 * SECOND).await;
    server.accepts.store(1, Ordering::Relaxed);
    let first = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.connect().await }
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    first.abort();
    let _ = first.await;
    assert_eq!(server.connect().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_secret_is_kept_is_asked_again_when_the_server_refuses_it() {
    let script = Arc::new(Scripted::new([Ok(generation(1))]));
    let server = Server::new(Cached::new(Arc::clone(&script)), 1);
    server.connect().await.unwrap();
    server.many(10).await;
    assert_eq!(script.asked(), 1);
    // Rotated: all who are refused share one fetch of the new one.
    script.put(Ok(generation(2)));
    server.accepts.store(2, Ordering::Relaxed);
    assert!(server.many(10).await.iter().all(Result::is_ok));
    assert_eq!(script.asked(), 2);
}
