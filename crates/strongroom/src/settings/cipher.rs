//! Section `db.cipher`: whether the file is encrypted, and which of the sources gives the key.

use std::path::PathBuf;

use super::place::{Place, Said};
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
    pub(super) key_command: Option<Said<String>>,
    pub(super) aws_secret: Option<Said<String>>,
    pub(super) aws_secret_field: Option<Said<String>>,
}

/// A kind of key source, in order of preference: of several that one place names, the first is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Env,
    File,
    Sops,
    Command,
    AwsSecret,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Env, Kind::File, Kind::Sops, Kind::Command, Kind::AwsSecret];

    /// What a value must be.
    const EXPECTED: &str = "env, file, sops, command or aws-secret";

    pub(super) fn of(value: &Value) -> Result<Self, String> {
        let Ok(name) = value.text() else { return Err(value.instead_of(Self::EXPECTED)) };
        let named = Self::ALL.into_iter().find(|kind| kind.name() == name);
        named.ok_or_else(|| format!("expected {}", Self::EXPECTED))
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Env => "env",
            Kind::File => "file",
            Kind::Sops => "sops",
            Kind::Command => "command",
            Kind::AwsSecret => "aws-secret",
        }
    }

    /// The key that a source of this kind cannot be without, and what it is.
    fn needs(self) -> &'static str {
        match self {
            Kind::Env => "key_env, the variable's name",
            Kind::File => "key_file, the file's path",
            Kind::Sops => "sops_path, the file's path",
            Kind::Command => "key_command, the command line",
            Kind::AwsSecret => "aws_secret, the secret's name or ARN",
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
        match self.source(kind) {
            Some(source) => Ok(Verdict::Key(source)),
            None => {
                Err(self.refused(kind, &named, &format!("it is {}, and {}, is missing", kind.name(), kind.needs())))
            }
        }
    }

    /// Whether a place of the key was said, or that there is none.
    pub(super) fn speaks(&self) -> bool {
        self.enabled.is_some() || self.key_source.is_some() || !self.named().is_empty()
    }

    /// The source of this kind, if what it needs was said.
    fn source(&self, kind: Kind) -> Option<KeySource> {
        fn value<T>(said: &Option<Said<T>>) -> Option<&T> {
            said.as_ref().map(|said| &said.value)
        }
        Some(match kind {
            Kind::Env => KeySource::env(value(&self.key_env)?),
            Kind::File => KeySource::file(value(&self.key_file)?),
            Kind::Sops => {
                let file = Sops::new(value(&self.sops_path)?);
                match value(&self.sops_key) {
                    Some(name) => file.name(name).into(),
                    None => file.into(),
                }
            }
            Kind::Command => KeySource::command(value(&self.key_command)?),
            Kind::AwsSecret => {
                KeySource::aws_secret(value(&self.aws_secret)?, value(&self.aws_secret_field).map(String::as_str))
            }
        })
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
        let Some(last) = named.iter().map(|named| named.turn).max() else { return Ok(None) };
        Ok(named.iter().filter(|named| named.turn == last).map(|named| named.kind).min())
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
            named(Kind::Command, "key_command", &self.key_command),
            named(Kind::AwsSecret, "aws_secret", &self.aws_secret),
            named(Kind::AwsSecret, "aws_secret_field", &self.aws_secret_field),
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
