//! Opening the ledger, and creating it with its key.
//!
//! Order of a creation, so that no crash leaves a ledger without its key: the key file with its folder is on disk before
//! the database file exists. A ledger that exists never gets a new key.

mod key_file;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use strongroom::{Config, Database, Dialect, Report};
use trust_ledger_registry::{MIGRATIONS, Registry};

use crate::actor::actor;
use crate::cli::Global;
use crate::failure::{Failure, Result};
use crate::output::{Output, escape::for_terminal};
use crate::settings::{Key, Settings};

pub(crate) use key_file::{random_key, sync_folder, write_key};

/// The first 16 bytes of a plain SQLite file.
const PLAIN_HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Whether a ledger that is not there is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Create {
    /// Whichever it is: by `init` and `import`.
    Any,
    /// Only the one that nobody named, on the first run: a ledger that was named and is missing is a mistake.
    Unnamed,
    /// Never.
    Never,
}

/// The ledger of the settings, open.
pub(crate) struct Ledger {
    /// What is done with it.
    pub(crate) registry: Registry,
    /// Whether it was created just now.
    pub(crate) is_new: bool,
}

/// Opens the ledger, and creates it if allowed; says so on standard error.
///
/// # Errors
///
/// No ledger, no key, key and ledger do not belong together, no right to the file: each with what to do about it.
pub(crate) async fn open(global: &Global, output: &Output, create: Create) -> Result<Ledger> {
    let (database, is_new) = open_database(&Settings::read(global)?, output, create).await?;
    let registry = Registry::open(database).acting_as(&actor(global));
    Ok(Ledger { registry, is_new })
}

/// [`open`], for whoever needs no registry: the database, and whether the ledger was created just now.
pub(crate) async fn open_database(settings: &Settings, output: &Output, create: Create) -> Result<(Database, bool)> {
    match settings.config.dialect() {
        Dialect::Sqlite => {
            let is_new = prepare(settings, create)?;
            let database = connect(settings, is_new.is_some()).await?;
            if let Some(new_key) = &is_new {
                announce(settings, *new_key, output);
            }
            Ok((database, is_new.is_some()))
        }
        Dialect::Postgres => {
            let (database, is_new) = connect_to_server(settings, create).await?;
            if is_new {
                output.note(&format!("created the ledger in {}", for_terminal(&settings.config.to_string())));
            }
            Ok((database, is_new))
        }
    }
}

/// Connects to a ledger on a server, and makes its tables only when `create` says so: a database without them may be the
/// wrong one. Answers whether they were made, or what an interrupted command had left of them was completed.
async fn connect_to_server(settings: &Settings, create: Create) -> Result<(Database, bool)> {
    match config(settings).create(false).connect().await {
        Ok(database) => Ok((database, false)),
        Err(strongroom::Error::Migration { .. }) if create == Create::Any => {
            let database = connect(settings, true).await?;
            Ok((database, true))
        }
        Err(strongroom::Error::Migration { .. }) if !is_on_server(settings).await? => Err(no_ledger(&settings.config)),
        Err(error) => Err(explain(error, settings)),
    }
}

/// Whether the server's database has a ledger's tables, complete or not.
async fn is_on_server(settings: &Settings) -> Result<bool> {
    let database = settings.config.clone().connect().await?;
    let has_tables = database.table_exists("strongroom_migration").await?;
    database.close().await?;
    Ok(has_tables)
}

/// Tries out the ledger of the settings, step by step; never creates one.
///
/// # Errors
///
/// What is known to be wrong before the ledger is opened: it is missing, or its key file is.
pub(crate) async fn check(settings: &Settings) -> Result<Report> {
    prepare(settings, Create::Never)?;
    let database = config(settings).create(false).migrate(false).open()?;
    let report = database.check().await;
    database.close().await?;
    Ok(report)
}

/// Connects to a ledger that must be there already.
///
/// # Errors
///
/// As [`open`], and that it is missing.
pub(crate) async fn open_existing(settings: &Settings) -> Result<Database> {
    prepare(settings, Create::Never)?;
    match settings.config.dialect() {
        Dialect::Sqlite => connect(settings, false).await,
        Dialect::Postgres => connect_to_server(settings, Create::Never).await.map(|(database, _)| database),
    }
}

/// Makes a key file, with its folder, that holds a random key.
pub(crate) fn make_key_file(path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        key_file::make_folder(folder)?;
    }
    match write_key(path, &random_key()?)? {
        true => Ok(()),
        false => Err(Failure::failed(format!("{} has just been made by somebody else", path.display()))),
    }
}

/// Makes the key file that was named for a ledger, when neither is there: a ledger that exists never gets a new key.
pub(crate) fn make_missing_key(settings: &Settings) -> Result<()> {
    match (settings.path(), settings.key.path()) {
        (Some(ledger), Some(key)) if look(ledger)? == Found::Nothing && !exists(key)? => {
            make_key_file(&std::path::absolute(key)?)
        }
        _ => Ok(()),
    }
}

/// Connects to the ledger of the settings, for whoever needs no registry.
pub(crate) async fn connect(settings: &Settings, create: bool) -> Result<Database> {
    let opened = config(settings).create(create).connect().await;
    opened.map_err(|error| explain(error, settings))
}

fn config(settings: &Settings) -> Config {
    settings.config.clone().migrations(&MIGRATIONS)
}

