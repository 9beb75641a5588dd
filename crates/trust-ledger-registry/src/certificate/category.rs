//! What a certificate is used for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Certificate;
use crate::name::NameKind;

/// What a certificate is used for. Written in lower case: `ca`, `user`, `service`, `device`, `internal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Signs other certificates.
    Ca,
    /// Identifies a person.
    User,
    /// Identifies a server to its clients.
    Service,
    /// Identifies a machine, or anything that is none of the others.
    Device,
    /// For the organisation's own plumbing. Never guessed, only given.
    Internal,
}

impl Category {
    /// Every category.
    pub const ALL: [Category; 5] =
        [Category::Ca, Category::User, Category::Service, Category::Device, Category::Internal];

    /// The category as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Ca => "ca",
            Category::User => "user",
            Category::Service => "service",
            Category::Device => "device",
            Category::Internal => "internal",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Category {
    type Err = UnknownCategory;

    /// Reads a category in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Category::ALL
            .into_iter()
            .find(|category| category.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownCategory { found: text.to_owned() })
    }
}

/// A text that is no [`Category`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no category: ca, user, service, device or internal")]
pub struct UnknownCategory {
    /// The text.
    pub found: String,
}

pub(super) fn of(certificate: &Certificate) -> Category {
    let names_a_person = |kind| matches!(kind, NameKind::Email | NameKind::Upn);
    if certificate.is_ca {
        Category::Ca
    } else if certificate.is_for_servers {
        Category::Service
    } else if certificate.names.iter().any(|name| names_a_person(name.kind))
        || !certificate.subject.email_addresses().is_empty()
    {
        Category::User
    } else {
        Category::Device
    }
}
