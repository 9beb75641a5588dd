//! Online backup: a copy of one moment, while others read and write.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::backup::{Backup, StepResult};
use tempfile::{NamedTempFile, TempPath};
use tokio::sync::oneshot;

use crate::backup::{OnProgress, Progress};
use crate::error::{Error, QueryErrorKind, Result};
use crate::sqlite::cipher::{FileKey, set_key};
use crate::sqlite::connection::{Connection, Opener, Role};
use crate::sqlite::failure::translate;
use crate::sqlite::work::{Ticket, Wanted};
use crate::sqlite::{Sqlite, file, no_thread};

/// Pages (4 MiB) copied between two looks whether the caller is gone.
const PAGES_AT_ONCE: i32 = 1_000;

impl Sqlite {
    /// Copies the database into a new file, encrypted with the same key.
    pub(crate) async fn backup(
        &self,
        target: PathBuf,
        on_progress: OnProgress,
        location: &'static Location<'static>,
    ) -> Result<()> {
        let Some(readers) = &self.readers else {
            return self
                .alone(location, move |writer, ticket| {
                    write_copy(writer.connection()?, &target, None, ticket, on_progress)
                })
                .await;
        };
        let alive = readers.alive()?;
        let ticket = Ticket::new();
        let _wanted = Wanted(ticket.clone());
        let (reply, answer) = oneshot::channel();
        let opener = Arc::clone(&self.opener);
        let work = move || {
            // Dropped last: the connections are closed by then.
            let _alive = alive;
            let outcome = if ticket.take() { back_up(&opener, &target, &ticket, on_progress) } else { Ok(()) };
            let _ = reply.send(outcome);
        };
        std::thread::Builder::new()
            .name("strongroom-back".into())
            .spawn(work)
            .map_err(|error| no_thread(self.opener.name(), error))?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

/// On a connection of its own, inside a read transaction: without one, each commit of another connection would make the copy
/// begin anew, and under a steady load it would never end.
fn back_up(opener: &Opener, target: &Path, ticket: &Ticket, on_progress: OnProgress) -> Result<()> {
    let source = opener.open(Role::Reader)?;
    source.control("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1")?;
    write_copy(&source, target, opener.key().as_ref(), ticket, on_progress)
}

fn write_copy(
    source: &Connection,
    target: &Path,
    key: Option<&FileKey>,
    ticket: &Ticket,
    on_progress: OnProgress,
) -> Result<()> {
    if target.exists() {
        return Err(unwritable(target, "exists already; name a file that does not", None));
    }
    let draft = Draft::beside(target)?;
    draft.fill(source, key, ticket, on_progress)?;
    draft.verify(key)?;
    if ticket.is_gone() {
        return Err(Error::Cancelled);
    }
    draft.appear(target)
}

/// A database file that is being written, beside its final place. Dropped before it appears there, it is deleted.
pub(crate) struct Draft {
    path: TempPath,
}

impl Draft {
    pub(crate) fn beside(target: &Path) -> Result<Self> {
        let folder = folder_of(target);
        // Readable by its owner only, as all that tempfile makes.
        let file = NamedTempFile::with_prefix_in(".strongroom-", folder).map_err(|error| {
            unwritable(target, "cannot be written; its folder must exist and be writable", Some(error))
        })?;
        Ok(Draft { path: file.into_temp_path() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies all pages of the source, as they are in its open transaction, encrypted with the key.
    pub(crate) fn fill(
        &self,
        source: &Connection,
        key: Option<&FileKey>,
        ticket: &Ticket,
        mut on_progress: OnProgress,
    ) -> Result<()> {
        let mut copy = self.open(key)?;
        let backup = Backup::new(source.raw(), &mut copy).map_err(translate)?;
        loop {
            let step = backup.step(PAGES_AT_ONCE).map_err(translate)?;
            let progress = backup.progress();
            let (total, remaining) = (progress.pagecount.max(0) as u64, progress.remaining.max(0) as u64);
            let progress = Progress { done: total.saturating_sub(remaining), total };
            // The caller's code, on a thread that others need: the writer's.
            catch_unwind(AssertUnwindSafe(|| on_progress(progress)))
                .map_err(|_| Error::query(QueryErrorKind::Other, "what is told of the progress panicked"))?;
            match step {
                StepResult::Done => break,
                StepResult::More if ticket.is_gone() => return Err(Error::Cancelled),
                StepResult::More => {}
                // Its source holds a snapshot, and nobody else knows the copy.
                _ => return Err(Error::query(QueryErrorKind::Busy, "the copy was locked")),
            }
        }
        drop(backup);
        // A single file, complete without a log beside it.
        copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(translate)?;
        copy.close().map_err(|(_, error)| translate(error))
    }

    /// Reads the file anew, every page of it.
    pub(crate) fn verify(&self, key: Option<&FileKey>) -> Result<()> {
        let copy = self.open(key)?;
        let first = |sql: &str| {
            let mut statement = copy.prepare(sql)?;
            let mut rows = statement.query([])?;
            rows.next()?.map(|row| row.get::<_, String>(0)).transpose()
        };
        // No row is what a sound file answers to the first, "ok" to the second.
        let pages = if key.is_some() { first("PRAGMA cipher_integrity_check").map_err(translate)? } else { None };
        let found = pages.or(first("PRAGMA quick_check(1)").map_err(translate)?.filter(|found| found != "ok"));
        match found {
            None => Ok(()),
            Some(found) => Err(Error::query(QueryErrorKind::Corrupt, format!("the copy is damaged: {found}"))),
        }
    }

    /// Puts the file in its place, where there must be none.
    fn appear(self, target: &Path) -> Result<()> {
        self.path
            .persist_noclobber(target)
            .map_err(|error| unwritable(target, "could not be put in its place", Some(error.error)))?;
        sync_folder(target)
    }

    /// Puts the file in the place of another one, with that one's permissions. After a crash either of them is there, and
    /// after [`sync_folder`] this one.
    pub(crate) fn replace(self, target: &Path) -> Result<()> {
        let failed = |error| unwritable(target, "could not be replaced", Some(error));
        let metadata = std::fs::metadata(target).map_err(failed)?;
        std::fs::set_permissions(&self.path, metadata.permissions()).map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let ours = std::fs::metadata(&self.path).map_err(failed)?;
            if (ours.uid(), ours.gid()) != (metadata.uid(), metadata.gid()) {
                std::os::unix::fs::chown(&self.path, Some(metadata.uid()), Some(metadata.gid())).map_err(failed)?;
            }
        }
        self.path.persist(target).map_err(|error| failed(error.error))
    }

    fn open(&self, key: Option<&FileKey>) -> Result<rusqlite::Connection> {
        let copy = file::open_existing(&self.path)?;
        if let Some(key) = key {
            set_key(&copy, key.as_bytes())?;
        }
        Ok(copy)
    }
}

/// Makes a new name in a folder durable.
pub(crate) fn sync_folder(target: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let folder = folder_of(target);
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| unwritable(target, "is written, but its folder could not be synced", Some(error)))?;
    }
    let _ = target;
    Ok(())
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unwritable(target: &Path, reason: &str, source: Option<std::io::Error>) -> Error {
    Error::Connection {
        database: target.display().to_string(),
        reason: reason.to_owned(),
        passing: false,
        source: source.map(|error| Arc::new(error) as _),
    }
}
