//! Another key for the file, or a first one.
//!
//! The file is not changed: a copy with the new key is written beside it, read back, and put in its place. After a crash at
//! any point the database is whole, with the one key or the other. SQLCipher's own way, which encrypts in place under a
//! rollback journal, leaves a file that neither key opens until the journal is played back.

use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::backup::OnProgress;
use crate::error::{Error, QueryErrorKind, Result};
use crate::key::{Key, KeySource};
use crate::pool::Paused;
use crate::sqlite::backup::{Draft, sync_folder};
use crate::sqlite::cipher::FileKey;
use crate::sqlite::connection::{Connection, DatabaseFile, Opener, Place};
use crate::sqlite::failure::translate;
use crate::sqlite::file::{Entrance, Watch};
use crate::sqlite::readers::{Connector, refused};
use crate::sqlite::work::Ticket;
use crate::sqlite::writer::Writer;
use crate::sqlite::{Sqlite, derive, new_salt};

/// How long connections that were told to close may take.
const CLOSING: Duration = Duration::from_secs(1);

impl Sqlite {
    /// Gives the file a key: another one when `is_encrypted`, else its first.
    pub(crate) async fn rekey(
        &self,
        is_encrypted: bool,
        key: KeySource,
        on_progress: OnProgress,
        location: &'static Location<'static>,
    ) -> Result<()> {
        let (Place::File { path, .. }, Some(readers)) = (&self.opener.place, &self.readers) else {
            return Err(Error::config("key", "a database in memory has no file to encrypt"));
        };
        match (is_encrypted, self.is_encrypted()) {
            (true, false) => return Err(Error::config("key", "the file is not encrypted yet; use Database::encrypt")),
            (false, true) => return Err(Error::config("key", "the file is encrypted already; use Database::rekey")),
            _ => {}
        }
        let key = key.key().await?;
        let (path, opener) = (path.clone(), Arc::clone(&self.opener));
        let (enter, entered) = oneshot::channel();
        let (hand_over, handed_over) = mpsc::channel();
        let patience = self.acquire_timeout;
        let working = self.alone(location, move |writer, ticket| {
            // The writer's turn comes first: whoever holds a session may read until it has ended. A caller that goes away, or
            // cannot have the readers, hands nothing over.
            let _ = enter.send(());
            let paused = handed_over.recv_timeout(patience + CLOSING).map_err(|_| Error::Cancelled)?;
            let outcome = replace_file(writer, &opener, path, &key, ticket, on_progress);
            // Whichever file is there now: the writer opens it as always. The old one is closed before anybody is let in.
            writer.connection = None;
            let reopened = match outcome {
                Ok(entrance) => {
                    drop(entrance);
                    writer.reopen().map_err(replaced_but)
                }
                Err(error) => {
                    // The next use opens it again, and says what is in the way.
                    if let Err(reopening) = writer.reopen() {
                        tracing::debug!(error = %reopening, "the writer could not be opened again");
                    }
                    Err(error)
                }
            };
            drop::<Paused<Connector>>(paused);
            reopened
        });
        let pausing = async {
            if entered.await.is_ok() {
                let paused = readers.pool().pause(patience).await.map_err(refused)?;
                // Gone only with the work, which then says why.
                let _ = hand_over.send(paused);
            }
            drop(hand_over);
            Ok(())
        };
        let (worked, paused) = tokio::join!(working, pausing);
        paused.and(worked)
    }
}

fn replace_file(
    writer: &Writer,
    opener: &Opener,
    path: PathBuf,
    key: &Key,
    ticket: &Ticket,
    on_progress: OnProgress,
) -> Result<Entrance> {
    // A name that is a symbolic link stays one.
    let target = path
        .canonicalize()
        .map_err(|error| Error::connection(path.display().to_string(), "cannot be found any more").caused_by(error))?;
    let new_key = derive(&path, key, new_salt(&path)?)?;
    let source = writer.connection()?;
    take_alone(source, &path)?;
    let draft = Draft::beside(&target)?;
    if opener.key().is_some() {
        draft.fill(source, Some(&new_key), ticket, on_progress)?;
    } else {
        export(source, &draft, &new_key)?;
    }
    draft.verify(Some(&new_key))?;
    if ticket.is_gone() {
        return Err(Error::Cancelled);
    }
    // Nobody who waits for the old file's lock is to get it.
    let entrance = Entrance::alone(&target);
    draft.replace(&target)?;
    let watch = Watch::new(&path).map_err(replaced_but)?;
    opener.replace_file(DatabaseFile { key: Some(new_key), watch });
    // Last: should it fail, the new file is the database all the same.
    sync_folder(&target).map_err(replaced_but)?;
    Ok(entrance)
}

/// The new file is in its place, and that may not last.
fn replaced_but(error: Error) -> Error {
    Error::CommitUnknown { source: Some(Arc::new(error)) }
}

/// Brings everything into the one file and keeps everybody else out.
fn take_alone(source: &Connection, path: &Path) -> Result<()> {
    let began = Instant::now();
    source.raw().busy_timeout(Duration::ZERO).map_err(translate)?;
    // Before the mode is changed, so that there is no moment in between in which another process changes it back.
    source.control("PRAGMA locking_mode = EXCLUSIVE")?;
    loop {
        // The beginning of a transaction is where SQLite finds out that pages which it keeps were changed by somebody else;
        // leaving the log it does not ask, and would copy what they were.
        let emptied = source.control("BEGIN IMMEDIATE; COMMIT").and_then(|()| source.checkpoint());
        let mode = emptied.and_then(|_| {
            let mode = || source.raw().query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0));
            source.as_engine(mode).map_err(translate)
        });
        let in_use = || {
            Error::query(
                QueryErrorKind::Busy,
                format!("{} is in use by another process; stop it, its key cannot be changed under it", path.display()),
            )
        };
        match mode {
            // The lock stays when this transaction ends, until the connection does.
            Ok(mode) if mode == "delete" => return source.control("BEGIN EXCLUSIVE; COMMIT"),
            Err(error) if error.query_kind() != Some(QueryErrorKind::Busy) => return Err(error),
            // Our own readers may still be closing.
            _ if began.elapsed() < CLOSING => std::thread::sleep(Duration::from_millis(5)),
            _ => return Err(in_use()),
        }
    }
}

/// Copies a plain database into an encrypted file: SQLite's backup cannot, the pages differ in size.
fn export(source: &Connection, draft: &Draft, key: &FileKey) -> Result<()> {
    let path = draft.path().to_str().ok_or_else(|| Error::config("path", "it is not UTF-8"))?;
    let text = std::str::from_utf8(key.as_bytes()).map_err(|_| Error::config("key", "it is not text"))?;
    let db = source.raw();
    source
        .as_engine(|| {
            // Bound and not written out, so that the key is in no SQL text.
            db.execute("ATTACH DATABASE ?1 AS encrypted KEY ?2", [path, text])?;
            db.execute_batch("BEGIN")?;
            db.query_row("SELECT sqlcipher_export('encrypted')", [], |_| Ok(()))?;
            for pragma in ["user_version", "application_id"] {
                let value: i64 = db.query_row(&format!("PRAGMA main.{pragma}"), [], |row| row.get(0))?;
                db.execute_batch(&format!("PRAGMA encrypted.{pragma} = {value}"))?;
            }
            db.execute_batch("COMMIT")?;
            db.execute_batch("DETACH DATABASE encrypted")
        })
        .map_err(translate)
}
