//! A secret that the program already holds.

use std::fmt;

use crate::error::Result;
use crate::secret::{BoxFuture, Secret, SecretProvider};

pub(super) struct Literal(pub(super) Secret);

impl SecretProvider for Literal {
    fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
        let secret = self.0.clone();
        Box::pin(async { Ok(secret) })
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key given by the program")
    }
}
