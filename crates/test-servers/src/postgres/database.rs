//! Databases of their own for tests that share a server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::{Postgres, quote};

/// A database that its server's role owns. Dropped, with whoever is still in it, when this is dropped.
pub struct TestDatabase<'a> {
    server: &'a Postgres,
    name: String,
}

impl<'a> TestDatabase<'a> {
    pub(super) fn new(server: &'a Postgres) -> TestDatabase<'a> {
        static CREATED: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", CREATED.fetch_add(1, Ordering::Relaxed));
        server.execute(&format!("create database {name} owner {}", quote('"', server.user())));
        TestDatabase { server, name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL; see [`Postgres::url`].
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Runs SQL in it as superuser; see [`Postgres::query`].
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        self.server.query_in(&self.name, sql)
    }
}

impl Drop for TestDatabase<'_> {
    fn drop(&mut self) {
        // A server that the test has ended has no databases. A test that fails already is not to panic twice.
        if self.server.pid().is_some() && !thread::panicking() {
            self.server.execute(&format!("drop database {} with (force)", self.name));
        }
    }
}
