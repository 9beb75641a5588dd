//! What callers hand to the threads that own the connections, and how either side learns that the other is gone.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;

use tokio::sync::mpsc as rows;

use crate::batch::{Answer, Step, Want};
use crate::command::Reply;
use crate::error::Result;
use crate::row::Row;

/// Whether work is still wanted.
///
/// The caller abandons it when its future is dropped or its wait is over; the thread takes it when its turn comes.
/// Whoever is first decides: abandoned work is never begun, and work that has begun is stopped at its next look (see
/// `interrupt`) when its caller goes away.
#[derive(Clone, Debug)]
pub(crate) struct Ticket(Arc<AtomicU8>);

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const ABANDONED: u8 = 2;
const GONE: u8 = 3;

impl Ticket {
    pub(crate) fn new() -> Self {
        Ticket(Arc::new(AtomicU8::new(QUEUED)))
    }

    /// Called by the thread; `false` means that nobody wants the work any more.
    pub(crate) fn take(&self) -> bool {
        self.change(QUEUED, TAKEN)
    }

    /// Called by the caller; `false` means that the work has begun.
    pub(crate) fn abandon(&self) -> bool {
        self.change(QUEUED, ABANDONED)
    }

    /// Called for a caller that goes away, whether the work has begun or not.
    pub(crate) fn leave(&self) {
        if !self.abandon() {
            self.change(TAKEN, GONE);
        }
    }

    /// Whether the caller went away after the work had begun.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.load(Ordering::Acquire) == GONE
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The caller's end of a ticket: dropped, the caller has gone away.
#[derive(Debug)]
pub(crate) struct Wanted(pub(crate) Ticket);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Statements that take effect together: one, or a batch.
pub(crate) struct Unit {
    pub(crate) steps: Vec<Step>,
    pub(crate) want: Want,
    pub(crate) ticket: Ticket,
    pub(crate) location: &'static Location<'static>,
    pub(crate) reply: Reply<Vec<Answer>>,
}

/// The engine's end of a stream of rows.
///
/// Rows travel in chunks, each against a credit, so that a slow consumer holds few of them in memory. An empty chunk is
/// the end.
pub(crate) struct Flow {
    pub(crate) chunks: rows::UnboundedSender<Result<Vec<Row>>>,
    pub(crate) credits: mpsc::Receiver<()>,
}

/// The consumer's end.
pub(crate) struct FlowReader {
    pub(crate) chunks: rows::UnboundedReceiver<Result<Vec<Row>>>,
    pub(crate) credits: mpsc::Sender<()>,
    /// None within a session, which stops its statements itself.
    pub(crate) _wanted: Option<Wanted>,
}

const CHUNKS_IN_FLIGHT: usize = 2;

/// Makes both ends of a stream.
pub(crate) fn flow(wanted: Option<Wanted>) -> (Flow, FlowReader) {
    let (chunk_sender, chunks) = rows::unbounded_channel();
    let (credits, credit_receiver) = mpsc::channel();
    for _ in 0..CHUNKS_IN_FLIGHT {
        // The receiver is alive: it is three lines above.
        let _ = credits.send(());
    }
    let reader = FlowReader { chunks, credits, _wanted: wanted };
    (Flow { chunks: chunk_sender, credits: credit_receiver }, reader)
}
