//! A model of a disk: what is durable, what only the page cache holds, and which call is to fail or to wait.
//!
//! The files are real ones in a folder of their own, and the process sees them as they are. Beside them the model
//! remembers for each what a sync has made durable and every change since; and which names a sync of the folder has made
//! durable. A *power cut* stops all calls; the *image* is what a machine would find at its next start.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString, c_int};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::ffi;
use tokio::sync::oneshot;

use crate::random::Random;
use crate::shim;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// Longest wait for a call that a test expects; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A call of SQLite's that the disk can refuse or hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    Delete,
    Access,
    Read,
    Write,
    Truncate,
    Sync,
    Size,
    Lock,
    MapIndex,
    LockIndex,
}

impl Call {
    /// What SQLite's own VFS answers when the system answers EIO.
    pub(crate) fn io_error(self) -> c_int {
        match self {
            Call::Open => ffi::SQLITE_CANTOPEN,
            Call::Delete => ffi::SQLITE_IOERR_DELETE,
            Call::Access => ffi::SQLITE_IOERR_ACCESS,
            Call::Read => ffi::SQLITE_IOERR_READ,
            Call::Write => ffi::SQLITE_IOERR_WRITE,
            Call::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
            Call::Sync => ffi::SQLITE_IOERR_FSYNC,
            Call::Size => ffi::SQLITE_IOERR_FSTAT,
            Call::Lock => ffi::SQLITE_IOERR_LOCK,
            Call::MapIndex => ffi::SQLITE_IOERR_SHMMAP,
            Call::LockIndex => ffi::SQLITE_IOERR_SHMLOCK,
        }
    }

    fn changes_the_disk(self) -> bool {
        matches!(self, Call::Open | Call::Delete | Call::Write | Call::Truncate | Call::Sync)
    }
}

/// A file of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Database,
    Log,
    Journal,
}

/// Where a call arrives.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    pub(crate) part: Part,
    /// The open file's number; none for calls by name.
    pub(crate) file: Option<usize>,
    /// How far into the file it reaches, for reads and writes.
    pub(crate) end: u64,
}

/// A call that is to fail: by default the next one of its kind, once, without effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) call: Call,
    pub(crate) code: c_int,
    part: Option<Part>,
    beyond: u64,
    calls_before: u32,
    lasting: bool,
    takes_effect: bool,
}

impl Fault {
    /// The call answers `code`, one of SQLite's.
    pub(crate) fn new(call: Call, code: c_int) -> Self {
        Fault { call, code, part: None, beyond: 0, calls_before: 0, lasting: false, takes_effect: false }
    }

    /// The call answers that the device has failed.
    pub(crate) fn io(call: Call) -> Self {
        Fault::new(call, call.io_error())
    }

    /// Only calls on this file count.
    pub(crate) fn on(mut self, part: Part) -> Self {
        self.part = Some(part);
        self
    }

    /// Only calls count that reach beyond so many bytes of the file.
    pub(crate) fn beyond(mut self, length: u64) -> Self {
        self.beyond = length;
        self
    }

    /// So many calls succeed before.
    pub(crate) fn after(mut self, calls: u32) -> Self {
        self.calls_before = calls;
        self
    }

    /// Every further call fails too, until the disk is healed.
    pub(crate) fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// The call does its work, and answers that it has failed.
    pub(crate) fn taking_effect(mut self) -> Self {
        self.takes_effect = true;
        self
    }

    fn concerns(&self, call: Call, site: Site) -> bool {
        self.call == call
            && self.part.is_none_or(|part| part == site.part)
            && (self.beyond == 0 || site.end > self.beyond)
    }
}

/// What a machine finds on its disk when it starts again: every file's content by its name.
#[derive(Clone, Default)]
pub(crate) struct Image(BTreeMap<OsString, Vec<u8>>);

/// A disk with a folder for one database. Dropped, both are gone.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    platter: Arc<Platter>,
}

