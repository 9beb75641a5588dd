//! `db rekey` and `db encrypt`: another key for the ledger, or its first.
//!
//! Order, so that no crash leaves a ledger without its key: the new key is in a file and synced before the ledger has it;
//! the old key's file is put aside, never deleted, because backups made before still need it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use strongroom::{KeySource, Sops};
use time::OffsetDateTime;
use time::macros::format_description;

use super::shown_by;
use crate::cli::Global;
use crate::failure::Exit;
use crate::failure::{Failure, Result};
use crate::ledger;
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::settings::{Key, Settings};

/// Give the ledger another key
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger db rekey                            a random key in the key file
  trust-ledger db rekey --new-key-file /etc/l.key  made when it is not there
  trust-ledger db rekey --new-key-env LEDGER_KEY

Needs as much free space as the ledger takes. Other processes must have stopped.
The old key's file is kept beside the new one: backups made before need it.")]
pub(crate) struct RekeyArguments {
    #[command(flatten)]
    new_key: NewKeyArguments,
}

/// Encrypt a plain ledger
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger --db a.db --no-key db encrypt --new-key-file ledger.key

Without a new key's place it is the key file in your config folder. What the
plain file held stays on the disk, in space that is free now.")]
pub(crate) struct EncryptArguments {
    #[command(flatten)]
    new_key: NewKeyArguments,
}

#[derive(Args, Debug)]
struct NewKeyArguments {
    /// File with the new key; a random one is put there when there is no such file
    #[arg(long, value_name = "FILE", group = "new_key")]
    new_key_file: Option<PathBuf>,

    /// Environment variable with the new key
    #[arg(long, value_name = "NAME", group = "new_key")]
    new_key_env: Option<String>,

    /// SOPS file that holds the new key, under this name or db_key
    #[arg(long, value_name = "FILE[#NAME]", group = "new_key")]
    new_key_sops: Option<String>,

    /// Command that prints the new key
    #[arg(long, value_name = "CMD", group = "new_key")]
    new_key_command: Option<String>,

    /// AWS secret that is the new key, or holds it in this field
    #[arg(long, value_name = "ID[#FIELD]", group = "new_key")]
    new_key_aws_secret: Option<String>,
}

#[derive(Serialize)]
struct Outcome {
    key_file: Option<String>,
    key_env: Option<String>,
    /// The key's source in words, also when it is none of the two.
    key_source: String,
    /// Where the old key's file was put.
    old_key_file: Option<String>,
}

pub(crate) async fn rekey(settings: &Settings, output: &Output, arguments: &RekeyArguments) -> Result<Exit> {
    in_a_file(settings)?;
    if matches!(settings.key, Key::None) {
        return Err(Failure::usage("this ledger has no key yet; `trust-ledger db encrypt` gives it one"));
    }
    let database = ledger::open_existing(settings).await?;
    let outcome = match (&arguments.new_key.named()?, settings.key.path()) {
        (Some(new_key), _) => {
            database.rekey(new_key.source()?, shown_by(output.progress_of_pages("rekey"))).await?;
            new_key.outcome()
        }
        (None, Some(path)) => {
            let (new, old) = (ledger::new_key_file(path), old_key_file(path)?);
            if !ledger::write_key(&new, &ledger::random_key()?)? {
                return Err(Failure::failed(format!(
                    "{0} is there, from a change of the key that was cut short: when `trust-ledger check --key-file {0}` \
                     succeeds, put it in the place of {1}, else delete it",
                    new.display(),
                    path.display()
                )));
            }
            let rekeyed = database.rekey(KeySource::file(&new), shown_by(output.progress_of_pages("rekey"))).await;
            if let Err(error) = rekeyed {
                // The old key must be tried on the file as it is now.
                let _ = database.close().await;
                return Err(cut_short(settings, path, &new, error).await);
            }
            swap(path, &new, &old)?;
            Outcome { old_key_file: Some(old.display().to_string()), ..NewKey::File(path.to_owned()).outcome() }
        }
        (None, None) => {
            return Err(Failure::usage(format!(
                "the key comes from {}, which cannot be set from here; say --new-key-file or another source",
                settings.key.shown()
            )));
        }
    };
    database.close().await?;
    tell(output, "the ledger has its new key", &outcome)
}

