//! AWS KMS keys: the seam to the service.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// The data key, encrypted by an AWS KMS key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KmsKey {
    /// The key; its region is part of it.
    pub(crate) arn: String,
    /// A role to take on first.
    pub(crate) role: Option<String>,
    /// The profile of the AWS settings to use.
    pub(crate) profile: Option<String>,
    /// The encryption context, which KMS authenticates.
    pub(crate) context: BTreeMap<String, String>,
    /// The encrypted data key, as `Decrypt` takes it.
    pub(crate) enc: Vec<u8>,
}

/// Asks KMS to decrypt the data key.
///
/// # Errors
///
/// [`Credential`](Error::Credential), which names the key; [passing](Error::passing) when KMS may answer later.
pub(crate) async fn unwrap(key: &KmsKey) -> Result<Zeroizing<Vec<u8>>> {
    let who = format!("AWS KMS key {}", key.arn.escape_debug());
    Err(Error::credential(&who, "AWS is not built into this version; build it with the feature aws"))
}
