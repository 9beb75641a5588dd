//! Registrations on SQLite: a statement for each row, one after the other.

use strongroom::{Batch, Params, params};

use super::super::Registry;
use super::super::event::EventRow;
use super::super::issuers::IssuerRow;
use super::Entry;

macro_rules! insert_certificate {
    () => {
        "INSERT OR FAIL INTO certificate (id, fingerprint, issuer, serial, subject, issuer_name, common_name, names, \
            not_before, not_after, category, key_algorithm, key_bits, signature_algorithm, is_ca, is_precertificate, weak, \
            public_key_hash, key_holder, names_key, source, owner, tags, note, files, registered_at, lapsed, der, \
            list_signer, list_delegate, duplicate_serial, key_reused, revoked) "
    };
}

/// The values of a row: 30 parameters, and what the rows that are there say of it.
macro_rules! columns {
    () => {
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, \
         $25, $26, $27, $28, $29, $30, \
         EXISTS (SELECT 1 FROM certificate AS o \
                 WHERE o.serial = $4 AND o.issuer = $3 AND o.is_precertificate = $16), \
         EXISTS (SELECT 1 FROM certificate AS o WHERE o.public_key_hash = $18 AND o.key_holder < $19) \
         OR EXISTS (SELECT 1 FROM certificate AS o WHERE o.public_key_hash = $18 AND o.key_holder > $19), \
         COALESCE((SELECT CASE r.reason WHEN 6 THEN 1 ELSE 2 END FROM revocation AS r \
                   WHERE r.issuer = $3 AND r.serial = $4), 0)"
    };
}

/// Inserts unless the fingerprint is known. For certificates whose issuer's signature was verified, which nothing that
/// happens later makes wrong.
pub(in super::super) const INSERT: &str =
    concat!("-- register\n", insert_certificate!(), "VALUES (", columns!(), ") ON CONFLICT (fingerprint) DO NOTHING");

/// Inserts unless the fingerprint is known or the number of candidates is another than was tried.
pub(in super::super) const INSERT_IF_TRIED: &str = concat!(
    "-- register under a name\n",
    insert_certificate!(),
    "SELECT ",
    columns!(),
    " WHERE (SELECT count(*) FROM issuer AS i WHERE i.dn_key = $31 AND i.public_key IS NOT NULL) = $32 \
     ON CONFLICT (fingerprint) DO NOTHING"
);

// On an error the whole unit is taken back, so a single statement need not be: OR FAIL spares SQLite the copy of each
// page that a statement changes.
pub(in super::super) const INSERT_NAME: &str = "-- register name\n\
    INSERT OR FAIL INTO certificate_name (name, not_before, certificate) \
    SELECT $1, $2, $3 WHERE EXISTS (SELECT 1 FROM certificate AS c WHERE c.id = $3)";

pub(in super::super) const INSERT_REVERSED: &str = "-- register reversed name\n\
    INSERT OR FAIL INTO certificate_name_reversed (name, certificate) \
    SELECT $1, $2 WHERE EXISTS (SELECT 1 FROM certificate AS c WHERE c.id = $2)";

pub(in super::super) const INSERT_TAG: &str = "-- register tag\n\
    INSERT OR FAIL INTO certificate_tag (tag, certificate) \
    SELECT $1, $2 WHERE EXISTS (SELECT 1 FROM certificate AS c WHERE c.id = $2)";

impl Registry {
    /// Inserts certificates and what belongs to them as one unit, with the issuers that must be there before.
    ///
    /// One statement after the other, each for all: so each is looked up once, and what lies together is written together.
    pub(super) async fn insert_in_file(&self, issuers: &[IssuerRow], entries: &[Entry<'_>]) -> strongroom::Result<u64> {
        let (mut batch, now) = (Batch::new(), self.now());
        push_all(&mut batch, IssuerRow::INSERT, issuers.iter().map(|issuer| issuer.params(now)).collect());
        let first = batch.len();
        for (sql, is_tried) in [(INSERT, false), (INSERT_IF_TRIED, true)] {
            let rows = entries.iter().filter(|entry| entry.tried_under.is_some() == is_tried);
            push_all(&mut batch, sql, rows.map(params_of).collect());
        }
        let last = batch.len();
        let name = |entry: &Entry<'_>, name: &String| params![name, entry.certificate.not_before(), entry.id];
        push_all(&mut batch, INSERT_NAME, of_each(entries, |entry| &entry.names().keys, name));
        let name = |entry: &Entry<'_>, name: &String| params![name, entry.id];
        push_all(&mut batch, INSERT_REVERSED, of_each(entries, |entry| &entry.names().reversed, name));
        push_all(&mut batch, INSERT_TAG, of_each(entries, |entry| entry.tags(), name));
        let events = entries.iter().map(|entry| entry.registered().params());
        push_all(&mut batch, EventRow::INSERT_FOR_CERTIFICATE, events.collect());
        let swept = self.sweep(&mut batch);
        let affected = self.db.batch(batch).await?;
        self.swept(swept, &affected);
        Ok(affected.get(first..last).unwrap_or_default().iter().sum())
    }
}

/// Adds a statement for all these rows, if there are any.
fn push_all(batch: &mut Batch, sql: &'static str, mut rows: Vec<Params>) {
    match rows.len() {
        0 => {}
        1 => batch.push(sql, rows.swap_remove(0)),
        _ => batch.push_many(sql, rows),
    }
}

/// The parameters of a statement for each text that each entry has.
fn of_each<'e, 'c>(
    entries: &'e [Entry<'c>],
    texts: impl Fn(&'e Entry<'c>) -> &'e [String],
    params: impl Fn(&'e Entry<'c>, &'e String) -> Params,
) -> Vec<Params> {
    entries.iter().flat_map(|entry| texts(entry).iter().map(|text| params(entry, text)).collect::<Vec<_>>()).collect()
}

fn params_of(entry: &Entry<'_>) -> Params {
    let mut values = entry.values();
    if let Some((issuer, tried)) = entry.tried_under {
        values.extend([issuer.into(), tried.into()]);
    }
    Params::from(values)
}
