//! The stages of an import.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::intake_thread::{self, Chunk, Meter};
use super::{ImportInput, ImportOptions, ImportProgress, ImportStopped, ImportSummary};
use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::intake::{IndexEntry, Position};
use crate::record::{Annotations, Registration};
use crate::registry::{CheckedLists, Registry};

/// Chunks that are taken apart, checked and committed at once: one at the writer while others are checked.
const UNDER_WAY: usize = 3;

/// Bytes of CRLs that wait for the certificates of later files.
const WAITING_BYTES: usize = 256 << 20;

/// One import.
pub(super) struct Pipeline<'a> {
    pub(super) registry: &'a Registry,
    pub(super) options: &'a ImportOptions,
    pub(super) summary: ImportSummary,
    progress: &'a mut (dyn FnMut(&ImportProgress) + Send),
    meter: Arc<Meter>,
    under_way: JoinSet<Result<Registered>>,
    /// CRLs, for when the certificates are in.
    lists: Vec<(Position, Vec<u8>)>,
    list_bytes: usize,
    /// CA databases by file, likewise.
    index: Vec<(Position, Vec<IndexEntry>)>,
    /// The issuers whose CA certificate was found in a folder, with its file.
    pub(super) issuers_in: HashMap<PathBuf, Vec<(PathBuf, Uuid)>>,
}

/// What became of a chunk's certificates.
struct Registered {
    new: u64,
    known: u64,
    refused: Vec<(Position, String)>,
    /// CA certificates: the file, and the issuer that it makes known.
    issuers: Vec<(PathBuf, Uuid)>,
    lists: CheckedLists,
}

impl<'a> Pipeline<'a> {
    pub(super) fn new(
        registry: &'a Registry,
        options: &'a ImportOptions,
        progress: &'a mut (dyn FnMut(&ImportProgress) + Send),
    ) -> Self {
        Pipeline {
            registry,
            options,
            summary: ImportSummary::default(),
            progress,
            meter: Arc::default(),
            under_way: JoinSet::new(),
            lists: Vec::new(),
            list_bytes: 0,
            index: Vec::new(),
            issuers_in: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self, inputs: Vec<ImportInput>) -> Result<ImportSummary, ImportStopped> {
        match self.import(inputs).await {
            Ok(()) => Ok(self.summary),
            Err(error) => {
                // What was handed over may still be committed, and is then counted.
                while !self.under_way.is_empty() {
                    let _ = self.finish_one().await;
                }
                Err(ImportStopped { summary: Box::new(self.summary), error })
            }
        }
    }

    async fn import(&mut self, inputs: Vec<ImportInput>) -> Result<()> {
        for input in &inputs {
            if let ImportInput::Path(path) = input {
                std::fs::metadata(path).map_err(|source| Error::Input { input: path.display().to_string(), source })?;
            }
        }
        let thread = |source| Error::Input { input: "a thread for reading".to_owned(), source };
        let mut chunks = intake_thread::start(inputs, self.meter.clone()).map_err(thread)?;
        while let Some(chunk) = chunks.recv().await {
            self.take(chunk).await?;
        }
        self.finish_certificates().await?;
        self.record_lists().await?;
        for (position, entries) in std::mem::take(&mut self.index) {
            self.record_index(&position, &entries).await?;
            self.report();
        }
        self.report();
        Ok(())
    }

    async fn take(&mut self, chunk: Chunk) -> Result<()> {
        for kind in chunk.skipped {
            self.summary.skip(kind, 1);
        }
        for (position, reason) in chunk.refused {
            self.summary.refuse(position, reason);
        }
        for (position, entry) in chunk.index {
            match self.index.last_mut() {
                Some((last, entries)) if last.file == position.file => entries.push(entry),
                _ => self.index.push((position, vec![entry])),
            }
        }
        self.list_bytes += chunk.lists.iter().map(|(_, der)| der.len()).sum::<usize>();
        self.lists.extend(chunk.lists);
        if !chunk.certificates.is_empty() {
            while self.under_way.len() >= UNDER_WAY {
                self.finish_one().await?;
            }
            let (registry, annotations) = (self.registry.clone(), self.options.annotations.clone());
            self.under_way.spawn(register(registry, annotations, chunk.certificates));
        }
        if self.list_bytes >= WAITING_BYTES {
            self.finish_certificates().await?;
            self.record_lists().await?;
        }
        self.report();
        Ok(())
    }

    async fn finish_certificates(&mut self) -> Result<()> {
        while !self.under_way.is_empty() {
            self.finish_one().await?;
        }
        Ok(())
    }

    async fn finish_one(&mut self) -> Result<()> {
        let Some(finished) = self.under_way.join_next().await else { return Ok(()) };
        let registered = finished.map_err(|_| Error::Worker { doing: "registering certificates" })??;
        self.summary.new += registered.new;
        self.summary.known += registered.known;
        self.summary.lists_checked += registered.lists.good;
        self.summary.lists_dropped.extend(registered.lists.dropped);
        for (position, reason) in registered.refused {
            self.summary.refuse(position, reason);
        }
        for (file, issuer) in registered.issuers {
            let folder = file.parent().unwrap_or(Path::new("")).to_owned();
            self.issuers_in.entry(folder).or_default().push((file, issuer));
        }
        self.report();
        Ok(())
    }

    async fn record_lists(&mut self) -> Result<()> {
        self.list_bytes = 0;
        for (position, der) in std::mem::take(&mut self.lists) {
            self.record_list(&position, der).await?;
            self.report();
        }
        Ok(())
    }

    pub(super) fn report(&mut self) {
        (self.progress)(&ImportProgress {
            bytes_total: self.meter.total.load(Ordering::Relaxed),
            bytes_read: self.meter.read.load(Ordering::Relaxed),
            new: self.summary.new,
            known: self.summary.known,
            revocations: self.summary.revocations,
            refused: self.summary.refused_count,
        });
    }

    /// What is said to be the source of something from this file.
    pub(super) fn source_of(&self, position: &Position) -> String {
        self.options.annotations.source.clone().unwrap_or_else(|| position.file.to_string())
    }
}

/// Takes certificates apart and registers those that are some.
async fn register(registry: Registry, annotations: Annotations, found: Vec<(Position, Vec<u8>)>) -> Result<Registered> {
    let parse = move || {
        let mut registered =
            Registered { new: 0, known: 0, refused: Vec::new(), issuers: Vec::new(), lists: CheckedLists::default() };
        let mut certificates = Vec::with_capacity(found.len());
        for (position, der) in found {
            match Certificate::from_der(&der) {
                Ok(certificate) => {
                    if certificate.is_ca() {
                        let issuer = crate::registry::issuer_made_known(&certificate);
                        registered.issuers.push((PathBuf::from(&*position.file), issuer));
                    }
                    certificates.push(certificate);
                }
                Err(error) => registered.refused.push((position, error.to_string())),
            }
        }
        (registered, certificates)
    };
    let parsed = tokio::task::spawn_blocking(parse).await;
    let (mut registered, certificates) = parsed.map_err(|_| Error::Worker { doing: "reading certificates" })?;
    let (registrations, lists) = registry.register_and_check(certificates, &annotations).await?;
    registered.lists = lists;
    for registration in registrations {
        match registration {
            Registration::Registered(_) => registered.new += 1,
            Registration::AlreadyKnown(_) => registered.known += 1,
        }
    }
    Ok(registered)
}