/// What lies where the ledger should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A plain SQLite file.
    Plain,
    /// Something else, most likely an encrypted ledger.
    Other,
}

/// Settles before SQLite sees anything what can be known: refuses a file that does not fit the settings, and makes
/// folders and key for a new ledger. Answers `None` for one that exists, else whether its key is new.
fn prepare(settings: &Settings, create: Create) -> Result<Option<NewKey>> {
    let Some(path) = settings.path() else {
        let is_new = settings.config.dialect() == Dialect::Sqlite;
        return Ok(is_new.then_some(NewKey::No));
    };
    match (look(path)?, &settings.key) {
        (Found::Nothing, _) => {}
        (Found::Plain, Key::Default(_)) => {
            return Err(Failure::usage(format!(
                "{} is a plain SQLite file, not an encrypted ledger; say --no-key if it is meant",
                path.display()
            )));
        }
        (Found::Other, Key::Default(key)) if !exists(key)? => {
            return Err(Failure::failed(format!(
                "the ledger {} is there, but its key file {} is missing: put the key file back, or name another with \
                 --key-file; an existing ledger never gets a new key",
                path.display(),
                key.display()
            )));
        }
        _ => return Ok(None),
    }
    match create {
        Create::Never => Err(no_ledger(&settings.config)),
        Create::Unnamed if settings.is_named => Err(no_ledger(&settings.config)),
        _ => prepare_new(path, settings).map(Some),
    }
}

fn no_ledger(config: &Config) -> Failure {
    Failure::failed(format!("there is no ledger at {config}; `trust-ledger init` with the same options creates it"))
}

/// Whether a new ledger got a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NewKey {
    Yes,
    No,
}

fn prepare_new(path: &Path, settings: &Settings) -> Result<NewKey> {
    // A folder that somebody named is not made: a slip of the pen would scatter ledgers.
    if let (Some(folder), false) = (path.parent(), settings.is_named) {
        key_file::make_folder(folder)?;
    }
    match &settings.key {
        Key::Default(key) if !exists(key)? => {
            if let Some(folder) = key.parent() {
                key_file::make_folder(folder)?;
            }
            Ok(if write_key(key, &key_file::random_key()?)? { NewKey::Yes } else { NewKey::No })
        }
        Key::Named(_) | Key::Default(_) | Key::None => Ok(NewKey::No),
    }
}

fn announce(settings: &Settings, new_key: NewKey, output: &Output) {
    let Some(path) = settings.path() else { return };
    let shown = |path: &Path| for_terminal(&path.display().to_string()).into_owned();
    output.note(&format!("created the ledger {}", shown(path)));
    match (settings.key.path(), &settings.key) {
        (_, Key::None) => output.note("it is not encrypted: anyone who reads the file reads the ledger"),
        (Some(key), _) => {
            let kind = if new_key == NewKey::Yes { "its new key" } else { "its key" };
            output.note(&format!("{kind} is in   {}", shown(key)));
        }
        (None, key) => output.note(&format!("its key is in {}", for_terminal(&key.shown()))),
    }
    if !matches!(settings.key, Key::None) {
        output.note("Without the key the ledger is lost. To keep a copy: trust-ledger key export FILE");
    }
    if let Some(folder) = path.parent() {
        // SQLite has synced the file; its name in the folder is what could still be missing after a power cut.
        if let Err(error) = sync_folder(folder) {
            tracing::warn!(%error, "the folder of the ledger could not be synced");
        }
    }
}

fn look(path: &Path) -> Result<Found> {
    let unreadable =
        |error: io::Error| Failure::failed(format!("the ledger {} cannot be read", path.display())).caused_by(error);
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(unreadable(error)),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(Failure::usage(format!("{} is a folder; name the ledger's file", path.display())));
    }
    if metadata.len() == 0 {
        return Ok(Found::Nothing);
    }
    let mut header = [0; 16];
    match file.read_exact(&mut header) {
        Ok(()) if header == *PLAIN_HEADER => Ok(Found::Plain),
        Ok(()) => Ok(Found::Other),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Found::Other),
        Err(error) => Err(unreadable(error)),
    }
}

fn exists(path: &Path) -> Result<bool> {
    fs::exists(path).map_err(|error| Failure::failed(format!("{} cannot be examined", path.display())).caused_by(error))
}

/// Where a new key is put before the ledger has it, beside the file of the old one.
pub(crate) fn new_key_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Adds what the database does not know: which option helps.
pub(crate) fn explain(error: strongroom::Error, settings: &Settings) -> Failure {
    use strongroom::EncryptionProblem as Problem;
    let help = match &error {
        strongroom::Error::Encryption { problem: Problem::NotEncrypted, .. } => "say --no-key instead of a key",
        strongroom::Error::Encryption { problem: Problem::KeyMissing, .. } => "leave out --no-key",
        strongroom::Error::Encryption { problem: Problem::WrongKeyOrDamaged, .. } => {
            let mut message = format!("{error}; the key came from {}", settings.key.shown());
            if let Some(new) = settings.key.path().map(new_key_file).filter(|new| new.exists()) {
                let new = new.display();
                message.push_str(&format!(
                    "; {new} is there, from a change of the key that was cut short: try --key-file {new}"
                ));
            }
            return Failure::failed(message);
        }
        _ => return error.into(),
    };
    Failure::failed(format!("{error}: {help}"))
}
