//! What callers hand to the threads that own the connections, and how either side learns that the other is gone.

use std::panic::Location;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc as rows, oneshot};

use crate::batch::Step;
use crate::error::{Error, Result};
use crate::row::Row;
use crate::sqlite::connection::{Answer, Connection, Want};

/// A caller's place for the answer.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// Whether queued work is still wanted.
///
/// The caller abandons it when its future is dropped or its wait is over; the thread takes it when its turn comes.
/// Whoever is first decides, so that abandoned work is never run and running work is never abandoned.
#[derive(Clone, Debug)]
pub(crate) struct Ticket(Arc<AtomicU8>);

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const ABANDONED: u8 = 2;

impl Ticket {
    pub(crate) fn new() -> Self {
        Ticket(Arc::new(AtomicU8::new(QUEUED)))
    }

    /// Called by the thread; `false` means that nobody wants the work any more.
    pub(crate) fn take(&self) -> bool {
        self.change(TAKEN)
    }

    /// Called by the caller; `false` means that the work has begun.
    pub(crate) fn abandon(&self) -> bool {
        self.change(ABANDONED)
    }

    fn change(&self, to: u8) -> bool {
        self.0.compare_exchange(QUEUED, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Statements that take effect together: one, or a batch.
pub(crate) struct Unit {
    pub(crate) steps: Vec<Step>,
    pub(crate) want: Want,
    pub(crate) ticket: Ticket,
    pub(crate) reply: Reply<Vec<Answer>>,
}

/// A caller that waits for a session to be opened.
pub(crate) struct Opening {
    pub(crate) ticket: Ticket,
    pub(crate) opened: Reply<()>,
    pub(crate) request: SessionRequest,
}

/// A caller that wants to run statements one by one, inside one transaction.
pub(crate) struct SessionRequest {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) fate: Fate,
    pub(crate) location: &'static Location<'static>,
    pub(crate) reads_only: bool,
}

/// What has happened to a session that its holder may not have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<Mutex<FateState>>);

#[derive(Debug, Default)]
struct FateState {
    /// Why the session ended without its holder's doing.
    ended: Option<Error>,
    /// A statement or the commit met another transaction.
    conflict: bool,
}

impl Fate {
    pub(crate) fn end(&self, error: Error) {
        self.lock().ended.get_or_insert(error);
    }

    pub(crate) fn ended(&self) -> Option<Error> {
        self.lock().ended.clone()
    }

    pub(crate) fn note_conflict(&self) {
        self.lock().conflict = true;
    }

    pub(crate) fn conflict(&self) -> bool {
        self.lock().conflict
    }

    fn lock(&self) -> MutexGuard<'_, FateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session's holder asks of it.
pub(crate) enum Command {
    Run {
        steps: Vec<Step>,
        want: Want,
        reply: Reply<Vec<Answer>>,
    },
    Stream {
        step: Step,
        flow: Flow,
    },
    /// Savepoints are numbered by their depth, from 1.
    Savepoint {
        depth: u32,
        reply: Reply<()>,
    },
    Release {
        depth: u32,
        reply: Reply<()>,
    },
    /// Without a reply when the savepoint was dropped.
    RollbackTo {
        depth: u32,
        reply: Option<Reply<()>>,
    },
    Commit {
        reply: Reply<()>,
    },
    /// Without a reply when the session was dropped.
    Rollback {
        reply: Option<Reply<()>>,
    },
}

/// The engine's end of a stream of rows.
///
/// Rows travel in chunks, each against a credit, so that a slow consumer holds at most two chunks in memory. An empty
/// chunk is the end.
pub(crate) struct Flow {
    pub(crate) chunks: rows::UnboundedSender<Result<Vec<Row>>>,
    pub(crate) credits: mpsc::Receiver<()>,
}

/// The consumer's end.
pub(crate) struct FlowReader {
    pub(crate) chunks: rows::UnboundedReceiver<Result<Vec<Row>>>,
    pub(crate) credits: mpsc::Sender<()>,
}

const CHUNK_ROWS: usize = 256;
const CHUNK_BYTES: usize = 256 * 1024;
const CHUNKS_IN_FLIGHT: usize = 2;

impl Flow {
    pub(crate) fn new() -> (Flow, FlowReader) {
        let (chunk_sender, chunks) = rows::unbounded_channel();
        let (credits, credit_receiver) = mpsc::channel();
        for _ in 0..CHUNKS_IN_FLIGHT {
            // The receiver is alive: it is two lines above.
            let _ = credits.send(());
        }
        (Flow { chunks: chunk_sender, credits: credit_receiver }, FlowReader { chunks, credits })
    }

    /// Runs the query to its end, to its consumer's, or to the deadline. Gives back the error it ended with, if any.
    pub(crate) fn pump(self, connection: &Connection, step: &Step, deadline: Option<Instant>) -> Option<Error> {
        let mut chunk = Vec::new();
        let mut size = 0;
        let mut timed_out = false;
        let outcome = connection.each_row(step, |row| {
            size += row.size();
            chunk.push(row);
            if chunk.len() < CHUNK_ROWS && size < CHUNK_BYTES {
                return true;
            }
            size = 0;
            let sent = self.wait_for_credit(deadline, &mut timed_out);
            sent && self.chunks.send(Ok(std::mem::take(&mut chunk))).is_ok()
        });
        let end = match &outcome {
            Err(error) => Err(error.clone()),
            Ok(()) if timed_out => Err(Error::Cancelled),
            Ok(()) => Ok(Vec::new()),
        };
        // Whether the consumer still listens makes no difference to what follows here.
        if end.is_ok() && !chunk.is_empty() {
            let _ = self.chunks.send(Ok(chunk));
        }
        let _ = self.chunks.send(end);
        outcome.err()
    }

    fn wait_for_credit(&self, deadline: Option<Instant>, timed_out: &mut bool) -> bool {
        match deadline {
            None => self.credits.recv().is_ok(),
            Some(deadline) => match self.credits.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => true,
                Err(error) => {
                    *timed_out = error == mpsc::RecvTimeoutError::Timeout;
                    false
                }
            },
        }
    }
}

/// How a session's service ended.
pub(crate) enum SessionEnd {
    /// The holder asked for a commit; it is answered when the commit is durable.
    Commit(Reply<()>),
    /// Rolled back: by the holder, because the holder is gone, or because its time was up.
    Rollback(Option<Reply<()>>),
    /// SQLite rolled the whole transaction back under it.
    Lost,
}

/// Serves a session's commands on the connection whose transaction (or savepoint) is open, until it ends.
pub(crate) struct SessionService<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) request: SessionRequest,
    pub(crate) max_age: Duration,
    /// The depth at which a statement failed and its error: nothing runs until a rollback to there or above.
    failed: Option<(u32, Arc<Error>)>,
    depth: u32,
}

