//! What a role may do on a server: in which schema its tables go, and whether it may make them.

use crate::error::Result;
use crate::row::Row;

/// The names as SQL, so that they can stand in a GRANT.
pub(crate) const RIGHTS: &str = "SELECT quote_ident(current_user), quote_ident(current_schema()), \
     has_schema_privilege(current_schema(), 'CREATE'), current_setting('search_path'), \
     current_setting('transaction_read_only')::boolean";

/// What [`RIGHTS`] answers.
pub(crate) struct Rights {
    pub(crate) role: String,
    /// The first of the search path that is there and that the role may use.
    schema: Option<String>,
    may_create: Option<bool>,
    search_path: String,
    /// The server takes no writes.
    pub(crate) is_read_only: bool,
}

impl Rights {
    pub(crate) fn from_row(row: &Row) -> Result<Self> {
        Ok(Rights {
            role: row.get(0)?,
            schema: row.get(1)?,
            may_create: row.get(2)?,
            search_path: row.get(3)?,
            is_read_only: row.get(4)?,
        })
    }

    /// Where tables go and are looked for, or why nowhere.
    pub(crate) fn schema(&self) -> Result<&str, String> {
        let Rights { role, search_path, .. } = self;
        self.schema.as_deref().ok_or_else(|| {
            format!(
                "role {role} may use no schema of its search_path ({search_path}), or none is there; let a schema's \
                 owner run GRANT USAGE ON SCHEMA … TO {role}, and for migrations GRANT CREATE"
            )
        })
    }

    /// Where tables can be made, or what lets the role make them.
    pub(crate) fn creation(&self) -> Result<&str, String> {
        let (schema, role) = (self.schema()?, &self.role);
        match self.may_create {
            Some(true) => Ok(schema),
            _ => Err(format!(
                "role {role} may not create tables in schema {schema}; let the schema's owner run \
                 GRANT CREATE ON SCHEMA {schema} TO {role}"
            )),
        }
    }
}
