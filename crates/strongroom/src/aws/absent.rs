//! In the place of `account.rs` in a build without the feature `aws`: every question is answered with how to get it.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::signature::Keys;
use crate::error::{Error, Result};

/// Nobody, in no region.
#[derive(Default)]
pub(super) struct Account(());

impl Account {
    pub(super) fn region(self, _region: String) -> Self {
        self
    }

    pub(super) fn profile(self, _profile: String) -> Self {
        self
    }

    pub(super) fn role(self, _role: String) -> Self {
        self
    }

    pub(super) fn endpoint(self, _url: String) -> Self {
        self
    }

    pub(super) async fn keys(&self, who: &(dyn Display + Sync)) -> Result<Arc<Keys>> {
        absent(who).map(|never| match never {})
    }

    pub(super) async fn region_name(&self, who: &(dyn Display + Sync)) -> Result<&str> {
        absent(who).map(|never| match never {})
    }

    pub(super) async fn call(
        &self,
        who: &(dyn Display + Sync),
        _operation: &super::Operation,
        _body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        absent(who).map(|never| match never {})
    }

    pub(super) fn forget(&self) {}
}

fn absent(who: &(dyn Display + Sync)) -> Result<Infallible> {
    let reason =
        "this build has no AWS support; build with the feature `aws` (cargo install trust-ledger --features aws)";
    Err(Error::credential(who, reason))
}
