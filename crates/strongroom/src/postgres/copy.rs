//! Loading rows by COPY.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html>

use std::sync::Arc;

use tokio::task::coop::consume_budget;
use tokio_postgres::binary_copy::BinaryCopyInWriter;

use super::connection::{Access, Connection, check_count, parameters};
use super::value::Binary;
use super::work::Stage;
use crate::error::{Error, Result};
use crate::value::Params;

impl Connection {
    /// Loads rows by binary COPY. `table` and `columns` are SQL.
    pub(crate) async fn copy_in(
        &mut self,
        table: &str,
        columns: &str,
        rows: impl Iterator<Item = Params>,
    ) -> Result<u64> {
        if self.keeps_statements {
            let copied = self.load(table, columns, rows).await;
            self.watch.enter(Stage::Open);
            return copied;
        }
        // COPY needs statements with a name. Within a transaction a pooler leaves them where they are.
        self.begin(Access::Write);
        match self.load(table, columns, rows).await {
            Ok(copied) => self.commit().await.map(|()| copied),
            Err(error) => {
                // The connection is closed when it cannot roll back.
                if let Err(undoing) = self.roll_back().await {
                    tracing::debug!(error = %undoing, "a COPY could not be rolled back; its connection is closed");
                }
                Err(error)
            }
        }
    }

    async fn load(&mut self, table: &str, columns: &str, rows: impl Iterator<Item = Params>) -> Result<u64> {
        // The types that the columns have are those of their values.
        let shape = self.prepare(&Arc::from(format!("SELECT {columns} FROM {table}"))).await?;
        let types: Vec<_> = shape.statement.columns().iter().map(|column| column.type_().clone()).collect();
        self.is_busy = true;
        if !self.in_transaction() {
            self.watch.enter(Stage::Changing);
        }
        let copy = format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)");
        let sink = self.wire.carry(self.client.copy_in(&copy)).await;
        let sink = self.settle(sink)?;
        self.is_busy = true;
        let mut writer = Box::pin(BinaryCopyInWriter::new(sink, &types));
        for params in rows {
            // Rows and socket may both be quick for ever.
            consume_budget().await;
            let written = match check_count(&params, types.len()) {
                Ok(()) if self.watch.is_stopping() => Err(Error::Cancelled),
                Ok(()) => {
                    let row: Vec<_> = parameters(&params).map(Binary).collect();
                    match self.wire.carry(writer.as_mut().write_raw(row)).await {
                        Ok(()) => Ok(()),
                        refused => self.settle(refused),
                    }
                }
                refused => refused,
            };
            if let Err(error) = written {
                // A writer that is dropped unfinished makes the server take everything back, for which this waits.
                drop(writer);
                if let Err(undoing) = self.control("").await {
                    tracing::debug!(error = %undoing, "a COPY could not be taken back; its connection is closed");
                }
                return Err(error);
            }
        }
        let copied = self.wire.carry(writer.as_mut().finish()).await;
        match self.settle(copied) {
            Err(error @ Error::Connection { .. }) if self.watch.may_be_committed() => {
                Err(Error::CommitUnknown { source: Some(Arc::new(error)) })
            }
            Ok(_) if self.watch.was_interrupted() => Err(Error::CommitUnknown { source: None }),
            copied => copied,
        }
    }
}
