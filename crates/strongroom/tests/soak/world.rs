//! What all workers share: the file with its keys or the servers, the handle of the moment, the ledger and the tally.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use strongroom::{Config, Database, EncryptionProblem, Error, KeySource, QueryErrorKind, Result};

use crate::cluster::Cluster;
use crate::ledger::Ledger;
use crate::random::Random;
use crate::tally::Tally;
use crate::work::{KINDS, NAMES};

/// Keys that may open the file, at most: rekeying that was cancelled leaves two.
const KEYS: usize = 100;

/// Times that all keys are tried. So many changes of the key in a row do not come that fast.
const PASSES: u32 = 5;

pub(crate) struct World {
    /// Of the file.
    pub(crate) folder: PathBuf,
    /// None: the database is a file.
    pub(crate) cluster: Option<Cluster>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tally: Tally<KINDS>,
    /// Newest first.
    keys: Mutex<Vec<String>>,
    /// Replaced from time to time, under the workers' hands.
    handle: RwLock<Database>,
    stop: AtomicBool,
}

impl World {
    pub(crate) async fn new(folder: PathBuf, cluster: Option<Cluster>, random: &mut Random) -> Result<Arc<Self>> {
        let key = random.key();
        std::fs::create_dir(folder.join("copies")).expect("the temporary folder can be written");
        let handle = match &cluster {
            None => config(folder.join("soak.db"), &key),
            Some(cluster) => impatient(cluster.config()),
        };
        let handle = handle.connect().await?;
        handle.execute_script(&dialect(cluster.is_some(), crate::ledger::SCHEMA)).await?;
        Ok(Arc::new(World {
            folder,
            cluster,
            ledger: Arc::default(),
            tally: Tally::new(NAMES),
            keys: Mutex::new(vec![key]),
            handle: RwLock::new(handle),
            stop: AtomicBool::new(false),
        }))
    }

    pub(crate) fn is_server(&self) -> bool {
        self.cluster.is_some()
    }

    /// A statement that defines something, as the engine has it.
    pub(crate) fn dialect(&self, sql: &str) -> String {
        dialect(self.is_server(), sql)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("soak.db")
    }

    /// Where backups go. A copy whose caller went away while it was looked at leaves its log here.
    pub(crate) fn copies(&self) -> PathBuf {
        self.folder.join("copies")
    }

    /// The handle that most of the work is done with.
    pub(crate) fn handle(&self) -> Database {
        self.handle.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another handle in its place and answers the old one, which others still use.
    pub(crate) fn replace_handle(&self, with: Database) -> Database {
        std::mem::replace(&mut *self.handle.write().unwrap_or_else(PoisonError::into_inner), with)
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A key that the file may have from now on.
    pub(crate) fn add_key(&self, key: &str) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(0, key.to_owned());
        keys.truncate(KEYS);
    }

    /// A further handle on the same database, with settings of its own.
    pub(crate) async fn open(&self, random: &mut Random) -> Result<Database> {
        if let Some(cluster) = &self.cluster {
            return vary(impatient(cluster.config()), random).connect().await;
        }
        let settings = random.fork();
        let mut opened = Err(Error::Closed);
        // While the keys are tried, the file may get another one: one that was not known before, or had its turn already.
        for _ in 0..PASSES {
            opened = open(self.path(), &self.keys(), |config| vary(config, &mut settings.clone())).await;
            if !opened.as_ref().is_err_and(is_wrong_key) {
                break;
            }
        }
        opened
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn dialect(is_server: bool, sql: &str) -> String {
    if is_server { sql.replace("BLOB", "BYTEA") } else { sql.to_owned() }
}

/// Opens the file with the first key that fits.
pub(crate) async fn open(path: PathBuf, keys: &[String], set: impl Fn(Config) -> Config) -> Result<Database> {
    let mut outcome = Err(Error::Closed);
    for key in keys {
        outcome = set(config(path.clone(), key)).connect().await;
        if !outcome.as_ref().is_err_and(is_wrong_key) {
            break;
        }
    }
    outcome
}

fn is_wrong_key(error: &Error) -> bool {
    matches!(error, Error::Encryption { problem: EncryptionProblem::WrongKeyOrDamaged, .. })
}

pub(crate) fn config(path: PathBuf, key: &str) -> Config {
    impatient(Config::sqlite(path).key(KeySource::literal(key)))
}

/// Connections that do not live long, and callers that do not wait long.
pub(crate) fn impatient(config: Config) -> Config {
    config
        .acquire_timeout(Duration::from_secs(5))
        .pool_idle_timeout(Some(Duration::from_secs(1)))
        .pool_max_lifetime(Some(Duration::from_secs(1)))
}

fn vary(config: Config, random: &mut Random) -> Config {
    config
        .acquire_timeout(Duration::from_secs(1 + random.below(5)))
        .pool_min_size(random.below(4) as usize)
        .pool_max_size(2 + random.below(8) as usize)
        .session_max_age(Duration::from_secs(1 + random.below(10)))
        .inline_reads(random.once_in(2))
}

impl World {
    /// Whether an operation may fail of this under the load that the soak makes, and of the faults it puts in a server's way.
    /// Anything else is a violation.
    pub(crate) fn is_ordinary(&self, error: &Error) -> bool {
        let is_lost = matches!(error, Error::Connection { passing: true, .. } | Error::CommitUnknown { .. });
        self.is_server() && is_lost || is_ordinary(error)
    }
}

/// What may happen on a file.
pub(crate) fn is_ordinary(error: &Error) -> bool {
    match error {
        Error::Query { kind, .. } => matches!(
            kind,
            QueryErrorKind::Unique
                | QueryErrorKind::ForeignKey
                | QueryErrorKind::Serialization
                | QueryErrorKind::Busy
                | QueryErrorKind::Timeout
        ),
        // A session whose statement failed; a file that another handle gave a new key.
        Error::Transaction { source: Some(_), .. } => true,
        Error::Connection { reason, .. } => reason.contains("replaced by another file") || reason.contains("is locked"),
        Error::PoolExhausted { .. } | Error::SessionExpired { .. } | Error::Closed | Error::Cancelled => true,
        _ => false,
    }
}
