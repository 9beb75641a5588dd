//! The way from a session or pinned connection to whoever serves it: a thread on SQLite, a task on PostgreSQL.

use tokio::sync::oneshot;

use crate::batch::{Answer, Step, Want};
use crate::command::{Command, Fate};
use crate::error::{Error, Result};
use crate::row::Row;
use crate::stream::{RowStream, Rows};
use crate::{postgres, sqlite};

/// The holder's end of a session. When the last clone is dropped, the session ends.
#[derive(Clone, Debug)]
pub(crate) enum SessionLink {
    Sqlite(sqlite::SessionLink),
    Postgres(postgres::SessionLink),
}

/// Nobody serves the session any longer.
struct Gone;

impl SessionLink {
    pub(crate) fn fate(&self) -> &Fate {
        match self {
            SessionLink::Sqlite(link) => &link.fate,
            SessionLink::Postgres(link) => &link.fate,
        }
    }

    fn send(&self, command: Command) -> Result<(), Gone> {
        match self {
            SessionLink::Sqlite(link) => link.orders.send(sqlite::Order::Command(command)).map_err(|_| Gone),
            SessionLink::Postgres(link) => link.orders.send(postgres::Order::Command(command)).map_err(|_| Gone),
        }
    }

    fn stream(&self, step: Step) -> Result<Rows, Gone> {
        match self {
            SessionLink::Sqlite(link) => {
                let (flow, reader) = sqlite::flow(None);
                let order = sqlite::Order::Stream { step, flow };
                link.orders.send(order).map(|()| Rows::Flowing(reader)).map_err(|_| Gone)
            }
            SessionLink::Postgres(link) => {
                let (flow, reader) = postgres::flow();
                let order = postgres::Order::Stream { step, flow };
                link.orders.send(order).map(|()| Rows::Pumped(reader)).map_err(|_| Gone)
            }
        }
    }
}

/// A session's link and its innermost open savepoint.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) session: SessionLink,
    /// Of the innermost open savepoint; 0 without one.
    pub(crate) depth: u32,
}

impl Link {
    pub(crate) fn new(link: SessionLink) -> Self {
        Link { session: link, depth: 0 }
    }

    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        if self.session.send(command(reply)).is_err() {
            return Err(self.ended());
        }
        let outcome = answer.await.unwrap_or_else(|_| Err(self.ended()));
        if outcome.as_ref().is_err_and(Error::is_retryable) {
            self.session.fate().note_conflict();
        }
        outcome
    }

    pub(crate) fn tell(&self, command: Command) {
        // A session that has ended has rolled back everything; there is nothing left to tell it.
        let _ = self.session.send(command);
    }

    pub(crate) async fn run(&self, steps: Vec<Step>, want: Want) -> Result<Vec<Answer>> {
        self.ask(|reply| Command::Run { steps, want, reply }).await
    }

    pub(crate) async fn rows(&self, step: Step, at_most: usize) -> Result<Vec<Row>> {
        let answers = self.run(vec![step], Want::Rows { at_most }).await?;
        Ok(answers.into_iter().flat_map(|answer| answer.rows).collect())
    }

    pub(crate) fn stream(&self, step: Step) -> RowStream<'_> {
        RowStream::new(async move { self.session.stream(step).map_err(|Gone| self.ended()) })
    }

    fn ended(&self) -> Error {
        self.session.fate().ended().unwrap_or(Error::SessionEnded)
    }
}

/// What [`reading_methods`] asks of a type that has a `link`. The session's own place is what waits name, so the
/// statement's is not kept.
macro_rules! read_through_link {
    () => {
        fn rows(
            &mut self,
            step: $crate::batch::Step,
            at_most: usize,
            _: &'static std::panic::Location<'static>,
        ) -> impl Future<Output = $crate::Result<Vec<$crate::Row>>> + Send {
            self.link.rows(step, at_most)
        }

        fn row_stream(
            &mut self,
            step: $crate::batch::Step,
            _: &'static std::panic::Location<'static>,
        ) -> $crate::RowStream<'_> {
            self.link.stream(step)
        }
    };
}

/// What [`writing_methods`] asks of such a type.
macro_rules! write_through_link {
    () => {
        fn answers(
            &mut self,
            steps: Vec<$crate::batch::Step>,
            _: &'static std::panic::Location<'static>,
        ) -> impl Future<Output = $crate::Result<Vec<$crate::batch::Answer>>> + Send {
            self.link.run(steps, $crate::batch::Want::Count)
        }
    };
}

pub(crate) use {read_through_link, write_through_link};
