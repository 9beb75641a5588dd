//! The pool with a connector that does what a test tells it, and a clock that stands still.

mod cancellation;
mod model;
mod numbers;
mod promises;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Connect, Pool, Pooled, Settings};

const SECOND: Duration = Duration::from_secs(1);

/// What the connector does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Ok,
    /// Fails; as a hook, answers no.
    Error,
    /// Fails in a way that another attempt cannot mend.
    Fatal,
    /// Succeeds after three seconds.
    Slow,
    /// Does not end before the gates are opened.
    Never,
    Panic,
}

/// What happens to one of the connector's functions: first the acts in the queue, then the same ever after.
struct Script(Mutex<(VecDeque<Act>, Act)>);

impl Default for Script {
    fn default() -> Self {
        Script(Mutex::new((VecDeque::new(), Act::Ok)))
    }
}

impl Script {
    fn always(&self, act: Act) {
        *self.0.lock().unwrap() = (VecDeque::new(), act);
    }

    fn once(&self, act: Act) {
        self.0.lock().unwrap().0.push_back(act);
    }

    fn next(&self) -> Act {
        let mut script = self.0.lock().unwrap();
        let always = script.1;
        script.0.pop_front().unwrap_or(always)
    }
}

/// What connector and connections share with the test.
struct World {
    connect: Script,
    test: Script,
    check_out: Script,
    check_in: Script,
    gates: watch::Sender<bool>,
    began: Instant,
    /// Times, since the beginning, at which a connection was asked for.
    attempts: Mutex<Vec<Duration>>,
    /// Connections tested.
    tested: Mutex<Vec<usize>>,
    made: AtomicUsize,
    live: AtomicUsize,
    most: AtomicUsize,
    /// Whose size is looked at when a connection is dropped, and what was seen: the size, and how many were open.
    watched: Mutex<Option<Pool<Fake>>>,
    seen: Mutex<Vec<(usize, usize)>>,
}

struct Fake(Arc<World>);

struct Live {
    id: usize,
    world: Arc<World>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure(Act);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scripted: {:?}", self.0)
    }
}

impl std::error::Error for Failure {}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(World {
            connect: Script::default(),
            test: Script::default(),
            check_out: Script::default(),
            check_in: Script::default(),
            gates: watch::Sender::new(false),
            began: Instant::now(),
            attempts: Mutex::default(),
            tested: Mutex::default(),
            made: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            watched: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    fn pool(self: &Arc<Self>, settings: Settings) -> Pool<Fake> {
        Pool::new(Fake(Arc::clone(self)), settings)
    }

    /// From now on everything succeeds, also what is under way.
    fn open_gates(&self) {
        for script in [&self.connect, &self.test, &self.check_out, &self.check_in] {
            script.always(Act::Ok);
        }
        self.gates.send_replace(true);
    }

    fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    fn attempts(&self) -> Vec<Duration> {
        self.attempts.lock().unwrap().clone()
    }

    fn tested(&self) -> Vec<usize> {
        self.tested.lock().unwrap().clone()
    }

    async fn act(&self, act: Act) -> Result<(), Failure> {
        match act {
            Act::Ok => {}
            Act::Error | Act::Fatal => return Err(Failure(act)),
            Act::Slow => tokio::time::sleep(3 * SECOND).await,
            Act::Never => drop(self.gates.subscribe().wait_for(|open| *open).await),
            Act::Panic => panic_quietly(),
        }
        Ok(())
    }
}

/// Unwinds without a message in the tests' output.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("scripted"))
}

fn hook(act: Act) -> bool {
    match act {
        Act::Panic => panic_quietly(),
        act => act == Act::Ok,
    }
}

impl Connect for Fake {
    type Connection = Live;
    type Error = Failure;

    async fn connect(&self) -> Result<Live, Failure> {
        let world = &self.0;
        world.attempts.lock().unwrap().push(world.began.elapsed());
        world.act(world.connect.next()).await?;
        let live = world.live.fetch_add(1, Ordering::SeqCst) + 1;
        world.most.fetch_max(live, Ordering::SeqCst);
        Ok(Live { id: world.made.fetch_add(1, Ordering::SeqCst), world: Arc::clone(world) })
    }

    fn is_transient(&self, error: &Failure) -> bool {
        error.0 != Act::Fatal
    }

    async fn test(&self, live: &mut Live) -> Result<(), Failure> {
        self.0.tested.lock().unwrap().push(live.id);
        self.0.act(self.0.test.next()).await
    }

    fn check_out(&self, _: &mut Live) -> bool {
        hook(self.0.check_out.next())
    }

    fn check_in(&self, _: &mut Live) -> bool {
        hook(self.0.check_in.next())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(pool) = self.world.watched.lock().unwrap().as_ref() {
            self.world.seen.lock().unwrap().push((pool.size(), self.world.live()));
        }
        self.world.live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Few connections, and nothing that a test does not ask for.
fn plain(max_size: usize) -> Settings {
    Settings { min_size: 0, idle_timeout: None, test_after_idle: None, ..Settings::default().max_size(max_size) }
}

/// Takes `count` connections at the same time.
async fn take(pool: &Pool<Fake>, count: usize) -> Vec<Pooled<Fake>> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(pool.acquire().await.expect("a connection"));
    }
    taken
}

/// Lets the other tasks run until they wait for something, without passing time.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Proves that nothing was lost on the way: with the gates open, as many connections as there are slots can be had at once,
/// the counters add up, there were never more connections than slots, and with the pool everything ends.
async fn prove_whole(pool: Pool<Fake>, world: &Arc<World>, case: &str) {
    world.open_gates();
    let size = pool.inner.settings.max_size;
    if !pool.is_closed() {
        let asked: Vec<_> = (0..size)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { pool.acquire().await })
            })
            .collect();
        let mut held = Vec::new();
        for task in asked {
            held.push(task.await.unwrap().unwrap_or_else(|error| panic!("{case}: a slot is lost: {error}")));
        }
        assert_eq!((pool.size(), world.live()), (size, size), "{case}");
    }
    settle().await;
    let stats = pool.stats();
    let closed: u64 = super::CloseReason::ALL.iter().map(|reason| stats.closed(*reason)).sum();
    assert_eq!((stats.waiting, stats.connecting, stats.active), (0, 0, 0), "{case}: {stats:?}");
    assert_eq!(stats.acquired, stats.released, "{case}");
    assert_eq!(stats.created, closed + stats.idle as u64, "{case}: {stats:?}");
    assert_eq!(stats.created, world.made() as u64, "{case}");
    assert_eq!(stats.waits.count(), stats.acquired, "{case}");
    assert_eq!(stats.uses.count(), stats.released, "{case}");
    assert!(world.most.load(Ordering::SeqCst) <= size, "{case}: more connections than slots");

    drop(pool);
    settle().await;
    assert_eq!(world.live(), 0, "{case}: a connection is open without a pool");
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0, "{case}: a task without a pool");
    assert_eq!(Arc::strong_count(world), 1, "{case}: something is left of the pool");
}
