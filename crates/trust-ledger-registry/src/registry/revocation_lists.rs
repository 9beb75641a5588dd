//! Recording CRLs.
//!
//! A CRL whose signature cannot be checked, because its issuer is not known, is believed for the time being: its
//! revocations are recorded as not checked, and the CRL is kept. When its issuer becomes known, it is checked: what it
//! says is then recorded as checked, or dropped with it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};
use strongroom::{Batch, Session, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::event::{EventRow, action};
use super::issuers::DnKey;
use super::list_signer::Signer;
use super::revocations::{RecordedRevocations, RevocationEntry, Said};
use super::revoke::Current;
use super::row::{hex, reason_of, serial};
use crate::distinguished_name::DistinguishedName;
use crate::error::Result;
use crate::revocation_list::{EntryReason, RevocationList, RevokedEntry};
use crate::serial::Serial;
use crate::timestamp;

/// Entries that are recorded together.
const TOGETHER: usize = 1_000;

/// Revocations that are dropped in one transaction at most.
const DROPPED_TOGETHER: u32 = 1_000;

/// Largest CRL that is kept until it can be checked, in bytes: some 400,000 entries.
const MAX_KEPT: usize = 16 << 20;

/// Bytes of CRLs that are kept for one issuer at most: a year of daily ones with 4,000 entries.
const MAX_KEPT_OF_ISSUER: usize = 64 << 20;

/// What became of a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its issuer signed it, and what it says is recorded.
    Checked,
    /// Nobody can tell yet whether its issuer signed it. What it says is recorded as not checked.
    Unchecked {
        /// Whether it is kept, and checked when its issuer becomes known; else it has to be imported again then.
        kept: bool,
    },
    /// Its issuer is known and did not sign it. That it turned up is an event; nothing that it says is believed.
    Forged,
    /// It is no CRL; nothing of it is recorded.
    Refused(String),
}

/// What is told while a CRL is recorded.
pub(crate) enum Told {
    /// Revocations were committed.
    Recorded(RecordedRevocations),
    /// An entry cannot be read.
    Refused(String),
    /// So many entries are of certificates of other issuers, who did not delegate them to the CRL's issuer.
    PassedOver(u64),
}

/// Kept CRLs that were checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckedLists {
    /// How many their issuers had signed.
    pub(crate) good: u64,
    /// The sources of those that their issuers had not signed; their revocations were dropped with them.
    pub(crate) dropped: Vec<String>,
}

impl CheckedLists {
    pub(crate) fn append(&mut self, mut other: CheckedLists) {
        self.good += other.good;
        self.dropped.append(&mut other.dropped);
    }
}

/// Whose certificates some entries are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spoken {
    /// The issuers; of several, the first is the one whose serials are unknown to all.
    issuers: Vec<Uuid>,
    checked: bool,
}

/// A CRL as the ledger has it.
struct Noted {
    checked: bool,
    whole: bool,
}

/// What a CRL is recorded as.
struct Note<'a> {
    list: &'a RevocationList<'a>,
    der: &'a [u8],
    fingerprint: [u8; 32],
    issuer: Uuid,
    source: &'a str,
    checked: bool,
    whole: bool,
}

