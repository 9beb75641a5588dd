//! Changing what people say about a certificate.

use serde_json::json;
use strongroom::{Batch, Session, params};
use uuid::Uuid;

use super::Registry;
use super::event::{EventRow, action};
use super::row::damaged;
use crate::certificate::Category;
use crate::error::Result;
use crate::record::{AnnotationChange, category_code, category_of, normal_tags, normal_text};

/// What became of a change of annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Annotated {
    /// It is made, durably.
    Changed,
    /// Everything was as asked before.
    Unchanged,
    /// The ledger has no such certificate.
    NotFound,
}

/// What people say about a certificate.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Said {
    owner: Option<String>,
    tags: Vec<String>,
    note: Option<String>,
    category: Category,
    source: Option<String>,
}

impl Registry {
    /// Changes owner, tags, note, category or source of a certificate.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database).
    pub async fn annotate(&self, id: Uuid, change: &AnnotationChange) -> Result<Annotated> {
        self.transaction(|session| self.annotate_in(session, id, change)).await
    }

    async fn annotate_in(&self, mut session: Session, id: Uuid, change: &AnnotationChange) -> Result<Annotated> {
        const READ: &str =
            "-- annotate, before\nSELECT owner, tags, note, category, source FROM certificate WHERE id = $1";
        const WRITE: &str = "-- annotate\n\
            UPDATE certificate SET owner = $2, tags = $3, note = $4, category = $5, source = $6 WHERE id = $1";
        const REMOVE_TAG: &str =
            "-- annotate, remove tag\nDELETE FROM certificate_tag WHERE tag = $1 AND certificate = $2";
        const ADD_TAG: &str = "-- annotate, add tag\n\
            INSERT INTO certificate_tag (tag, certificate) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let Some(row) = session.fetch_optional(READ, params![id]).await? else { return Ok(Annotated::NotFound) };
        let before = Said {
            owner: row.get(0)?,
            tags: serde_json::from_str(&row.get::<String>(1)?).map_err(|_| damaged("tags", id))?,
            note: row.get(2)?,
            category: category_of(row.get(3)?).ok_or_else(|| damaged("category", id))?,
            source: row.get(4)?,
        };
        let after = before.changed_by(change);
        if after == before {
            return Ok(Annotated::Unchanged);
        }
        let tags = json!(after.tags).to_string();
        let mut batch = Batch::new();
        batch.push(
            WRITE,
            params![
                id,
                after.owner.as_deref(),
                tags,
                after.note.as_deref(),
                category_code(after.category),
                after.source.as_deref()
            ],
        );
        let removed = before.tags.iter().filter(|tag| !after.tags.contains(tag));
        batch.push_many(REMOVE_TAG, removed.map(|tag| params![tag, id]));
        let added = after.tags.iter().filter(|tag| !before.tags.contains(tag));
        batch.push_many(ADD_TAG, added.map(|tag| params![tag, id]));
        let event = EventRow {
            at: self.now(),
            author: self.author.clone(),
            action: action::CERTIFICATE_ANNOTATED,
            object: id,
            before: Some(json!(before).to_string()),
            after: Some(json!(after).to_string()),
        };
        batch.push(EventRow::INSERT, event.params());
        session.batch(batch).await?;
        Ok(Annotated::Changed)
    }
}

impl Said {
    fn changed_by(&self, change: &AnnotationChange) -> Said {
        let text = |new: &Option<String>, old: &Option<String>| match new {
            Some(new) => normal_text(new),
            None => old.clone(),
        };
        let removed = normal_tags(&change.remove_tags);
        let kept = self.tags.iter().filter(|tag| !removed.contains(tag));
        let tags: Vec<String> = kept.chain(&change.add_tags).cloned().collect();
        Said {
            owner: text(&change.owner, &self.owner),
            tags: normal_tags(&tags),
            note: text(&change.note, &self.note),
            category: change.category.unwrap_or(self.category),
            source: text(&change.source, &self.source),
        }
    }
}
