//! Revoking single certificates, and lifting holds.

use strongroom::{Batch, Params, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::event::{EventRow, action};
use super::row::{reason_of, serial};
use super::sql::Sql;
use crate::error::{Error, Result};
use crate::record::normal_text;
use crate::revocation_reason::RevocationReason;
use crate::serial::Serial;
use crate::timestamp;

/// How often a change is tried anew because somebody else changed the revocation in between.
const ATTEMPTS: usize = 100;

/// Which certificate is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationTarget {
    /// The one with this id.
    Id(Uuid),
    /// The one whose DER has this SHA-256.
    Fingerprint([u8; 32]),
    /// The one, or all, with this serial of this issuer.
    Serial {
        /// The issuer's id.
        issuer: Uuid,
        /// The serial.
        serial: Serial,
    },
}

/// How a certificate is to be revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationRequest {
    /// Why; [`CertificateHold`](RevocationReason::CertificateHold) puts it on hold.
    pub reason: RevocationReason,
    /// Since when. Default now; the past is allowed, the future is refused.
    pub revoked_at: Option<OffsetDateTime>,
    /// When the key is thought to have been compromised.
    pub invalidity_date: Option<OffsetDateTime>,
    /// Who or what says so.
    pub source: Option<String>,
}

/// What became of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// It is revoked, or on hold, by this call, durably.
    Revoked,
    /// It was before; nothing was changed.
    AlreadyRevoked {
        /// Since when.
        since: OffsetDateTime,
        /// Why.
        reason: RevocationReason,
    },
    /// The ledger has no such certificate.
    NotFound,
}

/// What became of the lifting of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lift {
    /// The hold is lifted by this call, durably.
    Lifted,
    /// It is neither revoked nor on hold.
    NotOnHold,
    /// It is revoked for good.
    Revoked {
        /// Since when.
        since: OffsetDateTime,
        /// Why.
        reason: RevocationReason,
    },
    /// The ledger has no such certificate.
    NotFound,
}

/// A revocation as it is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) reason: RevocationReason,
    pub(super) revoked_at: OffsetDateTime,
    /// False while only a CRL says so whose signature could not be checked.
    pub(super) checked: bool,
}

/// The certificate that is meant, and its revocation at one moment.
struct Found {
    id: Uuid,
    issuer: Uuid,
    serial: Serial,
    current: Option<Current>,
}

impl Registry {
    /// Revokes a certificate or puts it on hold; recorded here only, the CA is not told. Expired ones too.
    ///
    /// One atomic step: of two calls at once, one revokes and the other learns what the first did. A hold can be made
    /// final and keeps its date (X.509 §9.5.3.1), or takes an earlier one; any reason may become keyCompromise, likewise.
    /// What only a CRL says that could not be checked gives way to this. Every other revocation of what is revoked changes
    /// nothing. The revocation is of issuer and serial, so a
    /// duplicate serial is revoked with it.
    ///
    /// # Errors
    ///
    /// [`Error::RevokedInFuture`], [`Error::Database`]; [`Error::Contended`] when others changed the revocation 100 times
    /// in the meantime.
    pub async fn revoke(&self, target: &RevocationTarget, request: &RevocationRequest) -> Result<Revoke> {
        // Nothing or everything of this row; changed only from the state that was seen.
        const INSERT: &str = "-- revoke\n\
            INSERT INTO revocation \
                (issuer, serial, revoked_at, reason, invalidity_date, source, recorded_at, checked, not_after) \
            SELECT c.issuer, c.serial, $3, $4, $5, $6, $7, 1, \
                (SELECT max(o.not_after) FROM certificate AS o WHERE o.serial = c.serial AND o.issuer = c.issuer) \
            FROM certificate AS c WHERE c.id = $1 AND c.issuer = $2 \
            ON CONFLICT (issuer, serial) DO NOTHING";
        const UPDATE: &str = "-- revoke for good\n\
            UPDATE revocation SET revoked_at = $3, reason = $4, invalidity_date = COALESCE($5, invalidity_date), \
                source = COALESCE($6, source), list = NULL, checked = 1 \
            WHERE issuer = $1 AND serial = $2 AND reason = $7 AND revoked_at = $8";
        let now = self.now();
        let asked_at = request.revoked_at.unwrap_or(now);
        if asked_at > now {
            return Err(Error::RevokedInFuture { revoked_at: asked_at, now });
        }
        let source = request.source.as_deref().and_then(normal_text);
        for _ in 0..ATTEMPTS {
            let Some(found) = self.find(target).await? else { return Ok(Revoke::NotFound) };
            let asked = Current { reason: request.reason, revoked_at: asked_at, checked: true };
            let Some(next) = next_state(found.current, asked) else {
                // Without a date there is a revocation that stays.
                let Some(current) = found.current else { continue };
                return Ok(Revoke::AlreadyRevoked { since: current.revoked_at, reason: current.reason });
            };
            let (code, revoked_at) = (i64::from(next.reason.code()), next.revoked_at);
            let mut batch = Batch::new();
            self.push_event(&mut batch, &found, Some(next), now);
            match found.current {
                None => batch.push(
                    INSERT,
                    params![found.id, found.issuer, revoked_at, code, request.invalidity_date, source.as_deref(), now],
                ),
                Some(current) => batch.push(
                    UPDATE,
                    params![
                        found.issuer,
                        found.serial.as_bytes(),
                        revoked_at,
                        code,
                        request.invalidity_date,
                        source.as_deref(),
                        i64::from(current.reason.code()),
                        current.revoked_at
                    ],
                ),
            }
            if self.db.batch(batch).await?.last() == Some(&1) {
                return Ok(Revoke::Revoked);
            }
        }
        Err(Error::Contended { what: "the revocation" })
    }