impl<'c> SessionService<'c> {
    pub(crate) fn new(connection: &'c Connection, request: SessionRequest, max_age: Duration) -> Self {
        SessionService { connection, request, max_age, failed: None, depth: 0 }
    }

    pub(crate) fn serve(mut self) -> SessionEnd {
        let deadline = Instant::now() + self.max_age;
        self.connection.interrupt().set_deadline(Some(deadline));
        let end = self.serve_until(deadline);
        self.connection.interrupt().set_deadline(None);
        end
    }

    fn serve_until(&mut self, deadline: Instant) -> SessionEnd {
        loop {
            let command = match self.request.commands.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(command) => command,
                Err(mpsc::RecvTimeoutError::Timeout) => return self.expire(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return SessionEnd::Rollback(None),
            };
            match command {
                Command::Run { steps, want, reply } => {
                    let outcome = self.run(&steps, want);
                    let lost = !self.connection.in_transaction();
                    if matches!(outcome, Err(Error::Cancelled)) && Instant::now() >= deadline {
                        let _ = reply.send(Err(self.expired()));
                        return self.expire();
                    }
                    if lost && let Err(error) = &outcome {
                        self.request.fate.end(error.clone());
                    }
                    let _ = reply.send(outcome);
                    if lost {
                        return SessionEnd::Lost;
                    }
                }
                Command::Stream { step, flow } => match self.refused() {
                    Some(error) => {
                        let _ = flow.chunks.send(Err(error));
                    }
                    None => {
                        flow.pump(self.connection, &step, Some(deadline));
                        if Instant::now() >= deadline {
                            return self.expire();
                        }
                    }
                },
                Command::Savepoint { depth, reply } => {
                    let outcome =
                        self.guarded(|service| service.connection.control(&format!("SAVEPOINT point_{depth}")));
                    if outcome.is_ok() {
                        self.depth = depth;
                    }
                    let _ = reply.send(outcome);
                }
                Command::Release { depth, reply } => {
                    let outcome = self.guarded(|service| service.connection.control(&format!("RELEASE point_{depth}")));
                    if outcome.is_ok() {
                        self.depth = depth - 1;
                    }
                    let _ = reply.send(outcome);
                }
                Command::RollbackTo { depth, reply } => {
                    let outcome = self.connection.control(&format!("ROLLBACK TO point_{depth}; RELEASE point_{depth}"));
                    if outcome.is_ok() {
                        self.depth = depth - 1;
                        self.failed.take_if(|(failed_at, _)| *failed_at >= depth);
                    }
                    if let Some(reply) = reply {
                        let _ = reply.send(outcome);
                    }
                }
                Command::Commit { reply } => match self.refused() {
                    Some(error) => {
                        let _ = reply.send(Err(error));
                        return SessionEnd::Rollback(None);
                    }
                    None => return SessionEnd::Commit(reply),
                },
                Command::Rollback { reply } => return SessionEnd::Rollback(reply),
            }
        }
    }

