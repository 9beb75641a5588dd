//! Sessions and pinned connections, at the engine's end: a task that has a connection and does what its holder asks.

use std::convert::Infallible;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::connection::Tenure;
use super::connector::Lease;
use super::failure::ends_generation;
use super::flow::Flow;
use super::work::{Watch, stop};
use crate::batch::{Answer, Step, Want};
use crate::command::{Command, Fate, Reply};
use crate::error::{Error, QueryErrorKind, Result};
use crate::stats::Counters;

/// How long a connection may take to roll back and be cleaned; beyond, it is closed.
const CLEAN_PATIENCE: Duration = Duration::from_secs(10);

/// What a session's holder asks of its task.
pub(crate) enum Order {
    Command(Command),
    Stream { step: Step, flow: Flow },
}

/// The holder's end of a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionLink {
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    pub(crate) fate: Fate,
    /// Dropped with the last clone: what runs then is stopped.
    _holder: mpsc::Sender<Infallible>,
}

/// What somebody has a connection for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Writes,
    Reads,
    Pinned,
}

/// When a session ends, and the age that it has then.
pub(super) type Age = (Instant, Duration);

/// Begins to serve a session on a connection whose transaction is open, or is to begin with the first statement; or,
/// pinned, has none.
pub(super) fn open(
    lease: Lease,
    kind: Kind,
    ends: Option<Age>,
    unit_max_age: Duration,
    location: &'static Location<'static>,
    counters: Arc<Counters>,
) -> SessionLink {
    let (orders, queue) = mpsc::unbounded_channel();
    let (held, holder) = mpsc::channel(1);
    let fate = Fate::default();
    let link = SessionLink { orders, fate: fate.clone(), _holder: held };
    let service =
        Service { lease, kind, queue, holder, fate, ends, unit_max_age, location, counters, depth: 0, failed: None };
    tokio::spawn(service.serve());
    link
}

struct Service {
    lease: Lease,
    kind: Kind,
    queue: mpsc::UnboundedReceiver<Order>,
    holder: mpsc::Receiver<Infallible>,
    fate: Fate,
    /// Never for a pinned connection.
    ends: Option<Age>,
    /// Longest time that a pinned connection's statement or batch may take.
    unit_max_age: Duration,
    location: &'static Location<'static>,
    counters: Arc<Counters>,
    depth: u32,
    /// The depth at which a statement failed and its error: nothing runs until a rollback to there or above.
    failed: Option<(u32, Arc<Error>)>,
}

/// How a session's service ended.
enum End {
    Commit(Reply<()>),
    /// By the holder's wish, because the holder is gone, or because its time was up.
    Rollback(Option<Reply<()>>),
    /// The connection is lost, or cannot be brought to an orderly end.
    Broken,
}

/// How work for the holder went.
enum Watched<T> {
    Done(Result<T>),
    /// Stopped at the deadline, with what became of it.
    Expired(Result<T>),
    Stuck,
}

impl Service {
    async fn serve(mut self) {
        let end = loop {
            let order = match self.ends {
                None => self.queue.recv().await,
                Some((deadline, _)) => tokio::select! {
                    biased;
                    order = self.queue.recv() => order,
                    () = sleep_until(deadline) => break self.expire(),
                },
            };
            let end = match order {
                Some(Order::Command(command)) => self.obey(command).await,
                Some(Order::Stream { step, flow }) => self.stream(step, flow).await,
                None => Some(End::Rollback(None)),
            };
            if let Some(end) = end {
                break end;
            }
        };
        self.end(end).await;
    }

