//! Keys, passwords and tokens from AWS: Secrets Manager, RDS IAM, Aurora DSQL, and KMS for SOPS files.
//!
//! Start from [`RdsIam`], [`Dsql`] and [`AwsSecret`]. They are there in every build; one without the feature `aws` answers
//! with an error that names it (`absent.rs`, in the place of `account.rs`, is all that knows). `account.rs` is the way to AWS: who we are
//! (`identity.rs`, the SDK's providers in the SDK's order), in which region, and calls signed (`signature.rs`) and sent
//! (`http.rs`, over the OpenSSL that is linked anyway).

#[cfg(not(feature = "aws"))]
#[path = "aws/absent.rs"]
mod account;
#[cfg(feature = "aws")]
mod account;
#[cfg(feature = "aws")]
mod http;
#[cfg(feature = "aws")]
mod identity;
mod json;
// Called by the reader of SOPS files.
pub(crate) mod kms;
mod secret;
mod signature;
#[cfg(all(test, feature = "aws"))]
mod tests;
mod token;

use self::account::Account;
pub use self::secret::AwsSecret;
pub use self::token::{Dsql, RdsIam};

/// An operation of a service with AWS's JSON 1.1 protocol.
#[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "nothing is called without the feature"))]
struct Operation {
    /// Signing name and first label of the host's name.
    service: &'static str,
    /// What it is called in `AWS_ENDPOINT_URL_…`.
    variable: &'static str,
    /// The header `x-amz-target`.
    target: &'static str,
    /// What the identity's policy must allow, for messages.
    permission: &'static str,
}
