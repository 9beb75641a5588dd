//! Who changes the ledger.

use crate::record::normal_text;

/// Who changes the ledger, from where, and in answer to which request: what each event says of it.
#[derive(Clone, Debug)]
pub(super) struct Author {
    pub(super) actor: String,
    pub(super) origin: Option<String>,
    pub(super) request: Option<String>,
}

impl Author {
    pub(super) fn named(actor: &str) -> Author {
        let actor = normal_text(actor).unwrap_or_else(|| "unnamed".to_owned());
        Author { actor, origin: None, request: None }
    }

    pub(super) fn acting_as(&self, actor: &str) -> Author {
        Author { origin: self.origin.clone(), request: self.request.clone(), ..Author::named(actor) }
    }

    pub(super) fn asked_from(&self, origin: &str, request: Option<&str>) -> Author {
        Author { actor: self.actor.clone(), origin: normal_text(origin), request: request.and_then(normal_text) }
    }
}