pub(crate) async fn encrypt(
    settings: &Settings,
    global: &Global,
    output: &Output,
    arguments: &EncryptArguments,
) -> Result<Exit> {
    in_a_file(settings)?;
    if !matches!(settings.key, Key::None) {
        return Err(Failure::usage("say --no-key: only a plain ledger can be encrypted; see `trust-ledger db rekey`"));
    }
    let new_key = match arguments.new_key.named()? {
        Some(new_key) => new_key,
        None => {
            let with_key = Settings::read(&Global { no_key: false, ..global.clone() })?;
            match (with_key.key.path(), with_key.key.source()) {
                (Some(path), _) => NewKey::File(path.to_owned()),
                (None, Some(source)) => NewKey::Named(source),
                (None, None) => return Err(Failure::usage("only a ledger in a file can be encrypted")),
            }
        }
    };
    let database = ledger::open_existing(settings).await?;
    let progress = output.progress_of_work("encrypting");
    database.encrypt(new_key.source()?).await?;
    drop(progress);
    database.close().await?;
    tell(output, "the ledger is encrypted; leave --no-key out from now on", &new_key.outcome())
}

/// Refuses a ledger that is not a file, and has no key for that.
fn in_a_file(settings: &Settings) -> Result<()> {
    match settings.path() {
        Some(_) => Ok(()),
        None => Err(Failure::usage(format!("{} is no file; only a ledger in a file has a key", settings.config))),
    }
}

/// Where the new key comes from.
enum NewKey {
    /// In this file, which is made when it is not there.
    File(PathBuf),
    /// The environment variable of this name.
    Variable(String),
    Named(KeySource),
}

impl NewKeyArguments {
    fn named(&self) -> Result<Option<NewKey>> {
        if let Some(path) = &self.new_key_file {
            return Ok(Some(NewKey::File(std::path::absolute(path)?)));
        }
        if let Some(name) = &self.new_key_env {
            return Ok(Some(NewKey::Variable(name.clone())));
        }
        let source = if let Some(sops) = &self.new_key_sops {
            match sops.rsplit_once('#') {
                Some((path, name)) => Sops::new(std::path::absolute(path)?).name(name).into(),
                None => Sops::new(std::path::absolute(sops)?).into(),
            }
        } else if let Some(line) = &self.new_key_command {
            KeySource::command(line)
        } else if let Some(secret) = &self.new_key_aws_secret {
            match secret.rsplit_once('#') {
                Some((id, field)) => KeySource::aws_secret(id, Some(field)),
                None => KeySource::aws_secret(secret, None),
            }
        } else {
            return Ok(None);
        };
        Ok(Some(NewKey::Named(source)))
    }
}

impl NewKey {
    /// The source; a file that is not there is made, with a random key.
    fn source(&self) -> Result<KeySource> {
        Ok(match self {
            NewKey::Variable(name) => KeySource::env(name),
            NewKey::Named(source) => source.clone(),
            NewKey::File(path) => {
                if !path.try_exists()? {
                    ledger::make_key_file(path)?;
                }
                KeySource::file(path)
            }
        })
    }

    fn outcome(&self) -> Outcome {
        let (key_file, key_env, key_source) = match self {
            NewKey::File(path) => (Some(path.display().to_string()), None, KeySource::file(path).to_string()),
            NewKey::Variable(name) => (None, Some(name.clone()), KeySource::env(name).to_string()),
            NewKey::Named(source) => (None, None, source.to_string()),
        };
        Outcome { key_file, key_env, key_source, old_key_file: None }
    }
}

