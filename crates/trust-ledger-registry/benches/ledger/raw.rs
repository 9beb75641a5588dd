//! rusqlite without anything around it, with the settings that strongroom uses.

use std::path::Path;

use rusqlite::Connection;

use crate::KEY;

/// A connection to an encrypted file; as strongroom's, down to the cache.
pub(crate) fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.pragma_update(None, "key", KEY).unwrap();
    db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)).unwrap();
    db.pragma_update(None, "synchronous", "FULL").unwrap();
    db.pragma_update(None, "foreign_keys", "ON").unwrap();
    let kib = match crate::number("LEDGER_BENCH_CACHE_KIB", 0) {
        0 => 16 * 1024,
        kib => i64::try_from(kib).unwrap(),
    };
    db.pragma_update(None, "cache_size", -kib).unwrap();
    db.set_prepared_statement_cache_capacity(256);
    db
}
