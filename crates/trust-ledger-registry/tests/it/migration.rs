//! Ledgers that an earlier version made.

use strongroom::{Config, Dialect, Migration, Migrations, params};
use test_servers::{Postgres, needs};
use trust_ledger_registry::{Event, EventFilter, MIGRATIONS, Page, Registry, Role};
use uuid::Uuid;

/// The schema before there were tokens.
static FIRST: Migrations =
    Migrations::new(&[Migration::new(1, "initial", include_str!("../../src/sqlite/0001_initial.sql"))
        .on_postgres(include_str!("../../src/postgres/0001_initial.sql"))]);

/// A ledger with one event, made by the first version: it keeps it, and can do all that a new one can.
#[tokio::test]
async fn a_ledger_without_tokens_is_opened_with_its_events_and_gets_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut configs = vec![Config::sqlite(folder.path().join("ledger.db"))];
    let database = needs::postgres().then(|| Postgres::shared().create_database());
    configs.extend(database.iter().map(|database| Config::from_url(&database.url()).unwrap()));
    for config in configs {
        const SQL: &str = "INSERT INTO event (id, at, actor, action, object, before, after) \
            VALUES ($1, $2, 'anna', 'certificate.deleted', $1, '{\"serial\":\"1\"}', NULL)";
        let (id, at) = (Uuid::now_v7(), crate::support::NOW);
        let old = config.clone().migrations(&FIRST).migrate(true).connect().await.unwrap();
        old.execute(SQL, params![id, at]).await.unwrap();
        old.close().await.unwrap();

        let refused = config.clone().migrations(&MIGRATIONS).migrate(false).connect().await.unwrap_err();
        let lacking = if config.dialect() == Dialect::Sqlite { "lacks 2 of the 3" } else { "lacks 3 of the 4" };
        assert!(refused.to_string().contains(&format!("{lacking} migrations")), "{refused}");
        let db = config.migrations(&MIGRATIONS).migrate(true).connect().await.unwrap();
        let registry = Registry::open(db.clone());
        let events = registry.events(&EventFilter::default(), &Page::default()).await.unwrap().events;
        let [Event { actor, origin: None, request: None, before: Some(before), .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((actor.as_str(), &before["serial"], events[0].at), ("anna", &"1".into(), at));
        let (token, text) = registry.create_token("ci", Role::Reader, None).await.unwrap();
        assert_eq!(registry.token(text.expose()).await.unwrap(), Some(token));
        db.close().await.unwrap();
    }
}