/// Why the key was not changed. It may have been all the same: the new file was in its place, and the folder could not be
/// synced, or the file not be opened again. So the new key's file goes only when the old key still opens the ledger.
async fn cut_short(settings: &Settings, path: &Path, new: &Path, error: strongroom::Error) -> Failure {
    match ledger::connect(settings, false).await {
        Ok(database) => {
            let _ = database.close().await;
            match std::fs::remove_file(new) {
                Ok(()) => error.into(),
                Err(kept) => {
                    Failure::failed(format!("{error}; {} could not be deleted", new.display())).caused_by(kept)
                }
            }
        }
        Err(_) => Failure::failed(format!(
            "{error}; the ledger may have its new key, so {0} is kept: when `trust-ledger check --key-file {0}` succeeds, \
             put it in the place of {1}, else delete it",
            new.display(),
            path.display()
        )),
    }
}

/// Puts the new key's file in the place of the old one, which gets another name. There is a key file at `path` at every
/// moment, the old or the new.
fn swap(path: &Path, new: &Path, old: &Path) -> Result<()> {
    let failed = |error| {
        let (new, path) = (new.display(), path.display());
        Failure::failed(format!("the ledger has its new key, but {new} could not be put in the place of {path}"))
            .caused_by(error)
    };
    std::fs::hard_link(path, old).or_else(|_| std::fs::copy(path, old).map(drop)).map_err(failed)?;
    std::fs::rename(new, path).map_err(failed)?;
    ledger::sync_folder(path.parent().unwrap_or(Path::new("."))).map_err(failed)
}

/// Named for the moment until which it was the ledger's.
fn old_key_file(path: &Path) -> Result<PathBuf> {
    let until = format_description!(".until-[year]-[month]-[day]T[hour]-[minute]-[second]Z");
    let mut name = path.as_os_str().to_owned();
    name.push(OffsetDateTime::now_utc().format(until)?);
    Ok(PathBuf::from(name))
}

fn tell(output: &Output, done: &str, outcome: &Outcome) -> Result<Exit> {
    if output.is_json() {
        output.object(outcome)?;
        return Ok(Exit::Done);
    }
    let mut text = format!("{done}\n");
    if let Some(path) = &outcome.key_file {
        text.push_str(&format!("the key is in     {}\n", for_terminal(path)));
    }
    if outcome.key_file.is_none() {
        text.push_str(&format!("the key is in the {}\n", for_terminal(&outcome.key_source)));
    }
    if let Some(path) = &outcome.old_key_file {
        text.push_str(&format!("the old key is in {}; older backups need it\n", for_terminal(path)));
    }
    output.text(&text)?;
    output.note("Without the key the ledger is lost. To keep a copy: trust-ledger key export FILE");
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use strongroom::{Config, Error};

    use super::*;

    /// A change of the key that fails is not always one that has not happened.
    #[tokio::test]
    async fn a_new_key_is_deleted_only_while_the_old_one_opens_the_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let [file, path, new] = ["a.db", "a.key", "a.key.new"].map(|name| folder.path().join(name));
        for key in [&path, &new] {
            assert!(ledger::write_key(key, &ledger::random_key().unwrap()).unwrap());
        }
        let (old_source, new_source) = (KeySource::file(&path), KeySource::file(&new));
        let config = Config::sqlite(&file).key(old_source.clone());
        let settings = Settings { config: config.clone(), is_named: true, key: Key::Named(old_source) };
        let failed = || cut_short(&settings, &path, &new, Error::credential("disk", "it failed"));

        let database = config.connect().await.unwrap();
        database.rekey(new_source, |_| ()).await.unwrap();
        database.close().await.unwrap();
        let failure = failed().await.to_string();
        assert!(new.exists(), "the ledger's only key was deleted");
        assert!(failure.starts_with("disk: it failed; ") && failure.contains("a.key.new is kept"), "{failure}");

        let database = Config::sqlite(&file).key(KeySource::file(&new)).connect().await.unwrap();
        database.rekey(KeySource::file(&path), |_| ()).await.unwrap();
        database.close().await.unwrap();
        let failure = failed().await.to_string();
        assert!(!new.exists());
        assert_eq!(failure, "disk: it failed");
    }
}
