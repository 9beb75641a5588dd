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

/// Chunks that are checked and committed at once: one at the writer while others are checked. One more is taken apart.
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

/// A chunk's certificates, taken apart.
#[derive(Default)]
struct Parsed {
    authorities: Vec<Certificate>,
    others: Vec<Certificate>,
    refused: Vec<(Position, String)>,
    /// CA certificates: the file, and the issuer that it makes known.
    issuers: Vec<(PathBuf, Uuid)>,
}

/// What became of certificates.
struct Registered {
    new: u64,
    known: u64,
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
            self.register(chunk.certificates).await?;
        }
        if self.list_bytes >= WAITING_BYTES {
            self.finish_certificates().await?;
            self.record_lists().await?;
        }
        self.report();
        Ok(())
    }

    /// Begins to register a chunk's certificates. Its CAs are there before the others are checked, and those of later chunks:
    /// registered under their issuer's name alone, each would have to be checked and written a second time.
    async fn register(&mut self, found: Vec<(Position, Vec<u8>)>) -> Result<()> {
        let parsed = tokio::task::spawn_blocking(move || parse(found)).await;
        let parsed = parsed.map_err(|_| Error::Worker { doing: "reading certificates" })?;
        while self.under_way.len() >= UNDER_WAY {
            self.finish_one().await?;
        }
        for (position, reason) in parsed.refused {
            self.summary.refuse(position, reason);
        }
        let (registry, annotations) = (self.registry.clone(), self.options.annotations.clone());
        if !parsed.authorities.is_empty() {
            let registered = register(registry.clone(), annotations.clone(), parsed.authorities).await?;
            self.count_certificates(registered);
        }
        for (file, issuer) in parsed.issuers {
            let folder = file.parent().unwrap_or(Path::new("")).to_owned();
            self.issuers_in.entry(folder).or_default().push((file, issuer));
        }
        if !parsed.others.is_empty() {
            self.under_way.spawn(register(registry, annotations, parsed.others));
        }
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
        self.count_certificates(registered);
        self.report();
        Ok(())
    }

    fn count_certificates(&mut self, registered: Registered) {
        self.summary.new += registered.new;
        self.summary.known += registered.known;
        self.summary.lists_checked += registered.lists.good;
        self.summary.lists_dropped.extend(registered.lists.dropped);
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

fn parse(found: Vec<(Position, Vec<u8>)>) -> Parsed {
    let mut parsed = Parsed::default();
    for (position, der) in found {
        match Certificate::from_der(&der) {
            Ok(certificate) if certificate.is_ca() => {
                let issuer = crate::registry::issuer_made_known(&certificate);
                parsed.issuers.push((PathBuf::from(&*position.file), issuer));
                parsed.authorities.push(certificate);
            }
            Ok(certificate) => parsed.others.push(certificate),
            Err(error) => parsed.refused.push((position, error.to_string())),
        }
    }
    parsed
}

async fn register(registry: Registry, annotations: Annotations, certificates: Vec<Certificate>) -> Result<Registered> {
    let (registrations, lists) = registry.register_and_check(certificates, &annotations).await?;
    let is_new = |registration: &&Registration| matches!(registration, Registration::Registered(_));
    let new = registrations.iter().filter(is_new).count() as u64;
    Ok(Registered { new, known: registrations.len() as u64 - new, lists })
}
