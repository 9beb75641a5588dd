//! Section `db.cipher`: whether the file is encrypted, and which of the sources gives the key.

use std::path::PathBuf;

use super::place::Place;
use super::value::Value;
use crate::error::{Error, Result};
use crate::key::KeySource;
use crate::sops::Sops;

/// What was said about encryption.
#[derive(Debug, Default)]
pub(super) struct Cipher {
    pub(super) enabled: Option<Said<bool>>,
    pub(super) key_source: Option<Said<Kind>>,
    pub(super) key_env: Option<Said<String>>,
    pub(super) key_file: Option<Said<PathBuf>>,
    pub(super) sops_path: Option<Said<PathBuf>>,
    pub(super) sops_key: Option<Said<String>>,
}

/// A value, where it was said, and the how-manieth file or environment that was.
#[derive(Debug)]
pub(super) struct Said<T> {
    pub(super) value: T,
    pub(super) place: Place,
    pub(super) turn: usize,
}

/// A kind of key source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Env,
    File,
    Sops,
}

impl Kind {
    pub(super) fn of(value: &Value) -> Result<Self, String> {
        match value.text() {
            Ok("env") => Ok(Kind::Env),
            Ok("file") => Ok(Kind::File),
            Ok("sops") => Ok(Kind::Sops),
            Ok(_) => Err("expected env, file or sops".to_owned()),
            Err(_) => Err(value.instead_of("env, file or sops")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Env => "env",
            Kind::File => "file",
            Kind::Sops => "sops",
        }
    }
}

/// What follows from all that was said.
pub(super) enum Verdict {
    /// Nothing was said.
    Unsaid,
    /// The file is plain.
    Plain,
    /// The key comes from here.
    Key(KeySource),
    /// The file is encrypted, which was said here, and the key must be the program's.
    KeyOfProgram(Place),
}

/// A key that names a source: its kind, its name, and where and when it was said.
struct Named<'c> {
    kind: Kind,
    key: &'static str,
    place: &'c Place,
    turn: usize,
}

impl Cipher {
    /// Which source is used.
    ///
    /// The later file or environment wins over the earlier; what one of them says must fit together.
    pub(super) fn verdict(&self) -> Result<Verdict> {
        let named = self.named();
        if let Some(enabled) = &self.enabled
            && !enabled.value
        {
            let source = self.key_source.as_ref().map(|source| ("key_source", &source.place, source.turn));
            let mut given = named.iter().map(|named| (named.key, named.place, named.turn)).chain(source);
            return match given.find(|(_, _, turn)| *turn >= enabled.turn) {
                None => Ok(Verdict::Plain),
                Some((key, place, _)) => Err(error(
                    "enabled",
                    &enabled.place,
                    format!(
                        "it is false, and {key} says where a key comes from ({place}); \
                         leave out enabled to encrypt the file, or {key} to keep it plain"
                    ),
                )),
            };
        }
        let Some(kind) = self.kind(&named)? else {
            return Ok(match &self.enabled {
                Some(enabled) => Verdict::KeyOfProgram(enabled.place.clone()),
                None => Verdict::Unsaid,
            });
        };
        match (kind, &self.key_env, &self.key_file) {
            (Kind::Env, Some(name), _) => Ok(Verdict::Key(KeySource::env(&name.value))),
            (Kind::File, _, Some(path)) => Ok(Verdict::Key(KeySource::file(&path.value))),
            (Kind::Sops, ..) => match &self.sops_path {
                Some(path) => {
                    let file = Sops::new(&path.value);
                    Ok(Verdict::Key(match &self.sops_key {
                        Some(name) => file.name(&name.value).into(),
                        None => file.into(),
                    }))
                }
                None => Err(self.refused(kind, &named, "it is sops, and sops_path, the file's path, is missing")),
            },
            (Kind::Env, None, _) => {
                Err(self.refused(kind, &named, "it is env, and key_env, the variable's name, is missing"))
            }
            (Kind::File, _, None) => {
                Err(self.refused(kind, &named, "it is file, and key_file, the file's path, is missing"))
            }
        }
    }

    /// The kind of source that was said, outright or by naming one.
    fn kind(&self, named: &[Named<'_>]) -> Result<Option<Kind>> {
        if let Some(source) = &self.key_source {
            // Naming another source later was meant to have an effect.
            return match named.iter().find(|named| named.turn > source.turn && named.kind != source.value) {
                None => Ok(Some(source.value)),
                Some(Named { key, place, kind, .. }) => Err(error(
                    key,
                    place,
                    format!(
                        "key_source is {} ({}), so this would not be used; set key_source to {} as well",
                        source.value.name(),
                        source.place,
                        kind.name()
                    ),
                )),
            };
        }
        let Some(last) = named.iter().max_by_key(|named| named.turn) else { return Ok(None) };
        match named.iter().find(|named| named.turn == last.turn && named.kind != last.kind) {
            None => Ok(Some(last.kind)),
            Some(other) => Err(error(
                last.key,
                last.place,
                format!("{} names a source of the key too ({}); say which with key_source", other.key, other.place),
            )),
        }
    }

    fn named(&self) -> Vec<Named<'_>> {
        fn named<'c, T>(kind: Kind, key: &'static str, said: &'c Option<Said<T>>) -> Option<Named<'c>> {
            said.as_ref().map(|said| Named { kind, key, place: &said.place, turn: said.turn })
        }
        let all = [
            named(Kind::Env, "key_env", &self.key_env),
            named(Kind::File, "key_file", &self.key_file),
            named(Kind::Sops, "sops_path", &self.sops_path),
            named(Kind::Sops, "sops_key", &self.sops_key),
        ];
        all.into_iter().flatten().collect()
    }

    /// An error at what chose this kind: `key_source`, or the key that names such a source.
    fn refused(&self, kind: Kind, named: &[Named<'_>], reason: &str) -> Error {
        let chosen_by = match &self.key_source {
            Some(source) => Some(("key_source", &source.place)),
            None => named.iter().find(|named| named.kind == kind).map(|named| (named.key, named.place)),
        };
        match chosen_by {
            Some((key, place)) => error(key, place, reason.to_owned()),
            None => Error::config("db.cipher", reason),
        }
    }
}

fn error(key: &str, place: &Place, reason: String) -> Error {
    Error::config(format!("db.cipher.{key}"), format!("{place}: {reason}"))
}
