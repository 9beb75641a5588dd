//! Recording many revocations, as CRLs and CA databases bring them.

use std::collections::{HashMap, HashSet};

use strongroom::{Batch, Params, Session, Value, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::by_keys::ByKeys;
use super::event::{EventRow, action};
use super::issuers::{Candidate, IssuerRow};
use super::revoke::{Current, next_state};
use super::row::reason_of;
use crate::distinguished_name::DistinguishedName;
use crate::error::{Error, Result};
use crate::record::normal_text;
use crate::revocation_reason::RevocationReason;
use crate::serial::Serial;

/// Revocations that are recorded in one transaction at most: each is up to three rows.
const TOGETHER: usize = 1_000;

const REVOCATIONS: ByKeys = ByKeys {
    sqlite: "-- revocations of serials\n\
        SELECT serial, reason, revoked_at, checked FROM revocation WHERE issuer = $1 AND serial",
    postgres: "-- revocations of serials\nSELECT serial, reason, revoked_at, checked FROM revocations_of_serials($1, $2)",
};

const CERTIFICATES: ByKeys = ByKeys {
    sqlite: "-- certificates of serials\nSELECT serial, id FROM certificate WHERE issuer = $1 AND serial",
    postgres: "-- certificates of serials\nSELECT serial, id FROM certificates_of_serials($1, $2)",
};

/// A revocation to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationEntry {
    /// The revoked serial; its certificate need not be known.
    pub serial: Serial,
    /// When it was revoked.
    pub revoked_at: OffsetDateTime,
    /// Why; `None` takes a hold back (removeFromCRL of a delta CRL).
    pub reason: Option<RevocationReason>,
    /// When the key is thought to have been compromised.
    pub invalidity_date: Option<OffsetDateTime>,
    /// The certificate's notAfter, where the source tells it: without it, and without the certificate, the entry stays
    /// on the issuer's CRL for ever.
    pub not_after: Option<OffsetDateTime>,
}

/// What became of many revocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedRevocations {
    /// New ones.
    pub recorded: u64,
    /// Holds made final, and reasons that became keyCompromise.
    pub changed: u64,
    /// Holds lifted.
    pub lifted: u64,
    /// Known before; nothing was changed.
    pub known: u64,
    /// Holds, and removals of such, in a CRL that is older than the issuer's newest: a newer one has spoken of them.
    pub outdated: u64,
}

impl std::ops::AddAssign for RecordedRevocations {
    fn add_assign(&mut self, other: Self) {
        self.recorded += other.recorded;
        self.changed += other.changed;
        self.lifted += other.lifted;
        self.known += other.known;
        self.outdated += other.outdated;
    }
}

/// Who says that revocations are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) source: Option<&'a str>,
    /// The CRL that says so.
    pub(super) list: Option<[u8; 32]>,
    /// Whether its signature was checked, or somebody vouches for it.
    pub(super) checked: bool,
    /// Whether a newer CRL has spoken: what can be taken back is then not believed.
    pub(super) stale: bool,
}

/// A revocation on its way into the database, and what was there.
struct Change<'a> {
    entry: &'a RevocationEntry,
    current: Option<Current>,
    /// What is to be there; None lifts the hold.
    next: Option<Current>,
}

impl Registry {
    /// Records revocations of one issuer, by the rules of [`revoke`](Registry::revoke), except that any date is taken and
    /// certificates need not be known. A hold is not lifted by its absence.
    ///
    /// They are committed in transactions of at most 1,000: when this fails or is dropped, those before stay, and may be
    /// recorded again without harm.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownIssuer`], [`Error::Database`].
    pub async fn record_revocations(
        &self,
        issuer: Uuid,
        entries: &[RevocationEntry],
        source: Option<&str>,
    ) -> Result<RecordedRevocations> {
        const SQL: &str = "-- issuer exists\nSELECT 1 FROM issuer WHERE id = $1";
        if self.db.fetch_value::<i64>(SQL, params![issuer]).await?.is_none() {
            return Err(Error::UnknownIssuer { id: issuer });
        }
        self.record_said(issuer, entries, &Said { source, checked: true, ..Said::default() }).await
    }

