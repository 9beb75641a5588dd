//! Events: what was changed, when and by whom.

use std::sync::Arc;

use serde::Serialize;
use strongroom::{Params, Row, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::author::Author;
use super::page::Query;
use super::row::damaged;
use crate::error::{Error, Result};
use crate::record::without_nul;
use crate::timestamp;

/// What was done. The names are part of the audit trail and never change.
pub(super) mod action {
    pub(crate) const CERTIFICATE_REGISTERED: &str = "certificate.registered";
    pub(crate) const CERTIFICATE_ANNOTATED: &str = "certificate.annotated";
    pub(crate) const CERTIFICATE_DELETED: &str = "certificate.deleted";
    pub(crate) const REVOCATION_RECORDED: &str = "revocation.recorded";
    pub(crate) const REVOCATION_CHANGED: &str = "revocation.changed";
    pub(crate) const REVOCATION_LIFTED: &str = "revocation.lifted";
    pub(crate) const REVOCATION_DROPPED: &str = "revocation.dropped";
    pub(crate) const REVOCATION_LIST_RECORDED: &str = "revocation-list.recorded";
    pub(crate) const REVOCATION_LIST_DROPPED: &str = "revocation-list.dropped";
    pub(crate) const REVOCATION_LIST_FORGED: &str = "revocation-list.forged";
    pub(crate) const ISSUER_RESOLVED: &str = "issuer.resolved";
    pub(crate) const TOKEN_CREATED: &str = "token.created";
    pub(crate) const TOKEN_REVOKED: &str = "token.revoked";

    /// All of them.
    pub(crate) const ALL: [&str; 13] = [
        CERTIFICATE_REGISTERED,
        CERTIFICATE_ANNOTATED,
        CERTIFICATE_DELETED,
        REVOCATION_RECORDED,
        REVOCATION_CHANGED,
        REVOCATION_LIFTED,
        REVOCATION_DROPPED,
        REVOCATION_LIST_RECORDED,
        REVOCATION_LIST_DROPPED,
        REVOCATION_LIST_FORGED,
        ISSUER_RESOLVED,
        TOKEN_CREATED,
        TOKEN_REVOKED,
    ];
}

/// One change to the ledger, recorded in the same transaction as the change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Event {
    /// A UUIDv7; events of one process are in the order of their ids.
    pub id: Uuid,
    /// When the change was made.
    #[serde(serialize_with = "timestamp::serialize")]
    pub at: OffsetDateTime,
    /// Who made it.
    pub actor: String,
    /// What was done: `certificate.registered`, `certificate.annotated`, `certificate.deleted`, `revocation.recorded`,
    /// `revocation.changed` (a hold made final, a reason that became keyCompromise, a CRL that could be checked),
    /// `revocation.lifted`, `revocation.dropped` (its CRL was not its issuer's), `revocation-list.recorded`,
    /// `revocation-list.dropped`, `revocation-list.forged` (its issuer did not sign it), `issuer.resolved`,
    /// `token.created`, `token.revoked`.
    pub action: String,
    /// What it was done to: a certificate's id, an issuer's when the change is to several certificates or to a
    /// serial without one, or a token's.
    pub object: Uuid,
    /// What was there before; `None` when nothing was.
    pub before: Option<serde_json::Value>,
    /// What is there since; `None` when nothing is.
    pub after: Option<serde_json::Value>,
    /// From where, such as the address of who asked a service for it; `None` when it was not asked for over a network.
    pub origin: Option<String>,
    /// The id of the request that it answered.
    pub request: Option<String>,
}

/// Which events are asked for; all that is `None` matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this certificate, issuer or token.
    pub object: Option<Uuid>,
    /// Of this kind, such as `certificate.deleted`.
    pub action: Option<String>,
    /// By this actor.
    pub actor: Option<String>,
    /// Made by this request.
    pub request: Option<String>,
    /// At or after.
    pub since: Option<OffsetDateTime>,
    /// Before.
    pub until: Option<OffsetDateTime>,
}

/// Some events, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<String>,
}

impl Event {
    /// What [`action`](Event::action) can be.
    pub const ACTIONS: &[&str] = &action::ALL;
}

impl Registry {
    /// The events that match, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Cursor`], [`Error::PageSize`], [`Error::Database`].
    pub async fn events(&self, filter: &EventFilter, page: &super::Page) -> Result<EventPage> {
        let limit = page.checked_limit()?;
        let mut query = Query::new(
            self.db.dialect(),
            "-- events\nSELECT e.id, e.at, e.actor, e.action, e.object, e.before, e.after, e.origin, e.request \
             FROM event AS e WHERE 1 = 1",
        );
        query.push_some(" AND e.object = $", filter.object);
        query.push_some(" AND e.action = $", filter.action.as_deref().map(without_nul));
        query.push_some(" AND e.actor = $", filter.actor.as_deref().map(without_nul));
        query.push_some(" AND e.request = $", filter.request.as_deref().map(without_nul));
        query.push_some(" AND e.at >= $", filter.since);
        query.push_some(" AND e.at < $", filter.until);
        query.push_some(" AND e.id < $", page.cursor()?);
        query.push(" ORDER BY e.id DESC LIMIT $", limit + 1);
        let (sql, params) = query.into_parts();
        let rows = self.db.fetch_all(&sql, params).await?;
        let mut events = rows.iter().map(event).collect::<Result<Vec<_>>>()?;
        let more = events.len() > limit as usize;
        events.truncate(limit as usize);
        let next = events.last().filter(|_| more).map(|event| event.id.to_string());
        Ok(EventPage { events, next })
    }
}

fn event(row: &Row) -> Result<Event> {
    let id = row.get(0)?;
    let json = |column: usize, what| -> Result<Option<serde_json::Value>, Error> {
        let text: Option<String> = row.get(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|_| damaged(what, id))).transpose()
    };
    Ok(Event {
        id,
        at: row.get(1)?,
        actor: row.get(2)?,
        action: row.get(3)?,
        object: row.get(4)?,
        before: json(5, "before")?,
        after: json(6, "after")?,
        origin: row.get(7)?,
        request: row.get(8)?,
    })
}

/// An event on its way into the database.
pub(super) struct EventRow {
    pub(super) at: OffsetDateTime,
    pub(super) author: Arc<Author>,
    pub(super) action: &'static str,
    pub(super) object: Uuid,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl EventRow {
    pub(super) const INSERT: &str = "-- record event\n\
        INSERT INTO event (id, at, actor, action, object, before, after, origin, request) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

    /// Only when the certificate it is about is there: its insert may have been refused.
    pub(super) const INSERT_FOR_CERTIFICATE: &str = "-- record event for certificate\n\
        INSERT OR FAIL INTO event (id, at, actor, action, object, before, after, origin, request) \
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE EXISTS (SELECT 1 FROM certificate AS c WHERE c.id = $5)";

    pub(super) fn params(&self) -> Params {
        Params::from(self.values())
    }

    pub(super) fn values(&self) -> Vec<Value> {
        vec![
            Uuid::now_v7().into(),
            self.at.into(),
            self.author.actor.as_str().into(),
            self.action.into(),
            self.object.into(),
            self.before.as_deref().into(),
            self.after.as_deref().into(),
            self.author.origin.as_deref().into(),
            self.author.request.as_deref().into(),
        ]
    }
}
