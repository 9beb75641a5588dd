//! AWS KMS keys.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::aws::kms;
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
/// [`Credential`](Error::Credential), [passing](Error::passing) when KMS may answer later; in a build without the feature `aws`
/// one that names it.
pub(crate) async fn unwrap(key: &KmsKey) -> Result<Zeroizing<Vec<u8>>> {
    let Some(region) = key.arn.split(':').nth(3).filter(|region| !region.is_empty()) else {
        let who = format!("AWS KMS key {}", key.arn.escape_debug());
        return Err(Error::credential(&who, "its ARN names no region; expected arn:aws:kms:REGION:ACCOUNT:key/ID"));
    };
    kms::decrypt(region, &key.arn, key.role.as_deref(), key.profile.as_deref(), &key.context, &key.enc).await
}
