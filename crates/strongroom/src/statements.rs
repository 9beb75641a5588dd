//! The methods that run statements, the same on every type that can: `Database`, `Session`, `ReadSession`, `Savepoint`.

/// Writes the methods that read. The type must have `async fn rows(self_type, Step, usize) -> Result<Vec<Row>>` and
/// `fn row_stream(self_type, Step) -> RowStream<'_>`; both take the caller's location.
macro_rules! reading_methods {
    ($($self_type:tt)+) => {
        /// Runs a query and answers its one row. Further rows are not read.
        ///
        /// # Errors
        ///
        /// [`NoRow`](crate::Error::NoRow) when there is none; else as [`fetch_all`](Self::fetch_all).
        #[track_caller]
        pub fn fetch_one(
            $($self_type)+ self,
            sql: &str,
            params: impl Into<$crate::Params>,
        ) -> impl Future<Output = $crate::Result<$crate::Row>> + Send {
            let optional = self.fetch_optional(sql, params);
            async move { optional.await?.ok_or($crate::Error::NoRow) }
        }

        /// Runs a query and answers its first row, if there is one. Further rows are not read.
        ///
        /// # Errors
        ///
        /// As [`fetch_all`](Self::fetch_all).
        #[track_caller]
        pub fn fetch_optional(
            $($self_type)+ self,
            sql: &str,
            params: impl Into<$crate::Params>,
        ) -> impl Future<Output = $crate::Result<Option<$crate::Row>>> + Send {
            let rows = self.rows($crate::batch::Step::one(sql, params.into()), 1, std::panic::Location::caller());
            async move { Ok(rows.await?.into_iter().next()) }
        }

        /// Runs a query and answers all its rows. For many rows use [`fetch`](Self::fetch), which holds few in memory.
        ///
        /// # Errors
        ///
        /// [`Query`](crate::Error::Query) when the statement fails, [`PoolExhausted`](crate::Error::PoolExhausted) when no
        /// connection frees in time.
        ///
        /// # Cancel safety
        ///
        /// Dropped, the query is stopped; one of a session runs to its end first. A query that writes (`INSERT … RETURNING`) is not run when it was dropped
        /// before its turn, and may have been committed when dropped later.
        #[track_caller]
        pub fn fetch_all(
            $($self_type)+ self,
            sql: &str,
            params: impl Into<$crate::Params>,
        ) -> impl Future<Output = $crate::Result<Vec<$crate::Row>>> + Send {
            self.rows($crate::batch::Step::one(sql, params.into()), usize::MAX, std::panic::Location::caller())
        }

        /// Runs a query and answers the first column of its first row; `None` when there is no row or it is NULL.
        ///
        /// # Errors
        ///
        /// [`Decode`](crate::Error::Decode) when the column is of another type; else as [`fetch_all`](Self::fetch_all).
        #[track_caller]
        pub fn fetch_value<T: $crate::FromValue>(
            $($self_type)+ self,
            sql: &str,
            params: impl Into<$crate::Params>,
        ) -> impl Future<Output = $crate::Result<Option<T>>> + Send {
            let optional = self.fetch_optional(sql, params);
            async move { optional.await?.map_or(Ok(None), |row| row.get(0)) }
        }

        /// Runs a query and streams its rows, in bounded memory.
        ///
        /// # Errors
        ///
        /// The stream's first item is the error, as [`fetch_all`](Self::fetch_all); a later failure ends the stream with
        /// its error.
        #[track_caller]
        pub fn fetch($($self_type)+ self, sql: &str, params: impl Into<$crate::Params>) -> $crate::RowStream<'_> {
            self.row_stream($crate::batch::Step::one(sql, params.into()), std::panic::Location::caller())
        }
    };
}

/// Writes the methods that change. The type must have `async fn answers(self_type, Vec<Step>) -> Result<Vec<Answer>>`,
/// which takes the caller's location too.
macro_rules! writing_methods {
    ($($self_type:tt)+) => {
        /// Runs a statement and answers how many rows it inserted, updated or deleted (not counting triggers' work).
        ///
        /// # Errors
        ///
        /// [`Query`](crate::Error::Query) when the statement fails, [`PoolExhausted`](crate::Error::PoolExhausted) when the
        /// writer does not become free in time.
        ///
        /// # Cancel safety
        ///
        /// Dropped before its turn, it is not run; dropped later, it takes effect as a whole or not at all.
        #[track_caller]
        pub fn execute(
            $($self_type)+ self,
            sql: &str,
            params: impl Into<$crate::Params>,
        ) -> impl Future<Output = $crate::Result<u64>> + Send {
            let answers = self.answers(vec![$crate::batch::Step::one(sql, params.into())], std::panic::Location::caller());
            async move { Ok(answers.await?.iter().map(|answer| answer.affected).sum()) }
        }

        /// Runs a statement once for each of `rows`, all or none, and answers how many rows were affected in all.
        ///
        /// # Errors
        ///
        /// As [`execute`](Self::execute); the first failure ends it.
        #[track_caller]
        pub fn execute_many(
            $($self_type)+ self,
            sql: &str,
            rows: impl IntoIterator<Item = $crate::Params>,
        ) -> impl Future<Output = $crate::Result<u64>> + Send {
            let answers = self.answers(vec![$crate::batch::Step::many(sql, rows.into_iter().collect())], std::panic::Location::caller());
            async move { Ok(answers.await?.iter().map(|answer| answer.affected).sum()) }
        }

        /// Runs a text of several statements, separated by semicolons and without parameters, all or none. Rows that they
        /// answer are dropped.
        ///
        /// # Errors
        ///
        /// As [`execute`](Self::execute); the first failure ends it.
        #[track_caller]
        pub fn execute_script($($self_type)+ self, sql: &str) -> impl Future<Output = $crate::Result<()>> + Send {
            let answers = self.answers(vec![$crate::batch::Step::script(sql)], std::panic::Location::caller());
            async move { answers.await.map(drop) }
        }

        /// Runs the statements of a batch, all or none, and answers how many rows each affected.
        ///
        /// # Errors
        ///
        /// As [`execute`](Self::execute); the first failure ends it.
        #[track_caller]
        pub fn batch(
            $($self_type)+ self,
            batch: $crate::Batch,
        ) -> impl Future<Output = $crate::Result<Vec<u64>>> + Send {
            let answers = self.answers(batch.steps, std::panic::Location::caller());
            async move { Ok(answers.await?.iter().map(|answer| answer.affected).collect()) }
        }
    };
}

pub(crate) use {reading_methods, writing_methods};
