//! A server that goes away, or is no longer what it was.

use std::time::Duration;

use strongroom::{Config, Error, QueryErrorKind, params};
use test_servers::{Fault, FaultProxy};

use super::INSERT;
use crate::{Server, count, create_entry};

impl Server {
    fn behind(&self, proxy: &FaultProxy) -> Config {
        Config::from_url(&self.server().url_at(proxy.address(), self.name())).unwrap()
    }

    fn end_all(&self) {
        self.query(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
        );
    }
}

/// It starts a runtime, which a task must not.
fn proxy(server: &Server) -> FaultProxy {
    let address = server.server().address();
    std::thread::spawn(move || FaultProxy::in_front_of(address)).join().unwrap()
}

#[tokio::test]
async fn connections_that_the_server_has_ended_are_replaced_before_anybody_gets_one() {
    let Some(server) = Server::if_there() else { return };
    let db = server.config().pool_min_size(4).connect().await.unwrap();
    create_entry(&db).await;
    for round in 0..5 {
        server.end_all();
        tokio::time::sleep(Duration::from_millis(50)).await;
        db.execute(INSERT, params![round, format!("{round}")]).await.unwrap();
        let mut session = db.session().await.unwrap();
        session.fetch_one("SELECT 1", params![]).await.unwrap();
        session.commit().await.unwrap();
    }
    assert_eq!(count(&db).await, 5);
}

#[tokio::test]
async fn a_session_whose_connection_is_lost_says_so_and_its_work_is_not_stored() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    create_entry(&db).await;
    let mut session = db.session().await.unwrap();
    session.execute(INSERT, params![1, "a"]).await.unwrap();
    server.end_all();
    let error = session.execute(INSERT, params![2, "b"]).await.unwrap_err();
    assert!(matches!(error, Error::Connection { .. }), "{error:?}");
    // Nothing of it can have been stored, and the session tells why.
    assert!(matches!(session.commit().await, Err(Error::Connection { .. })));
    assert_eq!(count(&db).await, 0);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_unknown_whether_it_was_done_or_not() {
    let Some(server) = Server::if_there() else { return };
    let proxy = proxy(&server);
    let db = server.behind(&proxy).connect().await.unwrap();
    create_entry(&db).await;
    for (id, fault) in [(1, Fault::LoseRequest(b"COMMIT".to_vec())), (2, Fault::LoseAnswer(b"COMMIT".to_vec()))] {
        let mut session = db.session().await.unwrap();
        session.execute(INSERT, params![id, format!("{id}")]).await.unwrap();
        proxy.set(fault);
        let error = session.commit().await.unwrap_err();
        assert!(matches!(error, Error::CommitUnknown { source: Some(_) }), "{error:?}");
    }
    let stored = db.fetch_all("SELECT id FROM entry", params![]).await.unwrap();
    assert_eq!(stored.iter().map(|row| row.get::<i64>(0).unwrap()).collect::<Vec<_>>(), [2]);
    // A statement that commits by itself is one, too; one that only reads is not.
    let insert = "INSERT INTO entry (id) VALUES (3)";
    proxy.set(Fault::LoseAnswer(insert.into()));
    let error = db.execute(insert, params![]).await.unwrap_err();
    assert!(matches!(error, Error::CommitUnknown { .. } | Error::Connection { .. }), "{error:?}");
    proxy.set(Fault::LoseAnswer(b"SELECT 4".to_vec()));
    let error = db.fetch_one("SELECT 4", params![]).await.unwrap_err();
    assert!(matches!(error, Error::Connection { .. }), "{error:?}");
    assert!(count(&db).await >= 1);
}

#[tokio::test]
async fn a_statement_that_commits_by_itself_and_loses_its_answer_is_unknown() {
    let Some(server) = Server::if_there() else { return };
    let proxy = proxy(&server);
    let db = server.behind(&proxy).connect().await.unwrap();
    create_entry(&db).await;
    // Prepared before, so that what is lost is its run.
    db.execute(INSERT, params![1, "first"]).await.unwrap();
    proxy.set(Fault::LoseAnswer(b"second".to_vec()));
    let error = db.execute(INSERT, params![2, "second"]).await.unwrap_err();
    assert!(matches!(error, Error::CommitUnknown { .. }), "{error:?}");
    assert_eq!(count(&db).await, 2);
}

#[tokio::test]
async fn a_commit_is_acknowledged_even_when_the_connection_is_lost_while_it_is_cleaned() {
    let Some(server) = Server::if_there() else { return };
    let proxy = proxy(&server);
    let db = server.behind(&proxy).connect().await.unwrap();
    create_entry(&db).await;
    let mut session = db.session().await.unwrap();
    session.execute(INSERT, params![1, "a"]).await.unwrap();
    // What makes the connection be cleaned before it is lent again.
    session.execute("CREATE TEMP TABLE draft (id INTEGER)", params![]).await.unwrap();
    proxy.set(Fault::LoseRequest(b"DISCARD".to_vec()));
    session.commit().await.unwrap();
    proxy.set(Fault::Pass);
    assert_eq!(count(&db).await, 1);
}

#[tokio::test]
async fn a_server_that_has_become_read_only_is_left_for_new_connections() {
    let Some(server) = Server::if_there() else { return };
    let db = server.config().pool_min_size(2).connect().await.unwrap();
    create_entry(&db).await;
    let name = server.name();
    server.server().execute(&format!("alter database {name} set default_transaction_read_only = on"));
    server.end_all();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = db.execute(INSERT, params![1, "a"]).await.unwrap_err();
    assert_eq!(error.query_kind(), Some(QueryErrorKind::ReadOnly), "{error}");
    server.server().execute(&format!("alter database {name} set default_transaction_read_only = off"));
    // The next one gets a connection that was made since.
    db.execute(INSERT, params![1, "a"]).await.unwrap();
    assert!(db.stats().readers.closed(strongroom::pool::CloseReason::Generation) > 0);
}

#[tokio::test]
async fn a_blackhole_is_waited_for_no_longer_than_the_age_and_then_left() {
    let Some(server) = Server::if_there() else { return };
    let proxy = proxy(&server);
    let config = server.behind(&proxy).session_max_age(Duration::from_secs(1));
    let db = config.connect().await.unwrap();
    create_entry(&db).await;
    db.execute(INSERT, params![1, "first"]).await.unwrap();
    proxy.set(Fault::Blackhole);
    let error = db.execute(INSERT, params![2, "second"]).await.unwrap_err();
    assert!(matches!(error, Error::CommitUnknown { .. }), "{error:?}");
    proxy.set(Fault::Pass);
    assert!(count(&db).await >= 1);
}
