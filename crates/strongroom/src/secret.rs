//! Secrets and whoever gives them.
//!
//! Start from [`KeySource`](crate::KeySource), which has the sources that come with this crate; implement
//! [`SecretProvider`] to add another.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A future behind a pointer, as the methods of the provider traits answer: `Box::pin(async move { … })`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The longest secret that is taken from a source, in bytes.
pub(crate) const MAX_SECRET_LEN: usize = 64 * 1024;

/// A key or a password. Its memory is zeroed when it is dropped, and `Debug` does not show it.
///
/// Cloning copies it; each copy is zeroed for itself.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes what is to be kept secret. A `String` or `Vec<u8>` is not copied.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Secret(Zeroizing::new(secret.into()))
    }

    /// The secret itself. Whoever asks must take care of it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// [`expose`](Self::expose), if it is UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// Takes as long whether the secrets differ early or late; their length is no secret.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && openssl::memcmp::eq(&self.0, &other.0)
    }
}

impl Eq for Secret {}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(secret: Zeroizing<Vec<u8>>) -> Self {
        Secret(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Gives one secret: the key of a file, or a password. `Display` names the source in messages, such as
/// `environment variable APP_DB_KEY`; it must not show the secret.
///
/// ```
/// use std::fmt;
/// use strongroom::{BoxFuture, Error, Result, Secret, SecretProvider};
///
/// struct Vault {
///     path: String,
/// }
///
/// impl fmt::Display for Vault {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "vault secret {}", self.path)
///     }
/// }
///
/// impl SecretProvider for Vault {
///     fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
///         Box::pin(async move {
///             # async fn ask(_: &str) -> std::io::Result<String> { Ok("k".into()) }
///             let answer = ask(&self.path).await;
///             answer.map(Secret::new).map_err(|error| Error::credential(self, "did not answer").caused_by(error))
///         })
///     }
/// }
///
/// let config = strongroom::Config::sqlite("app.db").key(Vault { path: "kv/app".into() });
/// ```
pub trait SecretProvider: fmt::Display + Send + Sync + 'static {
    /// Asks the source.
    ///
    /// # Errors
    ///
    /// [`Credential`](Error::Credential) when the source has nothing, or cannot be asked; see [`Error::credential`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any await; nothing may stay behind.
    fn secret(&self) -> BoxFuture<'_, Result<Secret>>;
}

impl<P: SecretProvider + ?Sized> SecretProvider for Arc<P> {
    fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
        (**self).secret()
    }
}

/// Runs what reads files on a thread where it may block.
pub(crate) async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    // It is not aborted; an error means that it panicked, or that the runtime is being shut down.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Cancelled))
}
