//! A server's password, in a URL and from a source.

use std::net::TcpListener;

use strongroom::{Config, KeySource, Password, params};
use test_servers::{Postgres, needs};

use crate::silence::{show, show_debug, show_failure};
use crate::{secret, sources};

pub(crate) async fn is_silent() {
    let secret = String::from_utf8(secret()).unwrap();
    let closed = closed_port();
    for url in [
        format!("postgres://app:{secret}@127.0.0.1:{closed}/app"),
        format!("postgres://app@127.0.0.1:{closed}/app?password={secret}&application_name=test"),
        format!("host=127.0.0.1 port={closed} user=app dbname=app password='{secret}'"),
        // Refused before anything is sent: not this machine, and no TLS.
        format!("postgres://app:{secret}@192.0.2.1/app?sslmode=disable&connect_timeout=1"),
    ] {
        let config = Config::from_url(&url).unwrap().connect_attempts(1);
        show(&config);
        let db = config.clone().open().unwrap();
        show_debug(&db);
        println!("{}", db.check().await);
        show_failure(db.execute("SELECT 1", params![]).await);
        db.close().await.unwrap();
        show_failure(config.connect().await);
    }
    if needs::postgres() {
        on_a_server(&secret).await;
    }
}

/// Log-ins that succeed and that are refused. The driver logs by the crate `log`, and that is shown too.
async fn on_a_server(secret: &str) {
    let server = Postgres::scram("app", secret).start();
    let nobody = format!("postgres://app@127.0.0.1:{}/app", server.port());
    let by_sources = || {
        let sources = sources().into_iter().filter(|(name, _)| !name.starts_with("SOPS"));
        sources.map(|(_, source)| Config::from_url(&nobody).unwrap().credentials(Password::from_source(source)))
    };
    let configs = || by_sources().chain([Config::from_url(&server.url("app")).unwrap()]);
    for config in configs() {
        let db = config.connect().await.unwrap();
        show_debug(&db);
        println!("{}", db.check().await);
        show_failure(db.execute("SELEKT 1", params![]).await);
        show_failure(db.fetch_one("SELECT rolpassword FROM pg_authid", params![]).await);
        db.close().await.unwrap();
    }
    server.execute("alter role app password 'another'");
    for config in configs() {
        let db = config.clone().open().unwrap();
        println!("{}", db.check().await);
        // Once more: the breaker is open, and says what the last refusal was.
        show_failure(db.execute("SELECT 1", params![]).await);
        show_debug(&db);
        db.close().await.unwrap();
        show_failure(config.connect().await);
    }
    let missing = Password::from_source(KeySource::env("NOT_SET"));
    show_failure(Config::from_url(&nobody).unwrap().credentials(missing).connect().await);
    server.kill();
    show_failure(Config::from_url(&server.url("app")).unwrap().connect_attempts(1).connect().await);
}

/// Where nobody listens.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
