//! What the module's documentation promises, one test for each.

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tokio::time::Instant;

use super::{Act, Failure, Fake, Pool, SECOND, Settings, World, plain, prove_whole, settle, take};
use crate::pool::{AcquireError, CloseReason, Pooled};

type Acquired = Result<Pooled<Fake>, AcquireError<Failure>>;

/// Starts to acquire and waits in the queue.
async fn queue(pool: &Pool<Fake>) -> tokio::task::JoinHandle<Acquired> {
    let pool = pool.clone();
    let task = tokio::spawn(async move { pool.acquire().await });
    settle().await;
    task
}

/// Everything that is logged while the subscriber lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_of_arrival_and_nobody_overtakes() {
    let pool = World::new().pool(plain(1));
    let held = pool.acquire().await.unwrap();
    let first = queue(&pool).await;
    let second = queue(&pool).await;
    drop(held);
    // It is the first waiter's already, though he has not run yet.
    assert!(pool.try_acquire().unwrap().is_none());
    let mut late = std::pin::pin!(pool.acquire());
    assert!(poll_once(late.as_mut()).await.is_none());
    let served = first.await.unwrap().unwrap();
    assert!(!second.is_finished());
    drop(served);
    drop(second.await.unwrap().unwrap());
    late.await.unwrap();
}

