//! Rights that the role lacks: what is said of it, and that doing what is said helps.

use strongroom::{Error, params};

use super::SCHEMA;
use crate::Server;

impl Server {
    /// A database whose schema `public` is not the role's, which may do there what is granted.
    fn with_public_of_another(granted: &str) -> Option<Server> {
        let server = Server::if_there()?;
        server.query("alter schema public owner to postgres; revoke all on schema public from public");
        if !granted.is_empty() {
            server.query(&format!("grant {granted} on schema public to app"));
        }
        Some(server)
    }

    /// Runs the GRANT that an error names, up to the role's name.
    fn do_as_told(&self, error: &Error) {
        let told = error.to_string();
        assert!(!told.contains('\n'), "{told}");
        let grant = &told[told.find("GRANT").unwrap_or_else(|| panic!("no GRANT: {told}"))..];
        let (what, role) = grant.split_once(" TO ").unwrap();
        let role = role.split([' ', ',']).next().unwrap();
        self.query(&format!("{what} TO {role}"));
    }
}

#[tokio::test]
async fn migrations_without_the_right_to_create_name_the_grant_and_change_nothing() {
    let Some(server) = Server::with_public_of_another("usage") else { return };
    let config = server.config().migrations(&SCHEMA);
    let error = config.clone().connect().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "role app may not create tables in schema public; let the schema's owner run GRANT CREATE ON SCHEMA \
         public TO app"
    );
    assert!(server.query("select 1 from pg_class where relname like 'strongroom%'").is_empty());
    server.do_as_told(&error);
    config.connect().await.unwrap();
    // Up to date, nothing has to be created any more.
    server.query("revoke create on schema public from app");
    server.config().migrations(&SCHEMA).connect().await.unwrap();
}

/// Without USAGE the tables are there and not seen: that must not look like a database without any.
#[tokio::test]
async fn a_role_that_may_use_no_schema_is_told_so_and_not_that_tables_are_missing() {
    let Some(server) = Server::with_public_of_another("usage, create") else { return };
    let config = || server.config().migrations(&SCHEMA);
    config().connect().await.unwrap();
    server.query("revoke usage on schema public from app");
    let expected = "role app may use no schema of its search_path (\"$user\", public), or none is there; let a schema's owner \
                    run GRANT USAGE ON SCHEMA … TO app, and for migrations GRANT CREATE";
    for config in [config(), config().migrate(false), config().create(false)] {
        let error = config.connect().await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let report = server.config().connect().await.unwrap().check().await;
    assert_eq!(report.failure().unwrap().to_string(), format!("database error: {expected}"));
    server.query("grant usage on schema public to app");
    config().migrate(false).connect().await.unwrap();
}

#[tokio::test]
async fn a_statement_without_the_right_names_the_grant_that_it_needs() {
    let Some(server) = Server::with_public_of_another("usage") else { return };
    server.query(
        "create schema \"Other One\"; create table \"Other One\".entry (id int); create sequence \"Other One\".\"Next\"; \
         create view \"Other One\".seen as select id from \"Other One\".entry",
    );
    // The server names relations without their schema.
    server.query(&format!("alter database {} set search_path = \"Other One\"", server.name()));
    let db = server.open().await;
    for (sql, lacking) in [
        ("INSERT INTO \"Other One\".entry (id) VALUES (1)", "schema \"Other One\""),
        ("INSERT INTO \"Other One\".entry (id) VALUES (1)", "ON \"entry\""),
        ("SELECT id FROM \"Other One\".seen", "ON \"seen\""),
        ("SELECT nextval('\"Other One\".\"Next\"')", "SEQUENCE \"Next\""),
        ("CREATE TABLE \"Other One\".more (id INTEGER)", "CREATE"),
    ] {
        let error = db.fetch_all(sql, params![]).await.unwrap_err();
        assert_eq!(error.code().unwrap().sqlstate(), Some("42501"), "{sql}: {error}");
        assert!(error.to_string().to_lowercase().contains(&lacking.to_lowercase()), "{sql}: {error}");
        server.do_as_told(&error);
    }
    db.execute("INSERT INTO \"Other One\".entry (id) VALUES (1)", params![]).await.unwrap();
    assert_eq!(db.fetch_value("SELECT count(*) FROM \"Other One\".seen", params![]).await.unwrap(), Some(1_i64));
    assert_eq!(db.fetch_value("SELECT nextval('\"Other One\".\"Next\"')", params![]).await.unwrap(), Some(1_i64));
}
