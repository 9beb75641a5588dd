//! Prepared statements, and the memory of them that each connection has.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Statement;

use super::sql::Class;

/// Statements that each connection keeps, as on SQLite.
const CACHE: usize = 256;

/// A statement as the server knows it.
pub(crate) struct Prepared {
    pub(crate) statement: Statement,
    pub(crate) class: Class,
    pub(crate) columns: Arc<[String]>,
}

impl Prepared {
    pub(crate) fn new(statement: Statement, class: Class) -> Self {
        let columns = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        Prepared { statement, class, columns }
    }
}

/// The prepared statements of one connection, by their text. The one that was not used for longest makes room.
#[derive(Default)]
pub(crate) struct Statements {
    kept: HashMap<Arc<str>, (Arc<Prepared>, u64)>,
    uses: u64,
}

impl Statements {
    pub(crate) fn get(&mut self, sql: &str) -> Option<Arc<Prepared>> {
        let (prepared, used) = self.kept.get_mut(sql)?;
        self.uses += 1;
        *used = self.uses;
        Some(Arc::clone(prepared))
    }

    pub(crate) fn keep(&mut self, sql: &Arc<str>, prepared: &Arc<Prepared>) {
        if self.kept.len() >= CACHE
            && let Some(oldest) = self.kept.iter().min_by_key(|(_, (_, used))| *used).map(|(sql, _)| Arc::clone(sql))
        {
            self.kept.remove(&oldest);
        }
        self.uses += 1;
        self.kept.insert(Arc::clone(sql), (Arc::clone(prepared), self.uses));
    }

    pub(crate) fn forget(&mut self, sql: &str) {
        self.kept.remove(sql);
    }

    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }
}
