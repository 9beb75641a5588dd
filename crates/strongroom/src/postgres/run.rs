//! Running one statement on a connection, and reading its rows.

use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::future::join;
use tokio::sync::mpsc;
use tokio_postgres::RowStream;
use tokio_postgres::types::Type;

use super::connection::{Connection, Tenure, begin_if_due, check_count, check_text, parameters};
use super::failure::is_stale_statement;
use super::sql::Class;
use super::value::Decoded;
use super::work::Stage;
use crate::batch::{Answer, ParamSets, Step, Want};
use crate::error::{Error, QueryErrorKind, Result};
use crate::row::Row;
use crate::value::Params;

/// Rows in a stream's first chunk; each later one may hold four times as many, so that the first row comes soon.
const FIRST_CHUNK_ROWS: usize = 8;
const CHUNK_ROWS: usize = 512;
const CHUNK_BYTES: usize = 256 * 1024;

/// Where a stream's rows go.
pub(crate) type Chunks = mpsc::Sender<Result<Vec<Row>>>;

impl Connection {
    /// Runs one statement that takes effect by itself, anew when the server had to forget it.
    pub(crate) async fn run_alone(&mut self, step: &Step, want: Want, tenure: Tenure) -> Result<Answer> {
        let mut outcome = self.run_one(step, want, tenure).await;
        if outcome.as_ref().is_err_and(is_stale_statement) {
            outcome = self.run_one(step, want, tenure).await;
        }
        let outcome = match outcome {
            Err(error @ Error::Connection { .. }) if self.watch.may_be_committed() => {
                Err(Error::CommitUnknown { source: Some(Arc::new(error)) })
            }
            Ok(_) if self.watch.was_interrupted() => Err(Error::CommitUnknown { source: None }),
            outcome => outcome,
        };
        self.watch.enter(Stage::Open);
        outcome
    }

    /// Runs statements in the transaction that is open. One that answers rows must be alone.
    pub(crate) async fn run(&mut self, steps: &[Step], want: Want, tenure: Tenure) -> Result<Vec<Answer>> {
        match steps {
            [step] if matches!(step.params, ParamSets::One(_)) => {
                self.run_one(step, want, tenure).await.map(|answer| vec![answer])
            }
            steps => self.pipeline(steps, tenure).await,
        }
    }

    async fn run_one(&mut self, step: &Step, want: Want, tenure: Tenure) -> Result<Answer> {
        let at_most = match want {
            Want::Count => 0,
            Want::Rows { at_most } => at_most,
        };
        let (rows, reader) = self.start(step, tenure).await?;
        let mut rows = pin!(rows);
        let mut answer = Answer::default();
        let mut readable = Ok(());
        let end = loop {
            match self.wire.carry(rows.try_next()).await {
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
                Ok(Some(row)) if readable.is_ok() && answer.rows.len() < at_most => {
                    readable = reader.read(&row).map(|row| answer.rows.push(row));
                }
                Ok(Some(_)) => {}
            }
        };
        if reader.class != Class::Reads {
            answer.affected = rows.rows_affected().unwrap_or(0);
        }
        self.settle_statement(end, step)?;
        readable.map(|()| answer)
    }

    /// Runs a statement and hands its rows over, as fast as they are taken. Once nobody takes them, or it is told to stop, it
    /// reads on to the end without them. Whether all were taken.
    pub(crate) async fn pump(&mut self, step: &Step, tenure: Tenure, chunks: &Chunks) -> Result<bool> {
        let (rows, reader) = self.start(step, tenure).await?;
        let mut rows = pin!(rows);
        let (mut chunk, mut size, mut most) = (Vec::new(), 0, FIRST_CHUNK_ROWS);
        let (mut wanted, mut readable) = (true, Ok(()));
        let end = loop {
            match self.wire.carry(rows.try_next()).await {
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
                Ok(Some(row)) if wanted => match reader.read(&row) {
                    Ok(row) => {
                        size += row.size();
                        chunk.push(row);
                        if chunk.len() >= most || size >= CHUNK_BYTES {
                            (size, most) = (0, (most * 4).min(CHUNK_ROWS));
                            wanted = self.hand_over(std::mem::take(&mut chunk), chunks).await;
                        }
                    }
                    Err(error) => (readable, wanted) = (Err(error), false),
                },
                Ok(Some(_)) => {}
            }
        };
        self.settle_statement(end, step)?;
        readable?;
        if wanted && !chunk.is_empty() {
            wanted = self.hand_over(chunk, chunks).await;
        }
        Ok(wanted)
    }

