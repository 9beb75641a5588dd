//! Rows: what a query answers.
//!
//! Start from [`Row::get`]; implement [`FromRow`] to read whole rows as a type of your own.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::value::{FromValue, Value};

/// One row of a query's answer, detached from the connection that read it.
#[derive(Clone)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Row { columns, values }
    }

    /// Reads one column, by its position (from 0) or its name (exact case; the first of several).
    ///
    /// # Errors
    ///
    /// [`Decode`](Error::Decode) when there is no such column, or its value is of another type, NULL (unless `T` is an
    /// `Option`) or out of range.
    pub fn get<T: FromValue>(&self, column: impl ColumnIndex) -> Result<T> {
        let index = self.find::<T>(&column)?;
        T::from_value(self.values[index].clone()).map_err(|value| self.mismatch::<T>(index, &value))
    }

    /// Reads one column as [`get`](Self::get) does and keeps no copy: the column is NULL afterwards, or as it was when this
    /// fails. For text and bytes, that spares copying them.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn take<T: FromValue>(&mut self, column: impl ColumnIndex) -> Result<T> {
        let index = self.find::<T>(&column)?;
        T::from_value(std::mem::replace(&mut self.values[index], Value::Null)).map_err(|value| {
            let error = self.mismatch::<T>(index, &value);
            self.values[index] = value;
            error
        })
    }

    fn find<T: FromValue>(&self, column: &impl ColumnIndex) -> Result<usize> {
        column.find(&self.columns).ok_or_else(|| Error::Decode {
            column: column.describe(),
            expected: T::EXPECTED,
            found: format!("no such column among {}", self.columns.join(", ")),
        })
    }

    fn mismatch<T: FromValue>(&self, index: usize, value: &Value) -> Error {
        Error::Decode {
            column: self.columns[index].clone(),
            expected: T::EXPECTED,
            found: match value {
                Value::Int(int) => format!("integer {int}"),
                other => format!("{other:?}"),
            },
        }
    }

    /// The columns' names, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values, in order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Bytes this row holds, for bounds on buffered rows.
    pub(crate) fn size(&self) -> usize {
        self.values.iter().map(|value| size_of::<Value>() + value.heap_size()).sum()
    }
}

/// Shows column names and types, never the content.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.columns.iter().zip(&self.values)).finish()
    }
}

/// A column's position or name.
pub trait ColumnIndex {
    /// The position of the column among `columns`.
    fn find(&self, columns: &[String]) -> Option<usize>;
    /// The column as errors show it.
    fn describe(&self) -> String;
}

impl ColumnIndex for usize {
    fn find(&self, columns: &[String]) -> Option<usize> {
        (*self < columns.len()).then_some(*self)
    }

    fn describe(&self) -> String {
        format!("column {self}")
    }
}

impl ColumnIndex for &str {
    fn find(&self, columns: &[String]) -> Option<usize> {
        columns.iter().position(|column| column == self)
    }

    fn describe(&self) -> String {
        (*self).to_owned()
    }
}

/// A type that a whole row can be read as.
///
/// ```
/// use strongroom::{FromRow, Result, Row};
///
/// struct User { id: i64, name: String }
///
/// impl FromRow for User {
///     fn from_row(row: &Row) -> Result<Self> {
///         Ok(User { id: row.get("id")?, name: row.get("name")? })
///     }
/// }
/// ```
///
/// Tuples of up to eight columns read by position.
pub trait FromRow: Sized {
    /// Reads the row.
    ///
    /// # Errors
    ///
    /// [`Decode`](Error::Decode) as [`Row::get`].
    fn from_row(row: &Row) -> Result<Self>;
}

macro_rules! tuple_from_row {
    ($(($($type:ident $index:tt),+)),+ $(,)?) => {$(
        impl<$($type: FromValue),+> FromRow for ($($type,)+) {
            fn from_row(row: &Row) -> Result<Self> {
                Ok(($(row.get::<$type>($index)?,)+))
            }
        }
    )+};
}

tuple_from_row! {
    (A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3), (A 0, B 1, C 2, D 3, E 4),
    (A 0, B 1, C 2, D 3, E 4, F 5), (A 0, B 1, C 2, D 3, E 4, F 5, G 6), (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row::new(Arc::from(["id".to_owned(), "name".to_owned()]), vec![Value::Int(7), Value::Text("canary".into())])
    }

    #[test]
    fn a_column_that_is_taken_is_null_afterwards_unless_it_is_of_another_type() {
        let mut row = row();
        assert!(row.take::<i64>("name").is_err());
        assert_eq!(row.take::<String>("name").unwrap(), "canary");
        assert_eq!(row.get::<Option<String>>(1).unwrap(), None);
        assert_eq!(row.get::<i64>(0).unwrap(), 7);
        assert!(row.take::<i64>("none").is_err());
    }

    #[test]
    fn a_column_reads_by_position_and_by_name() {
        assert_eq!(row().get::<i64>(0).unwrap(), 7);
        assert_eq!(row().get::<String>("name").unwrap(), "canary");
        assert_eq!(<(i64, String)>::from_row(&row()).unwrap(), (7, "canary".to_owned()));
    }

    #[test]
    fn a_wrong_type_or_a_missing_column_names_the_column_and_shows_no_content() {
        let wrong = row().get::<i64>("name").unwrap_err().to_string();
        assert_eq!(wrong, "column name: expected 64-bit integer, found text of 6 bytes");
        let missing = row().get::<i64>("nmae").unwrap_err().to_string();
        assert_eq!(missing, "column nmae: expected 64-bit integer, found no such column among id, name");
        assert!(!format!("{:?}", row()).contains("canary"));
    }
}
