//! Credentials: who logs in to a server, with what password, and for how long that holds.
//!
//! Start from [`CredentialProvider`], which is asked for each physical connection. [`Password`] is the plainest one;
//! [`Cached`] keeps what another one has answered.

mod cached;
mod log_in;
mod password;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Result;
use crate::secret::{BoxFuture, Secret};

pub use self::cached::Cached;
pub(crate) use self::log_in::{LogIn, Refusal};
pub use self::password::Password;

/// What somebody wants to log in to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Login {
    /// The server's name or address, as the settings say it. Empty when nothing was said: the credential must know.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The user that the settings name, if they do.
    pub user: Option<String>,
}

impl Login {
    /// A login at `host` and `port`, as `user`.
    pub fn new(host: impl Into<String>, port: u16, user: Option<String>) -> Self {
        Login { host: host.into(), port, user }
    }
}

/// What opens one physical connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Credential {
    /// Who logs in.
    pub user: String,
    /// The password, or a token that serves as one.
    pub password: Secret,
    /// Until when it may be used to log in; `None` when that is not known. A connection that is open lives on.
    pub valid_until: Option<SystemTime>,
    /// Tells this user and password from those that the provider answered before. A provider that answers the same ones
    /// again says the same number; it never reuses one for others.
    pub generation: u64,
    /// Where the server is, as far as the provider knows. It fills what the settings leave out.
    pub server: Server,
}

/// Where a server is, as far as a secret says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// Its name or address.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// The database's name.
    pub database: Option<String>,
}

impl Credential {
    /// A user and password that hold until the server refuses them.
    pub fn new(user: impl Into<String>, password: Secret, generation: u64) -> Self {
        Credential { user: user.into(), password, valid_until: None, generation, server: Server::default() }
    }

    /// Says until when it may be used.
    pub fn valid_until(mut self, end: SystemTime) -> Self {
        self.valid_until = Some(end);
        self
    }

    /// Says where the server is.
    pub fn at(mut self, server: Server) -> Self {
        self.server = server;
        self
    }
}

/// Gives the credential for each physical connection. `Display` names the provider in messages, such as
/// `AWS secret app/db`; it must not show a secret.
///
/// Implement it to bring your own; wrap that into [`Cached`] when asking is slow. An example is
/// `examples/own_credentials.rs`.
pub trait CredentialProvider: fmt::Display + Send + Sync + 'static {
    /// Asks for a credential to log in with.
    ///
    /// # Errors
    ///
    /// [`Credential`](crate::Error::Credential); see [`Error::credential`](crate::Error::credential). One that
    /// [may pass](crate::Error::passing) is asked for again, by the pool.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any await; nothing may stay behind.
    fn credential<'a>(&'a self, login: &'a Login) -> BoxFuture<'a, Result<Credential>>;

    /// The server has refused this generation: it must not be answered from memory again. Must not block. Default: nothing
    /// is done, which is right for a provider that remembers nothing.
    fn refused(&self, generation: u64) {
        let _ = generation;
    }

    /// For how long after a refusal it is worth while to ask again although nothing new has come: while a secret is being
    /// rotated there is a moment in which neither the old password nor the new one logs in. Default: none.
    fn patience(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

impl<P: CredentialProvider + ?Sized> CredentialProvider for Arc<P> {
    fn credential<'a>(&'a self, login: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        (**self).credential(login)
    }

    fn refused(&self, generation: u64) {
        (**self).refused(generation);
    }

    fn patience(&self) -> std::time::Duration {
        (**self).patience()
    }
}
