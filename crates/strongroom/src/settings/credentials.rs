//! Setting `credentials`: how to log in to a server, in one word or two.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::aws::{AwsSecret, Dsql, RdsIam};
use crate::credential::{Cached, CredentialProvider, Password};
use crate::key::KeySource;

/// What a value must be.
const EXPECTED: &str =
    "expected rds-iam, dsql, dsql-admin, aws-secret:ID, env:NAME, file:PATH, sops:FILE#NAME or command:LINE";

/// How to log in to a server.
#[derive(Clone)]
pub(super) enum Credentials {
    Token(Token),
    Other(Arc<dyn CredentialProvider>),
}

/// A token that is signed here.
#[derive(Clone, Copy)]
pub(super) enum Token {
    RdsIam,
    Dsql,
    DsqlAdmin,
}

impl Credentials {
    /// Reads a value; a relative path in it is relative to `folder`.
    pub(super) fn parse(value: &str, folder: &Path) -> Result<Self, String> {
        let (kind, name) = value.split_once(':').map_or((value, None), |(kind, name)| (kind, Some(name)));
        let provider: Arc<dyn CredentialProvider> = match (kind, name) {
            ("rds-iam", None) => return Ok(Credentials::Token(Token::RdsIam)),
            ("dsql", None) => return Ok(Credentials::Token(Token::Dsql)),
            ("dsql-admin", None) => return Ok(Credentials::Token(Token::DsqlAdmin)),
            (_, None | Some("")) => return Err(EXPECTED.to_owned()),
            ("aws-secret", Some(id)) => Arc::new(AwsSecret::new(id)),
            ("env", Some(name)) => Arc::new(Password::from_source(KeySource::env(name))),
            ("file", Some(path)) => Arc::new(Password::from_source(KeySource::file(folder.join(path)))),
            ("sops", Some(place)) => {
                let (path, name) = place.rsplit_once('#').ok_or("expected sops:FILE#NAME")?;
                Arc::new(Password::from_source(KeySource::sops(folder.join(path), name)))
            }
            // It may take long, and want somebody to touch something.
            ("command", Some(line)) => Arc::new(Cached::new(Password::from_source(KeySource::command(line)))),
            _ => return Err(EXPECTED.to_owned()),
        };
        Ok(Credentials::Other(provider))
    }

    pub(super) fn provider(&self) -> Arc<dyn CredentialProvider> {
        match self {
            Credentials::Token(Token::RdsIam) => Arc::new(RdsIam::from_environment()),
            Credentials::Token(Token::Dsql) => Arc::new(Dsql::from_environment()),
            Credentials::Token(Token::DsqlAdmin) => Arc::new(Dsql::admin()),
            Credentials::Other(provider) => Arc::clone(provider),
        }
    }
}

impl Token {
    /// Signs one anew only when the last is as old as this.
    pub(super) fn kept(self, keep: Duration) -> Arc<dyn CredentialProvider> {
        match self {
            Token::RdsIam => Arc::new(RdsIam::from_environment().cached(keep)),
            Token::Dsql => Arc::new(Dsql::from_environment().cached(keep)),
            Token::DsqlAdmin => Arc::new(Dsql::admin().cached(keep)),
        }
    }
}

/// Names the source.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.provider(), f)
    }
}
