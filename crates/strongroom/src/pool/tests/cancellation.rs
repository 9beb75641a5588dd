//! Every asynchronous method, dropped at every point, while the connector succeeds, fails, is slow, hangs or panics.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::{Act, Fake, Pool, SECOND, Settings, World, plain, prove_whole, settle, take};
use crate::pool::Pooled;

const ACTS: [Act; 6] = [Act::Ok, Act::Error, Act::Fatal, Act::Slow, Act::Never, Act::Panic];
/// What a hook can do, which does not wait.
const HOOKS: [Act; 3] = [Act::Ok, Act::Error, Act::Panic];

/// What passes between two polls: nothing, less than a gate's time, a gate's, and more than all timeouts.
const PAUSES: [Duration; 10] = [
    Duration::ZERO,
    Duration::ZERO,
    Duration::from_millis(400),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(40),
    Duration::from_secs(40),
];

/// What a case begins with.
struct Scene {
    world: Arc<World>,
    pool: Pool<Fake>,
    /// Given back after the third poll.
    lent: Vec<Pooled<Fake>>,
}

impl Scene {
    fn new(settings: Settings) -> Self {
        let world = World::new();
        Scene { pool: world.pool(settings), world, lent: Vec::new() }
    }

    /// `count` connections are idle.
    async fn idle(self, count: usize) -> Self {
        drop(take(&self.pool, count).await);
        self
    }

    async fn lent(mut self, count: usize) -> Self {
        self.lent = take(&self.pool, count).await;
        self
    }
}

/// Polls what `start` answers up to `polls` times, drops it, and proves that nothing is lost. Answers whether it was ready
/// before.
async fn drop_after<T>(
    polls: usize,
    scene: Scene,
    start: impl for<'p> Fn(&'p Pool<Fake>) -> Pin<Box<dyn Future<Output = T> + 'p>>,
    case: &str,
) -> bool {
    let Scene { world, pool, mut lent } = scene;
    let mut is_ready = false;
    {
        let mut future = start(&pool);
        for (polled, pause) in PAUSES.iter().enumerate().take(polls) {
            let poll = std::future::poll_fn(|context| {
                let poll = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context).is_ready()));
                // A future that has panicked is done for.
                Poll::Ready(poll.unwrap_or(true))
            });
            is_ready = poll.await;
            if is_ready {
                break;
            }
            settle().await;
            if polled == 2 {
                for pooled in lent.drain(..) {
                    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(pooled)));
                }
            }
            tokio::time::advance(*pause).await;
        }
    }
    for pooled in lent {
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(pooled)));
    }
    prove_whole(pool, &world, &format!("{case}, dropped after {polls} polls")).await;
    is_ready
}

/// Runs a case with all numbers of polls, until it is ready before it is dropped.
macro_rules! at_every_point {
    ($case:expr, $scene:expr, $start:expr) => {
        for polls in 0..=PAUSES.len() {
            if drop_after(polls, $scene, $start, &$case).await {
                break;
            }
        }
    };
}

#[tokio::test(start_paused = true)]
async fn acquire_dropped_at_any_point_while_connecting_loses_nothing() {
    for connect in ACTS {
        for check_out in HOOKS {
            let scene = || {
                let scene = Scene::new(plain(2));
                scene.world.connect.always(connect);
                scene.world.check_out.always(check_out);
                scene
            };
            let case = format!("connect {connect:?}, check_out {check_out:?}");
            at_every_point!(case, scene(), |pool| Box::pin(async move { drop(pool.acquire().await) }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn acquire_dropped_at_any_point_while_testing_loses_nothing() {
    for test in ACTS {
        for check_out in HOOKS {
            for check_in in HOOKS {
                let scene = async || {
                    let settings = plain(2).test_after_idle(Some(SECOND));
                    let scene = Scene::new(settings).idle(1).await;
                    tokio::time::advance(2 * SECOND).await;
                    scene.world.test.always(test);
                    scene.world.check_out.always(check_out);
                    scene.world.check_in.always(check_in);
                    scene
                };
                let case = format!("test {test:?}, check_out {check_out:?}, check_in {check_in:?}");
                at_every_point!(case, scene().await, |pool| Box::pin(async move { drop(pool.acquire().await) }));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn acquire_dropped_at_any_point_while_all_are_lent_loses_nothing() {
    for check_in in HOOKS {
        for check_out in HOOKS {
            for connect in ACTS {
                let scene = async || {
                    let scene = Scene::new(plain(2)).lent(2).await;
                    scene.world.check_in.always(check_in);
                    scene.world.check_out.always(check_out);
                    scene.world.connect.always(connect);
                    scene
                };
                let case = format!("check_in {check_in:?}, check_out {check_out:?}, connect {connect:?}");
                at_every_point!(case, scene().await, |pool| Box::pin(async move { drop(pool.acquire().await) }));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn open_at_least_dropped_at_any_point_loses_nothing() {
    for connect in ACTS {
        for check_out in HOOKS {
            let scene = || {
                let scene = Scene::new(plain(3));
                scene.world.connect.always(connect);
                scene.world.check_out.always(check_out);
                scene
            };
            let case = format!("connect {connect:?}, check_out {check_out:?}");
            at_every_point!(case, scene(), |pool| Box::pin(async move { drop(pool.open_at_least(2).await) }));
        }
    }
}

/// One connection idle, one lent, one being made.
async fn busy_scene(connect: Act, check_in: Act) -> Scene {
    let mut scene = Scene::new(plain(3)).idle(2).await.lent(2).await;
    drop(scene.lent.pop());
    scene.world.connect.always(connect);
    scene.world.check_in.always(check_in);
    // Somebody asks for two, and goes away.
    let pool = scene.pool.clone();
    let asking = tokio::spawn(async move {
        let _first = pool.acquire().await;
        pool.acquire().await.map(drop)
    });
    settle().await;
    asking.abort();
    let _ = asking.await;
    scene
}

#[tokio::test(start_paused = true)]
async fn close_dropped_at_any_point_loses_nothing_and_the_pool_stays_closed() {
    for connect in ACTS {
        for check_in in HOOKS {
            let case = format!("connect {connect:?}, check_in {check_in:?}");
            at_every_point!(case, busy_scene(connect, check_in).await, |pool| Box::pin(async move {
                drop(pool.close(15 * SECOND).await);
            }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pause_dropped_at_any_point_loses_nothing_and_the_pool_goes_on() {
    for connect in ACTS {
        for check_in in HOOKS {
            let case = format!("connect {connect:?}, check_in {check_in:?}");
            at_every_point!(case, busy_scene(connect, check_in).await, |pool| Box::pin(async move {
                let paused = pool.pause(15 * SECOND).await;
                // Who waits meanwhile is dropped with the pause, before or after it.
                let _ = tokio::time::timeout(SECOND, pool.acquire()).await;
                drop(paused);
            }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keepalive_tests_that_hang_or_fail_lose_nothing() {
    for test in ACTS {
        for check_in in HOOKS {
            let scene = async || {
                let scene = Scene::new(plain(2).keepalive(Some(SECOND))).idle(2).await;
                scene.world.test.always(test);
                scene.world.check_in.always(check_in);
                scene
            };
            let case = format!("test {test:?}, check_in {check_in:?}");
            at_every_point!(case, scene().await, |_| Box::pin(std::future::pending::<()>()));
        }
    }
}
