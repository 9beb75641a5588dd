//! CA databases: the `index.txt` of `openssl ca` and easy-rsa.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use uuid::Uuid;

use super::pipeline::Pipeline;
use crate::error::Result;
use crate::intake::{IndexEntry, IndexStatus, Position};
use crate::registry::RevocationEntry;
use crate::revocation_reason::RevocationReason;
use crate::serial::Serial;

/// Entries whose certificates are looked for when the issuer is not given.
const LOOKED_AT: usize = 1_000;

/// Entries that are recorded together.
const TOGETHER: usize = 1_000;

/// What openssl and easy-rsa call the certificate of the CA whose database lies beside it.
const CA_FILES: [&str; 2] = ["cacert.pem", "ca.crt"];

impl Pipeline<'_> {
    /// Records the revocations in a CA's database. The other lines say nothing that the certificates do not.
    pub(super) async fn record_index(&mut self, position: &Position, entries: &[IndexEntry]) -> Result<()> {
        let revoked = entries.iter().filter(|entry| entry.status == IndexStatus::Revoked).count() as u64;
        let issuer = self.issuer_of_index(position, entries).await?;
        self.count_unrevoked(issuer, entries).await?;
        if revoked == 0 {
            return Ok(());
        }
        let Some(issuer) = issuer else {
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

    /// Counts the lines that are not revoked: they say nothing of a certificate that is there, and of one that is not they
    /// say that it is missing.
    async fn count_unrevoked(&mut self, issuer: Option<Uuid>, entries: &[IndexEntry]) -> Result<()> {
        let unrevoked = entries.iter().filter(|entry| entry.status != IndexStatus::Revoked);
        let serials: Vec<&Serial> = unrevoked.map(|entry| &entry.serial).collect();
        let present = match issuer {
            Some(issuer) => self.registry.serials_with_certificate(issuer, &serials).await?,
            None => HashSet::new(),
        };
        let known = serials.iter().filter(|serial| present.contains(serial.as_bytes())).count() as u64;
        self.summary.skip("an index entry that is not revoked", known);
        let missing = serials.len() as u64 - known;
        self.summary.skip("an index entry that is not revoked, and whose certificate is not in the ledger", missing);
        Ok(())
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
        let folder = Path::new(&*position.file).parent().unwrap_or(Path::new(""));
        let in_folder = self.issuers_in.get(folder).map_or(&[][..], Vec::as_slice);
        if issuers.is_empty() {
            issuers = in_folder.iter().map(|(_, issuer)| *issuer).collect();
        }
        if issuers.len() > 1 {
            let is_ca_file = |file: &Path| file.file_name().is_some_and(|name| CA_FILES.iter().any(|ca| name == *ca));
            let usual: BTreeSet<Uuid> =
                in_folder.iter().filter(|(file, _)| is_ca_file(file)).map(|(_, issuer)| *issuer).collect();
            issuers = &issuers & &usual;
        }
        Ok(issuers.first().copied().filter(|_| issuers.len() == 1))
    }
}
