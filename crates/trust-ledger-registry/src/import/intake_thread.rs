//! The thread that reads.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::ImportInput;
use crate::intake::{self, Found, IndexEntry, Object, Position, Skipped, escape_for_terminal, files};

/// Certificates in a chunk: as many as are registered together.
const CERTIFICATES: usize = 3_000;

/// Bytes of DER in a chunk, and other things in it, at most.
const BYTES: usize = 16 << 20;
const OTHERS: usize = 10_000;

/// Chunks read ahead.
const AHEAD: usize = 1;

/// What was read and where it was, in order per kind.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) certificates: Vec<(Position, Vec<u8>)>,
    pub(super) lists: Vec<(Position, Vec<u8>)>,
    pub(super) index: Vec<(Position, IndexEntry)>,
    pub(super) skipped: Vec<Skipped>,
    /// Position and reason.
    pub(super) refused: Vec<(String, String)>,
    bytes: usize,
}

/// How much was read.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) total: AtomicU64,
    pub(super) read: AtomicU64,
}

/// Starts to read. The thread ends with the inputs, or when the receiver is dropped.
pub(super) fn start(inputs: Vec<ImportInput>, meter: Arc<Meter>) -> io::Result<mpsc::Receiver<Chunk>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let reader = Reader { sender, chunk: Chunk::default(), meter };
    std::thread::Builder::new().name("ledger-intake".to_owned()).spawn(move || reader.run(inputs))?;
    Ok(receiver)
}

struct Reader {
    sender: mpsc::Sender<Chunk>,
    chunk: Chunk,
    meter: Arc<Meter>,
}

impl Reader {
    fn run(mut self, inputs: Vec<ImportInput>) {
        for input in inputs {
            let flow = match input {
                ImportInput::Stream { name, reader } => self.read(reader, &name),
                ImportInput::Path(path) => files(path).try_for_each(|file| match file {
                    Ok(file) => {
                        self.meter.total.fetch_add(file.size, Ordering::Relaxed);
                        let name = file.path.display().to_string();
                        match File::open(&file.path) {
                            Ok(opened) => self.read(opened, &name),
                            Err(error) => self.refuse(&name, &error),
                        }
                    }
                    Err(error) => self.refuse(&error.path.display().to_string(), &error.source),
                }),
            };
            if flow.is_break() {
                return;
            }
        }
        // Without a receiver, nobody waits for what is left.
        let _ = self.flush();
    }

    fn read(&mut self, reader: impl Read, name: &str) -> ControlFlow<()> {
        let meter = self.meter.clone();
        let counted = Counted { reader, meter: &meter };
        let mut flow = ControlFlow::Continue(());
        let outcome = intake::read(counted, name, &mut |found| {
            flow = self.take(found);
            flow
        });
        match outcome {
            Ok(()) => flow,
            Err(error) => self.refuse(name, &error),
        }
    }

    fn refuse(&mut self, name: &str, error: &io::Error) -> ControlFlow<()> {
        self.chunk.refused.push((escape_for_terminal(name), format!("cannot be read: {error}")));
        self.flush_if_full()
    }

    fn take(&mut self, found: Found) -> ControlFlow<()> {
        let Found { position, object } = found;
        match object {
            Object::Certificate(der) => {
                self.chunk.bytes += der.len();
                self.chunk.certificates.push((position, der));
            }
            Object::RevocationList(der) => {
                self.chunk.bytes += der.len();
                self.chunk.lists.push((position, der));
            }
            Object::IndexEntry(entry) => self.chunk.index.push((position, entry)),
            Object::Skipped(kind) => self.chunk.skipped.push(kind),
            Object::Refused(reason) => self.chunk.refused.push((position.to_string(), reason)),
        }
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> ControlFlow<()> {
        let others = self.chunk.index.len() + self.chunk.skipped.len() + self.chunk.refused.len();
        let full = self.chunk.certificates.len() >= CERTIFICATES || self.chunk.bytes >= BYTES || others >= OTHERS;
        if full { self.flush() } else { ControlFlow::Continue(()) }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        match self.sender.blocking_send(std::mem::take(&mut self.chunk)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Counts what is read.
struct Counted<'a, R> {
    reader: R,
    meter: &'a Meter,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.meter.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
