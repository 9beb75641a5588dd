//! Taking connections that do nothing, and giving them back.
//!
//! Where 64 tasks compete for 8 connections, each gives way once while it has one, as a task does that waits for a
//! database's answer; otherwise no more tasks would hold a connection than threads run. Nothing is idle long enough for
//! strongroom's test (1 s), so no peer tests anything: it is switched off, or does nothing.

use std::time::{Duration, Instant};

use crate::{Measured, Operation, Run, TASKS, report, runtime, tasks, threads};

/// A connection. Nothing is simpler.
pub struct Connection;

/// A pool of [`CONNECTIONS`](crate::CONNECTIONS) of them.
pub trait Pool: Sized + Send + Sync + 'static {
    /// Makes it. Called within the runtime.
    fn new() -> impl Future<Output = Self>;

    /// Takes a connection, which goes home when it is dropped.
    fn checkout(&self) -> impl Future<Output = impl Send> + Send;
}

/// Measures a pool.
pub fn run<P: Pool>(run: &Run) {
    let runtime = runtime();
    let pool = || runtime.block_on(P::new());
    match run.workload.as_str() {
        "checkout-1" => report("checkout-1", tasks(&runtime, 1, run.time, Checkout(pool())).nanoseconds_each()),
        "checkout-64" => {
            let rate = tasks(&runtime, TASKS, run.time, Contended { pool: pool(), is_timed: false });
            report("checkout-64", rate.nanoseconds_each());
            let waits = tasks(&runtime, TASKS, run.time, Contended { pool: pool(), is_timed: true });
            report_waits(&waits);
        }
        _ => run.is_unknown(),
    }
}

/// Measures a pool that blocks: its 64 tasks are threads. `checkout` takes a connection, and the answer gives it back.
pub fn run_blocking<G>(run: &Run, checkout: impl Fn() -> G + Clone + Send + Sync + 'static) {
    match run.workload.as_str() {
        "checkout-1" => {
            let rate = threads(1, run.time, move || {
                let checkout = checkout.clone();
                move |_| {
                    drop(checkout());
                    None
                }
            });
            report("checkout-1", rate.nanoseconds_each());
        }
        "checkout-64" => {
            let contended = |is_timed: bool| {
                let checkout = checkout.clone();
                threads(TASKS, run.time, move || {
                    let checkout = checkout.clone();
                    move |_| {
                        let began = is_timed.then(Instant::now);
                        let connection = checkout();
                        let waited = began.map(|began| began.elapsed());
                        std::thread::yield_now();
                        drop(connection);
                        waited
                    }
                })
            };
            report("checkout-64", contended(false).nanoseconds_each());
            report_waits(&contended(true));
        }
        _ => run.is_unknown(),
    }
}

struct Checkout<P>(P);

impl<P: Pool> Operation for Checkout<P> {
    async fn run(&self, _: i64) -> Option<Duration> {
        drop(self.0.checkout().await);
        None
    }
}

struct Contended<P> {
    pool: P,
    is_timed: bool,
}

impl<P: Pool> Operation for Contended<P> {
    async fn run(&self, _: i64) -> Option<Duration> {
        let began = self.is_timed.then(Instant::now);
        let connection = self.pool.checkout().await;
        let waited = began.map(|began| began.elapsed());
        tokio::task::yield_now().await;
        drop(connection);
        waited
    }
}

fn report_waits(waits: &Measured) {
    report("checkout-64-wait", micros(waits.recorded_at(999)));
    // A pool that lets the latest overtake has few who wait, and those for long: the part above does not show them.
    report("checkout-64-longest", micros(waits.recorded_at(1000)));
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}
