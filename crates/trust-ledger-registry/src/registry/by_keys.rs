//! Statements that look up many rows, each by its key.

use std::fmt::Write as _;

use strongroom::{Dialect, Params, Value};

/// Keys of one statement in a file; its text has as many placeholders.
const TOGETHER: usize = 100;

/// Looks up the rows of many keys: in a file some at a time, on a server all at once, by a function whose plan does not depend
/// on how small the table was before (see the schema).
pub(super) struct ByKeys {
    /// Up to the column that is a key.
    pub(super) sqlite: &'static str,
    /// Whole; the last parameter is the array of keys.
    pub(super) postgres: &'static str,
}

impl ByKeys {
    /// The statements with their parameters: `first`, if the text has one before the keys, and the keys.
    pub(super) fn statements(
        &self,
        dialect: Dialect,
        first: Option<Value>,
        keys: impl Iterator<Item = Value>,
    ) -> Vec<(String, Params)> {
        let keys: Vec<Value> = keys.collect();
        let with_first = |keys: Vec<Value>| Params::from(first.iter().cloned().chain(keys).collect::<Vec<_>>());
        if dialect == Dialect::Postgres {
            return vec![(self.postgres.to_owned(), with_first(vec![Value::Array(keys)]))];
        }
        let mut sql = self.sqlite.to_owned();
        let from = 1 + usize::from(first.is_some());
        for number in from..from + TOGETHER {
            // Writing to a String cannot fail.
            let _ = write!(sql, "{}${number}", if number == from { " IN (" } else { ", " });
        }
        sql.push(')');
        // Filled up with one that is asked for anyway, so that there is one text.
        let filled = |some: &[Value]| {
            let mut keys = some.to_vec();
            keys.resize(TOGETHER, some[0].clone());
            with_first(keys)
        };
        keys.chunks(TOGETHER).map(|some| (sql.clone(), filled(some))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKUP: ByKeys =
        ByKeys { sqlite: "SELECT b FROM t WHERE a = $1 AND b", postgres: "SELECT b FROM of($1, $2)" };

    #[test]
    fn keys_are_split_up_in_a_file_and_together_on_a_server() {
        let keys = || (0..201_i64).map(Value::from);
        let in_file = LOOKUP.statements(Dialect::Sqlite, Some(7_i64.into()), keys());
        assert_eq!(in_file.len(), 3);
        for (sql, params) in &in_file {
            assert!(sql.starts_with("SELECT b FROM t WHERE a = $1 AND b IN ($2, $3, "), "{sql}");
            assert!(sql.ends_with(", $101)"), "{sql}");
            assert_eq!(params.len(), 1 + TOGETHER);
        }
        assert_eq!(
            in_file[2].1,
            Params::from([vec![Value::from(7_i64)], vec![Value::from(200_i64); TOGETHER]].concat())
        );
        let on_server = LOOKUP.statements(Dialect::Postgres, Some(7_i64.into()), keys());
        assert_eq!(on_server.len(), 1);
        assert_eq!(on_server[0].1.len(), 2);
        assert!(LOOKUP.statements(Dialect::Sqlite, None, std::iter::empty()).is_empty());
    }
}
