//! A secret that the program already holds.

use std::fmt;

use crate::error::Result;
use crate::secret::{BoxFuture, Secret, SecretProvider};

/// The secret, and what it is called in messages.
pub(crate) struct Literal(pub(crate) Secret, pub(crate) &'static str);

impl SecretProvider for Literal {
    fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
        let secret = self.0.clone();
        Box::pin(async { Ok(secret) })
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
}
