//! A user with a password from a [`KeySource`].

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::{Credential, CredentialProvider, Login};
use crate::error::{Error, Result};
use crate::key::KeySource;
use crate::secret::{BoxFuture, Secret};

/// A user and where its password comes from.
///
/// The source is asked for each physical connection, so that a file or variable whose content changes is used at once.
/// A source that is slow to ask (a command, a cloud's store) belongs into [`Cached`](super::Cached).
pub struct Password {
    user: Option<String>,
    source: KeySource,
    last: Mutex<Last>,
}

/// What the source answered last, and how many different answers there were.
#[derive(Default)]
struct Last {
    password: Option<Secret>,
    generation: u64,
}

impl Password {
    /// Logs in as `user`.
    pub fn new(user: impl Into<String>, source: KeySource) -> Self {
        Password { user: Some(user.into()), source, last: Mutex::default() }
    }

    /// Logs in as the user that the settings name.
    pub fn from_source(source: KeySource) -> Self {
        Password { user: None, source, last: Mutex::default() }
    }
}

impl CredentialProvider for Password {
    fn credential<'a>(&'a self, login: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        Box::pin(async move {
            let Some(user) = self.user.as_ref().or(login.user.as_ref()) else {
                return Err(Error::credential(
                    self,
                    "gives a password, and nothing names the user; name it in the URL",
                ));
            };
            let password = self.source.secret().await?;
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.password.as_ref() != Some(&password) {
                last.generation += 1;
                last.password = Some(password.clone());
            }
            Ok(Credential::new(user, password, last.generation))
        })
    }
}

/// Names the source.
impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").field("user", &self.user).field("source", &self.source).finish_non_exhaustive()
    }
}
