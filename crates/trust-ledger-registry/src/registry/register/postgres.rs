//! Registrations on PostgreSQL: one statement for all rows of all certificates.
//!
//! Alone, it is one trip to the server and a transaction of its own (READ COMMITTED); what the trigger on `certificate`
//! looks at, it claims first, see the schema.

use strongroom::{Batch, Params, Value};
use uuid::Uuid;

use super::super::Registry;
use super::super::event::action;
use super::super::issuers::IssuerRow;
use super::Entry;

/// Inserts those certificates whose fingerprint is not known. Affects as many rows as it inserts certificates.
pub(in super::super) const REGISTER: &str = "-- register
WITH registered AS (
    INSERT INTO certificate (id, fingerprint, issuer, serial, subject, issuer_name, common_name, names,
        not_before, not_after, category, key_algorithm, key_bits, signature_algorithm, is_ca, is_precertificate, weak,
        public_key_hash, key_holder, names_key, source, owner, tags, note, files, registered_at, lapsed, der,
        list_signer, list_delegate, duplicate_serial, key_reused, revoked)
    SELECT e.id, e.fingerprint, e.issuer, e.serial, e.subject, e.issuer_name, e.common_name, e.names,
        e.not_before, e.not_after, e.category, e.key_algorithm, e.key_bits, e.signature_algorithm, e.is_ca,
        e.is_precertificate, e.weak, e.public_key_hash, e.key_holder, e.names_key, e.source, e.owner, e.tags, e.note,
        e.files, e.registered_at, e.lapsed, e.der, e.list_signer, e.list_delegate, 0, 0, 0
    FROM unnest($1::uuid[], $2::bytea[], $3::uuid[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::timestamptz[], $10::timestamptz[], $11::smallint[], $12::text[], $13::integer[], $14::text[],
        $15::smallint[], $16::smallint[], $17::smallint[], $18::bytea[], $19::bigint[], $20::bytea[], $21::text[],
        $22::text[], $23::text[], $24::text[], $25::uuid[], $26::timestamptz[], $27::smallint[], $28::bytea[],
        $29::bytea[], $30::bytea[])
        AS e (id, fingerprint, issuer, serial, subject, issuer_name, common_name, names,
            not_before, not_after, category, key_algorithm, key_bits, signature_algorithm, is_ca, is_precertificate, weak,
            public_key_hash, key_holder, names_key, source, owner, tags, note, files, registered_at, lapsed, der,
            list_signer, list_delegate)
    ON CONFLICT (fingerprint) DO NOTHING
    RETURNING id
), named AS (
    INSERT INTO certificate_name (name, not_before, certificate)
    SELECT n.name, n.not_before, n.certificate
    FROM unnest($31::text[], $32::timestamptz[], $33::uuid[]) AS n (name, not_before, certificate)
    WHERE n.certificate IN (SELECT r.id FROM registered AS r)
), named_reversed AS (
    INSERT INTO certificate_name_reversed (name, certificate)
    SELECT n.name, n.certificate FROM unnest($34::text[], $35::uuid[]) AS n (name, certificate)
    WHERE n.certificate IN (SELECT r.id FROM registered AS r)
), tagged AS (
    INSERT INTO certificate_tag (tag, certificate)
    SELECT t.tag, t.certificate FROM unnest($36::text[], $37::uuid[]) AS t (tag, certificate)
    WHERE t.certificate IN (SELECT r.id FROM registered AS r)
)
INSERT INTO event (id, at, actor, action, object, before, after, origin, request)
SELECT e.id, e.at, e.actor, $38, e.object, NULL, e.after, e.origin, e.request
FROM unnest($39::uuid[], $26::timestamptz[], $40::text[], $1::uuid[], $41::text[], $42::text[], $43::text[])
    AS e (id, at, actor, object, after, origin, request)
WHERE e.object IN (SELECT r.id FROM registered AS r)";

impl Registry {
    /// Inserts certificates and what belongs to them as one unit, with the issuers that must be there before.
    pub(super) async fn insert_on_server(
        &self,
        issuers: &[IssuerRow],
        entries: &[Entry<'_>],
    ) -> strongroom::Result<u64> {
        let (mut batch, now) = (Batch::new(), self.now());
        // In one order, so that two never wait for each other.
        let mut issuers: Vec<&IssuerRow> = issuers.iter().collect();
        issuers.sort_by_key(|issuer| issuer.id);
        for issuer in issuers {
            batch.push(IssuerRow::INSERT, issuer.params(now));
        }
        batch.push(REGISTER, register_params(entries));
        Ok(self.db.batch(batch).await?.last().copied().unwrap_or_default())
    }
}

/// The parameters of [`REGISTER`].
fn register_params(entries: &[Entry<'_>]) -> Params {
    let mut columns: Vec<Vec<Value>> = (0..Entry::COLUMNS).map(|_| Vec::with_capacity(entries.len())).collect();
    for entry in entries {
        for (column, value) in columns.iter_mut().zip(entry.values()) {
            column.push(value);
        }
    }
    let mut values: Vec<Value> = columns.into_iter().map(Value::Array).collect();
    let (mut names, mut begins, mut named) = (Vec::new(), Vec::new(), Vec::new());
    let (mut reversed, mut reversed_of) = (Vec::new(), Vec::new());
    let (mut tags, mut tagged) = (Vec::new(), Vec::new());
    let mut after = Vec::with_capacity(entries.len());
    let (mut actors, mut origins, mut requests) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        for name in &entry.names().keys {
            names.push(name.as_str());
            begins.push(entry.certificate.not_before());
            named.push(entry.id);
        }
        for name in &entry.names().reversed {
            reversed.push(name.as_str());
            reversed_of.push(entry.id);
        }
        for tag in entry.tags() {
            tags.push(tag.as_str());
            tagged.push(entry.id);
        }
        after.push(entry.to_json());
        actors.push(entry.author.actor.as_str());
        origins.push(entry.author.origin.as_deref());
        requests.push(entry.author.request.as_deref());
    }
    let events: Vec<Uuid> = entries.iter().map(|_| Uuid::now_v7()).collect();
    values.extend([names.into(), begins.into(), named.into(), reversed.into(), reversed_of.into()]);
    values.extend([tags.into(), tagged.into()]);
    values.extend([action::CERTIFICATE_REGISTERED.into(), events.into()]);
    values.extend([actors.into(), after.into(), origins.into(), requests.into()]);
    Params::from(values)
}
