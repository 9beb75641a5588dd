//! What [`Cached`] promises.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::{Cached, Credential, CredentialProvider, Login};
use super::{Scripted, broken, generation, login, passing};
use crate::error::Result;

const SECOND: Duration = Duration::from_secs(1);

async fn ask(cached: &Cached<Arc<Scripted>>) -> Result<u64> {
    cached.credential(&login()).await.map(|credential| credential.generation)
}

fn cached(script: Scripted) -> (Arc<Scripted>, Arc<Cached<Arc<Scripted>>>) {
    let script = Arc::new(script);
    (Arc::clone(&script), Arc::new(Cached::new(script)))
}

/// Has many ask at once, and answers what they got.
async fn many(cached: &Arc<Cached<Arc<Scripted>>>, count: usize) -> Vec<Result<u64>> {
    let asking = |_| {
        tokio::spawn({
            let cached = Arc::clone(cached);
            async move { ask(&cached).await }
        })
    };
    let asked: Vec<_> = (0..count).map(asking).collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap());
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn many_at_a_time_share_one_fetch() {
    let (script, cached) = cached(Scripted::new([Ok(generation(1)), Ok(generation(2))]).takes(SECOND));
    assert!(many(&cached, 50).await.iter().all(|answer| *answer.as_ref().unwrap() == 1));
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_at_a_time_share_one_error_and_the_next_asks_again() {
    let (script, cached) = cached(Scripted::new([Err(broken()), Err(passing()), Ok(generation(1))]).takes(SECOND));
    assert!(many(&cached, 50).await.iter().all(|answer| answer.is_err()));
    assert_eq!(script.asked(), 1);
    assert!(many(&cached, 50).await.iter().all(|answer| answer.as_ref().is_err_and(|error| error.is_passing())));
    assert_eq!(script.asked(), 2);
    assert_eq!(ask(&cached).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn logins_are_kept_apart() {
    let (script, cached) = cached(Scripted::new([Ok(generation(1)), Ok(generation(2))]));
    let other = Login::new("other.test", 5432, None);
    assert_eq!(ask(&cached).await.unwrap(), 1);
    assert_eq!(cached.credential(&other).await.unwrap().generation, 2);
    assert_eq!(ask(&cached).await.unwrap(), 1);
    assert_eq!(script.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_for_300_s_less_up_to_a_tenth() {
    let mut ends = Vec::new();
    for _ in 0..40 {
        let (script, cached) = cached(Scripted::new([Ok(generation(1))]));
        ask(&cached).await.unwrap();
        let began = tokio::time::Instant::now();
        while script.asked() == 1 {
            tokio::time::advance(SECOND / 4).await;
            ask(&cached).await.unwrap();
        }
        ends.push(began.elapsed());
    }
    let (first, last) = (*ends.iter().min().unwrap(), *ends.iter().max().unwrap());
    assert!(first >= 270 * SECOND && last <= 301 * SECOND, "{first:?} {last:?}");
    assert!(last - first > 5 * SECOND, "no jitter: {first:?} {last:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_kept_beyond_its_own_end() {
    // The end is on the wall clock, which does not stand still: it is far enough away.
    let ending = |number, left: Duration| generation(number).valid_until(SystemTime::now() + left);
    let (script, cached) =
        cached(Scripted::new([Ok(ending(1, 100 * SECOND)), Err(passing()), Ok(ending(2, 100 * SECOND))]));
    assert_eq!(ask(&cached).await.unwrap(), 1);
    tokio::time::advance(90 * SECOND).await;
    assert_eq!(ask(&cached).await.unwrap(), 1);
    assert_eq!(script.asked(), 1);
    tokio::time::advance(11 * SECOND).await;
    // It has ended: it does not serve on, even though the error may pass.
    assert!(ask(&cached).await.unwrap_err().is_passing());
    assert_eq!(ask(&cached).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_answer_is_fetched_anew_at_once_and_never_answered_again() {
    let (script, cached) = cached(Scripted::new([Ok(generation(1)), Ok(generation(2)), Err(passing())]));
    assert_eq!(ask(&cached).await.unwrap(), 1);
    cached.refused(1);
    assert_eq!(*script.refused.lock().unwrap(), [1]);
    assert_eq!(ask(&cached).await.unwrap(), 2);
    assert_eq!(ask(&cached).await.unwrap(), 2);
    assert_eq!(script.asked(), 2);
    // A refusal that comes late, of a connection that began with the first one, takes nothing from the second.
    cached.refused(1);
    assert_eq!(ask(&cached).await.unwrap(), 2);
    assert_eq!(script.asked(), 2);
    cached.refused(2);
    assert!(ask(&cached).await.is_err());
    // Nor is it after the late refusal of an older one.
    cached.refused(1);
    assert!(ask(&cached).await.is_err(), "a refused answer came back");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_refused_while_it_was_waited_for_is_not_given_to_those_who_waited() {
    let (script, cached) =
        cached(Scripted::new([Ok(generation(1)), Ok(generation(1)), Ok(generation(2))]).takes(SECOND));
    ask(&cached).await.unwrap();
    cached.refused(1);
    // The source still has the old one: the one who asked gets that, and whoever waited gets the same, in one fetch.
    assert_eq!(many(&cached, 10).await.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1; 10]);
    assert_eq!(script.asked(), 2);
    // The next asks again.
    assert_eq!(ask(&cached).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_serves_on_through_errors_that_may_pass_and_the_source_is_asked_every_5_s() {
    let (script, cached) = cached(Scripted::new([Ok(generation(1)), Err(passing())]));
    ask(&cached).await.unwrap();
    tokio::time::advance(301 * SECOND).await;
    for _ in 0..100 {
        assert_eq!(ask(&cached).await.unwrap(), 1);
        tokio::time::advance(SECOND).await;
    }
    let asked = script.asked() - 1;
    assert!((18..=21).contains(&asked), "asked {asked} times in 100 s");
    script.put(Ok(generation(2)));
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(ask(&cached).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_does_not_serve_on_after_an_error_that_will_not_pass() {
    let (_, cached) = cached(Scripted::new([Ok(generation(1)), Err(broken())]));
    ask(&cached).await.unwrap();
    tokio::time::advance(301 * SECOND).await;
    assert_eq!(ask(&cached).await.unwrap_err().to_string(), "the script: has nothing");
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_leaves_nothing_behind() {
    // The one who fetches goes away; the next of those who wait fetches in its place.
    let (script, cached) = cached(Scripted::new([Ok(generation(1))]).takes(10 * SECOND));
    let first = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { ask(&cached).await }
    });
    tokio::time::sleep(SECOND).await;
    let second = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { ask(&cached).await }
    });
    let third = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { ask(&cached).await }
    });
    tokio::time::sleep(SECOND).await;
    first.abort();
    // One who only waits goes away as well.
    third.abort();
    assert_eq!(second.await.unwrap().unwrap(), 1);
    assert_eq!(script.asked(), 2);
    assert_eq!(ask(&cached).await.unwrap(), 1);
    assert_eq!(script.asked(), 2);
}

#[tokio::test]
async fn neither_debug_nor_display_shows_the_password() {
    let (_, cached) = cached(Scripted::new([Ok(Credential::new("app", crate::Secret::new("Kanarien"), 1))]));
    let credential = cached.credential(&login()).await.unwrap();
    assert!(!format!("{cached:?} {cached} {credential:?}").contains("Kanarien"));
}
