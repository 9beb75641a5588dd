//! Sending several statements before the first is answered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::types::{ToSql, Type};

use super::connection::{Connection, Tenure, begin_if_due, check_count, check_text, parameters};
use super::dial::Wire;
use super::sql::{self, Class};
use super::statement::Prepared;
use super::work::Watch;
use crate::batch::{Answer, Step};
use crate::error::{Error, Result};

/// Statements that are sent before the first of them is answered.
const LONGEST: usize = 256;

impl Connection {
    /// Sends statements without waiting for the answers of those before.
    pub(super) async fn pipeline(&mut self, steps: &[Step], tenure: Tenure) -> Result<Vec<Answer>> {
        let mut answers = vec![Answer::default(); steps.len()];
        // Everything up to the next statement that the server does not know yet is sent at once: preparing that one may need
        // what those before it make.
        let mut rest = steps;
        let mut done = 0;
        while !rest.is_empty() {
            let mut ready = Vec::new();
            while let Some(step) = rest.get(ready.len()) {
                match self.known(step)? {
                    Some(known) => ready.push(known),
                    None if ready.is_empty() => {
                        self.prepare(&step.sql).await?;
                    }
                    None => break,
                }
            }
            let (now, later) = rest.split_at(ready.len());
            self.send_all(now, &ready, tenure, &mut answers[done..done + ready.len()]).await?;
            done += ready.len();
            rest = later;
        }
        Ok(answers)
    }

    /// How a step is sent, if it can be now.
    fn known<'s>(&mut self, step: &'s Step) -> Result<Option<Known<'s>>> {
        if step.is_script() {
            let statements = sql::statements(&step.sql);
            let classed =
                statements.into_iter().map(|sql| check_text(sql).and(Class::of(sql)).map(|class| (sql, class)));
            return classed.collect::<Result<_>>().map(|statements| Some(Known::Script(statements)));
        }
        if !self.keeps_statements {
            check_text(&step.sql)?;
            return Class::of(&step.sql).map(|class| Some(Known::Unnamed(class)));
        }
        Ok(self.statements.get(&step.sql).map(Known::Prepared))
    }

    async fn send_all(
        &mut self,
        steps: &[Step],
        known: &[Known<'_>],
        tenure: Tenure,
        answers: &mut [Answer],
    ) -> Result<()> {
        for known in known {
            match known {
                Known::Prepared(prepared) => self.admit(prepared.class, tenure)?,
                Known::Unnamed(class) => self.admit(*class, tenure)?,
                Known::Script(statements) => {
                    statements.iter().try_for_each(|(_, class)| self.admit(*class, tenure))?;
                }
            }
        }
        self.is_busy = true;
        let begin = self.take_begin();
        let (client, watch, wire) = (&self.client, &self.watch, &mut self.wire);
        let outcome = async {
            let mut pipeline = Pipeline { wire, sent: VecDeque::new(), affected: Vec::new() };
            if begin.is_some() {
                let begun = async move { begin_if_due(client, watch, begin).await.map(|()| 0) };
                pipeline.send(None, Box::pin(begun)).await?;
            }
            for (index, (step, known)) in steps.iter().zip(known).enumerate() {
                match known {
                    Known::Script(statements) => {
                        for (sql, _) in statements {
                            pipeline.send(None, Box::pin(client.execute_typed(sql, &[]))).await?;
                        }
                    }
                    Known::Unnamed(class) => {
                        for params in step.params.as_slice() {
                            stop_if_told(watch)?;
                            let to = (*class != Class::Reads).then_some(index);
                            let sql = &step.sql;
                            let run = async move {
                                let typed: Vec<_> = parameters(params).collect();
                                let typed: Vec<_> =
                                    typed.iter().map(|value| (value as &(dyn ToSql + Sync), Type::UNKNOWN)).collect();
                                client.execute_typed(sql, &typed).await
                            };
                            pipeline.send(to, Box::pin(run)).await?;
                        }
                    }
                    Known::Prepared(prepared) => {
                        let to = (prepared.class != Class::Reads).then_some(index);
                        for params in step.params.as_slice() {
                            stop_if_told(watch)?;
                            check_count(params, prepared.statement.params().len()).map_err(Stopped::Here)?;
                            let run = client.execute_raw(&prepared.statement, parameters(params));
                            pipeline.send(to, Box::pin(run)).await?;
                        }
                    }
                }
                pipeline.report(answers);
            }
            while pipeline.next().await? {}
            pipeline.report(answers);
            Ok(())
        };
        let outcome = outcome.await;
        match outcome {
            Ok(()) => self.settle(Ok(())),
            Err(Stopped::Here(error)) => self.settle(Ok(())).and(Err(error)),
            Err(Stopped::There(error)) => self.settle(Err(error)),
        }
    }
}

/// How a step of a unit is sent.
enum Known<'s> {
    Prepared(Arc<Prepared>),
    Unnamed(Class),
    Script(Vec<(&'s str, Class)>),
}

/// Why a pipeline ended early.
enum Stopped {
    Here(Error),
    There(tokio_postgres::Error),
}

fn stop_if_told(watch: &Watch) -> Result<(), Stopped> {
    if watch.is_stopping() { Err(Stopped::Here(Error::Cancelled)) } else { Ok(()) }
}

type Sent<'c> = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + Send + 'c>>;

type Answered<'c> = Pin<Box<MaybeDone<Sent<'c>>>>;

/// Statements that are sent, in order, and not yet answered.
struct Pipeline<'c> {
    wire: &'c mut Wire,
    /// Each with the index of the step that its count belongs to.
    sent: VecDeque<(Option<usize>, Answered<'c>)>,
    affected: Vec<(usize, u64)>,
}

impl<'c> Pipeline<'c> {
    /// Sends a statement, whose count belongs to the step of this index. Waits for the oldest when there are many.
    async fn send(&mut self, step: Option<usize>, statement: Sent<'c>) -> Result<(), Stopped> {
        if self.sent.len() == LONGEST {
            self.next().await?;
        }
        // The client's futures send when they are first polled; the wire sees to the rest.
        let mut statement = Box::pin(maybe_done(statement));
        let _ = statement.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.sent.push_back((step, statement));
        Ok(())
    }

    /// Waits for the oldest; `false` when there is none.
    async fn next(&mut self) -> Result<bool, Stopped> {
        let Some((step, mut statement)) = self.sent.pop_front() else { return Ok(false) };
        self.wire.carry(statement.as_mut()).await;
        let outcome = statement.as_mut().take_output().expect("it is done, and taken once");
        let affected = outcome.map_err(Stopped::There)?;
        self.affected.extend(step.map(|step| (step, affected)));
        Ok(true)
    }

    fn report(&mut self, answers: &mut [Answer]) {
        for (step, affected) in self.affected.drain(..) {
            answers[step].affected += affected;
        }
    }
}
