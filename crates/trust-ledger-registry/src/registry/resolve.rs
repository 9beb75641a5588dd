//! Attributing certificates to an issuer that became known after them.

use std::sync::Arc;

use strongroom::{Batch, Session, params};
use uuid::Uuid;

use super::Registry;
use super::event::{EventRow, action};
use super::issuers::IssuerRow;
use super::revocation_lists::CheckedLists;
use super::row::damaged;
use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::public_key::PublicKey;

/// Certificates that are checked and moved together at most: a move is up to five rows.
const TOGETHER: u32 = 500;

/// An issuer of which only name and perhaps key identifier are known.
struct Unresolved {
    id: Uuid,
    key_id: Option<Vec<u8>>,
}

impl Registry {
    /// Moves what was registered under an issuer's name alone to the issuer, now that its key is known: certificates
    /// whose signature verifies, with their revocations, and revocations without certificate that can only be its. Then
    /// checks the CRLs that were kept for this.
    ///
    /// Works in transactions of at most 500 certificates; each is guarded, so that several may do this at once, and
    /// starting anew goes on where another stopped.
    pub(super) async fn resolve(&self, issuer: &IssuerRow) -> Result<CheckedLists> {
        const SQL: &str = "-- unresolved issuers of a name\n\
            SELECT i.id, i.key_id FROM issuer AS i WHERE i.dn_key = $1 AND i.public_key IS NULL \
              AND (EXISTS (SELECT 1 FROM certificate AS c WHERE c.issuer = i.id) \
                OR EXISTS (SELECT 1 FROM revocation AS r WHERE r.issuer = i.id))";
        let rows = self.db.fetch_all(SQL, params![issuer.dn_key]).await?;
        if let Some(key) = issuer.public_key.as_deref().and_then(PublicKey::from_spki) {
            for row in rows {
                let old = Unresolved { id: row.get(0)?, key_id: row.get(1)? };
                self.resolve_certificates(&old, issuer, &key).await?;
                self.resolve_revocations(&old, issuer).await?;
            }
        }
        self.check_kept_lists(&issuer.dn_key, issuer.id).await
    }

    async fn resolve_certificates(&self, old: &Unresolved, new: &IssuerRow, key: &PublicKey) -> Result<()> {
        const SQL: &str = "-- certificates to attribute\n\
            SELECT id, der FROM certificate WHERE issuer = $1 AND id > $2 ORDER BY id LIMIT $3";
        // Another key is meant, it seems; one signature shows whether it is so.
        let mut at_once = if old.key_id.is_some() && old.key_id != new.key_id { 1 } else { TOGETHER };
        let mut cursor = Uuid::nil();
        loop {
            let rows = self.db.fetch_all(SQL, params![old.id, cursor, at_once]).await?;
            let mut found: Vec<(Uuid, Vec<u8>)> = Vec::with_capacity(rows.len());
            for row in &rows {
                found.push((row.get(0)?, row.get(1)?));
            }
            let Some((last, _)) = found.last() else { return Ok(()) };
            cursor = *last;
            let signed = signed_by(found, key.clone()).await?;
            if at_once == 1 && signed.is_empty() {
                return Ok(());
            }
            let work = |session| self.move_certificates(session, old.id, new.id, &signed);
            self.transaction(work).await?;
            at_once = TOGETHER;
        }
    }

    /// Moves certificates and what revocations they have, unless somebody else did.
    async fn move_certificates(&self, mut session: Session, old: Uuid, new: Uuid, signed: &[Signed]) -> Result<()> {
        const MOVE: &str = "-- attribute certificate\n\
            UPDATE certificate SET issuer = $2, revoked = COALESCE((\
                SELECT CASE r.reason WHEN 6 THEN 1 ELSE 2 END FROM revocation AS r \
                WHERE r.issuer = $2 AND r.serial = certificate.serial), 0) \
            WHERE id = $1 AND issuer = $3";
        if signed.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        let serials = || signed.iter().map(|(_, serial)| params![old, new, &serial[..]]);
        // First a copy for the new issuer, so that no moment and no error leaves a revoked certificate unrevoked.
        batch.push_many(COPY_REVOCATION, serials());
        batch.push_many(UPGRADE_REVOCATION, serials());
        batch.push_many(MOVE, signed.iter().map(|(id, _)| params![*id, new, old]));
        batch.push_many(DROP_REVOCATION, signed.iter().map(|(_, serial)| params![old, &serial[..]]));
        let certificates = session.batch(batch).await?.get(2).copied().unwrap_or_default();
        if certificates > 0 {
            session.execute(EventRow::INSERT, self.resolved(old, new, certificates, 0).params()).await?;
        }
        Ok(())
    }

