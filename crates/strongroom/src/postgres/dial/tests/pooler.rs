//! pgbouncer in between.

use test_servers::{Ca, PgBouncer, Postgres, needs};

use super::{Given, ask, dial, dialer, refusal, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_takes_no_options_is_connected_without_and_tells_the_limits_to_set() {
    if !needs::pgbouncer() {
        return;
    }
    let server = Postgres::scram("app", "secret").start();
    server.execute("alter role app set timezone = 'Asia/Kolkata'");
    for ignored in ["extra_float_digits", "options"] {
        let pooler = PgBouncer::in_front_of(&server).setting("ignore_startup_parameters", ignored).start();
        let url =
            format!("postgres://127.0.0.1:{}/app?statement_timeout=1500&application_name=me", pooler.address().port());
        let dialer = dialer(&url, Given::new("app", "secret"));
        for _ in 0..3 {
            let mut dialed = dialer.dial().await.unwrap();
            assert_eq!(ask(&mut dialed, "select current_setting('TimeZone')").await, "UTC");
            assert_eq!(ask(&mut dialed, "select current_setting('application_name')").await, "me");
            assert_eq!(dialed.at_begin.as_deref(), Some("SET LOCAL statement_timeout TO 1500;"), "{ignored}");
            assert!(!dialed.facts.in_recovery && dialed.facts.server_version.len() > 1);
            let text = format!("begin; {} select 1", dialed.at_begin.as_deref().unwrap_or_default());
            dialed.wire.carry(dialed.client.batch_execute(&text)).await.unwrap();
            assert_eq!(ask(&mut dialed, "select current_setting('statement_timeout')").await, "1500ms");
            dialed.wire.carry(dialed.client.batch_execute("commit")).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pooler_refuses_is_told_apart() {
    if !needs::pgbouncer() {
        return;
    }
    let server = Postgres::scram("app", "secret").start();
    let pooler = PgBouncer::in_front_of(&server).setting("max_client_conn", "3").start();
    let port = pooler.address().port();
    let wrong =
        dialer(&format!("postgres://127.0.0.1:{port}/app"), Given::new("app", "wrong")).dial().await.err().unwrap();
    let (line, passing) = told(&wrong);
    assert!(line.contains("the server refused the password of app") && !passing, "{line}");
    let (line, passing) = refusal(&format!("postgres://app:secret@127.0.0.1:{port}/nothing")).await;
    assert!(line.contains("the server has no database nothing") && !passing, "{line}");
    let (line, passing) = refusal(&format!("postgres://app:secret@127.0.0.1:{port}/app?options=-c%20geqo%3Doff")).await;
    assert!(line.contains("the pooler takes no start-up options") && !passing, "{line}");
    let url = format!("postgres://app:secret@127.0.0.1:{port}/app");
    let mut held = Vec::new();
    let (line, passing) = loop {
        match dial(&url).await {
            Ok(dialed) => held.push(dialed),
            Err(error) => break told(&error),
        }
        assert!(held.len() < 10);
    };
    assert!(line.contains("no connection left") && passing, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_with_tls_proves_its_name_and_binds_no_channel() {
    if !needs::pgbouncer() {
        return;
    }
    let ca = Ca::new();
    let server = Postgres::scram("app", "secret").start();
    let pooler = PgBouncer::in_front_of(&server).tls(&ca.server()).start();
    let port = pooler.address().port();
    let url = |host: &str, more: &str| {
        let roots = ca.file();
        format!("postgres://app:secret@{host}:{port}/app?hostaddr=127.0.0.1&sslrootcert={}{more}", roots.display())
    };
    let dialed = dial(&url("db.test", "")).await.unwrap();
    assert_eq!(dialed.facts.tls.unwrap().protocol, "TLSv1.3");
    assert!(refusal(&url("db2.test", "")).await.0.contains("not for db2.test"));
    let (line, passing) = refusal(&url("db.test", "&channel_binding=require")).await;
    assert!(line.contains("the server offers no channel binding") && !passing, "{line}");
    let (line, passing) = refusal(&format!("postgres://app:secret@127.0.0.1:{port}/app")).await;
    assert!(line.contains("the pooler wants TLS; say sslmode=verify-full") && !passing, "{line}");
}