    /// Lifts the hold of a certificate, which is then as if it had never been on hold; only the event remains.
    ///
    /// # Errors
    ///
    /// [`Error::Database`]; [`Error::Contended`] as for [`revoke`](Registry::revoke).
    pub async fn lift_hold(&self, target: &RevocationTarget) -> Result<Lift> {
        const SQL: &str = "-- lift_hold\n\
            DELETE FROM revocation WHERE issuer = $1 AND serial = $2 AND reason = 6 AND revoked_at = $3";
        for _ in 0..ATTEMPTS {
            let Some(found) = self.find(target).await? else { return Ok(Lift::NotFound) };
            let Some(current) = found.current else { return Ok(Lift::NotOnHold) };
            if current.reason != RevocationReason::CertificateHold {
                return Ok(Lift::Revoked { since: current.revoked_at, reason: current.reason });
            }
            let mut batch = Batch::new();
            self.push_event(&mut batch, &found, None, self.now());
            batch.push(SQL, params![found.issuer, found.serial.as_bytes(), current.revoked_at]);
            if self.db.batch(batch).await?.last() == Some(&1) {
                return Ok(Lift::Lifted);
            }
        }
        Err(Error::Contended { what: "the hold" })
    }

    async fn find(&self, target: &RevocationTarget) -> Result<Option<Found>> {
        macro_rules! find {
            ($condition:literal) => {
                find!($condition, "")
            };
            ($condition:literal, $unindexed:literal) => {
                concat!(
                    "-- find what to revoke\nSELECT c.id, c.issuer, c.serial, r.reason, r.revoked_at, r.checked \
                     FROM certificate AS c LEFT JOIN revocation AS r ON r.issuer = c.issuer AND r.serial = c.serial \
                     WHERE ",
                    $condition,
                    " ORDER BY ",
                    $unindexed,
                    "c.id LIMIT 1"
                )
            };
        }
        const BY_SERIAL: Sql = Sql {
            sqlite: find!("c.serial = $1 AND c.issuer = $2", "+"),
            postgres: find!("c.serial = $1 AND c.issuer = $2"),
        };
        let (sql, params) = match target {
            RevocationTarget::Id(id) => (find!("c.id = $1"), params![*id]),
            RevocationTarget::Fingerprint(fingerprint) => (find!("c.fingerprint = $1"), params![fingerprint]),
            RevocationTarget::Serial { issuer, serial } => {
                (BY_SERIAL.of(self.db.dialect()), params![serial.as_bytes(), *issuer])
            }
        };
        let Some(row) = self.db.fetch_optional(sql, params).await? else { return Ok(None) };
        let current = match row.get::<Option<i64>>(3)? {
            Some(code) => Some(Current { reason: reason_of(code)?, revoked_at: row.get(4)?, checked: row.get(5)? }),
            None => None,
        };
        Ok(Some(Found { id: row.get(0)?, issuer: row.get(1)?, serial: serial(&row, 2)?, current }))
    }

    /// Adds the event, which is written exactly when the change that follows it is: both ask for the state that was
    /// seen.
    fn push_event(&self, batch: &mut Batch, found: &Found, next: Option<Current>, now: OffsetDateTime) {
        const OF_NEW: &str = "-- record event of revocation\n\
            INSERT INTO event (id, at, actor, action, object, before, after, origin, request) \
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 \
            WHERE EXISTS (SELECT 1 FROM certificate AS c WHERE c.id = $5 AND c.issuer = $10) \
              AND NOT EXISTS (SELECT 1 FROM revocation AS r WHERE r.issuer = $10 AND r.serial = $11)";
        const OF_CHANGED: &str = "-- record event of changed revocation\n\
            INSERT INTO event (id, at, actor, action, object, before, after, origin, request) \
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 \
            WHERE EXISTS (SELECT 1 FROM revocation AS r \
                          WHERE r.issuer = $10 AND r.serial = $11 AND r.reason = $12 AND r.revoked_at = $13)";
        let json = |state: &Current| state.to_json(found.issuer, &found.serial);
        let event = EventRow {
            at: now,
            author: self.author.clone(),
            action: match (found.current, next) {
                (None, _) => action::REVOCATION_RECORDED,
                (_, Some(_)) => action::REVOCATION_CHANGED,
                (_, None) => action::REVOCATION_LIFTED,
            },
            object: found.id,
            before: found.current.as_ref().map(json),
            after: next.as_ref().map(json),
        };
        let mut values = event.values();
        values.extend([found.issuer.into(), found.serial.as_bytes().into()]);
        match found.current {
            None => batch.push(OF_NEW, Params::from(values)),
            Some(current) => {
                values.extend([i64::from(current.reason.code()).into(), current.revoked_at.into()]);
                batch.push(OF_CHANGED, Params::from(values));
            }
        }
    }
}

impl Current {
    /// What an event says of it.
    pub(super) fn to_json(self, issuer: Uuid, serial: &Serial) -> String {
        serde_json::json!({
            "issuer_id": issuer,
            "serial": serial.to_hex(),
            "revoked_at": timestamp::text(self.revoked_at),
            "reason": self.reason,
            "checked": self.checked,
        })
        .to_string()
    }
}

/// A revocation after something more was said of it; `None` when it stays as it is.
pub(super) fn next_state(current: Option<Current>, said: Current) -> Option<Current> {
    let Some(current) = current else { return Some(said) };
    match (current.checked, said.checked) {
        (true, false) => return None,
        (false, true) => return Some(said),
        _ => {}
    }
    let changes = said.reason != current.reason
        && (current.reason == RevocationReason::CertificateHold || said.reason == RevocationReason::KeyCompromise);
    changes.then(|| Current { revoked_at: current.revoked_at.min(said.revoked_at), ..said })
}
