//! Loading rows by COPY.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html>

use std::pin::pin;
use std::sync::Arc;

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
        let sink = self.client.copy_in(&copy).await;
        let sink = self.settle(sink)?;
        self.is_busy = true;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        // A writer that is dropped unfinished makes the server take everything back.
        for params in rows {
            let fits = match check_count(&params, types.len()) {
                Ok(()) if self.watch.is_stopping() => Err(Error::Cancelled),
                fits => fits,
            };
            if let Err(error) = fits {
                return self.settle(Ok(())).and(Err(error));
            }
            let row: Vec<_> = parameters(&params).map(Binary).collect();
            let written = writer.as_mut().write_raw(row).await;
            if written.is_err() {
                return self.settle(written).map(|()| 0);
            }
        }
        let copied = writer.finish().await;
        match self.settle(copied) {
            Err(error @ Error::Connection { .. }) if self.watch.may_be_committed() => {
                Err(Error::CommitUnknown { source: Some(Arc::new(error)) })
            }
            Ok(_) if self.watch.was_interrupted() => Err(Error::CommitUnknown { source: None }),
            copied => copied,
        }
    }
}
