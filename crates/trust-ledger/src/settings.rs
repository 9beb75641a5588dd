//! Settings: which ledger, and where its key or password comes from.
//!
//! Each setting is taken from the first place that has it: the command line, the environment, the settings file, the
//! defaults. The places are:
//!
//! | setting | command line | environment | settings file | default |
//! |---|---|---|---|---|
//! | ledger | `--db` | `TRUST_LEDGER_DB` | `db.url` | `ledger.db` in the data folder |
//! | key | `--key-env`, `--key-file`, `--key-sops`, `--key-command`, `--key-aws-secret`, `--no-key` | `TRUST_LEDGER_KEY_ENV` and so on | section `db.cipher` | `db_key` in `$CREDENTIALS_DIRECTORY`, else `ledger.key` in the config folder |
//! | log-in to a server | `--credentials` | `TRUST_LEDGER_CREDENTIALS` | `db.credentials` | what the URL says |
//!
//! When one place names several sources of the key, the first in the order above is used. The settings file itself is
//! `--settings`, else `TRUST_LEDGER_SETTINGS`, else `settings.toml` in the config folder if there is one; its section `db` is
//! [`strongroom::Settings`]'. An empty variable counts as not set. Paths in the settings file are relative to its folder.

mod file;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use directories::ProjectDirs;
use strongroom::{Config, Dialect, KeySource};
use trust_ledger_registry::CACHE_KIB;

use crate::cli::Global;
use crate::failure::{Failure, Result};

/// How long a connection is kept that nobody needs.
const IDLE: Duration = Duration::from_secs(30);

/// What the settings say.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The database, its key included.
    pub(crate) config: Config,
    /// Whether the ledger was named; a ledger that is not is created when it is first needed.
    pub(crate) is_named: bool,
    /// Where its key comes from.
    pub(crate) key: Key,
}

/// Where the ledger's key comes from.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    /// From here, which was named or handed over by the service manager.
    Named(KeySource),
    /// Nothing was said: the file in the config folder, which is made when a ledger is created.
    Default(PathBuf),
    /// None: the ledger is a plain SQLite file, or no file.
    None,
}

impl Key {
    /// The source, if there is a key.
    pub(crate) fn source(&self) -> Option<KeySource> {
        match self {
            Key::Named(source) => Some(source.clone()),
            Key::Default(path) => Some(KeySource::file(path)),
            Key::None => None,
        }
    }

    /// The key's file, if the key is in one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Key::Named(source) => source.path(),
            Key::Default(path) => Some(path),
            Key::None => None,
        }
    }

    /// The source in words, such as `the environment variable APP_KEY`; a file by its path alone.
    pub(crate) fn shown(&self) -> String {
        match (self.path(), self.source()) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(source)) => format!("the {source}"),
            (None, None) => "nowhere".to_owned(),
        }
    }
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

    /// The ledger's file; `None` when it is in memory or on a server.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.config.path()
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
    let wrong = |error: strongroom::Error| Failure::usage(error.to_string());
    let read = match (&global.settings, variable("TRUST_LEDGER_SETTINGS"), folders) {
        (Some(path), _, _) => file::read(path)?,
        (None, Some(path), _) => file::read(Path::new(&path))?,
        (None, None, Some((config, _))) => file::read_if_there(&config.join("settings.toml"))?,
        (None, None, None) => strongroom::Settings::new(),
    };
    let in_environment = options(|place| place.variable, variable);
    let on_command_line = options(|place| Some(place.option), &|option| global.value(option));
    let read = read.options(in_environment).map_err(wrong)?.options(on_command_line).map_err(wrong)?;

    let is_named = read.names_database();
    let handed_over = variable("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join("db_key"));
    let is_there = |path: &PathBuf| {
        let unreadable = |error| Failure::usage(format!("{} cannot be examined", path.display())).caused_by(error);
        path.try_exists().map_err(unreadable)
    };
    let handed_over = match handed_over {
        Some(path) => is_there(&path)?.then_some(path),
        None => None,
    };
    let default_key = match (handed_over, folders) {
        (Some(path), _) => Some(Key::Named(KeySource::file(path))),
        (None, Some((config, _))) => Some(Key::Default(config.join("ledger.key"))),
        (None, None) => None,
    };
    let speaks_of_key = read.speaks_of_key();
    let defaults = match folders {
        Some((_, data)) => Config::sqlite(data.join("ledger.db")),
        // What is named takes its place.
        None if is_named => Config::memory(),
        None => return Err(no_home("--db")),
    };
    // What a service keeps in memory for requests goes soon after the last one; commands end before.
    let defaults = defaults.cache_kib(CACHE_KIB).pool_idle_timeout(Some(IDLE));
    let config = read.over(defaults).map_err(wrong)?;
    if let (Dialect::Postgres, Some(option)) = (config.dialect(), global.key_option()) {
        let reason = format!("{option}: a ledger on a server has no key; --credentials says how to log in");
        return Err(Failure::usage(reason));
    }
    let key = match (config.path(), config.key_source(), default_key) {
        (None, ..) => Key::None,
        (_, Some(source), _) => Key::Named(source.clone()),
        (_, None, _) if speaks_of_key => Key::None,
        (_, None, Some(key)) => key,
        (_, None, None) => return Err(no_home("--key-file or another source")),
    };
    let config = match key.source() {
        Some(source) => config.key(source),
        None => config.without_key(),
    };
    Ok(Settings { config, is_named, key })
}