    /// Moves revocations whose certificate was never seen, when they name the issuer's key, or no key and there is only
    /// one issuer of the name.
    async fn resolve_revocations(&self, old: &Unresolved, new: &IssuerRow) -> Result<()> {
        const RIVALS: &str = "-- rivals of a name\n\
            SELECT count(*) FROM issuer AS i WHERE i.dn_key = $1 AND i.public_key IS NOT NULL";
        let is_meant = match &old.key_id {
            Some(key_id) => new.key_id.as_ref() == Some(key_id),
            None => self.db.fetch_one(RIVALS, params![new.dn_key]).await?.get::<i64>(0)? == 1,
        };
        if !is_meant {
            return Ok(());
        }
        while self.transaction(|session| self.move_revocations(session, old.id, new.id)).await? {}
        Ok(())
    }

    /// Moves some revocations without certificate. Whether there may be more.
    async fn move_revocations(&self, mut session: Session, old: Uuid, new: Uuid) -> Result<bool> {
        const SQL: &str = "-- revocations to attribute\n\
            SELECT r.serial FROM revocation AS r WHERE r.issuer = $1 \
              AND NOT EXISTS (SELECT 1 FROM certificate AS c WHERE c.serial = r.serial AND c.issuer = $1) \
            ORDER BY r.serial LIMIT $2";
        let rows = session.fetch_all(SQL, params![old, TOGETHER]).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let serials = rows.iter().map(|row| Ok(row.get(0)?)).collect::<Result<Vec<Vec<u8>>>>()?;
        let mut batch = Batch::new();
        batch.push_many(COPY_REVOCATION, serials.iter().map(|serial| params![old, new, serial]));
        batch.push_many(UPGRADE_REVOCATION, serials.iter().map(|serial| params![old, new, serial]));
        batch.push_many(DROP_REVOCATION, serials.iter().map(|serial| params![old, serial]));
        session.batch(batch).await?;
        let event = self.resolved(old, new, 0, serials.len() as u64);
        session.execute(EventRow::INSERT, event.params()).await?;
        Ok(serials.len() == TOGETHER as usize)
    }

    fn resolved(&self, old: Uuid, new: Uuid, certificates: u64, revocations: u64) -> EventRow {
        EventRow {
            at: self.now(),
            author: self.author.clone(),
            action: action::ISSUER_RESOLVED,
            object: new,
            before: Some(serde_json::json!({ "issuer_id": old }).to_string()),
            after: Some(
                serde_json::json!({ "issuer_id": new, "certificates": certificates, "revocations": revocations })
                    .to_string(),
            ),
        }
    }
}

const COPY_REVOCATION: &str = "-- copy revocation to its issuer\n\
    INSERT INTO revocation \
        (issuer, serial, revoked_at, reason, invalidity_date, source, list, checked, recorded_at, not_after) \
    SELECT $2, r.serial, r.revoked_at, r.reason, r.invalidity_date, r.source, r.list, r.checked, r.recorded_at, \
        r.not_after \
    FROM revocation AS r WHERE r.issuer = $1 AND r.serial = $3 \
    ON CONFLICT (issuer, serial) DO NOTHING";

/// Where both have one, a checked one beats one that is not. Of the same kind, a final one beats a hold and keyCompromise
/// any other reason; the earlier date counts.
const UPGRADE_REVOCATION: &str = "-- merge revocation with its issuer's\n\
    UPDATE revocation SET (reason, revoked_at, list, checked) = (\
        SELECT o.reason, \
            CASE WHEN o.checked > revocation.checked OR o.revoked_at < revocation.revoked_at THEN o.revoked_at \
                ELSE revocation.revoked_at END, \
            o.list, o.checked \
        FROM revocation AS o WHERE o.issuer = $1 AND o.serial = $3) \
    WHERE issuer = $2 AND serial = $3 AND EXISTS (\
        SELECT 1 FROM revocation AS o WHERE o.issuer = $1 AND o.serial = $3 \
          AND (o.checked > revocation.checked \
            OR (o.checked = revocation.checked AND o.reason <> revocation.reason \
              AND (revocation.reason = 6 OR o.reason = 1))))";

/// Unless another certificate with the serial stays behind.
const DROP_REVOCATION: &str = "-- drop copied revocation\n\
    DELETE FROM revocation WHERE issuer = $1 AND serial = $2 \
      AND NOT EXISTS (SELECT 1 FROM certificate AS c WHERE c.serial = $2 AND c.issuer = $1)";

/// A certificate's id and serial.
type Signed = (Uuid, Vec<u8>);

/// Those that the key signed, on a thread for blocking work.
async fn signed_by(found: Vec<(Uuid, Vec<u8>)>, key: PublicKey) -> Result<Arc<[Signed]>> {
    let check = move || {
        let mut signed = Vec::new();
        for (id, der) in found {
            let certificate = Certificate::from_der(&der).map_err(|_| damaged("der", id))?;
            if certificate.is_signed_by(&key) {
                signed.push((id, certificate.serial().as_bytes().to_vec()));
            }
        }
        Ok(signed.into())
    };
    tokio::task::spawn_blocking(check).await.map_err(|_| Error::Worker { doing: "checking signatures" })?
}