    /// Records revocations of an issuer that is there.
    pub(super) async fn record_said(
        &self,
        issuer: Uuid,
        entries: &[RevocationEntry],
        said: &Said<'_>,
    ) -> Result<RecordedRevocations> {
        let source = said.source.and_then(normal_text);
        let said = &Said { source: source.as_deref(), ..*said };
        let mut recorded = RecordedRevocations::default();
        for some in entries.chunks(TOGETHER) {
            let work = |session| self.record_together(session, issuer, some, said);
            recorded += self.transaction(work).await?;
        }
        Ok(recorded)
    }

    /// Which of the serials are those of an issuer's certificates.
    pub(crate) async fn serials_with_certificate(&self, issuer: Uuid, serials: &[&Serial]) -> Result<HashSet<Vec<u8>>> {
        let mut known = HashSet::new();
        let serials = serials.iter().map(|serial| Value::from(serial.as_bytes()));
        for (sql, params) in CERTIFICATES.statements(self.db.dialect(), Some(issuer.into()), serials) {
            for row in self.db.fetch_all(&sql, params).await? {
                known.insert(row.get(0)?);
            }
        }
        Ok(known)
    }

    /// Makes sure that an issuer of which only the name is known has a row.
    pub(crate) async fn record_issuer(&self, name: &DistinguishedName, key_id: Option<&[u8]>) -> Result<Uuid> {
        let row = IssuerRow::unresolved(name.comparison_key(), name.text(), key_id);
        if !self.issuers.is_recorded(&row.id) {
            self.db.execute(IssuerRow::INSERT, row.params(self.now())).await?;
            self.issuers.recorded(std::slice::from_ref(&row));
        }
        Ok(row.id)
    }

    /// The known issuers of a name.
    pub(crate) async fn issuers_named(&self, name: &DistinguishedName) -> Result<Vec<Candidate>> {
        // Another process may have made one known since this was remembered.
        self.issuers.forget(name.comparison_key());
        Ok(self.issuers.candidates(&self.db, name.comparison_key()).await?.to_vec())
    }

