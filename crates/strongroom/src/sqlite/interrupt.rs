//! Stopping a running statement: because its caller is gone, or its session's time is up.
//!
//! SQLite calls the connection's progress handler every few thousand steps of its virtual machine; the handler compares
//! the job that runs with the job that shall stop. `sqlite3_interrupt` would do neither: it hits whatever statement runs
//! when it arrives, which may be the next caller's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Virtual machine steps between two looks, some 20 µs.
const STEPS_BETWEEN_LOOKS: i32 = 4_000;

/// A deadline that never comes.
const NEVER: u64 = u64::MAX;

/// One connection's switch.
#[derive(Clone)]
pub(crate) struct Interrupt {
    shared: Arc<Shared>,
}

struct Shared {
    epoch: Instant,
    running: AtomicU64,
    /// Jobs up to this number shall stop. Numbers only grow, and a connection runs one job at a time.
    stop: AtomicU64,
    deadline: AtomicU64,
}

impl Interrupt {
    pub(crate) fn new() -> Self {
        Interrupt {
            shared: Arc::new(Shared {
                epoch: Instant::now(),
                // Above `stop`, so that nothing is stopped while the connection is set up.
                running: AtomicU64::new(1),
                stop: AtomicU64::new(0),
                deadline: AtomicU64::new(NEVER),
            }),
        }
    }

    pub(crate) fn install(&self, db: &mut rusqlite::Connection) -> rusqlite::Result<()> {
        let shared = Arc::clone(&self.shared);
        db.progress_handler(
            STEPS_BETWEEN_LOOKS,
            Some(move || {
                if shared.running.load(Ordering::Relaxed) <= shared.stop.load(Ordering::Relaxed) {
                    return true;
                }
                let deadline = shared.deadline.load(Ordering::Relaxed);
                deadline != NEVER && shared.epoch.elapsed().as_micros() as u64 >= deadline
            }),
        )
    }

    /// Begins the next job: called by whoever has the connection to itself. The number stops that job and no later one.
    pub(crate) fn begin(&self) -> u64 {
        self.shared.running.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Stops this job if it still runs.
    pub(crate) fn stop(&self, job: u64) {
        self.shared.stop.fetch_max(job, Ordering::Relaxed);
    }

    /// Stops statements from this moment on; `None` lifts it.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        let micros = deadline.map_or(NEVER, |deadline| {
            deadline.saturating_duration_since(self.shared.epoch).max(Duration::from_micros(1)).as_micros() as u64
        });
        self.shared.deadline.store(micros, Ordering::Relaxed);
    }
}