    /// Gives the consumer rows, when it takes them; `false` when it does not, or nobody is to wait for it.
    pub(crate) async fn hand_over(&mut self, chunk: Vec<Row>, chunks: &Chunks) -> bool {
        tokio::select! {
            biased;
            () = self.watch.stopping() => false,
            place = chunks.reserve() => place.map(|place| place.send(Ok(chunk))).is_ok(),
        }
    }

    /// Sends a statement, and the BEGIN that is due.
    async fn start(&mut self, step: &Step, tenure: Tenure) -> Result<(RowStream, RowReader)> {
        let ParamSets::One(params) = &step.params else {
            return Err(Error::query(QueryErrorKind::Other, "a script answers no rows"));
        };
        if self.watch.is_stopping() {
            return Err(Error::Cancelled);
        }
        if !self.keeps_statements {
            return self.start_unnamed(step, params, tenure).await;
        }
        let prepared = match self.statements.get(&step.sql) {
            Some(prepared) => prepared,
            None => self.prepare(&step.sql).await?,
        };
        self.admit(prepared.class, tenure)?;
        check_count(params, prepared.statement.params().len())?;
        self.is_busy = true;
        let begin = self.take_begin();
        let rows = self.client.query_raw(&prepared.statement, parameters(params));
        let (begun, rows) = self.wire.carry(join(begin_if_due(&self.client, &self.watch, begin), rows)).await;
        let rows = self.settle_statement(begun.and(rows), step)?;
        self.is_busy = true;
        Ok((rows, RowReader { columns: Arc::clone(&prepared.columns), class: prepared.class }))
    }

    /// Sends text and parameters at once; the server finds out the parameters' types, and reads them as text.
    async fn start_unnamed(&mut self, step: &Step, params: &Params, tenure: Tenure) -> Result<(RowStream, RowReader)> {
        let class = Class::of(&step.sql)?;
        check_text(&step.sql)?;
        self.admit(class, tenure)?;
        self.is_busy = true;
        let begin = self.take_begin();
        let typed = parameters(params).map(|parameter| (parameter, Type::UNKNOWN));
        let rows = self.client.query_typed_raw(&step.sql, typed);
        let (begun, rows) = self.wire.carry(join(begin_if_due(&self.client, &self.watch, begin), rows)).await;
        let rows = self.settle_statement(begun.and(rows), step)?;
        self.is_busy = true;
        Ok((rows, RowReader { columns: Arc::default(), class }))
    }
}

/// Makes rows of what the server sends.
struct RowReader {
    /// Empty for a statement that was not prepared.
    columns: Arc<[String]>,
    class: Class,
}

impl RowReader {
    fn read(&self, row: &tokio_postgres::Row) -> Result<Row> {
        let columns = if self.columns.is_empty() && !row.is_empty() {
            row.columns().iter().map(|column| column.name().to_owned()).collect()
        } else {
            Arc::clone(&self.columns)
        };
        let values = (0..row.len())
            .map(|index| match row.try_get::<_, Decoded>(index) {
                Ok(decoded) => Ok(decoded.0),
                Err(error) => Err(Error::Decode {
                    column: columns[index].clone(),
                    expected: "a value of a type that is read",
                    found: std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string),
                }),
            })
            .collect::<Result<_>>()?;
        Ok(Row::new(columns, values))
    }
}
