//! What a database needs from time to time, on the writer and outside any transaction.

use std::panic::Location;

use crate::error::Result;
use crate::sqlite::Sqlite;

impl Sqlite {
    pub(crate) async fn vacuum(&self, location: &'static Location<'static>) -> Result<()> {
        self.statement_alone("VACUUM", location).await
    }

    pub(crate) async fn optimize(&self, location: &'static Location<'static>) -> Result<()> {
        self.statement_alone("PRAGMA optimize", location).await
    }

    pub(crate) async fn checkpoint(&self, location: &'static Location<'static>) -> Result<bool> {
        self.alone(location, |writer, _| writer.connection()?.checkpoint()).await
    }

    async fn statement_alone(&self, sql: &'static str, location: &'static Location<'static>) -> Result<()> {
        self.alone(location, move |writer, ticket| {
            let connection = writer.connection()?;
            let _watching = connection.interrupt().watch(ticket, None);
            connection.control(sql)
        })
        .await
    }
}
