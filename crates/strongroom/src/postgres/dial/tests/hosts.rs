//! Which of several hosts is taken, and what a pooler in between makes of it.

use test_servers::{Fault, FaultProxy, Postgres, needs};

use super::{Dialer, Settings, dial, refusal, told};
use crate::error::Error;

/// A server that takes no writes by default, as far as a client sees.
fn read_only() -> Postgres {
    let server = Postgres::plain().start();
    server.execute("alter role app set default_transaction_read_only = on");
    server
}

fn list(servers: &[&Postgres], more: &str) -> String {
    let hosts: Vec<_> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    format!("postgres://app@{}/app?{more}", hosts.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_host_that_is_what_is_wanted_is_taken() {
    if !needs::postgres() {
        return;
    }
    let (reader, writer) = (read_only(), Postgres::plain().start());
    let both = [&reader, &writer];
    for (wanted, expected) in [
        ("any", &reader),
        ("read-write", &writer),
        ("read-only", &reader),
        ("primary", &reader),
        ("prefer-standby", &reader),
    ] {
        let dialed = dial(&list(&both, &format!("target_session_attrs={wanted}"))).await.unwrap();
        assert_eq!(dialed.facts.port, expected.port(), "{wanted}");
    }
    let (line, passing) = refusal(&list(&both, "target_session_attrs=standby")).await;
    let (first, second) = (reader.port(), writer.port());
    assert_eq!(
        line,
        format!("postgres://127.0.0.1:{first},127.0.0.1:{second}/app: it is a primary, and a standby is wanted")
    );
    assert!(passing);
    // The first one is down: the next will do. Once the first is what is wanted again, it is taken again.
    reader.stop();
    assert_eq!(dial(&list(&both, "")).await.unwrap().facts.port, second);
    reader.restart();
    assert_eq!(dial(&list(&both, "")).await.unwrap().facts.port, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_none_will_do_each_says_why() {
    if !needs::postgres() {
        return;
    }
    let reader = read_only();
    let port = reader.port();
    let text = format!(
        "host=127.0.0.1,127.0.0.1,/nonexistent port={port},1,{port} user=app dbname=app target_session_attrs=read-write"
    );
    let error = dial(&text).await.err().unwrap();
    let (line, passing) = told(&error);
    assert_eq!(
        line,
        format!(
            "postgres://127.0.0.1:{port},127.0.0.1:1,/nonexistent:{port}/app: none will do: \
             127.0.0.1:{port}: it is read-only, and read-write is wanted; \
             127.0.0.1:1: the connection was refused; is a server running, and on this port?; \
             /nonexistent:{port}: there is no such socket; is a server running, and is this its folder?"
        )
    );
    assert!(passing && matches!(error, Error::Connection { source: Some(_), .. }));
    // What cannot pass alone may, if another host's failure may.
    let text = format!("host=127.0.0.1,127.0.0.1 port={port},1 user=app dbname=nothing");
    assert!(refusal(&text).await.1);
    let text = format!("host=127.0.0.1,127.0.0.1 port={port},{port} user=app dbname=nothing");
    assert!(!refusal(&text).await.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_hangs_is_left_for_the_next_after_the_connect_timeout() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::plain().start();
    let proxy = tokio::task::block_in_place(|| FaultProxy::in_front_of(server.address()));
    proxy.set(Fault::Blackhole);
    let hung = proxy.address();
    let text = format!("host=127.0.0.1,127.0.0.1 port={},{} user=app connect_timeout=1", hung.port(), server.port());
    let began = std::time::Instant::now();
    assert_eq!(dial(&text).await.unwrap().facts.port, server.port());
    assert!((1..3).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_is_looked_for_first_where_it_was_last() {
    if !needs::postgres() {
        return;
    }
    let (first, second) = (Postgres::plain().start(), Postgres::plain().start());
    let proxy = tokio::task::block_in_place(|| FaultProxy::in_front_of(first.address()));
    proxy.set(Fault::Blackhole);
    let text = |wanted: &str| {
        let ports = format!("{},{}", proxy.address().port(), second.port());
        let text =
            format!("host=127.0.0.1,127.0.0.1 port={ports} user=app connect_timeout=1 target_session_attrs={wanted}");
        Dialer::new(&Settings::from_text(&text).unwrap()).unwrap()
    };
    let dialer = text("read-write");
    dialer.dial().await.unwrap();
    let began = std::time::Instant::now();
    for _ in 0..5 {
        assert_eq!(dialer.dial().await.unwrap().facts.port, second.port());
    }
    assert!(began.elapsed().as_millis() < 900, "{:?}", began.elapsed());
    // It moves.
    second.stop();
    proxy.set(Fault::Pass);
    assert_eq!(dialer.dial().await.unwrap().facts.port, proxy.address().port());
    second.restart();
    assert_eq!(dialer.dial().await.unwrap().facts.port, proxy.address().port());
    // Where any will do, the order is a preference, and is kept.
    let dialer = text("any");
    proxy.set(Fault::Refuse);
    assert_eq!(dialer.dial().await.unwrap().facts.port, second.port());
    proxy.set(Fault::Pass);
    assert_eq!(dialer.dial().await.unwrap().facts.port, proxy.address().port());
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_taken_in_a_random_order_when_that_is_asked_for() {
    if !needs::postgres() {
        return;
    }
    let servers = [Postgres::plain().start(), Postgres::plain().start()];
    let text = list(&[&servers[0], &servers[1]], "load_balance_hosts=random");
    let mut taken = [0, 0];
    for _ in 0..40 {
        let port = dial(&text).await.unwrap().facts.port;
        taken[usize::from(port == servers[1].port())] += 1;
    }
    // One of them 35 times or more: once in a hundred million runs.
    assert!(taken[0] > 3 && taken[1] > 3, "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_the_new_primary_is_found() {
    if !needs::postgres() {
        return;
    }
    let primary = Postgres::plain().start();
    let standby = primary.standby();
    let both = [&primary, &standby];
    let wants = |wanted: &str| list(&both, &format!("target_session_attrs={wanted}"));
    for (wanted, expected, in_recovery) in [
        ("primary", &primary, false),
        ("read-write", &primary, false),
        ("standby", &standby, true),
        ("read-only", &standby, true),
        ("prefer-standby", &standby, true),
    ] {
        let facts = dial(&wants(wanted)).await.unwrap().facts;
        assert_eq!((facts.port, facts.in_recovery), (expected.port(), in_recovery), "{wanted}");
    }
    let (line, passing) = refusal(&list(&[&standby], "target_session_attrs=read-write")).await;
    assert!(line.ends_with("it is read-only, and read-write is wanted") && passing, "{line}");

    primary.kill();
    assert!(refusal(&wants("primary")).await.1, "it may pass: the standby may be promoted");
    standby.promote();
    let facts = dial(&wants("primary")).await.unwrap().facts;
    assert_eq!((facts.port, facts.in_recovery), (standby.port(), false));
    // No standby is left: the primary will do.
    assert_eq!(dial(&wants("prefer-standby")).await.unwrap().facts.port, standby.port());
    primary.rejoin(&standby);
    assert_eq!(dial(&wants("read-write")).await.unwrap().facts.port, standby.port());
    assert_eq!(dial(&wants("standby")).await.unwrap().facts.port, primary.port());
}
