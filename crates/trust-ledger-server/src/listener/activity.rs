//! What a connection is doing: answering, or waiting for a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Between two looks whether a connection still does something.
const LOOK: Duration = Duration::from_millis(100);

/// Looks in a row that must find nothing.
const LOOKS: u32 = 5;

/// What one connection is doing; a handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Requests whose answers are not given to the connection as a whole.
    answering: AtomicUsize,
    /// Whether something was given to the connection that the client does not take.
    writing: AtomicBool,
}

impl Activity {
    /// A request has come; its answer is whole when this is dropped.
    pub(crate) fn answering(&self) -> Answering {
        self.0.answering.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    pub(crate) fn set_writing(&self, writing: bool) {
        self.0.writing.store(writing, Ordering::Relaxed);
    }

    /// Until it has done nothing for half a second.
    pub(crate) async fn end(&self) {
        let mut quiet = 0;
        while quiet < LOOKS {
            tokio::time::sleep(LOOK).await;
            let active = self.0.answering.load(Ordering::Relaxed) > 0 || self.0.writing.load(Ordering::Relaxed);
            quiet = if active { 0 } else { quiet + 1 };
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Answering(Activity);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}
