//! Which CRLs have been recorded: importing one again must not bring back a hold that a later one has lifted.

use serde_json::json;
use sha2::{Digest, Sha256};
use strongroom::{Batch, params};
use uuid::Uuid;

use super::Registry;
use super::event::{EventRow, action};
use super::row::hex;
use crate::error::Result;
use crate::revocation_list::RevocationList;
use crate::timestamp;

impl Registry {
    /// Whether this very CRL has been recorded as this issuer's, to its last entry.
    pub(crate) async fn has_list(&self, issuer: Uuid, der: &[u8]) -> Result<bool> {
        const SQL: &str = "-- has_list\nSELECT 1 FROM revocation_list WHERE fingerprint = $1 AND issuer = $2";
        let fingerprint = Sha256::digest(der);
        Ok(self.db.fetch_value::<i64>(SQL, params![fingerprint.as_slice(), issuer]).await?.is_some())
    }

    /// Notes that all entries of a CRL are recorded.
    pub(crate) async fn note_list(
        &self,
        issuer: Uuid,
        list: &RevocationList<'_>,
        der: &[u8],
        source: &str,
    ) -> Result<()> {
        const SQL: &str = "-- note_list\n\
            INSERT INTO revocation_list (fingerprint, issuer, number, this_update, recorded_at) \
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        let now = self.now();
        let fingerprint = Sha256::digest(der);
        let number = list.crl_number();
        let event = EventRow {
            at: now,
            actor: self.actor.clone(),
            action: action::REVOCATION_LIST_RECORDED,
            object: issuer,
            before: None,
            after: Some(
                json!({
                    "fingerprint_sha256": hex(fingerprint.as_slice()),
                    "crl_number": number.as_ref().map(|number| number.to_hex()),
                    "this_update": timestamp::text(list.this_update()),
                    "source": source,
                })
                .to_string(),
            ),
        };
        let number = number.as_ref().map(|number| number.as_bytes());
        let batch = Batch::new()
            .then(SQL, params![fingerprint.as_slice(), issuer, number, list.this_update(), now])
            .then(EventRow::INSERT, event.params());
        self.db.batch(batch).await.map(drop).map_err(Into::into)
    }
}