    async fn record_together(
        &self,
        mut session: Session,
        issuer: Uuid,
        entries: &[RevocationEntry],
        said: &Said<'_>,
    ) -> Result<RecordedRevocations> {
        const INSERT: &str = "-- record revocation\n\
            INSERT INTO revocation \
                (issuer, serial, revoked_at, reason, invalidity_date, source, recorded_at, list, checked, not_after) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, \
                COALESCE((SELECT max(c.not_after) FROM certificate AS c WHERE c.serial = $2 AND c.issuer = $1), $10))";
        const UPDATE: &str = "-- change revocation\n\
            UPDATE revocation SET revoked_at = $3, reason = $4, source = COALESCE($6, source), list = $7, checked = $8, \
                invalidity_date = CASE WHEN checked < $8 THEN $5 ELSE COALESCE($5, invalidity_date) END \
            WHERE issuer = $1 AND serial = $2";
        const DELETE: &str = "-- lift recorded hold\nDELETE FROM revocation WHERE issuer = $1 AND serial = $2";
        let mut recorded = RecordedRevocations::default();
        let of_serials = |lookup: &ByKeys, serials: &mut dyn Iterator<Item = &Serial>| {
            let serials = serials.map(|serial| Value::from(serial.as_bytes()));
            lookup.statements(self.db.dialect(), Some(issuer.into()), serials)
        };
        let lookup = of_serials(&REVOCATIONS, &mut entries.iter().map(|entry| &entry.serial));
        let mut known = current_of(&mut session, lookup).await?;
        let mut changes = Vec::new();
        for entry in entries {
            if said.stale && matches!(entry.reason, None | Some(RevocationReason::CertificateHold)) {
                recorded.outdated += 1;
                continue;
            }
            let current = known.get(entry.serial.as_bytes()).copied();
            let next = match entry.reason {
                Some(reason) => {
                    let said = Current { reason, revoked_at: entry.revoked_at, checked: said.checked };
                    next_state(current, said).map(Some)
                }
                None => current
                    .filter(|current| current.reason == RevocationReason::CertificateHold)
                    .filter(|current| said.checked >= current.checked)
                    .map(|_| None),
            };
            let Some(next) = next else {
                recorded.known += 1;
                continue;
            };
            // The serial may occur again further down.
            match next {
                Some(next) => known.insert(entry.serial.as_bytes().to_vec(), next),
                None => known.remove(entry.serial.as_bytes()),
            };
            changes.push(Change { entry, current, next });
        }
        let lookup = of_serials(&CERTIFICATES, &mut changes.iter().map(|change| &change.entry.serial));
        let certificates = certificates_of(&mut session, lookup).await?;
        let now = self.now();
        let mut batch = Batch::new();
        for Change { entry, current, next } in &changes {
            let serial = entry.serial.as_bytes();
            let action = match (current, next) {
                (None, Some(next)) => {
                    recorded.recorded += 1;
                    let code = i64::from(next.reason.code());
                    batch.push(
                        INSERT,
                        params![
                            issuer,
                            serial,
                            next.revoked_at,
                            code,
                            entry.invalidity_date,
                            said.source,
                            now,
                            said.list,
                            i64::from(said.checked),
                            entry.not_after
                        ],
                    );
                    action::REVOCATION_RECORDED
                }
                (Some(_), Some(next)) => {
                    recorded.changed += 1;
                    let code = i64::from(next.reason.code());
                    batch.push(
                        UPDATE,
                        params![
                            issuer,
                            serial,
                            next.revoked_at,
                            code,
                            entry.invalidity_date,
                            said.source,
                            said.list,
                            i64::from(said.checked)
                        ],
                    );
                    action::REVOCATION_CHANGED
                }
                (_, None) => {
                    recorded.lifted += 1;
                    batch.push(DELETE, params![issuer, serial]);
                    action::REVOCATION_LIFTED
                }
            };
            let event = EventRow {
                at: now,
                author: self.author.clone(),
                action,
                object: certificates.get(serial).copied().unwrap_or(issuer),
                before: current.map(|current| current.to_json(issuer, &entry.serial)),
                after: next.map(|next| next.to_json(issuer, &entry.serial)),
            };
            batch.push(EventRow::INSERT, event.params());
        }
        session.batch(batch).await?;
        Ok(recorded)
    }
}

type BySerial<T> = HashMap<Vec<u8>, T>;

/// The revocations that an issuer's serials have.
async fn current_of(session: &mut Session, lookup: Vec<(String, Params)>) -> Result<BySerial<Current>> {
    let mut known = HashMap::new();
    for (sql, params) in lookup {
        for row in session.fetch_all(&sql, params).await? {
            known.insert(
                row.get(0)?,
                Current { reason: reason_of(row.get(1)?)?, revoked_at: row.get(2)?, checked: row.get(3)? },
            );
        }
    }
    Ok(known)
}

/// The certificates that an issuer's serials have; of several, the one registered last.
async fn certificates_of(session: &mut Session, lookup: Vec<(String, Params)>) -> Result<BySerial<Uuid>> {
    let mut known: BySerial<Uuid> = HashMap::new();
    for (sql, params) in lookup {
        for row in session.fetch_all(&sql, params).await? {
            let (serial, id): (Vec<u8>, Uuid) = (row.get(0)?, row.get(1)?);
            known.entry(serial).and_modify(|last| *last = id.max(*last)).or_insert(id);
        }
    }
    Ok(known)
}
