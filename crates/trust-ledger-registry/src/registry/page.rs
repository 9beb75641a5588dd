//! Building statements whose conditions depend on what is asked.

use strongroom::{Dialect, Params, Value};

/// A statement that grows by fragments of fixed text, with each value bound by the next number.
///
/// No text but literals gets in: fragments are `&'static str`, so a value can only be bound.
#[derive(Clone, Debug)]
pub(super) struct Query {
    dialect: Dialect,
    sql: String,
    values: Vec<Value>,
}

impl Query {
    pub(super) fn new(dialect: Dialect, sql: &'static str) -> Query {
        Query { dialect, sql: sql.to_owned(), values: Vec::new() }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Adds a fragment without a value.
    pub(super) fn text(&mut self, fragment: &'static str) {
        self.sql.push_str(fragment);
    }

    /// Adds a fragment; the first `$` in it becomes the value's placeholder.
    pub(super) fn push(&mut self, fragment: &'static str, value: impl Into<Value>) {
        self.values.push(value.into());
        let (before, after) = fragment.split_once('$').unwrap_or((fragment, ""));
        self.sql.push_str(before);
        self.sql.push('$');
        self.sql.push_str(&self.values.len().to_string());
        self.sql.push_str(after);
    }

    /// Adds a condition that is checked on each row that others find, and is not to find any itself: its column is what
    /// follows the `+`, which tells SQLite so and is left out elsewhere.
    pub(super) fn check(&mut self, fragment: &'static str, value: impl Into<Value>) {
        match self.dialect {
            Dialect::Sqlite => self.push(fragment, value),
            Dialect::Postgres => {
                let (before, after) = fragment.split_once('+').unwrap_or(("", fragment));
                self.text(before);
                self.push(after, value);
            }
        }
    }

    /// Adds a check without a value.
    pub(super) fn check_text(&mut self, fragment: &'static str) {
        let (before, after) = match self.dialect {
            Dialect::Sqlite => (fragment, ""),
            Dialect::Postgres => fragment.split_once('+').unwrap_or((fragment, "")),
        };
        self.text(before);
        self.text(after);
    }

    /// Adds a check if there is a value.
    pub(super) fn check_some(&mut self, fragment: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.check(fragment, value);
        }
    }

    /// Adds a fragment if there is a value.
    pub(super) fn push_some(&mut self, fragment: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.push(fragment, value);
        }
    }

    pub(super) fn into_parts(self) -> (String, Params) {
        (self.sql, Params::from(self.values))
    }
}

#[cfg(test)]
mod tests {
    use strongroom::{Dialect, params};

    use super::Query;

    #[test]
    fn values_are_bound_by_number_in_the_order_of_their_fragments() {
        let mut query = Query::new(Dialect::Sqlite, "SELECT 1 WHERE 1 = 1");
        query.push(" AND a = $", 7);
        query.push_some(" AND b = $", None::<i64>);
        query.push(" AND c < $ + 1", "x");
        query.text(" LIMIT 5");
        let (sql, values) = query.into_parts();
        assert_eq!(sql, "SELECT 1 WHERE 1 = 1 AND a = $1 AND c < $2 + 1 LIMIT 5");
        assert_eq!(values, params![7, "x"]);
    }
}
