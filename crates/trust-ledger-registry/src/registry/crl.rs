//! What a CRL must hold.

use std::time::Duration;

use serde::Serialize;
use strongroom::{Row, RowStream, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::row::{reason_of, serial};
use crate::error::{Error, Result};
use crate::revocation_reason::RevocationReason;
use crate::serial::Serial;
use crate::timestamp;

/// Which entries of an issuer's CRL are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrlQuery {
    /// thisUpdate of the issuer's last CRL. What expired after it is still listed: an entry must appear on one CRL issued
    /// after the certificate's validity (RFC 5280 §3.3). Default now: only what has not expired.
    pub last_crl: Option<OffsetDateTime>,
    /// Only what was revoked at or after this.
    pub since: Option<OffsetDateTime>,
    /// Only what was revoked within this time before now.
    pub revoked_within: Option<Duration>,
}

/// One entry of a CRL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CrlEntry {
    /// The revoked serial, as minimal hex.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub serial: Serial,
    /// When it was revoked or put on hold.
    #[serde(serialize_with = "timestamp::serialize")]
    pub revoked_at: OffsetDateTime,
    /// Why.
    pub reason: RevocationReason,
    /// When the key is thought to have been compromised.
    #[serde(serialize_with = "timestamp::option::serialize")]
    pub invalidity_date: Option<OffsetDateTime>,
    /// False while only a CRL says so whose signature could not be checked.
    pub checked: bool,
}

/// The entries of a CRL as they are read: one snapshot, bounded memory. Dropping it ends the reading.
pub struct CrlEntries<'a> {
    rows: RowStream<'a>,
}

impl CrlEntries<'_> {
    /// The next entry, in the order of the serials' octets; `None` after the last.
    ///
    /// An error ends the list: what came before is then not a CRL. Cancel safe: an entry is lost only together with the
    /// stream.
    pub async fn next(&mut self) -> Option<Result<CrlEntry>> {
        let row = self.rows.next().await?;
        Some(row.map_err(Error::from).and_then(|row| entry(&row)))
    }
}

impl Registry {
    /// What a CRL of this issuer must hold: what is revoked or on hold and has not expired, and what expired since the
    /// last CRL. Revocations of certificates never seen are listed for ever, since nothing says when they may go.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownIssuer`]: an issuer without revocations has an empty CRL, an unknown one has none.
    /// [`Error::Database`], also from the entries.
    pub async fn crl_entries(&self, issuer: Uuid, query: &CrlQuery) -> Result<CrlEntries<'_>> {
        const EXISTS: &str = "-- crl issuer\nSELECT 1 FROM issuer WHERE id = $1";
        const ENTRIES: &str = "-- crl_entries\n\
            SELECT r.serial, r.revoked_at, r.reason, r.invalidity_date, r.checked FROM revocation AS r \
            WHERE r.issuer = $1 AND (r.not_after IS NULL OR r.not_after >= $2) AND r.revoked_at >= $3 \
            ORDER BY r.serial";
        if self.db.fetch_value::<i64>(EXISTS, params![issuer]).await?.is_none() {
            return Err(Error::UnknownIssuer { id: issuer });
        }
        let now = self.instant();
        let unexpired_at = query.last_crl.map_or(now, |last| last.min(now));
        let beginning = time::macros::datetime!(0000-01-01 0:00 UTC);
        let within = query.revoked_within.map(|within| {
            time::Duration::try_from(within).ok().and_then(|within| now.checked_sub(within)).unwrap_or(beginning)
        });
        let since = query.since.into_iter().chain(within).max().unwrap_or(beginning);
        Ok(CrlEntries { rows: self.db.fetch(ENTRIES, params![issuer, unexpired_at, since]) })
    }
}

fn entry(row: &Row) -> Result<CrlEntry> {
    Ok(CrlEntry {
        serial: serial(row, 0)?,
        revoked_at: row.get(1)?,
        reason: reason_of(row.get(2)?)?,
        invalidity_date: row.get(3)?,
        checked: row.get(4)?,
    })
}