impl Registry {
    /// Records what a CRL says, unless its issuer is known and did not sign it.
    ///
    /// Its entries are committed 1,000 at a time and the CRL after them: when this fails or is dropped, it can be done
    /// again.
    pub(crate) async fn record_list(
        &self,
        der: Vec<u8>,
        source: &str,
        told: &mut (dyn FnMut(Told) + Send),
    ) -> Result<Verdict> {
        let der = Arc::new(der);
        let list = match RevocationList::from_der(&der) {
            Ok(list) => list,
            Err(error) => return Ok(Verdict::Refused(error.to_string())),
        };
        let fingerprint: [u8; 32] = Sha256::digest(&*der).into();
        let signer = self.signer(&list, &der).await?;
        let (issuers, checked) = match &signer {
            Signer::Ca { issuer, others } => ([&[*issuer], &others[..]].concat(), true),
            Signer::Uncheckable(issuer) => (vec![*issuer], false),
            Signer::Delegate { .. } | Signer::Unknown => {
                (vec![self.record_issuer(list.issuer(), list.authority_key_id()).await?], false)
            }
            Signer::Forged => {
                self.drop_list(fingerprint).await?;
                self.note_forged(&list, fingerprint, source).await?;
                return Ok(Verdict::Forged);
            }
        };
        // Who may speak for others if they say so.
        let delegate = match signer {
            Signer::Ca { issuer, .. } => Some(issuer),
            Signer::Delegate { above } => Some(above),
            _ => None,
        };
        let delegate = delegate.filter(|_| list.is_indirect());
        let issuer = issuers[0];
        let noted = self.noted(&fingerprint, issuer).await?;
        if let Some(noted) = noted.as_ref().filter(|noted| noted.whole && noted.checked >= checked) {
            let known = list.entries().filter(Result::is_ok).count() as u64;
            told(Told::Recorded(RecordedRevocations { known, ..Default::default() }));
            return Ok(if noted.checked { Verdict::Checked } else { self.unchecked(&fingerprint).await? });
        }
        let stale =
            noted.is_some_and(|noted| noted.checked >= checked) || self.is_outdated(&list, issuer, checked).await?;
        let mut said = Said { source: Some(source), list: Some(fingerprint), checked, stale };

        // Holds that a complete list does not mention any more.
        let mut held = HashMap::new();
        if checked && !stale && list.is_complete() {
            for id in &issuers {
                held.insert(*id, self.holds_of_lists(*id, issuer, list.this_update()).await?);
            }
        }
        let own = Spoken { issuers, checked };
        // In an indirect CRL, entries of several issuers follow each other.
        let mut current: Option<DistinguishedName> = None;
        let mut spoken = own.clone();
        let (mut is_readable, mut passed_over, mut has_own) = (true, 0, false);
        let mut entries = Vec::with_capacity(TOGETHER);
        for entry in list.entries() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    is_readable = false;
                    told(Told::Refused(format!("an entry of the CRL: {error}")));
                    continue;
                }
            };
            let other = entry.certificate_issuer.as_ref().filter(|name| !same(name, list.issuer()));
            let changed = match (&current, other) {
                (None, None) => false,
                (Some(current), Some(other)) => !same(current, other),
                _ => true,
            };
            if changed || entries.len() == TOGETHER {
                self.record_spoken(&spoken, &mut entries, &mut said, told).await?;
            }
            if changed {
                spoken = match (other, delegate) {
                    (None, _) => own.clone(),
                    (Some(name), Some(delegate)) => {
                        let (name, own_name) = (name.comparison_key(), list.issuer().comparison_key());
                        Spoken { issuers: self.delegated_by(name, own_name, delegate).await?, checked: true }
                    }
                    // Else anybody could revoke anybody's certificates.
                    (Some(_), None) => Spoken::default(),
                };
                current = other.cloned();
            }
            if other.is_none() {
                has_own = true;
                held.values_mut().for_each(|held| {
                    held.remove(&entry.serial);
                });
            } else if spoken.issuers.is_empty() {
                passed_over += 1;
                continue;
            }
            entries.push(recordable(entry));
        }
        self.record_spoken(&spoken, &mut entries, &mut said, told).await?;
        said.checked = checked;
        if is_readable {
            for (issuer, serials) in held {
                let lifted = |serial| RevocationEntry {
                    serial,
                    revoked_at: list.this_update(),
                    reason: None,
                    invalidity_date: None,
                    not_after: None,
                };
                let mut lifted: Vec<RevocationEntry> = serials.into_iter().map(lifted).collect();
                lifted.sort_by(|a, b| a.serial.as_bytes().cmp(b.serial.as_bytes()));
                told(Told::Recorded(self.record_said(issuer, &lifted, &said).await?));
            }
        }
        if passed_over > 0 {
            told(Told::PassedOver(passed_over));
        }
        // What a delegate says is checked; of its own name there are no certificates to speak of.
        let checked = checked || (matches!(signer, Signer::Delegate { .. }) && !has_own);
        let whole = passed_over == 0;
        self.note(&Note { list: &list, der: &der, fingerprint, issuer, source, checked, whole }).await?;
        if checked {
            self.forget_unchecked(fingerprint).await?;
            return Ok(Verdict::Checked);
        }
        self.unchecked(&fingerprint).await
    }

    /// Records entries of one issuer. Where it has several keys, an entry is of the key with whose certificate its serial
    /// is.
    async fn record_spoken(
        &self,
        spoken: &Spoken,
        entries: &mut Vec<RevocationEntry>,
        said: &mut Said<'_>,
        told: &mut (dyn FnMut(Told) + Send),
    ) -> Result<()> {
        let mut rest = std::mem::take(entries);
        let Some((first, others)) = spoken.issuers.split_first() else { return Ok(()) };
        if rest.is_empty() {
            return Ok(());
        }
        said.checked = spoken.checked;
        let mut recorded = RecordedRevocations::default();
        if !others.is_empty() {
            let serials: Vec<&Serial> = rest.iter().map(|entry| &entry.serial).collect();
            let own = self.serials_with_certificate(*first, &serials).await?;
            for other in others {
                let serials: Vec<&Serial> = rest.iter().map(|entry| &entry.serial).collect();
                let theirs = self.serials_with_certificate(*other, &serials).await?;
                let is_theirs = |entry: &RevocationEntry| {
                    theirs.contains(entry.serial.as_bytes()) && !own.contains(entry.serial.as_bytes())
                };
                let (theirs, left): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_theirs);
                recorded += self.record_said(*other, &theirs, said).await?;
                rest = left;
            }
        }
        recorded += self.record_said(*first, &rest, said).await?;
        told(Told::Recorded(recorded));
        Ok(())
    }

    /// Checks the kept CRLs of a name, and those that certificates of this issuer may have signed, now that something
    /// about them became known.
    pub(super) async fn check_kept_lists(&self, name: &DnKey, issuer: Uuid) -> Result<CheckedLists> {
        const SQL: &str = "-- kept lists\n\
            SELECT l.der, l.source FROM revocation_list AS l CROSS JOIN issuer AS i \
            WHERE l.der IS NOT NULL AND l.fingerprint = $1 AND i.id = l.issuer LIMIT 1";
        const FINGERPRINTS: &str = "-- kept lists that may be checked\n\
            SELECT DISTINCT l.fingerprint, l.this_update FROM revocation_list AS l CROSS JOIN issuer AS i \
            WHERE l.der IS NOT NULL AND i.id = l.issuer AND (i.dn_key = $1 OR EXISTS (\
                SELECT 1 FROM certificate AS c WHERE c.list_signer = i.dn_key AND c.issuer = $2)) \
            ORDER BY l.this_update";
        let mut checked = CheckedLists::default();
        for row in self.db.fetch_all(FINGERPRINTS, params![name, issuer]).await? {
            // One at a time: all of them may be more than should be in memory.
            let Some(row) = self.db.fetch_optional(SQL, params![row.get::<[u8; 32]>(0)?]).await? else { continue };
            let source: String = row.get(1)?;
            match self.record_list(row.get(0)?, &source, &mut |_| {}).await? {
                Verdict::Checked => checked.good += 1,
                Verdict::Unchecked { .. } => {}
                Verdict::Forged | Verdict::Refused(_) => {
                    tracing::warn!(
                        source,
                        "a kept CRL, which its issuer had not signed, and its revocations were dropped"
                    );
                    checked.dropped.push(source);
                }
            }
        }
        Ok(checked)
    }

    async fn noted(&self, fingerprint: &[u8; 32], issuer: Uuid) -> Result<Option<Noted>> {
        const SQL: &str = "-- noted list\n\
            SELECT checked, whole FROM revocation_list WHERE fingerprint = $1 AND issuer = $2";
        let row = self.db.fetch_optional(SQL, params![fingerprint, issuer]).await?;
        row.map(|row| Ok(Noted { checked: row.get(0)?, whole: row.get(1)? })).transpose()
    }

    async fn unchecked(&self, fingerprint: &[u8; 32]) -> Result<Verdict> {
        const SQL: &str = "-- whether a list is kept\n\
            SELECT count(*) FROM revocation_list WHERE fingerprint = $1 AND der IS NOT NULL";
        let kept: i64 = self.db.fetch_one(SQL, params![fingerprint]).await?.get(0)?;
        Ok(Verdict::Unchecked { kept: kept > 0 })
    }

    /// Whether a list is older than the newest of its issuer and scope, by thisUpdate and CRL number. Lists that are
    /// checked are compared with such only.
    async fn is_outdated(&self, list: &RevocationList<'_>, issuer: Uuid, checked: bool) -> Result<bool> {
        // Numbers are not negative, so the longer is the greater.
        const SQL: &str = "-- newest list\n\
            SELECT this_update, number FROM revocation_list \
            WHERE issuer = $1 AND this_update >= $2 AND scope IS NOT DISTINCT FROM $3 AND checked >= $4 \
            ORDER BY this_update DESC, length(number) DESC NULLS LAST, number DESC LIMIT 1";
        let params = params![issuer, list.this_update(), list.issuing_distribution_point(), i64::from(checked)];
        let Some(row) = self.db.fetch_optional(SQL, params).await? else { return Ok(false) };
        let number: Option<Vec<u8>> = row.get(1)?;
        let newest = number.and_then(|number| Serial::from_content(&number).ok());
        Ok(row.get::<OffsetDateTime>(0)? > list.this_update()
            || matches!((list.crl_number(), newest), (Some(number), Some(newest)) if *number < newest))
    }

    /// The serials of `held_by` that a CRL recorded for `issuer` put on hold, and whose certificates have not expired by
    /// then, as far as is known: an entry may be missing because of that.
    async fn holds_of_lists(&self, held_by: Uuid, issuer: Uuid, then: OffsetDateTime) -> Result<HashSet<Serial>> {
        const SQL: &str = "-- holds of lists\n\
            SELECT r.serial FROM revocation AS r WHERE r.issuer = $1 AND r.reason = 6 AND r.list IS NOT NULL \
              AND (r.not_after IS NULL OR r.not_after >= $3) \
              AND EXISTS (SELECT 1 FROM revocation_list AS l \
                          WHERE l.fingerprint = r.list AND l.issuer = $2 AND l.this_update <= $3)";
        let rows = self.db.fetch_all(SQL, params![held_by, issuer, then]).await?;
        rows.iter().map(|row| serial(row, 0)).collect()
    }

    /// Notes that all entries of a CRL are recorded.
    async fn note(&self, note: &Note<'_>) -> Result<()> {
        const KEPT: &str = "-- bytes of kept lists\n\
            SELECT coalesce(sum(length(der)), 0) FROM revocation_list WHERE issuer = $1 AND der IS NOT NULL";
        const SQL: &str = "-- note list\n\
            INSERT INTO revocation_list \
                (fingerprint, issuer, number, this_update, scope, source, checked, whole, der, recorded_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
            ON CONFLICT (fingerprint, issuer) DO UPDATE SET checked = $7, whole = $8, der = $9";
        let Note { list, der, fingerprint, issuer, source, checked, whole } = *note;
        let kept: usize =
            self.db.fetch_one(KEPT, params![issuer]).await?.get::<u64>(0)?.try_into().unwrap_or(usize::MAX);
        let keep = !checked && der.len() <= MAX_KEPT && kept.saturating_add(der.len()) <= MAX_KEPT_OF_ISSUER;
        let now = self.now();
        let number = list.crl_number();
        let event = EventRow {
            at: now,
            author: self.author.clone(),
            action: action::REVOCATION_LIST_RECORDED,
            object: issuer,
            before: None,
            after: Some(
                json!({
                    "fingerprint_sha256": hex(&fingerprint),
                    "crl_number": number.map(Serial::to_hex),
                    "this_update": timestamp::text(list.this_update()),
                    "source": source,
                    "checked": checked,
                })
                .to_string(),
            ),
        };
        let row = params![
            fingerprint,
            issuer,
            number.map(Serial::as_bytes),
            list.this_update(),
            list.issuing_distribution_point(),
            source,
            i64::from(checked),
            i64::from(whole),
            keep.then_some(der),
            now
        ];
        let batch = Batch::new().then(SQL, row).then(EventRow::INSERT, event.params());
        self.db.batch(batch).await.map(drop).map_err(Into::into)
    }

    /// Appends, once, the event that a CRL turned up which its issuer did not sign: somebody made it.
    async fn note_forged(&self, list: &RevocationList<'_>, fingerprint: [u8; 32], source: &str) -> Result<()> {
        const SQL: &str = "-- note forged list\n\
            INSERT INTO forged_list (fingerprint, issuer, source, recorded_at) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (fingerprint) DO NOTHING";
        let issuer = self.record_issuer(list.issuer(), list.authority_key_id()).await?;
        let now = self.now();
        let after = json!({
            "fingerprint_sha256": hex(&fingerprint),
            "crl_number": list.crl_number().map(Serial::to_hex),
            "this_update": timestamp::text(list.this_update()),
            "source": source,
        });
        let event = EventRow {
            at: now,
            author: self.author.clone(),
            action: action::REVOCATION_LIST_FORGED,
            object: issuer,
            before: None,
            after: Some(after.to_string()),
        };
        let (row, event) = (&params![fingerprint, issuer, source, now], &event);
        let work = |mut session: Session| async move {
            if session.execute(SQL, row.clone()).await? == 1 {
                session.execute(EventRow::INSERT, event.params()).await?;
            }
            Ok(())
        };
        self.transaction(work).await
    }

    /// Removes what is left of a CRL from the time when it was not checked: it has been recorded anew, for the issuer
    /// who signed it. What is left is of certificates that name the same issuer and were signed by another.
    async fn forget_unchecked(&self, fingerprint: [u8; 32]) -> Result<()> {
        while self.transaction(|session| self.drop_together(session, fingerprint)).await? {}
        const SQL: &str = "-- forget unchecked list\n\
            DELETE FROM revocation_list WHERE fingerprint = $1 AND checked = 0";
        self.db.execute(SQL, params![fingerprint]).await?;
        Ok(())
    }

    /// Drops a CRL that was recorded before it could be checked, with all that only it says.
    async fn drop_list(&self, fingerprint: [u8; 32]) -> Result<()> {
        const FIND: &str = "-- find unchecked list\n\
            SELECT issuer, source FROM revocation_list WHERE fingerprint = $1 AND checked = 0";
        const SQL: &str = "-- drop list\n\
            DELETE FROM revocation_list WHERE fingerprint = $1 AND issuer = $2 AND checked = 0";
        while self.transaction(|session| self.drop_together(session, fingerprint)).await? {}
        for row in self.db.fetch_all(FIND, params![fingerprint]).await? {
            let (issuer, source): (Uuid, String) = (row.get(0)?, row.get(1)?);
            let event = EventRow {
                at: self.now(),
                author: self.author.clone(),
                action: action::REVOCATION_LIST_DROPPED,
                object: issuer,
                before: Some(json!({ "fingerprint_sha256": hex(&fingerprint), "source": source }).to_string()),
                after: None,
            };
            let batch = Batch::new().then(SQL, params![fingerprint, issuer]).then(EventRow::INSERT, event.params());
            self.db.batch(batch).await?;
        }
        Ok(())
    }

    /// Removes some revocations that only this CRL says, unchecked. Whether there may be more.
    async fn drop_together(&self, mut session: Session, fingerprint: [u8; 32]) -> Result<bool> {
        const FIND: &str = "-- find unchecked revocations\n\
            SELECT r.issuer, r.serial, r.reason, r.revoked_at, \
                (SELECT c.id FROM certificate AS c WHERE c.serial = r.serial AND c.issuer = r.issuer ORDER BY c.id DESC LIMIT 1) \
            FROM revocation AS r WHERE r.list = $1 AND r.checked = 0 LIMIT $2";
        const SQL: &str = "-- drop unchecked revocation\nDELETE FROM revocation WHERE issuer = $1 AND serial = $2";
        let rows = session.fetch_all(FIND, params![fingerprint, DROPPED_TOGETHER]).await?;
        let now = self.now();
        let mut batch = Batch::new();
        for row in &rows {
            let (issuer, serial): (Uuid, Serial) = (row.get(0)?, serial(row, 1)?);
            let current = Current { reason: reason_of(row.get(2)?)?, revoked_at: row.get(3)?, checked: false };
            let event = EventRow {
                at: now,
                author: self.author.clone(),
                action: action::REVOCATION_DROPPED,
                object: row.get::<Option<Uuid>>(4)?.unwrap_or(issuer),
                before: Some(current.to_json(issuer, &serial)),
                after: None,
            };
            batch.push(SQL, params![issuer, serial.as_bytes()]);
            batch.push(EventRow::INSERT, event.params());
        }
        if !rows.is_empty() {
            session.batch(batch).await?;
        }
        Ok(rows.len() == DROPPED_TOGETHER as usize)
    }
}

fn same(a: &DistinguishedName, b: &DistinguishedName) -> bool {
    a.comparison_key() == b.comparison_key()
}

fn recordable(entry: RevokedEntry) -> RevocationEntry {
    RevocationEntry {
        serial: entry.serial,
        revoked_at: entry.revoked_at,
        reason: match entry.reason {
            EntryReason::Revoked(reason) => Some(reason),
            EntryReason::RemoveFromCrl => None,
        },
        invalidity_date: entry.invalidity_date,
        not_after: None,
    }
}
