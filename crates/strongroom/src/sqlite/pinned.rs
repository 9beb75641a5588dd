//! A pinned connection, at the engine's end: one caller's, outside any transaction, until it is given back.

use std::panic::Location;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::batch::{Answer, Step, Want};
use crate::command::{Command, Fate, Reply};
use crate::error::{Error, Result};
use crate::sqlite::connection::{Connection, Opener};
use crate::sqlite::failure::{breaks_connection, leaves_commit_open};
use crate::sqlite::interrupt::stopped_at;
use crate::sqlite::session::Order;
use crate::sqlite::work::{Flow, Ticket};
use crate::sqlite::writer::{Alone, Work, WriterHolder, check_deferred};

/// Pause between two looks whether the holder still wants the turn that it waits for.
const HOLDER_LOOK: Duration = Duration::from_millis(20);

/// A caller that has a connection to himself.
pub(crate) struct PinnedRequest {
    pub(crate) commands: mpsc::Receiver<Order>,
    /// Gone when the holder has dropped the connection: what runs then is stopped.
    pub(crate) holder: Ticket,
    pub(crate) fate: Fate,
    /// Knows whether the file is still at its place.
    pub(crate) opener: Arc<Opener>,
    /// How to take turns with the writer; none where there is no other connection.
    pub(crate) turns: Option<Turns>,
    /// Longest time that a statement or batch may take.
    pub(crate) unit_max_age: Duration,
    /// When it ends; none where it is in nobody's way.
    pub(crate) deadline: Option<Instant>,
}

/// The way to the writer's queue, so that a write waits in fair turn with all others and not for SQLite's lock.
#[derive(Clone)]
pub(crate) struct Turns {
    pub(crate) queue: mpsc::Sender<Work>,
    pub(crate) writer: WriterHolder,
    /// How long to wait for a turn.
    pub(crate) patience: Duration,
    /// How long a turn may last.
    pub(crate) longest: Duration,
    pub(crate) location: &'static Location<'static>,
}

/// The writer stands still while this lives.
struct Turn {
    _leave: mpsc::Sender<()>,
}

