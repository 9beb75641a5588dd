//! The runtime that waiting callers share.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, Handle};
use tokio::task::coop::poll_proceed;

use crate::error::{Error, Result};

/// The runtime, for callers that wait on their own thread.
pub(super) fn handle() -> Result<&'static Handle> {
    if is_in_task() {
        return Err(Error::BlockingInTask);
    }
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(handle) = HANDLE.get() {
        return Ok(handle);
    }
    // A runtime whose thread could not be started is tried again by the next caller.
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = HANDLE.get() {
        return Ok(handle);
    }
    let started = start()
        .map_err(|error| Error::connection("strongroom::blocking", "no thread could be started").caused_by(error))?;
    Ok(HANDLE.get_or_init(|| started))
}

/// Starts a thread that keeps the time, waits for sockets and runs spawned tasks, for as long as the process lives.
fn start() -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let serve = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("strongroom-time".into()).spawn(serve)?;
    Ok(handle)
}

/// Whether this thread is polling a Tokio task, or the future of a `block_on`.
fn is_in_task() -> bool {
    Handle::try_current().is_ok() && is_budgeted(u8::MAX)
}

/// Whether Tokio limits what runs here to some number of steps before it yields. It does so for whatever it polls, and for
/// nothing that may block: Tokio has no other way to tell a worker from a thread of `spawn_blocking`.
///
/// Takes all steps, of which there are at most 255, to see an end; each is given back on the way out, in reverse order.
fn is_budgeted(steps: u8) -> bool {
    match poll_proceed(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => true,
        Poll::Ready(_given_back) => steps > 0 && is_budgeted(steps - 1),
    }
}
