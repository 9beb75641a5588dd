//! What a connection is like when it is handed over, how it ends, and how a statement is stopped.

use std::time::{Duration, Instant};

use test_servers::{Ca, Fault, FaultProxy, Postgres, needs};

use super::{ask, dial, logged, refusal};
use crate::postgres::Settings;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_in_utc_and_has_the_limits_and_name_that_were_asked_for() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::plain().start();
    server.execute("alter role app set timezone = 'Asia/Kolkata'; alter role app set geqo = off");
    for url in [server.url("app"), server.socket_url("app")] {
        let more = "?statement_timeout=1500&lock_timeout=2s&application_name=the%20name&options=-c%20work_mem%3D123kB";
        let mut dialed = dial(&format!("{url}{more}")).await.unwrap();
        for (setting, expected) in [
            ("TimeZone", "UTC"),
            ("client_encoding", "UTF8"),
            ("statement_timeout", "1500ms"),
            ("lock_timeout", "2s"),
            ("application_name", "the name"),
            ("work_mem", "123kB"),
            ("geqo", "off"),
            ("default_transaction_isolation", "read committed"),
        ] {
            assert_eq!(ask(&mut dialed, &format!("select current_setting('{setting}')")).await, expected, "{setting}");
        }
        assert_eq!(dialed.at_begin, None);
        assert_eq!((dialed.user.as_str(), dialed.facts.database.as_str()), ("app", "app"));
        assert!(!dialed.facts.in_recovery && dialed.facts.tls.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_is_told_in_one_line_that_says_what_to_do() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "secret")
        .setting("max_connections", "5")
        .setting("superuser_reserved_connections", "0")
        .only_tls();
    let ca = Ca::new();
    let server = server.tls(&ca.server()).start();
    let port = server.port();
    let base = format!("postgres://app:secret@localhost:{port}");
    let tls = format!("sslmode=verify-full&sslrootcert={}", ca.file().display());

    let (line, passing) = refusal(&format!("{base}/nothing?{tls}")).await;
    assert_eq!(
        line,
        format!("postgres://localhost:{port}/nothing: the server has no database nothing; create it, or name another")
    );
    assert!(!passing);

    let (line, passing) = refusal(&format!("{base}/app")).await;
    assert!(line.contains("pg_hba.conf lets app not into app from here without TLS (28000)"), "{line}");
    assert!(!passing);

    let (line, passing) = refusal(&format!("postgres://app@localhost:{port}/app?{tls}")).await;
    assert!(line.contains("the server asks for the password of app, and no source of one is named"), "{line}");
    assert!(!passing);

    let mut held = Vec::new();
    let full = loop {
        match dial(&format!("{base}/app?{tls}")).await {
            Ok(dialed) => held.push(dialed),
            Err(error) => break super::told(&error),
        }
    };
    assert!(full.0.contains("no connection left; lower pool_max_size"), "{}", full.0);
    assert!(full.1 && held.len() <= 5);
    drop(held);

    server.stop();
    let (line, passing) = refusal(&format!("{base}/app?{tls}")).await;
    assert!(line.contains("the connection was refused; is a server running, and on this port?"), "{line}");
    assert!(passing);

    let (line, passing) = refusal("postgres://app@no-such-host.invalid/app?connect_timeout=2").await;
    assert!(line.contains("its name cannot be resolved") || line.contains("its name was not resolved"), "{line}");
    assert!(passing);

    let (line, passing) = refusal("postgres://app@/app?host=/nonexistent").await;
    assert!(line.contains("there is no such socket"), "{line}");
    assert!(passing);

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let url = format!(
        "postgres://app@localhost:{}/app?connect_timeout=1&hostaddr=127.0.0.1",
        silent.local_addr().unwrap().port()
    );
    let (line, passing) = refusal(&url).await;
    assert!(line.ends_with("no connection within 1 s (connect_timeout)"), "{line}");
    assert!(passing && began.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_connection_is_known_with_its_reason() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::plain().start();
    let mut dialed = dial(&server.url("app")).await.unwrap();
    assert!(dialed.wire.look().is_none());
    server.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'");
    let closed = tokio::time::timeout(Duration::from_secs(5), dialed.wire.wait()).await.unwrap();
    let code = closed.0.as_ref().and_then(|error| error.code()).map(|code| code.code().to_owned());
    assert_eq!(code.as_deref(), Some("57P01"));
    assert!(dialed.wire.look().is_some() && dialed.client.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_dropped_ends_at_the_server_even_while_it_works() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::plain().setting("log_disconnections", "on").start();
    let idle = dial(&server.url("app")).await.unwrap();
    drop(idle);
    let busy = dial(&server.url("app")).await.unwrap();
    let (client, mut wire) = (busy.client, busy.wire);
    let work = wire.carry(client.batch_execute("select pg_sleep(3)"));
    assert!(tokio::time::timeout(Duration::from_millis(200), work).await.is_err());
    drop((client, wire));
    let mut patience = 50;
    while !server.sessions().is_empty() && patience > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        patience -= 1;
    }
    assert!(server.sessions().is_empty(), "{:?}", server.sessions());
    assert_eq!(logged(&server, "unexpected EOF"), 0, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_statement_is_cancelled_over_tls_too_and_no_later_one_is_hit() {
    if !needs::postgres() {
        return;
    }
    let ca = Ca::new();
    let server = Postgres::scram("app", "secret").tls(&ca.server()).start();
    let tls = format!(
        "postgres://app:secret@db.test:{}/app?hostaddr=127.0.0.1&sslrootcert={}",
        server.port(),
        ca.file().display()
    );
    for url in [tls, server.url("app"), server.socket_url("app")] {
        let mut dialed = dial(&url).await.unwrap();
        let began = Instant::now();
        let sleep = dialed.wire.carry(dialed.client.batch_execute("select pg_sleep(30)"));
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            dialed.cancel.cancel().await.unwrap();
        };
        let (outcome, ()) = tokio::join!(sleep, cancel);
        assert_eq!(outcome.unwrap_err().code().unwrap().code(), "57014");
        assert!(began.elapsed() < Duration::from_secs(5));
        // Requests that come too late: each has reached the server before the next statement begins.
        for round in 0..30 {
            dialed.wire.carry(dialed.client.batch_execute("select 1")).await.unwrap();
            dialed.cancel.cancel().await.unwrap();
            // One that is late itself is heard by the server while it is idle, and comes to nothing.
            let answer = dialed.wire.carry(dialed.client.batch_execute("select pg_sleep(0.002)")).await;
            assert!(answer.is_ok(), "round {round}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_socket_has_its_options_set() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings::from_text(
        "postgres://h?tcp_user_timeout=7000&keepalives_idle=8&keepalives_interval=9&keepalives_count=4",
    )
    .unwrap();
    let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    super::super::socket::set_options(&stream, &settings).unwrap();
    let socket = socket2::SockRef::from(&stream);
    assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(8));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(9));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_anywhere_on_the_way_is_an_error_that_may_pass() {
    if !needs::postgres() {
        return;
    }
    let ca = Ca::new();
    let server = Postgres::scram("app", "secret").tls(&ca.server()).start();
    let proxy = tokio::task::block_in_place(|| FaultProxy::in_front_of(server.address()));
    let url = format!(
        "postgres://app:secret@db.test:{}/app?hostaddr=127.0.0.1&connect_timeout=1&sslrootcert={}",
        proxy.address().port(),
        ca.file().display()
    );
    dial(&url).await.unwrap();
    let whole = proxy.bytes_to_client();
    assert!(whole > 1000);
    // The server's answers to the connecting client, cut after so many bytes. How long they are differs from time to
    // time.
    let mut cuts = 0;
    for after in (0..whole).step_by(97) {
        // The last one's farewell must not use the fault up.
        while proxy.open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.set(Fault::CutAfter(after));
        match dial(&url).await {
            Ok(_) => assert!(after > whole - 300, "cut after {after} of {whole} bytes, and connected"),
            Err(error) => {
                let (line, passing) = super::told(&error);
                assert!(passing, "cut after {after} of {whole} bytes: {line}");
                cuts += 1;
            }
        }
    }
    assert!(cuts > 10, "{cuts}");
    for fault in [Fault::Reset, Fault::Refuse, Fault::Blackhole] {
        proxy.set(fault);
        let (line, passing) = refusal(&url).await;
        assert!(passing, "{line}");
    }
    proxy.set(Fault::Pass);
    let mut dialed = dial(&url).await.unwrap();
    proxy.set(Fault::Reset);
    // Cut while nothing is asked: known without asking.
    let closed = tokio::time::timeout(Duration::from_secs(5), dialed.wire.wait()).await.unwrap();
    assert!(closed.0.is_some());
    assert!(dialed.cancel.cancel().await.unwrap_err().is_passing());
}
