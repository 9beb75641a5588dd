//! The methods that run statements, as in `crate::statements`, waited for. The type has its asynchronous twin in `inner`.

macro_rules! blocking_reading_methods {
    ($($self_type:tt)+) => {
        /// Runs a query and answers its one row. Further rows are not read.
        ///
        /// # Errors
        ///
        /// [`NoRow`](crate::Error::NoRow) when there is none; else as [`fetch_all`](Self::fetch_all).
        #[track_caller]
        pub fn fetch_one($($self_type)+ self, sql: &str, params: impl Into<$crate::Params>) -> $crate::Result<$crate::Row> {
            $crate::blocking::wait(self.inner.fetch_one(sql, params))
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
        ) -> $crate::Result<Option<$crate::Row>> {
            $crate::blocking::wait(self.inner.fetch_optional(sql, params))
        }

        /// Runs a query and answers all its rows. For many rows use [`fetch`](Self::fetch), which holds few in memory.
        ///
        /// # Errors
        ///
        /// [`Query`](crate::Error::Query) when the statement fails, [`PoolExhausted`](crate::Error::PoolExhausted) when no
        /// connection frees in time, [`BlockingInTask`](crate::Error::BlockingInTask) inside a Tokio task.
        #[track_caller]
        pub fn fetch_all(
            $($self_type)+ self,
            sql: &str,
            params: impl Into<$crate::Params>,
        ) -> $crate::Result<Vec<$crate::Row>> {
            $crate::blocking::wait(self.inner.fetch_all(sql, params))
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
        ) -> $crate::Result<Option<T>> {
            $crate::blocking::wait(self.inner.fetch_value(sql, params))
        }

        /// Runs a query and iterates over its rows, in bounded memory. Nothing is sent before the first row is asked for.
        ///
        /// # Errors
        ///
        /// The first item is the error, as [`fetch_all`](Self::fetch_all); a later failure ends the rows with its error.
        #[track_caller]
        pub fn fetch($($self_type)+ self, sql: &str, params: impl Into<$crate::Params>) -> $crate::blocking::Rows<'_> {
            $crate::blocking::Rows::new(self.inner.fetch(sql, params))
        }
    };
}

macro_rules! blocking_writing_methods {
    ($($self_type:tt)+) => {
        /// Runs a statement and answers how many rows it inserted, updated or deleted (not counting triggers' work).
        ///
        /// # Errors
        ///
        /// [`Query`](crate::Error::Query) when the statement fails, [`PoolExhausted`](crate::Error::PoolExhausted) when the
        /// writer does not become free in time, [`BlockingInTask`](crate::Error::BlockingInTask) inside a Tokio task.
        #[track_caller]
        pub fn execute($($self_type)+ self, sql: &str, params: impl Into<$crate::Params>) -> $crate::Result<u64> {
            $crate::blocking::wait(self.inner.execute(sql, params))
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
        ) -> $crate::Result<u64> {
            $crate::blocking::wait(self.inner.execute_many(sql, rows))
        }

        /// Runs a text of several statements, separated by semicolons and without parameters, all or none. Rows that they
        /// answer are dropped.
        ///
        /// # Errors
        ///
        /// As [`execute`](Self::execute); the first failure ends it.
        #[track_caller]
        pub fn execute_script($($self_type)+ self, sql: &str) -> $crate::Result<()> {
            $crate::blocking::wait(self.inner.execute_script(sql))
        }

        /// Runs the statements of a batch, all or none, and answers how many rows each affected.
        ///
        /// # Errors
        ///
        /// As [`execute`](Self::execute); the first failure ends it.
        #[track_caller]
        pub fn batch($($self_type)+ self, batch: $crate::Batch) -> $crate::Result<Vec<u64>> {
            $crate::blocking::wait(self.inner.batch(batch))
        }
    };
}

pub(crate) use {blocking_reading_methods, blocking_writing_methods};
