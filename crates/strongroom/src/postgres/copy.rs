//! Loading rows by COPY.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html>

use std::pin::pin;
use std::sync::Arc;

use tokio_postgres::binary_copy::BinaryCopyInWriter;

use super::connection::{Connection, check_count, parameters};
use super::value::Binary;
use super::work::Stage;
use crate::error::{Error, Result};
use crate::value::Params;

impl Connection {
    /// Loads rows by binary COPY.
    pub(crate) async fn copy_in(
        &mut self,
        table: &str,
        columns: &str,
        rows: impl Iterator<Item = Params>,
    ) -> Result<u64> {
        // The types that the columns have are those of their values.
        let shape = self.prepare(&Arc::from(format!("SELECT {columns} FROM {table}"))).await?;
        let types: Vec<_> = shape.statement.columns().iter().map(|column| column.type_().clone()).collect();
        self.is_busy = true;
        self.watch.enter(Stage::Changing);
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
            Err(error @ Error::Connection { .. }) => Err(Error::CommitUnknown { source: Some(Arc::new(error)) }),
            copied => copied,
        }
    }
}
