//! What both peers run, as closures, on a connection in another thread.

use harness::sqlite::{BULK_ROWS, INSERT, INSERT_WITH_ID, SELECT, TEXT, text};
use rusqlite::{Connection, Result};

pub(crate) fn insert(db: &Connection) -> Result<()> {
    db.prepare_cached(INSERT)?.execute([TEXT]).map(drop)
}

pub(crate) fn read(db: &Connection, id: i64) -> Result<String> {
    db.prepare_cached(SELECT)?.query_row([id], |row| row.get(0))
}

pub(crate) fn bulk_insert(db: &mut Connection) -> Result<()> {
    let transaction = db.transaction()?;
    let mut insert = transaction.prepare(INSERT_WITH_ID)?;
    for id in 0..BULK_ROWS {
        insert.execute((id, text(id)))?;
    }
    drop(insert);
    transaction.commit()
}
