//! Repeating something until the time is up, in tasks or in threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// Part of the time that is spent before measuring begins, so that caches and connections are there.
const WARM_UP: u32 = 4;

/// A turn is its task's number, and that of the task's turns in so many bits.
const TURN_BITS: u32 = 32;

/// What is repeated.
pub trait Operation: Send + Sync + 'static {
    /// Does it once. `turn` differs from turn to turn and from task to task. Answers a duration to be recorded, if any.
    fn run(&self, turn: i64) -> impl Future<Output = Option<Duration>> + Send;
}

/// How often something was done, and in what time.
pub struct Measured {
    operations: u64,
    time: Duration,
    /// What was recorded, sorted.
    recorded: Vec<Duration>,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.time.as_secs_f64()
    }

    pub fn nanoseconds_each(&self) -> f64 {
        self.time.as_nanos() as f64 / self.operations as f64
    }

    /// The duration that this part of those recorded, in thousandths, does not exceed.
    pub fn recorded_at(&self, thousandths: usize) -> Duration {
        let last = self.recorded.len().checked_sub(1).expect("something was recorded");
        self.recorded[(self.recorded.len() * thousandths / 1000).min(last)]
    }

    /// The task or thread whose turn this is, from 0.
    pub fn task_of(turn: i64) -> usize {
        usize::try_from(turn >> TURN_BITS).expect("turns are counted from 0")
    }
}

/// Repeats `operation` in so many tasks at the same time.
pub fn tasks(runtime: &Runtime, tasks: u64, time: Duration, operation: impl Operation) -> Measured {
    let operation = Arc::new(operation);
    let repeat = |time| {
        until_time_is_up(time, |stop| {
            let tasks: Vec<_> = (0..tasks)
                .map(|task| {
                    let (operation, stop) = (Arc::clone(&operation), Arc::clone(stop));
                    runtime.spawn(async move {
                        let mut counted = Counted::new(task);
                        while !stop.load(Ordering::Relaxed) {
                            let recorded = operation.run(counted.turn).await;
                            counted.add(recorded, &stop);
                        }
                        counted
                    })
                })
                .collect();
            move || tasks.into_iter().map(|task| runtime.block_on(task).expect("no panic")).collect()
        })
    };
    repeat(time / WARM_UP);
    repeat(time)
}

/// Repeats what `make` makes in so many threads at the same time.
pub fn threads<F>(threads: u64, time: Duration, make: impl Fn() -> F + Send + Sync + 'static) -> Measured
where
    F: FnMut(i64) -> Option<Duration>,
{
    let make = Arc::new(make);
    let repeat = |time| {
        until_time_is_up(time, |stop| {
            let threads: Vec<_> = (0..threads)
                .map(|thread| {
                    let (make, stop) = (Arc::clone(&make), Arc::clone(stop));
                    std::thread::spawn(move || {
                        let mut operation = make();
                        let mut counted = Counted::new(thread);
                        while !stop.load(Ordering::Relaxed) {
                            let recorded = operation(counted.turn);
                            counted.add(recorded, &stop);
                        }
                        counted
                    })
                })
                .collect();
            move || threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    };
    repeat(time / WARM_UP);
    repeat(time)
}

/// What one task has done.
struct Counted {
    turn: i64,
    operations: u64,
    recorded: Vec<Duration>,
}

impl Counted {
    fn new(task: u64) -> Self {
        Counted { turn: (task as i64) << TURN_BITS, operations: 0, recorded: Vec::new() }
    }

    /// What ends after the time is not counted, but its duration is recorded: it may be the longest.
    fn add(&mut self, recorded: Option<Duration>, stop: &AtomicBool) {
        self.turn += 1;
        self.recorded.extend(recorded);
        if !stop.load(Ordering::Relaxed) {
            self.operations += 1;
        }
    }
}

/// `start` starts those who repeat and answers how to wait for them.
fn until_time_is_up<J: FnOnce() -> Vec<Counted>>(
    time: Duration,
    start: impl FnOnce(&Arc<AtomicBool>) -> J,
) -> Measured {
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let join = start(&stop);
    std::thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let time = began.elapsed();
    let counted = join();
    let operations = counted.iter().map(|counted| counted.operations).sum();
    let mut recorded: Vec<Duration> = counted.into_iter().flat_map(|counted| counted.recorded).collect();
    recorded.sort_unstable();
    Measured { operations, time, recorded }
}