    fn run(&mut self, steps: &[Step], want: Want) -> Result<Vec<Answer>> {
        if let Some(error) = self.refused() {
            return Err(error);
        }
        let mut answers = Vec::with_capacity(steps.len());
        for step in steps {
            let outcome = self.check_reads_only(step).and_then(|()| self.connection.run(step, want));
            match outcome {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    self.failed = Some((self.depth, Arc::new(error.clone())));
                    return Err(error);
                }
            }
        }
        Ok(answers)
    }

    fn check_reads_only(&self, step: &Step) -> Result<()> {
        if self.request.reads_only && !self.connection.is_read_only(&step.sql)? {
            return Err(writes_in_read_session());
        }
        Ok(())
    }

    fn guarded(&mut self, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        match self.refused() {
            Some(error) => Err(error),
            None => work(self),
        }
    }

    /// The answer to anything but a rollback after a statement has failed: the same on both engines, because
    /// PostgreSQL aborts the transaction there, and would turn its COMMIT into a silent ROLLBACK.
    fn refused(&self) -> Option<Error> {
        self.failed.as_ref().map(|(_, error)| Error::Transaction {
            reason: "a statement of this session has failed before; roll the session back, \
                     or put statements that may fail into a savepoint"
                .into(),
            source: Some(Arc::clone(error)),
        })
    }

    fn expired(&self) -> Error {
        Error::SessionExpired { age: self.max_age }
    }

    fn expire(&self) -> SessionEnd {
        tracing::warn!(
            age_s = self.max_age.as_secs_f64(),
            location = %self.request.location,
            "a session was rolled back because it held its connection longer than session_max_age"
        );
        self.request.fate.end(self.expired());
        SessionEnd::Rollback(None)
    }
}

pub(crate) fn writes_in_read_session() -> Error {
    Error::query(
        crate::error::QueryErrorKind::ReadOnly,
        "the statement writes and this is a read session; use Database::session",
    )
}
