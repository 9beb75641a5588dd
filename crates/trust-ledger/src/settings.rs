//! Settings: which ledger, and where its key comes from.
//!
//! Each setting is taken from the first place that has it: the command line, the environment, the settings file, the
//! defaults. The places are:
//!
//! | setting | command line | environment | settings file | default |
//! |---|---|---|---|---|
//! | ledger | `--db` | `TRUST_LEDGER_DB` | `db.url` | `ledger.db` in the data folder |
//! | key | `--key-env`, `--key-file`, `--no-key` | `TRUST_LEDGER_KEY_ENV`, `TRUST_LEDGER_KEY_FILE` | `db.cipher.key_env`, `db.cipher.key_file` | `db_key` in `$CREDENTIALS_DIRECTORY`, else `ledger.key` in the config folder |
//!
//! When one place names both a variable and a file, the variable is used. The settings file itself is `--settings`, else
//! `TRUST_LEDGER_SETTINGS`, else `settings.toml` in the config folder if there is one. An empty variable counts as not
//! set. Paths in the settings file are relative to its folder.

mod file;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use directories::ProjectDirs;

use crate::cli::Global;
use crate::failure::{Failure, Result};

/// What the settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Which ledger.
    pub(crate) place: Place,
    /// Whether the ledger was named; a ledger that is not is created when it is first needed.
    pub(crate) is_named: bool,
    /// Where its key comes from.
    pub(crate) key: Key,
}

/// Which ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// In memory, gone with the process: for trying things out.
    Memory,
}

/// Where the ledger's key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// This environment variable, which was named.
    Variable(String),
    /// This file, which was named or handed over by the service manager.
    File(PathBuf),
    /// Nothing was said: the file in the config folder, which is made when a ledger is created.
    Default(PathBuf),
    /// None: the ledger is a plain SQLite file.
    None,
}

impl Settings {
    /// Reads all places.
    ///
    /// # Errors
    ///
    /// A settings file that cannot be read or understood, a URL of another kind, no home folder where one is needed: each
    /// named with its place.
    pub(crate) fn read(global: &Global) -> Result<Settings> {
        let folders = ProjectDirs::from("", "", "trust-ledger");
        let folders = folders.as_ref().map(|folders| (folders.config_dir(), folders.data_local_dir()));
        resolve(global, &|name| env::var_os(name).filter(|value| !value.is_empty()), folders)
    }
}

/// [`Settings::read`], with the environment and the user's config and data folders given.
fn resolve(
    global: &Global,
    variable: &dyn Fn(&str) -> Option<OsString>,
    folders: Option<(&Path, &Path)>,
) -> Result<Settings> {
    let no_home = |option: &str| {
        Failure::usage(format!("there is no home folder for this user, so nothing is assumed; name it with {option}"))
    };
    let text = |name: &str| match variable(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Failure::usage(format!("the environment variable {name} is not UTF-8"))),
    };

    let file = match (&global.settings, variable("TRUST_LEDGER_SETTINGS"), folders) {
        (Some(path), _, _) => file::read(path)?,
        (None, Some(path), _) => file::read(Path::new(&path))?,
        (None, None, Some((config, _))) => file::read_if_there(&config.join("settings.toml"))?,
        (None, None, None) => file::Contents::default(),
    };

    let named = match &global.db {
        Some(db) => Some(place(db).map_err(|reason| Failure::usage(format!("--db: {reason}")))?),
        None => match text("TRUST_LEDGER_DB")? {
            Some(db) => Some(place(&db).map_err(|reason| Failure::usage(format!("TRUST_LEDGER_DB: {reason}")))?),
            None => file.place,
        },
    };
    let is_named = named.is_some();
    let place = match (named, folders) {
        (Some(place), _) => place,
        (None, Some((_, data))) => Place::File(data.join("ledger.db")),
        (None, None) => return Err(no_home("--db")),
    };

    let on_command_line = match (&global.key_env, &global.key_file) {
        _ if global.no_key => Some(Key::None),
        (Some(name), _) => Some(Key::Variable(name.clone())),
        (None, Some(path)) => Some(Key::File(path.clone())),
        (None, None) => None,
    };
    let in_environment = match (text("TRUST_LEDGER_KEY_ENV")?, variable("TRUST_LEDGER_KEY_FILE")) {
        (Some(name), _) => Some(Key::Variable(name)),
        (None, path) => path.map(|path| Key::File(path.into())),
    };
    let handed_over = || {
        let path = PathBuf::from(variable("CREDENTIALS_DIRECTORY")?).join("db_key");
        path.exists().then_some(Key::File(path))
    };
    let key = match on_command_line.or(in_environment).or(file.key).or_else(handed_over) {
        _ if place == Place::Memory => Key::None,
        Some(key) => key,
        None => Key::Default(folders.ok_or_else(|| no_home("--key-file or --key-env"))?.0.join("ledger.key")),
    };
    Ok(Settings { place, is_named, key })
}

/// Reads a path or URL of a ledger.
fn place(text: &str) -> Result<Place, String> {
    // One letter is a Windows drive.
    let scheme = text.split_once(':').filter(|(scheme, _)| {
        scheme.len() > 1 && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
    });
    match scheme {
        None if text.is_empty() => Err("it is empty; expected a file or sqlite:FILE".to_owned()),
        None => Ok(Place::File(text.into())),
        Some(("sqlite", ":memory:")) => Ok(Place::Memory),
        Some(("sqlite", rest)) => match rest.strip_prefix("//").unwrap_or(rest) {
            "" => Err("sqlite: names no file; expected sqlite:FILE".to_owned()),
            path => Ok(Place::File(path.into())),
        },
        // What follows the scheme may hold a password and is not shown.
        Some(("postgres" | "postgresql", _)) => {
            Err("PostgreSQL is not spoken by this version, which keeps the ledger in SQLite; name a file".to_owned())
        }
        Some((scheme, _)) => Err(format!(
            "{scheme}: is not known; expected a file or sqlite:FILE (a file with a colon in its name: ./{scheme}:…)"
        )),
    }
}

#[cfg(test)]
mod tests;