impl PinnedRequest {
    /// Serves the holder's commands until it is gone. Answers whom to tell when the connection is given back, or closed.
    ///
    /// # Errors
    ///
    /// One that makes the connection unfit for anybody else; the holder has been told.
    pub(crate) fn serve(self, connection: &Connection) -> Result<Option<Reply<()>>> {
        loop {
            let command = match self.deadline {
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => self.commands.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            };
            let outcome = match command {
                Ok(Order::Command(Command::Run { steps, want, reply })) => {
                    let outcome = self.run(connection, &steps, want);
                    let failed = outcome.as_ref().err().cloned();
                    let _ = reply.send(outcome);
                    failed.map_or(Ok(()), Err)
                }
                Ok(Order::Stream { step, flow }) => self.stream(connection, &step, flow),
                Ok(Order::Command(Command::Rollback { reply })) => return Ok(Some(reply)),
                // A pinned connection has no way to ask for these; an unanswered reply says that it has ended.
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    self.fate.end(Error::SessionExpired { age: self.unit_max_age });
                    return Ok(None);
                }
            };
            if let Err(error) = outcome
                && (breaks_connection(&error) || connection.in_transaction())
            {
                self.fate.end(error.clone());
                return Err(error);
            }
        }
    }

    fn run(&self, connection: &Connection, steps: &[Step], want: Want) -> Result<Vec<Answer>> {
        self.opener.check_place()?;
        let mut writes = false;
        for step in steps {
            // A later statement may need what an earlier one creates; then that one writes, and nothing more is asked.
            writes = writes || !connection.is_read_only(step)?;
        }
        let run_all = || steps.iter().map(|step| connection.run(step, want)).collect();
        let deadline = Instant::now() + self.unit_max_age;
        let outcome = if writes {
            self.write(connection, deadline, run_all)
        } else {
            let _watching = connection.interrupt().watch(&self.holder, Some(deadline));
            run_all()
        };
        outcome.map_err(|error| stopped_at(deadline, error))
    }

    fn stream(&self, connection: &Connection, step: &Step, flow: Flow) -> Result<()> {
        let deadline = Instant::now() + self.unit_max_age;
        match self.opener.check_place().and_then(|()| connection.is_read_only(step)) {
            Err(error) => flow.refuse(error),
            Ok(true) => {
                let _watching = connection.interrupt().watch(&self.holder, Some(deadline));
                flow.pump(connection, step, deadline, Error::SessionExpired { age: self.unit_max_age })
            }
            Ok(false) => {
                let want = Want::Rows { at_most: usize::MAX };
                let outcome = self.write(connection, deadline, || connection.run(step, want));
                flow.hand_over(outcome.map(|answer| answer.rows))
            }
        }
    }

    /// Runs work in a transaction of its own, durable when this returns.
    fn write<T>(&self, connection: &Connection, deadline: Instant, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _turn = self.turns.as_ref().map(|turns| turns.take(&self.holder)).transpose()?;
        if self.holder.is_gone() {
            return Err(Error::Cancelled);
        }
        connection.control("BEGIN IMMEDIATE")?;
        let watching = connection.interrupt().watch(&self.holder, Some(deadline));
        let outcome = work();
        drop(watching);
        let outcome = outcome.and_then(|answer| check_deferred(connection).map(|()| answer));
        // What is written to a file that was moved away, or has got another key meanwhile, would be lost.
        let outcome = outcome.and_then(|answer| self.opener.check_place().map(|()| answer));
        match outcome {
            Ok(answer) => match connection.control("COMMIT") {
                Ok(()) => Ok(answer),
                Err(error) if leaves_commit_open(&error) => Err(Error::CommitUnknown { source: Some(Arc::new(error)) }),
                Err(error) => self.roll_back(connection, error),
            },
            Err(error) => self.roll_back(connection, error),
        }
    }

    fn roll_back<T>(&self, connection: &Connection, error: Error) -> Result<T> {
        // Seen by who serves: a connection whose transaction stays open is closed.
        if connection.in_transaction()
            && let Err(undoing) = connection.control("ROLLBACK")
        {
            tracing::error!(error = %undoing, "a pinned connection could not roll back and is closed");
        }
        Err(error)
    }
}

impl Turns {
    /// Waits until the writer stands still, or the holder is gone.
    fn take(&self, holder: &Ticket) -> Result<Turn> {
        let began = Instant::now();
        let (enter, entered) = mpsc::channel();
        let (leave, left) = mpsc::channel::<()>();
        let (ticket, longest) = (Ticket::new(), self.longest);
        let work = move |writer: Result<&mut crate::sqlite::writer::Writer>| {
            if enter.send(writer.map(drop)).is_ok() {
                // Disconnected when the turn is over. It ends by itself; should it not, SQLite's lock is enough.
                let _ = left.recv_timeout(longest);
            }
        };
        let alone = Alone { ticket: ticket.clone(), location: self.location, work: Box::new(work) };
        self.queue.send(Work::Alone(alone)).map_err(|_| Error::Closed)?;
        let stands = loop {
            let remaining = self.patience.saturating_sub(began.elapsed());
            match entered.recv_timeout(remaining.min(HOLDER_LOOK)) {
                Ok(stands) => break stands,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
                Err(RecvTimeoutError::Timeout) if holder.is_gone() && ticket.abandon() => return Err(Error::Cancelled),
                Err(RecvTimeoutError::Timeout) if !remaining.is_zero() => {}
                Err(RecvTimeoutError::Timeout) if ticket.abandon() => {
                    return Err(self.writer.waited_in_vain(began.elapsed()));
                }
                // Taken at the last moment: it answers at once.
                Err(RecvTimeoutError::Timeout) => break entered.recv().map_err(|_| Error::Closed)?,
            }
        };
        stands.map(|()| Turn { _leave: leave })
    }
}