impl Disk {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self::holding(&Image::default())
    }

    /// One that holds what an image holds, all of it durable.
    pub(crate) fn holding(image: &Image) -> Self {
        // In memory where the system has such a folder: the model does not need the machine's disk to be slow.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir().canonicalize().unwrap() };
        let folder = tempfile::tempdir_in(parent).unwrap();
        let mut state = State::default();
        for (name, content) in &image.0 {
            std::fs::write(folder.path().join(name), content).unwrap();
            state.names.insert(name.clone(), state.files.len());
            state.files.push(File { durable: content.clone(), unsynced: Vec::new() });
        }
        state.durable_names = state.names.clone();
        let platter = Arc::new(Platter { state: Mutex::new(state), let_go: Condvar::new() });
        shim::mount(folder.path(), &platter);
        Disk { folder, platter }
    }

    /// The path of its database.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    /// Cuts the power in the midst of the so-manieth call from now that changes the disk.
    pub(crate) fn cut_power_at(&self, change: u64) {
        let mut state = self.platter.lock();
        state.cut_at = Some(state.changes + change);
    }

    /// Whether the power has been cut.
    pub(crate) fn is_off(&self) -> bool {
        self.platter.lock().off
    }

    /// From now on a sync answers that all is well and does nothing.
    pub(crate) fn ignore_syncs(&self) {
        self.platter.lock().ignores_syncs = true;
    }

    /// From now on a call fails.
    pub(crate) fn fail(&self, fault: Fault) {
        self.platter.lock().fault = Some(Armed { fault, concerned: 0, met: None });
    }

    /// Ends the fault. Answers the file that it struck first, if it did strike.
    pub(crate) fn heal(&self) -> Option<Part> {
        self.platter.lock().fault.take().and_then(|armed| armed.met)
    }

    /// Holds the next call of this kind, and those after it, until the gate is opened.
    pub(crate) fn hold(&self, call: Call, part: Part) -> Gate {
        let (arrival, arrived) = oneshot::channel();
        self.platter.lock().held = Some(Held { call, part, arrival: Some(arrival) });
        Gate { platter: Arc::clone(&self.platter), arrived }
    }

    /// What the disk would hold if the power were gone now: all that is durable, and of what is not, each sector of each
    /// change with a probability of `luck` in 256.
    pub(crate) fn image(&self, random: &mut Random, luck: u64) -> Image {
        let state = self.platter.lock();
        let names: BTreeSet<_> = state.names.keys().chain(state.durable_names.keys()).collect();
        let mut image = Image::default();
        for name in names {
            let (now, durable) = (state.names.get(name), state.durable_names.get(name));
            if let Some(file) = if random.below(256) < luck { now } else { durable } {
                image.0.insert(name.clone(), state.files[*file].after_a_cut(random, luck));
            }
        }
        image
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        shim::unmount(self.folder.path());
    }
}

/// A call that is held. Dropped, it is let go.
pub(crate) struct Gate {
    platter: Arc<Platter>,
    arrived: oneshot::Receiver<()>,
}

impl Gate {
    /// Waits until a thread stands before the gate.
    pub(crate) async fn reached(&mut self) {
        tokio::time::timeout(PATIENCE, &mut self.arrived).await.expect("nobody comes to the gate").unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.platter.lock().held = None;
        self.platter.let_go.notify_all();
    }
}

/// The disk's inner part, which the VFS's calls arrive at.
pub(crate) struct Platter {
    state: Mutex<State>,
    let_go: Condvar,
}

impl Platter {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Judges a call, does its work and notes it.
    pub(crate) fn call(
        &self,
        call: Call,
        site: Site,
        work: impl FnOnce() -> c_int,
        note: impl FnOnce(&mut State),
    ) -> c_int {
        let mut state = self.lock();
        while let Some(held) = state.held.as_mut().filter(|held| held.call == call && held.part == site.part) {
            if let Some(arrival) = held.arrival.take() {
                // The test may have failed and be gone; its gate opens then.
                let _ = arrival.send(());
            }
            state = self.let_go.wait(state).unwrap();
        }
        let code = match state.judge(call, site) {
            Verdict::Allowed if call == Call::Sync && state.ignores_syncs => return ffi::SQLITE_OK,
            Verdict::Allowed => ffi::SQLITE_OK,
            Verdict::Refused(code) => {
                if let (Call::Sync, Some(file), false) = (call, site.file, state.off) {
                    state.forget(file);
                }
                return code;
            }
            Verdict::FailsWithEffect(code) => code,
            Verdict::PowerCut => {
                // What was on its way may have arrived. A sync has nothing of its own that could.
                if call != Call::Sync {
                    note(&mut state);
                }
                return ffi::SQLITE_IOERR;
            }
        };
        match work() {
            ffi::SQLITE_OK => {
                note(&mut state);
                code
            }
            failed => failed,
        }
    }
}