    /// Does what the holder asks; answers how the session ended if it did.
    async fn obey(&mut self, command: Command) -> Option<End> {
        match command {
            Command::Run { steps, want, reply } => {
                let (outcome, end) = self.run(steps, want).await;
                let _ = reply.send(outcome);
                end
            }
            Command::Savepoint { depth, reply } => {
                let outcome = self.control(&format!("SAVEPOINT point_{depth}")).await;
                if outcome.is_ok() {
                    self.depth = depth;
                }
                self.answer(reply, outcome)
            }
            Command::Release { depth, reply } => {
                let outcome = self.control(&format!("RELEASE point_{depth}")).await;
                if outcome.is_ok() {
                    self.depth = depth - 1;
                }
                self.answer(reply, outcome)
            }
            Command::RollbackTo { depth, reply } => {
                let mut outcome = Ok(());
                // One that was not opened has nothing to take back, and asking for it would fail the session.
                if depth <= self.depth {
                    outcome = self.lease.control(&format!("ROLLBACK TO point_{depth}; RELEASE point_{depth}")).await;
                    if outcome.is_ok() {
                        self.depth = depth - 1;
                        self.failed.take_if(|(failed_at, _)| *failed_at >= depth);
                    }
                }
                let end = outcome.as_ref().err().and_then(|error| self.end_after(error));
                if let Some(reply) = reply {
                    let _ = reply.send(outcome);
                }
                end
            }
            Command::Commit { reply } => match self.refused() {
                Some(error) => {
                    let _ = reply.send(Err(error));
                    Some(End::Rollback(None))
                }
                None => Some(End::Commit(reply)),
            },
            Command::Rollback { reply } => Some(End::Rollback(Some(reply))),
        }
    }

    async fn run(&mut self, steps: Vec<Step>, want: Want) -> (Result<Vec<Answer>>, Option<End>) {
        if let Some(error) = self.refused() {
            return (Err(error), None);
        }
        if self.is_abandoned() {
            return (Err(Error::Cancelled), Some(End::Rollback(None)));
        }
        let watch = Arc::clone(self.lease.watch());
        let deadline = self.deadline();
        let watched = if self.kind == Kind::Pinned {
            self.lease.become_stateful();
            let work = self.lease.run_unit(&steps, want, Tenure::Own);
            let watched = watch_over(work, &watch, &mut self.holder, deadline).await;
            if let Watched::Done(outcome) = &watched {
                super::count(&self.counters, outcome);
            }
            watched
        } else {
            watch_over(self.lease.run(&steps, want, Tenure::Own), &watch, &mut self.holder, deadline).await
        };
        self.settle(watched)
    }

    /// What an outcome means for the session.
    fn settle<T>(&mut self, watched: Watched<T>) -> (Result<T>, Option<End>) {
        match watched {
            Watched::Done(Ok(value)) => (Ok(value), None),
            Watched::Done(Err(error)) => {
                let error = self.fail(error);
                let end = self.end_after(&error);
                (Err(error), end)
            }
            Watched::Expired(outcome) if self.kind == Kind::Pinned => {
                let outcome = match outcome {
                    // What took effect all the same, or may have, is the holder's to know.
                    Ok(_) | Err(Error::CommitUnknown { .. }) => outcome,
                    Err(_) => Err(super::work::took_too_long()),
                };
                (outcome, self.go_on())
            }
            Watched::Expired(_) => (Err(self.expired()), Some(self.expire())),
            Watched::Stuck => {
                let error = match self.kind {
                    Kind::Pinned if self.lease.watch().may_be_committed() => Error::CommitUnknown { source: None },
                    Kind::Pinned => super::work::took_too_long(),
                    _ => self.expired(),
                };
                self.fate.end(error.clone());
                (Err(error), Some(End::Broken))
            }
        }
    }

    /// A pinned connection whose statement was stopped is used on if no cancel request can hit the next one.
    fn go_on(&mut self) -> Option<End> {
        let settled = self.lease.watch().settle() && !self.lease.in_transaction();
        (!settled).then_some(End::Broken)
    }

    async fn stream(&mut self, step: Step, flow: Flow) -> Option<End> {
        if let Some(error) = self.refused() {
            flow.end(Err(error)).await;
            return None;
        }
        if self.is_abandoned() {
            return Some(End::Rollback(None));
        }
        let watch = Arc::clone(self.lease.watch());
        let deadline = self.deadline();
        let watched = if self.kind == Kind::Pinned {
            self.lease.become_stateful();
            let work = flow.stream_alone(&mut self.lease, &step, Tenure::Own);
            watch_over(work, &watch, &mut self.holder, deadline).await
        } else {
            let work = self.lease.pump(&step, Tenure::Own, flow.chunks());
            watch_over(work, &watch, &mut self.holder, deadline).await
        };
        let (outcome, end) = self.settle(watched);
        // The consumer may take its time; the session, or what comes after it, need not wait.
        tokio::spawn(flow.end(outcome.map(drop)));
        end
    }

    /// Runs a command of the session's own, unless a statement has failed.
    async fn control(&mut self, sql: &str) -> Result<()> {
        match self.refused() {
            Some(error) => Err(error),
            None => self.lease.control(sql).await.map_err(|error| self.fail(error)),
        }
    }

