//! Looking up single certificates: by id, fingerprint, serial and name.

use strongroom::params;
use uuid::Uuid;

use super::Registry;
use super::row::{hex, reason_of, record, record_query, records};
use super::sql::Sql;
use crate::error::Result;
use crate::name::search_key;
use crate::record::{Issuer, Record, Revocation, Status};
use crate::revocation_reason::RevocationReason;
use crate::serial::Serial;

// The hot statements stand here, where the test of their plans sees them.

pub(super) const GET: &str = record_query!("get", "certificate AS c", "WHERE c.id = $1");

pub(super) const BY_FINGERPRINT: &str = record_query!("by_fingerprint", "certificate AS c", "WHERE c.fingerprint = $1");

// The `+` keeps SQLite's planner from reading all of the issuer in the order of ids.
pub(super) const BY_SERIAL: Sql = Sql {
    sqlite: record_query!("by_serial of any issuer", "certificate AS c", "WHERE c.serial = $1 ORDER BY +c.id"),
    postgres: record_query!("by_serial of any issuer", "certificate AS c", "WHERE c.serial = $1 ORDER BY c.id"),
};
pub(super) const BY_SERIAL_OF_ISSUER: Sql = Sql {
    sqlite: record_query!(
        "by_serial of one issuer",
        "certificate AS c",
        "WHERE c.serial = $1 AND c.issuer = $2 ORDER BY +c.id"
    ),
    postgres: record_query!(
        "by_serial of one issuer",
        "certificate AS c",
        "WHERE c.serial = $1 AND c.issuer = $2 ORDER BY c.id"
    ),
};

pub(super) const BY_NAME: &str = record_query!(
    "by_name",
    "certificate_name AS n CROSS JOIN certificate AS c",
    "WHERE n.name = $1 AND n.not_before <= $2 AND c.id = n.certificate \
       AND c.not_after >= $2 AND c.revoked = 0 AND c.is_precertificate = 0 \
     ORDER BY n.not_before DESC, n.certificate DESC LIMIT 1"
);

impl Registry {
    /// The certificate with this id; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database); so too of the other lookups.
    pub async fn get(&self, id: Uuid) -> Result<Option<Record>> {
        let row = self.db.fetch_optional(GET, params![id]).await?;
        row.map(|row| record(row, self.instant())).transpose()
    }

    /// The certificate whose DER has this SHA-256.
    pub async fn by_fingerprint(&self, fingerprint: &[u8; 32]) -> Result<Option<Record>> {
        let row = self.db.fetch_optional(BY_FINGERPRINT, params![fingerprint]).await?;
        row.map(|row| record(row, self.instant())).transpose()
    }

    /// All certificates with this serial, of one issuer or of any, whatever their status; oldest registered first.
    ///
    /// Serials are unique per issuer only, and not even that is sure: whoever needs one certificate asks further when
    /// several match.
    pub async fn by_serial(&self, serial: &Serial, issuer: Option<Uuid>) -> Result<Vec<Record>> {
        let rows = match issuer {
            None => self.db.fetch_all(BY_SERIAL.of(self.db.dialect()), params![serial.as_bytes()]).await?,
            Some(issuer) => {
                let sql = BY_SERIAL_OF_ISSUER.of(self.db.dialect());
                self.db.fetch_all(sql, params![serial.as_bytes(), issuer]).await?
            }
        };
        records(rows, self.instant())
    }

    /// The current certificate of a name (common name or any alternative name, in any spelling): of those valid now,
    /// the one with the greatest notBefore, then id. `None` when none is valid now.
    ///
    /// A precertificate is no certificate and never the answer.
    pub async fn by_name(&self, name: &str) -> Result<Option<Record>> {
        let now = self.instant();
        let row = self.db.fetch_optional(BY_NAME, params![search_key(name), now]).await?;
        row.map(|row| record(row, now)).transpose()
    }

    /// The status of a serial of one issuer, whether or not its certificate is known: CRLs name certificates never
    /// seen. [`Status::Unknown`] when the ledger has neither certificate nor revocation.
    ///
    /// Of several certificates with the serial, the one registered last decides.
    pub async fn status(&self, serial: &Serial, issuer: Uuid) -> Result<Status> {
        if let Some(revocation) = self.revocation(serial, issuer).await? {
            let held = revocation.reason == RevocationReason::CertificateHold;
            return Ok(if held { Status::OnHold } else { Status::Revoked });
        }
        let records = self.by_serial(serial, Some(issuer)).await?;
        Ok(records.last().map_or(Status::Unknown, |record| record.status))
    }

    /// The revocation of a serial of one issuer, whether or not its certificate is known.
    pub async fn revocation(&self, serial: &Serial, issuer: Uuid) -> Result<Option<Revocation>> {
        const SQL: &str = "-- revocation\n\
            SELECT revoked_at, reason, invalidity_date, source, recorded_at, checked \
            FROM revocation WHERE issuer = $1 AND serial = $2";
        let row = self.db.fetch_optional(SQL, params![issuer, serial.as_bytes()]).await?;
        row.map(|row| {
            Ok(Revocation {
                issuer_id: issuer,
                serial: serial.clone(),
                revoked_at: row.get(0)?,
                reason: reason_of(row.get(1)?)?,
                invalidity_date: row.get(2)?,
                source: row.get(3)?,
                recorded_at: row.get(4)?,
                checked: row.get(5)?,
            })
        })
        .transpose()
    }

    /// The revocations of a serial by any issuer, whether or not their certificates are known, by the issuers' ids.
    pub async fn revocations_by_serial(&self, serial: &Serial) -> Result<Vec<Revocation>> {
        // There are few issuers, and an index of its own would cost every revocation.
        const SQL: &str = "-- revocations_by_serial\n\
            SELECT i.id FROM issuer AS i CROSS JOIN revocation AS r WHERE r.issuer = i.id AND r.serial = $1 ORDER BY i.id";
        let mut found = Vec::new();
        for row in self.db.fetch_all(SQL, params![serial.as_bytes()]).await? {
            found.extend(self.revocation(serial, row.get(0)?).await?);
        }
        Ok(found)
    }

    /// The DER of a certificate; `None` when there is none with this id.
    pub async fn der(&self, id: Uuid) -> Result<Option<Vec<u8>>> {
        const SQL: &str = "-- der\nSELECT der FROM certificate WHERE id = $1";
        Ok(self.db.fetch_value(SQL, params![id]).await?)
    }

    /// The issuers that have certificates or revocations in the ledger, by name; those whose own certificate is known
    /// in any case.
    pub async fn issuers(&self) -> Result<Vec<Issuer>> {
        const SQL: &str = "-- issuers\n\
            SELECT i.id, i.name, i.key_id, i.public_key IS NOT NULL FROM issuer AS i \
            WHERE i.public_key IS NOT NULL \
               OR EXISTS (SELECT 1 FROM certificate AS c WHERE c.issuer = i.id) \
               OR EXISTS (SELECT 1 FROM revocation AS r WHERE r.issuer = i.id) \
            ORDER BY i.name, i.id";
        let rows = self.db.fetch_all(SQL, params![]).await?;
        rows.iter()
            .map(|row| {
                let key_id: Option<Vec<u8>> = row.get(2)?;
                Ok(Issuer {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    key_id: key_id.as_deref().map(hex),
                    known: row.get(3)?,
                })
            })
            .collect()
    }
}