/// One poll.
async fn poll_once<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(ready) => std::task::Poll::Ready(Some(ready)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_waiter_who_was_served_an_unfit_connection_keeps_his_place() {
    let world = World::new();
    let pool = world.pool(plain(1));
    let held = pool.acquire().await.unwrap();
    let first = queue(&pool).await;
    tokio::time::advance(SECOND).await;
    let second = queue(&pool).await;
    world.check_out.once(Act::Error);
    drop(held);
    let served = first.await.unwrap().unwrap();
    assert_eq!((served.id, second.is_finished()), (1, false));
    drop(served);
    drop(second.await.unwrap().unwrap());
    prove_whole(pool, &world, "").await;
}

/// He is refused a new connection and comes back after a pause, when the background task has looked how long it may sleep
/// and nothing but him wakes it: another connection is being made already.
#[tokio::test(start_paused = true)]
async fn a_waiter_who_comes_back_to_the_queue_waits_no_longer_than_his_own_timeout() {
    let world = World::new();
    let pool = world.pool(plain(2));
    world.connect.once(Act::Slow);
    world.connect.once(Act::Never);
    world.check_out.once(Act::Error);
    let began = Instant::now();
    let waiting = queue(&pool).await;
    tokio::time::sleep(2 * SECOND).await;
    let leaving = queue(&pool).await;
    leaving.abort();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(began.elapsed(), 30 * SECOND, "{error}");
    assert!(matches!(error, AcquireError::Connecting { waited, .. } if waited == 30 * SECOND), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_to_the_queue_stands_before_those_who_came_after_him() {
    let world = World::new();
    let pool = world.pool(plain(1).test_after_idle(Some(SECOND)));
    drop(pool.acquire().await.unwrap());
    tokio::time::advance(2 * SECOND).await;
    // His test ends after three seconds, and he is refused; nor can another connection be made.
    world.test.once(Act::Slow);
    world.check_out.once(Act::Error);
    world.connect.always(Act::Never);
    let began = Instant::now();
    let testing = queue(&pool).await;
    tokio::time::advance(2 * SECOND).await;
    let waiting = queue(&pool).await;
    assert!(testing.await.unwrap().is_err());
    assert_eq!(began.elapsed(), 30 * SECOND);
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn the_connection_used_last_is_lent_first_and_a_keepalive_test_is_no_use() {
    let world = World::new();
    let pool = world.pool(plain(3).keepalive(Some(10 * SECOND)));
    let [a, b, c] = <[_; 3]>::try_from(take(&pool, 3).await).unwrap();
    for pooled in [b, a, c] {
        tokio::time::advance(SECOND).await;
        drop(pooled);
    }
    // The tests end in another order than that of use.
    world.test.once(Act::Slow);
    tokio::time::sleep(15 * SECOND).await;
    assert_eq!(world.tested(), [1, 0, 2]);
    let order: Vec<_> = take(&pool, 3).await.iter().map(|pooled| pooled.id).collect();
    assert_eq!(order, [2, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_is_made_for_a_caller_who_left_serves_the_next() {
    let world = World::new();
    let pool = world.pool(plain(1));
    world.connect.always(Act::Slow);
    let first = queue(&pool).await;
    tokio::time::advance(2 * SECOND).await;
    let second = queue(&pool).await;
    first.abort();
    let began = Instant::now();
    assert_eq!(second.await.unwrap().unwrap().id, 0);
    assert_eq!((began.elapsed(), world.made()), (SECOND, 1));
}

#[tokio::test(start_paused = true)]
async fn when_all_are_busy_the_error_names_the_oldest_holder_and_his_place() {
    let pool = World::new().pool(plain(2));
    let _first = pool.acquire().await.unwrap();
    let line = line!() - 1;
    tokio::time::advance(5 * SECOND).await;
    let _second = pool.acquire().await.unwrap();
    let error = pool.acquire().await.unwrap_err();
    let AcquireError::AllBusy { waited, size: 2, oldest: Some(oldest) } = &error else { panic!("{error:?}") };
    assert_eq!((*waited, oldest.age), (30 * SECOND, 35 * SECOND));
    assert_eq!((oldest.location.file(), oldest.location.line()), (file!(), line));
    let text = error.to_string();
    assert!(text.starts_with("all 2 connections are busy and none came home within 30.0s; the longest"), "{text}");
    assert!(text.contains("promises.rs"), "{text}");
    assert_eq!(pool.stats().timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn when_connecting_takes_too_long_the_error_has_the_last_cause() {
    let world = World::new();
    let pool = world.pool(plain(1));
    world.connect.always(Act::Never);
    world.connect.once(Act::Error);
    let began = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!(began.elapsed(), 30 * SECOND);
    assert!(matches!(error, AcquireError::Connecting { last: Some(Failure(Act::Error)), .. }), "{error:?}");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "scripted: Error");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_given_up_and_another_one_is_made_for_who_waits_now() {
    let world = World::new();
    let pool = world.pool(plain(1));
    world.connect.once(Act::Never);
    let first = queue(&pool).await;
    tokio::time::advance(20 * SECOND).await;
    let second = queue(&pool).await;
    assert!(matches!(first.await.unwrap(), Err(AcquireError::Connecting { .. })));
    second.await.unwrap().unwrap();
    assert_eq!(world.attempts(), [Duration::ZERO, 30 * SECOND]);
    assert_eq!(pool.stats().connect_errors, 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_refuses_everybody_and_fails_who_waits() {
    let pool = World::new().pool(plain(1));
    let _held = pool.acquire().await.unwrap();
    let waiting = queue(&pool).await;
    let pooled = pool.acquire_with_channel();
    pool.dismiss();
    assert!(pool.is_closed());
    assert!(matches!(waiting.await.unwrap(), Err(AcquireError::Closed)));
    assert!(matches!(pooled.recv(), Ok(Err(AcquireError::Closed))));
    assert!(matches!(pool.acquire().await, Err(AcquireError::Closed)));
    assert!(matches!(pool.try_acquire(), Err(AcquireError::Closed)));
    assert!(matches!(pool.open_at_least(1).await, Err(AcquireError::Closed)));
    assert!(matches!(pool.pause(SECOND).await, Err(AcquireError::Closed)));
    assert!(matches!(pool.acquire_with_channel().recv(), Ok(Err(AcquireError::Closed))));
}

impl Pool<Fake> {
    #[track_caller]
    fn acquire_with_channel(&self) -> mpsc::Receiver<Acquired> {
        let (sender, receiver) = mpsc::channel();
        self.acquire_with(std::panic::Location::caller(), move |served| drop(sender.send(served)));
        receiver
    }
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_are_repeated_with_growing_pauses_and_then_the_waiter_is_told() {
    let world = World::new();
    let pool = world.pool(plain(1).connect_attempts(4).connect_delay(4 * SECOND));
    world.connect.always(Act::Error);
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Connect(Failure(Act::Error))), "{error:?}");
    let attempts = world.attempts();
    let pauses: Vec<_> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses.len(), 3);
    for (pause, longest) in pauses.iter().zip([4, 8, 16]) {
        let longest = longest * SECOND;
        // Timers tick in milliseconds.
        assert!(*pause >= longest * 3 / 4 && *pause <= longest + SECOND / 500, "{pauses:?}");
    }
    assert_eq!(pool.stats().connect_errors, 4);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_another_attempt_cannot_mend_is_told_at_once() {
    let world = World::new();
    let pool = world.pool(plain(1));
    world.connect.always(Act::Fatal);
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Connect(Failure(Act::Fatal))), "{error:?}");
    assert_eq!(world.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_fails_nobody_for_whom_another_is_under_way() {
    let world = World::new();
    let pool = world.pool(plain(2).connect_attempts(2));
    for act in [Act::Error, Act::Slow, Act::Fatal] {
        world.connect.once(act);
    }
    let first = queue(&pool).await;
    let second = queue(&pool).await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().id, 0);
}

#[tokio::test(start_paused = true)]
async fn connections_end_with_their_lifetime_less_a_random_part() {
    let world = World::new();
    let pool = world.pool(plain(10).max_lifetime(Some(1000 * SECOND)));
    drop(take(&pool, 10).await);
    tokio::time::sleep(899 * SECOND).await;
    assert_eq!(world.live(), 10);
    let (mut ends, mut live) = (0, 10);
    for _ in 0..102 {
        tokio::time::sleep(SECOND).await;
        ends += usize::from(world.live() < live);
        live = world.live();
    }
    assert!(ends > 1, "they end together");
    assert_eq!((world.live(), pool.stats().closed(CloseReason::Lifetime)), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_outlives_its_time_with_a_borrower_is_closed_when_it_comes_home() {
    let world = World::new();
    let pool = world.pool(plain(1).max_lifetime(Some(10 * SECOND)));
    let held = pool.acquire().await.unwrap();
    tokio::time::sleep(11 * SECOND).await;
    assert_eq!(world.live(), 1);
    drop(held);
    assert_eq!((world.live(), pool.stats().closed(CloseReason::Lifetime)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_above_min_size_are_closed_the_coldest_first_even_when_kept_alive() {
    let world = World::new();
    let settings = plain(4).min_size(2).idle_timeout(Some(60 * SECOND)).keepalive(Some(7 * SECOND));
    let pool = world.pool(settings);
    let all = take(&pool, 4).await;
    drop(all);
    tokio::time::sleep(59 * SECOND).await;
    assert_eq!(world.live(), 4);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!((world.live(), pool.stats().closed(CloseReason::Idle)), (2, 2));
    tokio::time::sleep(1000 * SECOND).await;
    assert_eq!(world.live(), 2);
    // They came home in the order of their ids.
    let mut left: Vec<_> = take(&pool, 2).await.iter().map(|pooled| pooled.id).collect();
    left.sort_unstable();
    assert_eq!(left, [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn min_size_is_kept_without_anybody_asking() {
    let world = World::new();
    let pool = world.pool(plain(5).min_size(3));
    let held = pool.acquire().await.unwrap();
    settle().await;
    assert_eq!(world.live(), 3);
    world.check_in.once(Act::Error);
    drop(held);
    assert_eq!(world.live(), 2);
    settle().await;
    assert_eq!((world.live(), world.made()), (3, 4));
    pool.end_generation(&pool.acquire().await.unwrap());
    settle().await;
    assert_eq!(world.live(), 3);
}

/// A connector that fails or panics at once is not called all the time merely to have `min_size`.
#[tokio::test(start_paused = true)]
async fn after_a_failure_min_size_waits_for_the_delay() {
    for act in [Act::Fatal, Act::Panic] {
        let world = World::new();
        let pool = world.pool(plain(2).min_size(2).connect_delay(SECOND));
        drop(pool.acquire().await.unwrap());
        settle().await;
        world.connect.always(act);
        let before = world.attempts().len();
        pool.end_generation(&pool.acquire().await.unwrap());
        tokio::time::sleep(10 * SECOND).await;
        let attempts = world.attempts().len() - before;
        assert!((4..=40).contains(&attempts), "{act:?}: {attempts} attempts in ten seconds");
        world.open_gates();
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(world.live(), 2);
    }
}

/// Nor are new connections made all the time which the hook refuses.
#[tokio::test(start_paused = true)]
async fn new_connections_that_are_refused_are_made_with_pauses_until_the_timeout() {
    let world = World::new();
    let pool = world.pool(plain(1).connect_delay(SECOND));
    world.check_out.always(Act::Error);
    let began = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Connecting { .. }), "{error:?}");
    assert_eq!(began.elapsed(), 30 * SECOND);
    assert!((3..=6).contains(&world.made()), "{} made", world.made());
    assert!(matches!(pool.acquire_with_channel().try_recv(), Err(mpsc::TryRecvError::Empty)));
}

#[tokio::test(start_paused = true)]
async fn keepalive_tests_what_is_idle_for_long_and_closes_what_fails() {
    let world = World::new();
    let pool = world.pool(plain(2).keepalive(Some(10 * SECOND)));
    drop(take(&pool, 2).await);
    tokio::time::sleep(9 * SECOND).await;
    // Used, and so not due.
    drop(pool.acquire().await.unwrap());
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(world.tested(), [0]);
    world.test.once(Act::Error);
    tokio::time::sleep(9 * SECOND).await;
    assert_eq!(world.tested(), [0, 1]);
    assert_eq!((world.live(), pool.stats().closed(CloseReason::TestFailed)), (1, 1));
    let stats = pool.stats();
    assert_eq!((stats.acquired, stats.released, stats.active), (3, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn close_does_not_wait_for_a_keepalive_test_or_an_attempt_that_hangs() {
    let world = World::new();
    let pool = world.pool(plain(2).keepalive(Some(SECOND)));
    drop(pool.acquire().await.unwrap());
    world.test.always(Act::Never);
    world.connect.always(Act::Never);
    tokio::time::sleep(2 * SECOND).await;
    let waiting = queue(&pool).await;
    assert_eq!(pool.stats().connecting, 1);
    let began = Instant::now();
    pool.close(5 * SECOND).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(waiting.await.unwrap().is_err());
    prove_whole(pool, &world, "").await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_tested_before_it_is_lent_only_when_it_was_idle_for_long() {
    let world = World::new();
    let pool = world.pool(plain(2).test_after_idle(Some(10 * SECOND)));
    drop(pool.acquire().await.unwrap());
    tokio::time::advance(10 * SECOND).await;
    drop(pool.acquire().await.unwrap());
    assert!(world.tested().is_empty());
    tokio::time::advance(11 * SECOND).await;
    assert!(pool.try_acquire().unwrap().is_none(), "it needs a test, which takes time");
    assert_eq!(pool.stats().acquired, 2, "nothing was lent");
    drop(pool.acquire().await.unwrap());
    assert_eq!(world.tested(), [0]);
    tokio::time::advance(11 * SECOND).await;
    world.test.once(Act::Error);
    assert_eq!(pool.acquire().await.unwrap().id, 1, "the one that failed is closed");
    assert_eq!(pool.stats().closed(CloseReason::TestFailed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_test_that_hangs_costs_one_connection_and_no_more_than_the_timeout() {
    let world = World::new();
    let pool = world.pool(plain(3).test_after_idle(Some(SECOND)));
    drop(take(&pool, 3).await);
    tokio::time::advance(2 * SECOND).await;
    world.test.always(Act::Never);
    let began = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Connecting { .. }), "{error:?}");
    assert_eq!((began.elapsed(), world.live(), pool.stats().timeouts), (30 * SECOND, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_connection_refused_by_a_hook_is_closed_and_another_is_lent() {
    let world = World::new();
    let pool = world.pool(plain(3));
    drop(take(&pool, 3).await);
    world.check_out.once(Act::Error);
    assert_eq!(pool.acquire().await.unwrap().id, 1);
    assert_eq!((world.live(), pool.stats().closed(CloseReason::TestFailed)), (2, 1));
    world.check_out.once(Act::Error);
    assert_eq!(pool.try_acquire().unwrap().unwrap().id, 0);
    world.check_out.once(Act::Error);
    drop(pool.acquire().await.unwrap());
    assert_eq!(world.made(), 4);
    world.check_out.once(Act::Error);
    let lent = pool.acquire_with_channel();
    settle().await;
    assert_eq!(lent.recv().unwrap().unwrap().id, 4);
    world.check_in.once(Act::Error);
    drop(pool.acquire().await.unwrap());
    assert_eq!((world.live(), pool.stats().closed(CloseReason::Unclean)), (0, 1));
    prove_whole(pool, &world, "").await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_borrower_panicked_is_closed() {
    let world = World::new();
    let pool = world.pool(plain(1));
    let pooled = pool.acquire().await.unwrap();
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(move || {
        let _pooled = pooled;
        super::panic_quietly()
    }));
    assert!(panicked.is_err());
    assert_eq!((world.live(), pool.stats().closed(CloseReason::Unclean)), (0, 1));
    prove_whole(pool, &world, "").await;
}

/// A connection whose `Drop` panics, in each of the places that drop one.
#[tokio::test(start_paused = true)]
async fn a_panic_while_a_connection_is_dropped_loses_no_slot() {
    struct Brittle;
    struct Connector;
    impl Drop for Brittle {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                super::panic_quietly()
            }
        }
    }
    impl super::Connect for Connector {
        type Connection = Brittle;
        type Error = Failure;
        async fn connect(&self) -> Result<Brittle, Failure> {
            Ok(Brittle)
        }
        fn check_in(&self, _: &mut Brittle) -> bool {
            true
        }
    }
    let caught = |panics: &dyn Fn()| assert!(std::panic::catch_unwind(AssertUnwindSafe(panics)).is_err());
    let pool = Pool::new(Connector, plain(2).idle_timeout(Some(SECOND)));
    let first = pool.acquire().await.unwrap();
    drop(pool.acquire().await.unwrap());
    caught(&|| pool.end_generation(&first));
    let first = Mutex::new(Some(first));
    caught(&|| drop(first.lock().unwrap().take()));
    assert_eq!(pool.size(), 0);
    drop(pool.acquire().await.unwrap());
    // The background task comes upon it, and is replaced.
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(pool.size(), 0);
    drop(pool.acquire().await.unwrap());
    caught(&|| pool.dismiss());
    assert_eq!(pool.size(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_borrower_who_holds_on_for_long_is_named_once_with_his_place() {
    let log = Log::default();
    let _listening = log.listen();
    let pool = World::new().pool(plain(2).leak_warning(Some(60 * SECOND)));
    let _quick = pool.acquire().await.unwrap();
    let held = pool.acquire().await.unwrap();
    let line = line!() - 1;
    drop(_quick);
    tokio::time::sleep(59 * SECOND).await;
    assert_eq!(log.lines(), [""; 0]);
    tokio::time::sleep(600 * SECOND).await;
    let lines = log.lines();
    let [warning] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(warning.contains("WARN") && warning.contains(&format!("promises.rs:{line}:")), "{warning}");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_generation_closes_idle_ones_now_and_lent_ones_at_home() {
    let world = World::new();
    let pool = world.pool(plain(3));
    let mut all = take(&pool, 3).await;
    drop(all.pop());
    pool.end_generation(&all[0]);
    assert_eq!(world.live(), 2);
    // Of several who find it at the same time, the first ends it.
    let young = pool.acquire().await.unwrap();
    pool.end_generation(&all[1]);
    drop(young);
    assert_eq!(world.live(), 3);
    drop(all);
    assert_eq!((world.live(), pool.stats().closed(CloseReason::Generation)), (1, 3));
    // What is being made belongs to the generation in which it was begun.
    world.connect.once(Act::Slow);
    let old = pool.acquire().await.unwrap();
    let waiting = queue(&pool).await;
    pool.end_generation(&old);
    assert_eq!(waiting.await.unwrap().unwrap().id, 5);
    assert_eq!(pool.stats().closed(CloseReason::Generation), 4);
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_the_lent_ones() {
    let world = World::new();
    let pool = world.pool(plain(3));
    let mut all = take(&pool, 3).await;
    drop(all.pop());
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close(10 * SECOND).await }
    });
    settle().await;
    assert_eq!(world.live(), 2);
    drop(all.pop());
    settle().await;
    assert!(!closing.is_finished());
    drop(all.pop());
    closing.await.unwrap().unwrap();
    assert_eq!((world.live(), pool.stats().closed(CloseReason::PoolClosed)), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn close_answers_who_has_not_come_home_within_its_patience() {
    let world = World::new();
    let pool = world.pool(plain(3));
    let mut all = take(&pool, 2).await;
    drop(all.pop());
    let began = Instant::now();
    let error = pool.close(10 * SECOND).await.unwrap_err();
    assert_eq!(began.elapsed(), 10 * SECOND);
    let AcquireError::AllBusy { size: 1, oldest: Some(oldest), .. } = &error else { panic!("{error:?}") };
    assert_eq!(oldest.age, 10 * SECOND);
    drop(all);
    assert_eq!(world.live(), 0);
    pool.close(SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pause_waits_for_all_closes_all_and_lends_nothing_until_it_ends() {
    let world = World::new();
    let pool = world.pool(plain(2).min_size(1));
    let mut all = take(&pool, 2).await;
    drop(all.pop());
    let pausing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.pause(10 * SECOND).await }
    });
    settle().await;
    assert_eq!((world.live(), pausing.is_finished()), (1, false));
    drop(all);
    let paused = pausing.await.unwrap().unwrap();
    assert_eq!(world.live(), 0);
    assert!(pool.try_acquire().unwrap().is_none());
    let waiting = queue(&pool).await;
    // One more pause waits for the first one.
    assert!(matches!(pool.pause(SECOND).await, Err(AcquireError::AllBusy { .. })));
    assert_eq!(world.live(), 0);
    drop(paused);
    waiting.await.unwrap().unwrap();
    // Who waits in vain during a pause is told that all is taken, not that connecting fails.
    let _paused = pool.pause(SECOND).await.unwrap();
    assert!(matches!(pool.acquire().await, Err(AcquireError::AllBusy { oldest: None, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_fails_leaves_the_pool_as_it_was() {
    let world = World::new();
    let pool = world.pool(plain(2));
    let held = pool.acquire().await.unwrap();
    assert!(matches!(pool.pause(SECOND).await, Err(AcquireError::AllBusy { size: 1, .. })));
    drop(pool.acquire().await.unwrap());
    drop(held);
    prove_whole(pool, &world, "").await;
}

#[tokio::test(start_paused = true)]
async fn open_at_least_makes_them_at_the_same_time_and_at_most_max_size() {
    let world = World::new();
    let pool = world.pool(plain(4));
    world.connect.always(Act::Slow);
    let began = Instant::now();
    pool.open_at_least(3).await.unwrap();
    assert_eq!((began.elapsed(), world.made(), world.live()), (3 * SECOND, 3, 3));
    pool.open_at_least(100).await.unwrap();
    assert_eq!(world.live(), 4);
    assert!(matches!(world.pool(plain(1)).open_at_least(0).await, Ok(())));
}

/// An idle connection is lent at once on the caller's thread; else whoever brings one home calls.
#[tokio::test(start_paused = true)]
async fn a_callback_is_called_in_its_turn_and_its_time_runs_out_like_anybody_elses() {
    let world = World::new();
    let pool = world.pool(plain(1));
    drop(pool.acquire().await.unwrap());
    let held = pool.acquire_with_channel().try_recv().unwrap().unwrap();
    let first = pool.acquire_with_channel();
    let second = pool.acquire_with_channel();
    drop(held);
    let held = first.try_recv().unwrap().unwrap();
    assert!(second.try_recv().is_err());
    tokio::time::sleep(31 * SECOND).await;
    assert!(matches!(second.try_recv().unwrap(), Err(AcquireError::AllBusy { .. })));
    // A callback may use the pool.
    let (again, (sender, receiver)) = (pool.clone(), mpsc::channel());
    pool.acquire_with(std::panic::Location::caller(), move |served| {
        drop(served);
        sender.send(again.acquire_with_channel()).unwrap();
    });
    drop(held);
    receiver.try_recv().unwrap().try_recv().unwrap().unwrap();
    prove_whole(pool, &world, "").await;
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_not_called_with_what_the_hook_refuses() {
    let world = World::new();
    let pool = world.pool(plain(1));
    let held = pool.acquire().await.unwrap();
    let first = pool.acquire_with_channel();
    tokio::time::advance(SECOND).await;
    let second = pool.acquire_with_channel();
    world.check_out.once(Act::Error);
    drop(held);
    assert!(first.try_recv().is_err());
    settle().await;
    let served = first.try_recv().unwrap().unwrap();
    assert_eq!((served.id, world.live()), (1, 1));
    drop(served);
    drop(second.try_recv().unwrap().unwrap());
    // A new one that is refused is told, because nobody could pause before the next.
    pool.end_generation(&pool.acquire().await.unwrap());
    world.check_out.always(Act::Error);
    let refused = pool.acquire_with_channel();
    settle().await;
    assert!(matches!(refused.try_recv().unwrap(), Err(AcquireError::Connecting { .. })));
    assert_eq!(world.made(), 3);
    prove_whole(pool, &world, "").await;
}

#[tokio::test(start_paused = true)]
async fn a_setting_out_of_range_is_moved_to_the_nearest_bound_with_a_warning() {
    let log = Log::default();
    let listening = log.listen();
    let day = 24 * 60 * 60 * SECOND;
    type Case = (&'static str, Settings, fn(&Settings) -> String, String);
    let new = Settings::default;
    let cases: [Case; 15] = [
        ("pool.min_size", new().min_size(11), |s| s.min_size.to_string(), "10".into()),
        ("pool.max_size", new().max_size(0), |s| s.max_size.to_string(), "1".into()),
        ("pool.max_size", new().max_size(101), |s| s.max_size.to_string(), "100".into()),
        (
            "pool.acquire_timeout",
            new().acquire_timeout(SECOND / 2),
            |s| format!("{:?}", s.acquire_timeout),
            "1s".into(),
        ),
        ("pool.acquire_timeout", new().acquire_timeout(day), |s| format!("{:?}", s.acquire_timeout), "300s".into()),
        ("retry.attempts", new().connect_attempts(0), |s| s.connect_attempts.to_string(), "1".into()),
        ("retry.attempts", new().connect_attempts(11), |s| s.connect_attempts.to_string(), "10".into()),
        ("retry.delay", new().connect_delay(Duration::ZERO), |s| format!("{:?}", s.connect_delay), "100ms".into()),
        ("retry.delay", new().connect_delay(day), |s| format!("{:?}", s.connect_delay), "60s".into()),
        (
            "pool.idle_timeout",
            new().idle_timeout(Some(SECOND / 2)),
            |s| format!("{:?}", s.idle_timeout),
            "Some(1s)".into(),
        ),
        (
            "pool.max_lifetime",
            new().max_lifetime(Some(2 * day)),
            |s| format!("{:?}", s.max_lifetime),
            "Some(86400s)".into(),
        ),
        ("pool.keepalive", new().keepalive(Some(SECOND / 2)), |s| format!("{:?}", s.keepalive), "Some(1s)".into()),
        (
            "pool.test_after_idle",
            new().test_after_idle(Some(2 * day)),
            |s| format!("{:?}", s.test_after_idle),
            "Some(86400s)".into(),
        ),
        (
            "pool.leak_warning",
            new().leak_warning(Some(SECOND / 2)),
            |s| format!("{:?}", s.leak_warning),
            "Some(1s)".into(),
        ),
        (
            "pool.min_size",
            World::new().pool(new().min_size(9).max_size(4)).inner.settings.clone(),
            |s| s.min_size.to_string(),
            "4".into(),
        ),
    ];
    let lines = log.lines();
    assert_eq!(lines.len(), cases.len(), "{lines:#?}");
    for ((name, settings, value, expected), line) in cases.iter().zip(lines) {
        assert_eq!(&value(settings), expected, "{name}");
        assert!(line.contains("WARN") && line.contains(&format!("setting=\"{name}\"")), "{line}");
    }
    drop(listening);
}

#[tokio::test(start_paused = true)]
async fn the_background_task_and_idle_connections_end_with_the_last_handle_though_one_is_lent() {
    let world = World::new();
    let pool = world.pool(plain(3).min_size(1).keepalive(Some(SECOND)));
    let mut all = take(&pool, 2).await;
    drop(all.pop());
    let clone = pool.clone();
    world.connect.always(Act::Never);
    let waiting = queue(&pool).await;
    let more = queue(&pool).await;
    for task in [waiting, more] {
        task.abort();
        let _ = task.await;
    }
    drop(pool);
    settle().await;
    assert!(!clone.is_closed());
    drop(clone);
    settle().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    assert_eq!(world.live(), 1);
    drop(all);
    assert_eq!((world.live(), Arc::strong_count(&world)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_connector_is_told_to_one_waiter_and_the_next_is_served() {
    let world = World::new();
    let pool = world.pool(plain(1));
    world.connect.once(Act::Panic);
    let first = queue(&pool);
    let error = first.await.await.unwrap().unwrap_err();
    assert!(matches!(error, AcquireError::ConnectorPanicked), "{error:?}");
    pool.acquire().await.unwrap();
    prove_whole(pool, &world, "").await;
}

/// The runtime that drives the pool ends, many times over, while somebody on another one waits: with all connections lent,
/// and with one being made. He is served by a task on his own.
#[test]
fn when_the_driving_runtime_ends_a_waiter_elsewhere_is_served_by_a_new_task() {
    let new_runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let here = new_runtime();
    for round in 0..50 {
        let world = here.block_on(async { World::new() });
        let pool = world.pool(plain(1));
        let elsewhere = new_runtime();
        world.connect.once(if round % 2 == 0 { Act::Ok } else { Act::Never });
        let driven = pool.clone();
        let first = elsewhere.spawn(async move {
            let held = driven.acquire().await;
            tokio::time::sleep(60 * SECOND).await;
            drop(held);
        });
        while pool.size() == 0 {
            std::thread::yield_now();
        }
        let waiting = pool.clone();
        let waiter = here.spawn(async move { waiting.acquire().await.map(|pooled| pooled.id) });
        let opening = pool.clone();
        let opener = here.spawn(async move { opening.open_at_least(1).await });
        if round % 3 == 0 {
            while pool.stats().waiting == 0 {
                std::thread::yield_now();
            }
        }
        elsewhere.shutdown_background();
        let served = here.block_on(async { tokio::time::timeout(20 * SECOND, waiter).await });
        served.expect("nobody works for the waiter").unwrap().unwrap();
        let opened = here.block_on(async { tokio::time::timeout(20 * SECOND, opener).await });
        opened.expect("nobody works for the opener").unwrap().unwrap();
        drop(first);
        assert!(world.most.load(std::sync::atomic::Ordering::SeqCst) <= 1);
    }
}

/// In each way that a connection can end, its slot is looked at while it is dropped.
#[tokio::test(start_paused = true)]
async fn a_connection_is_closed_before_its_slot_is_vacant() {
    let world = World::new();
    let pool = world.pool(plain(2).idle_timeout(Some(60 * SECOND)).test_after_idle(Some(SECOND)));
    *world.watched.lock().unwrap() = Some(pool.clone());
    world.check_in.once(Act::Error);
    drop(pool.acquire().await.unwrap());
    world.check_out.once(Act::Error);
    drop(pool.acquire().await.unwrap());
    tokio::time::advance(2 * SECOND).await;
    world.test.once(Act::Error);
    drop(pool.acquire().await.unwrap());
    let mut both = take(&pool, 2).await;
    drop(both.pop());
    pool.end_generation(&both[0]);
    drop(both);
    drop(pool.acquire().await.unwrap());
    tokio::time::sleep(61 * SECOND).await;
    drop(pool.acquire().await.unwrap());
    drop(pool.pause(SECOND).await.unwrap());
    drop(take(&pool, 2).await);
    pool.close(SECOND).await.unwrap();
    *world.watched.lock().unwrap() = None;
    let seen = world.seen.lock().unwrap().clone();
    assert_eq!(seen, [(1, 1), (1, 1), (1, 1), (2, 2), (1, 1), (1, 1), (1, 1), (2, 2), (1, 1)]);
}

/// Several threads lend, break, refuse and end generations; what a connection counts shows that none is made before the one
/// in its slot is gone.
#[test]
fn there_are_never_more_connections_than_slots_on_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let world = runtime.block_on(async { World::new() });
    let pool = world.pool(plain(2));
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (pool, world) = (pool.clone(), Arc::clone(&world));
            runtime.spawn(async move {
                for round in 0..200 {
                    let Ok(pooled) = pool.acquire().await else { panic!("no connection") };
                    match (task + round) % 7 {
                        0 => world.check_in.once(Act::Error),
                        1 => pool.end_generation(&pooled),
                        2 => drop(tokio::time::timeout(Duration::ZERO, pool.acquire()).await),
                        3 => tokio::task::yield_now().await,
                        _ => {}
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    assert!(world.most.load(std::sync::atomic::Ordering::SeqCst) <= 2, "more connections than slots");
    assert_eq!(pool.stats().acquired, pool.stats().released);
}