enum Verdict {
    Allowed,
    Refused(c_int),
    FailsWithEffect(c_int),
    /// This is the call in which the power goes.
    PowerCut,
}

#[derive(Default)]
pub(crate) struct State {
    files: Vec<File>,
    names: BTreeMap<OsString, usize>,
    durable_names: BTreeMap<OsString, usize>,
    changes: u64,
    cut_at: Option<u64>,
    off: bool,
    ignores_syncs: bool,
    fault: Option<Armed>,
    held: Option<Held>,
}

struct Armed {
    fault: Fault,
    concerned: u32,
    met: Option<Part>,
}

struct Held {
    call: Call,
    part: Part,
    arrival: Option<oneshot::Sender<()>>,
}

impl State {
    /// The file that a name leads to; a new one if there is none. Its name is durable when the folder is synced.
    pub(crate) fn open(&mut self, name: &OsStr) -> usize {
        *self.names.entry(name.to_owned()).or_insert_with(|| {
            self.files.push(File::default());
            self.files.len() - 1
        })
    }

    pub(crate) fn delete(&mut self, name: &OsStr) {
        self.names.remove(name);
    }

    pub(crate) fn sync_folder(&mut self) {
        self.durable_names = self.names.clone();
    }

    pub(crate) fn write(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        self.files[file].unsynced.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(crate) fn truncate(&mut self, file: usize, length: usize) {
        self.files[file].unsynced.push(Change::Truncate { length });
    }

    pub(crate) fn sync(&mut self, file: usize) {
        let File { durable, unsynced } = &mut self.files[file];
        unsynced.drain(..).for_each(|change| change.apply(durable, || true));
    }

    /// What a sync has failed for is never written, though reads show it: Linux takes the pages for clean from then on,
    /// and a later sync has nothing to do (<https://lwn.net/Articles/752063/>).
    fn forget(&mut self, file: usize) {
        self.files[file].unsynced.clear();
    }

    fn judge(&mut self, call: Call, site: Site) -> Verdict {
        if self.off {
            return Verdict::Refused(ffi::SQLITE_IOERR);
        }
        if call.changes_the_disk() {
            self.changes += 1;
            if self.cut_at == Some(self.changes) {
                self.off = true;
                return Verdict::PowerCut;
            }
        }
        let Some(armed) = self.fault.as_mut().filter(|armed| armed.fault.concerns(call, site)) else {
            return Verdict::Allowed;
        };
        armed.concerned += 1;
        let fault = armed.fault;
        let strikes =
            armed.concerned == fault.calls_before + 1 || fault.lasting && armed.concerned > fault.calls_before;
        match strikes {
            false => Verdict::Allowed,
            true => {
                armed.met.get_or_insert(site.part);
                if fault.takes_effect { Verdict::FailsWithEffect(fault.code) } else { Verdict::Refused(fault.code) }
            }
        }
    }
}

/// A file's content: what is durable, and what has changed since.
#[derive(Default)]
struct File {
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

impl File {
    fn after_a_cut(&self, random: &mut Random, luck: u64) -> Vec<u8> {
        let mut content = self.durable.clone();
        for change in &self.unsynced {
            change.apply(&mut content, || random.below(256) < luck);
        }
        content
    }
}

impl Change {
    /// Does to the content what is left of the change: `arrives` is asked for each sector.
    fn apply(&self, content: &mut Vec<u8>, mut arrives: impl FnMut() -> bool) {
        match self {
            Change::Truncate { length } => {
                if arrives() {
                    content.truncate(*length);
                }
            }
            Change::Write { offset, bytes } => {
                let mut from = *offset;
                let end = offset + bytes.len();
                while from < end {
                    let sector = from / SECTOR;
                    let to = end.min((sector + 1) * SECTOR);
                    if arrives() {
                        if content.len() < to {
                            content.resize(to, 0);
                        }
                        content[from..to].copy_from_slice(&bytes[from - offset..to - offset]);
                    }
                    from = to;
                }
            }
        }
    }
}
