//! What an import did.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Error;

/// Refusals and unchecked lists that a summary holds in full; beyond, they are only counted.
const HELD: usize = 1_000;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct ImportSummary {
    /// Certificates registered.
    pub new: u64,
    /// Certificates that were known before, or occurred twice.
    pub known: u64,
    /// Revocations recorded, holds made final and reasons that became keyCompromise.
    pub revocations: u64,
    /// Revocations that were known before.
    pub revocations_known: u64,
    /// Holds of CRLs older than the newest of their issuer, which were passed over.
    pub revocations_outdated: u64,
    /// Holds lifted: a delta CRL says so, or a complete one does not mention them any more.
    pub holds_lifted: u64,
    /// CRLs of earlier imports whose signature was checked now that their issuer is known, and is good.
    pub lists_checked: u64,
    /// Such CRLs that their issuer had not signed, by their source: they and their revocations were dropped.
    pub lists_dropped: Vec<String>,
    /// What was passed over, by kind (`a private key`).
    pub skipped: BTreeMap<String, u64>,
    /// How many things were refused.
    pub refused_count: u64,
    /// The first 1,000 of them.
    pub refused: Vec<Refusal>,
    /// CRLs that their issuer, whose certificate is in the ledger, did not sign; the first 1,000. That they turned up is in
    /// the audit trail; nothing that they say is believed.
    pub forged: Vec<String>,
    /// CRLs recorded though their signature could not be checked, because their issuer is not known; the first 1,000.
    pub unchecked: Vec<String>,
    /// Those of them that are too large to be kept: they have to be imported again when their issuer is known.
    pub unchecked_not_kept: Vec<String>,
}

/// An import that could not go on.
#[derive(Debug, thiserror::Error)]
#[error("the import stopped")]
pub struct ImportStopped {
    /// What went in before, durably.
    pub summary: Box<ImportSummary>,
    /// Why.
    #[source]
    pub error: Error,
}

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refusal {
    /// File and place, one line without control characters: `bundle.pem: line 12`.
    pub position: String,
    /// Why, in one sentence.
    pub reason: String,
}

impl ImportSummary {
    pub(super) fn refuse(&mut self, position: impl ToString, reason: impl ToString) {
        self.refused_count += 1;
        if self.refused.len() < HELD {
            self.refused.push(Refusal { position: position.to_string(), reason: reason.to_string() });
        }
    }

    pub(super) fn skip(&mut self, kind: impl ToString, count: u64) {
        if count > 0 {
            *self.skipped.entry(kind.to_string()).or_default() += count;
        }
    }

    pub(super) fn forged(&mut self, position: impl ToString) {
        if self.forged.len() < HELD {
            self.forged.push(position.to_string());
        }
    }

    pub(super) fn unchecked(&mut self, position: impl ToString, kept: bool) {
        if self.unchecked.len() < HELD {
            self.unchecked.push(position.to_string());
            if !kept {
                self.unchecked_not_kept.push(position.to_string());
            }
        }
    }
}
