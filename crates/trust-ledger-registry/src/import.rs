//! Importing: from files and streams into the ledger.
//!
//! One thread reads, threads for blocking work take certificates apart and check signatures, the database's writer commits
//! them in chunks; chunks of all three stages are under way at once, a few at a time, so memory is bounded. CRLs and
//! CA databases follow the certificates they speak of.

use std::io::Read;
use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use crate::record::Annotations;
use crate::registry::Registry;

mod index;
mod intake_thread;
mod pipeline;
mod revocation_list;
mod summary;

pub use summary::{ImportStopped, ImportSummary, Refusal};

/// Where an import reads from.
pub enum ImportInput {
    /// A file, or a folder with everything below it.
    Path(PathBuf),
    /// A stream, such as standard input.
    Stream {
        /// Its name in positions, such as `-`.
        name: String,
        /// The stream. Read on a thread of its own to its end, or until the import ends.
        reader: Box<dyn Read + Send>,
    },
}

/// How an import treats what it finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// What is said about each certificate. Its source is also that of revocations; by default, the file's name is.
    pub annotations: Annotations,
    /// The issuer whose database an `index.txt` is: it does not say so itself. Default: that of the registered
    /// certificates that it lists, or the only CA certificate found in its folder.
    pub issuer: Option<Uuid>,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportProgress {
    /// Bytes in the files found so far; grows while folders are listed, and knows nothing of streams.
    pub bytes_total: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Certificates durably registered.
    pub new: u64,
    /// Certificates that were known.
    pub known: u64,
    /// Revocations durably recorded.
    pub revocations: u64,
    /// Things refused.
    pub refused: u64,
}

impl Registry {
    /// Imports certificates, revocations and CA databases from files, folders and streams.
    ///
    /// What cannot be read is refused with its position and a reason, and the rest goes in. Importing again changes
    /// nothing. `progress` is called after each commit.
    ///
    /// When this fails or its future is dropped, what has been reported to `progress` is durable and stays; importing
    /// again goes on from there.
    ///
    /// # Errors
    ///
    /// [`ImportStopped`], with the summary of what went in, because of
    /// [`Error::Input`](crate::Error::Input) when an input itself is not there, before anything is read;
    /// [`Error::UnknownIssuer`](crate::Error::UnknownIssuer); [`Error::Database`](crate::Error::Database).
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub async fn import(
        &self,
        inputs: Vec<ImportInput>,
        options: &ImportOptions,
        progress: &mut (dyn FnMut(&ImportProgress) + Send),
    ) -> Result<ImportSummary, ImportStopped> {
        pipeline::Pipeline::new(self, options, progress).run(inputs).await
    }
}
