//! CA databases: the `index.txt` of `openssl ca` and easy-rsa.

use std::collections::BTreeSet;
use std::path::Path;

use uuid::Uuid;

use super::pipeline::Pipeline;
use crate::error::Result;
use crate::intake::{IndexEntry, IndexStatus, Position};
use crate::registry::RevocationEntry;
use crate::revocation_reason::RevocationReason;

/// Entries whose certificates are looked for when the issuer is not given.
const LOOKED_AT: usize = 1_000;

/// Entries that are recorded together.
const TOGETHER: usize = 1_000;

impl Pipeline<'_> {
    /// Records the revocations in a CA's database. The other lines say nothing that the certificates do not.
    pub(super) async fn record_index(&mut self, position: &Position, entries: &[IndexEntry]) -> Result<()> {
        let revoked = entries.iter().filter(|entry| entry.status == IndexStatus::Revoked).count() as u64;
        self.summary.skip("an index entry that is not revoked", entries.len() as u64 - revoked);
        if revoked == 0 {
            return Ok(());
        }
        let Some(issuer) = self.issuer_of_index(position, entries).await? else {
            let reason = format!(
                "{revoked} revocations of an unknown issuer: import its certificates first, or together with the CA's \
                 certificate in the same folder, or say whose they are with --issuer"
            );
            self.summary.refuse(position, reason);
            return Ok(());
        };
        let source = self.source_of(position);
        let revoked = entries.iter().filter_map(|entry| {
            let revoked_at = entry.revoked_at.filter(|_| entry.status == IndexStatus::Revoked)?;
            Some(RevocationEntry {
                serial: entry.serial.clone(),
                revoked_at,
                reason: Some(entry.reason.unwrap_or(RevocationReason::Unspecified)),
                invalidity_date: entry.invalidity_date,
                not_after: Some(entry.expires),
            })
        });
        let mut together = Vec::with_capacity(TOGETHER);
        for entry in revoked {
            together.push(entry);
            if together.len() == TOGETHER {
                self.record(issuer, &mut together, &source).await?;
            }
        }
        self.record(issuer, &mut together, &source).await
    }

    /// Records some revocations of one issuer and counts them.
    async fn record(&mut self, issuer: Uuid, entries: &mut Vec<RevocationEntry>, source: &str) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let recorded = self.registry.record_revocations(issuer, entries, Some(source)).await?;
        entries.clear();
        self.count(&recorded);
        Ok(())
    }

    async fn issuer_of_index(&mut self, position: &Position, entries: &[IndexEntry]) -> Result<Option<Uuid>> {
        if let Some(issuer) = self.options.issuer {
            return Ok(Some(issuer));
        }
        let mut issuers = BTreeSet::new();
        for entry in entries.iter().take(LOOKED_AT) {
            // Serials of a small CA are small numbers; with the end of validity they tell one CA from another.
            let records = self.registry.by_serial(&entry.serial, None).await?;
            issuers.extend(
                records.iter().filter(|record| record.not_after == entry.expires).map(|record| record.issuer_id),
            );
        }
        if issuers.is_empty() {
            let folder = Path::new(&*position.file).parent().unwrap_or(Path::new(""));
            issuers = self.issuers_in.get(folder).cloned().unwrap_or_default();
        }
        Ok(issuers.first().copied().filter(|_| issuers.len() == 1))
    }
}
