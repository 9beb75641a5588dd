//! A thread's mailbox for one letter.
//!
//! Whoever has borrowed a reader is the only one to write to its thread, so there is never more than one. A channel would
//! keep lists of senders and receivers for that, and lock them each time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

/// The writers' end; its thread is that of [`Letters`].
pub(crate) struct Mailbox<T>(Arc<Shared<T>>);

/// The thread's end.
pub(crate) struct Letters<T>(Arc<Shared<T>>);

struct Shared<T> {
    letter: Mutex<Option<T>>,
    thread: Thread,
}

/// Makes a mailbox for the thread that calls this.
pub(crate) fn mailbox<T>() -> (Mailbox<T>, Letters<T>) {
    let shared = Arc::new(Shared { letter: Mutex::new(None), thread: std::thread::current() });
    (Mailbox(Arc::clone(&shared)), Letters(shared))
}

impl<T> Mailbox<T> {
    pub(crate) fn send(&self, letter: T) {
        let before = self.0.lock().replace(letter);
        debug_assert!(before.is_none(), "only the borrower writes, and once");
        self.0.thread.unpark();
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Mailbox(Arc::clone(&self.0))
    }
}

impl<T> Letters<T> {
    /// Waits for the next letter.
    pub(crate) fn receive(&self) -> T {
        loop {
            let letter = self.0.lock().take();
            match letter {
                Some(letter) => return letter,
                None => std::thread::park(),
            }
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.letter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