    fn answer(&mut self, reply: Reply<()>, outcome: Result<()>) -> Option<End> {
        let end = outcome.as_ref().err().and_then(|error| self.end_after(error));
        let _ = reply.send(outcome);
        end
    }

    fn deadline(&self) -> Instant {
        self.ends.map_or_else(|| Instant::now() + self.unit_max_age, |(deadline, _)| deadline)
    }

    /// Whether nobody holds the session any more.
    fn is_abandoned(&mut self) -> bool {
        self.holder.try_recv() == Err(mpsc::error::TryRecvError::Disconnected)
    }

    /// Notes a statement's failure.
    fn fail(&mut self, error: Error) -> Error {
        if error.is_retryable() {
            self.fate.note_conflict();
        }
        if self.kind != Kind::Pinned && !matches!(error, Error::Transaction { .. }) {
            self.failed.get_or_insert_with(|| (self.depth, Arc::new(error.clone())));
        }
        error
    }

    /// The answer to anything but a rollback after a statement has failed. The server has aborted the transaction, and
    /// would turn its COMMIT into a silent ROLLBACK.
    fn refused(&self) -> Option<Error> {
        self.failed.as_ref().map(|(_, error)| Error::Transaction {
            reason: "a statement of this session has failed before; roll the session back, \
                     or put statements that may fail into a savepoint"
                .into(),
            source: Some(Arc::clone(error)),
        })
    }

    /// How the session ended by a failure, if it did.
    fn end_after(&mut self, error: &Error) -> Option<End> {
        // A read session is told that it may not write; on any other the server has become read-only.
        let is_own = self.kind == Kind::Reads && error.query_kind() == Some(QueryErrorKind::ReadOnly);
        if ends_generation(error) && !is_own {
            self.lease.end_generation();
        }
        if matches!(error, Error::Connection { .. } | Error::CommitUnknown { .. }) {
            self.fate.end(error.clone());
            return Some(End::Broken);
        }
        None
    }

    fn expired(&self) -> Error {
        Error::SessionExpired { age: self.ends.map_or(self.unit_max_age, |(_, age)| age) }
    }

    fn expire(&self) -> End {
        tracing::warn!(
            age_s = self.ends.map_or(0.0, |(_, age)| age.as_secs_f64()),
            location = %self.location,
            "a session was rolled back because it lived longer than session_max_age"
        );
        self.fate.end(self.expired());
        End::Rollback(None)
    }

    /// Ends the session on the server, brings the connection home, and then tells whoever waits.
    async fn end(mut self, end: End) {
        let (reply, committed) = match end {
            End::Broken => return,
            End::Commit(reply) => {
                let outcome = self.lease.commit().await;
                super::count(&self.counters, &outcome);
                (Some(reply), Some(outcome))
            }
            End::Rollback(reply) => (reply, None),
        };
        if matches!(&committed, Some(Err(error)) if error.is_retryable()) {
            self.fate.note_conflict();
        }
        // One that is not cleaned in time is closed when it is dropped.
        let cleaned = timeout(CLEAN_PATIENCE, self.lease.clean_up()).await.unwrap_or(Ok(()));
        if let Err(error) = &cleaned {
            tracing::debug!(%error, "a connection could not be cleaned after its session; it is closed");
        }
        // What is committed stays so, whatever becomes of the connection.
        let outcome = committed.unwrap_or(cleaned);
        let outcome = super::go_home(self.lease, outcome);
        if let Some(reply) = reply {
            let _ = reply.send(outcome);
        }
    }
}

/// Waits for the work's end, the holder's, or the deadline's. What the holder leaves is stopped.
async fn watch_over<T>(
    work: impl Future<Output = Result<T>>,
    watch: &Watch,
    holder: &mut mpsc::Receiver<Infallible>,
    deadline: Instant,
) -> Watched<T> {
    let mut work = pin!(work);
    let expired = tokio::select! {
        biased;
        outcome = &mut work => return Watched::Done(outcome),
        _ = holder.recv() => false,
        () = sleep_until(deadline) => true,
    };
    match stop(work.as_mut(), watch, expired).await {
        None => Watched::Stuck,
        Some(outcome) if expired => Watched::Expired(outcome),
        Some(outcome) => Watched::Done(outcome),
    }
}
