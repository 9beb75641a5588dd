//! A secret in an environment variable.

use std::fmt;

use crate::error::{Error, Result};
use crate::secret::{BoxFuture, Secret, SecretProvider};

pub(super) struct Variable(pub(super) String);

impl SecretProvider for Variable {
    fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
        let value = std::env::var_os(&self.0).ok_or_else(|| Error::credential(self, "is not set"));
        Box::pin(async { Ok(Secret::new(value?.into_encoded_bytes())) })
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment variable {}", self.0)
    }
}
