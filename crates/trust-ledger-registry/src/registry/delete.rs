//! Deleting certificates from the ledger.
//!
//! What stays: the issuer, the revocation (with the certificate's notAfter, so that it leaves the CRL in time), and
//! the events.

use std::time::Duration;

use serde_json::json;
use strongroom::{Batch, Row, Session, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::event::{EventRow, action};
use super::register::SearchNames;
use super::row::{damaged, hex, serial};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::record::category_of;
use crate::timestamp;

/// Certificates that are deleted in one transaction at most.
const TOGETHER: u32 = 1_000;

/// Which certificates are to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteTarget {
    /// The one with this id.
    Id(Uuid),
    /// Those with these stored files.
    Files(Uuid),
}

/// What [`Registry::prune`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Certificates deleted.
    pub deleted: u64,
}

/// A certificate about to be deleted.
struct Doomed {
    id: Uuid,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    revoked: bool,
    names: SearchNames,
    tags: Vec<String>,
    event: String,
}

macro_rules! doomed_query {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ", $name, "\n",
            "SELECT c.id, c.serial, c.not_before, c.not_after, c.revoked, c.common_name, c.names, c.tags, c.fingerprint, \
             c.issuer, c.subject, c.category, c.source, c.owner, c.note FROM certificate AS c ",
            $rest
        )
    };
}

impl Registry {
    /// Deletes a certificate, or those with some stored files: all or none of them. Answers how many there were.
    ///
    /// Only what has expired, unless `force` says otherwise; but even then nothing that is revoked or on hold and has
    /// not expired, since its issuer's CRL still needs it.
    ///
    /// # Errors
    ///
    /// [`Error::NotExpired`], [`Error::RevokedUnexpired`], [`Error::Database`].
    pub async fn delete(&self, target: DeleteTarget, force: bool) -> Result<u64> {
        const BY_ID: &str = doomed_query!("delete by id", "WHERE c.id = $1");
        const BY_FILES: &str = doomed_query!("delete by files", "WHERE c.files = $1 ORDER BY c.id");
        let (sql, id) = match target {
            DeleteTarget::Id(id) => (BY_ID, id),
            DeleteTarget::Files(id) => (BY_FILES, id),
        };
        let now = self.instant();
        let work = |mut session: Session| async move {
            let rows = session.fetch_all(sql, params![id]).await?;
            let doomed = rows.iter().map(Doomed::from_row).collect::<Result<Vec<_>>>()?;
            for certificate in doomed.iter().filter(|certificate| certificate.not_after >= now) {
                let (id, not_after) = (certificate.id, certificate.not_after);
                if certificate.revoked {
                    return Err(Error::RevokedUnexpired { id, not_after });
                }
                if !force {
                    return Err(Error::NotExpired { id, not_after });
                }
            }
            self.delete_in(&mut session, &doomed).await
        };
        self.transaction(work).await
    }

    /// Deletes every certificate whose notAfter is longer ago than this.
    ///
    /// They are deleted in transactions of at most 1,000: when this fails or is dropped, those before stay deleted.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn prune(&self, expired_for: Duration) -> Result<Pruned> {
        const SQL: &str = doomed_query!(
            "prune",
            // Of each part of the index, only as much as is deleted at once.
            "WHERE c.id IN (\
                SELECT id FROM (SELECT id FROM certificate WHERE lapsed = 0 AND not_after < $1 \
                                ORDER BY not_after LIMIT $2) AS unswept \
                UNION ALL \
                SELECT id FROM (SELECT id FROM certificate WHERE lapsed = 1 AND not_after < $1 \
                                ORDER BY not_after LIMIT $2) AS swept) \
             LIMIT $2"
        );
        let expired_for = time::Duration::try_from(expired_for).ok();
        let Some(before) = expired_for.and_then(|expired_for| self.instant().checked_sub(expired_for)) else {
            // Longer ago than any time there is.
            return Ok(Pruned::default());
        };
        let mut deleted = 0;
        loop {
            let work = |mut session: Session| async move {
                let rows = session.fetch_all(SQL, params![before, TOGETHER]).await?;
                let doomed = rows.iter().map(Doomed::from_row).collect::<Result<Vec<_>>>()?;
                self.delete_in(&mut session, &doomed).await
            };
            let some = self.transaction(work).await?;
            deleted += some;
            if some < u64::from(TOGETHER) {
                return Ok(Pruned { deleted });
            }
        }
    }

    async fn delete_in(&self, session: &mut Session, doomed: &[Doomed]) -> Result<u64> {
        const CERTIFICATE: &str = "-- delete certificate\nDELETE FROM certificate WHERE id = $1";
        const NAME: &str = "-- delete name\n\
            DELETE FROM certificate_name WHERE name = $1 AND not_before = $2 AND certificate = $3";
        const REVERSED: &str = "-- delete reversed name\n\
            DELETE FROM certificate_name_reversed WHERE name = $1 AND certificate = $2";
        const TAG: &str = "-- delete tag\nDELETE FROM certificate_tag WHERE tag = $1 AND certificate = $2";
        if doomed.is_empty() {
            return Ok(0);
        }
        let now = self.now();
        let mut batch = Batch::new();
        batch.push_many(CERTIFICATE, doomed.iter().map(|certificate| params![certificate.id]));
        for certificate in doomed {
            let Doomed { id, not_before, names, tags, event, .. } = certificate;
            batch.push_many(NAME, names.keys.iter().map(|name| params![name, *not_before, *id]));
            batch.push_many(REVERSED, names.reversed.iter().map(|name| params![name, *id]));
            batch.push_many(TAG, tags.iter().map(|tag| params![tag, *id]));
            let event = EventRow {
                at: now,
                author: self.author.clone(),
                action: action::CERTIFICATE_DELETED,
                object: *id,
                before: Some(event.clone()),
                after: None,
            };
            batch.push(EventRow::INSERT, event.params());
        }
        Ok(session.batch(batch).await?.first().copied().unwrap_or_default())
    }
}

impl Doomed {
    fn from_row(row: &Row) -> Result<Doomed> {
        let id: Uuid = row.get(0)?;
        let common_name: Option<String> = row.get(5)?;
        let names: Vec<Name> = serde_json::from_str(&row.get::<String>(6)?).map_err(|_| damaged("names", id))?;
        let tags: Vec<String> = serde_json::from_str(&row.get::<String>(7)?).map_err(|_| damaged("tags", id))?;
        let not_after = row.get(3)?;
        let event = json!({
            "fingerprint_sha256": hex(&row.get::<Vec<u8>>(8)?),
            "issuer_id": row.get::<Uuid>(9)?,
            "serial": serial(row, 1)?.to_hex(),
            "subject": row.get::<String>(10)?,
            "not_after": timestamp::text(not_after),
            "category": category_of(row.get(11)?),
            "source": row.get::<Option<String>>(12)?,
            "owner": row.get::<Option<String>>(13)?,
            "tags": tags,
            "note": row.get::<Option<String>>(14)?,
        });
        Ok(Doomed {
            id,
            not_before: row.get(2)?,
            not_after,
            revoked: row.get::<i64>(4)? > 0,
            names: SearchNames::of(common_name.as_deref(), names.iter().map(|name| name.value.as_str())),
            tags,
            event: event.to_string(),
        })
    }
}