/// Where a setting can be given: an option, and the variable that stands in for it, if one does.
struct Place {
    option: &'static str,
    variable: Option<&'static str>,
    gives: Gives,
}

/// What is given there.
enum Gives {
    /// A path or URL.
    Ledger,
    /// That there is no key.
    NoKey,
    /// A source of the key: its kind, the setting that takes it, and the one that takes what stands behind a `#`.
    Key(&'static str, &'static str, Option<&'static str>),
    /// How to log in.
    Credentials,
}

/// Sources of the key in their order of preference.
#[rustfmt::skip]
const PLACES: [Place; 8] = [
    place("--db", "TRUST_LEDGER_DB", Gives::Ledger),
    Place { option: "--no-key", variable: None, gives: Gives::NoKey },
    place("--key-env", "TRUST_LEDGER_KEY_ENV", Gives::Key("env", "cipher.key_env", None)),
    place("--key-file", "TRUST_LEDGER_KEY_FILE", Gives::Key("file", "cipher.key_file", None)),
    place("--key-sops", "TRUST_LEDGER_KEY_SOPS", Gives::Key("sops", "cipher.sops_path", Some("cipher.sops_key"))),
    place("--key-command", "TRUST_LEDGER_KEY_COMMAND", Gives::Key("command", "cipher.key_command", None)),
    place("--key-aws-secret", "TRUST_LEDGER_KEY_AWS_SECRET", Gives::Key("aws-secret", "cipher.aws_secret", Some("cipher.aws_secret_field"))),
    place("--credentials", "TRUST_LEDGER_CREDENTIALS", Gives::Credentials),
];

const fn place(option: &'static str, variable: &'static str, gives: Gives) -> Place {
    Place { option, variable: Some(variable), gives }
}

/// What is given under these names, as settings of section `db`.
fn options(
    name: fn(&Place) -> Option<&'static str>,
    value: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<(&'static str, OsString, &'static str)> {
    let mut given = Vec::new();
    let mut has_key = false;
    for place in &PLACES {
        let Some(name) = name(place) else { continue };
        let Some(value) = value(name) else { continue };
        match place.gives {
            Gives::Ledger => given.push(("url", url(value), name)),
            Gives::Credentials => given.push(("credentials", value, name)),
            Gives::NoKey => given.push(("cipher.enabled", "false".into(), name)),
            Gives::Key(kind, setting, part_setting) => {
                // It holds whatever an earlier place says of the key; of several here, the first.
                if !std::mem::replace(&mut has_key, true) {
                    given.push(("cipher.enabled", "true".into(), name));
                    given.push(("cipher.key_source", kind.into(), name));
                }
                match (part_setting, value.to_str().and_then(|value| value.rsplit_once('#'))) {
                    (Some(part_setting), Some((whole, part))) => {
                        given.push((setting, whole.into(), name));
                        given.push((part_setting, part.into(), name));
                    }
                    _ => given.push((setting, value, name)),
                }
            }
        }
    }
    given
}

/// The URL of a ledger: a bare path is a file's.
fn url(ledger: OsString) -> OsString {
    let scheme = ledger.to_str().and_then(|text| text.split_once(':')).filter(|(scheme, _)| {
        // One letter is a Windows drive.
        scheme.len() > 1 && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
    });
    if scheme.is_some() || ledger.is_empty() {
        return ledger;
    }
    let mut url = OsString::from("sqlite:");
    url.push(ledger);
    url
}

#[cfg(test)]
mod tests;
