//! Bare tokio-postgres: as many connections as tasks, each with a task that carries its messages, and no pool.

use std::str::FromStr;

use harness::postgres::{INSERT, Postgres, SELECT, TEXT};
use openssl::ssl::{SslConnector, SslMethod};
use postgres_openssl::MakeTlsConnector;
use strongroom::{Credential, CredentialProvider, Login, RdsIam};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, Statement};

pub(crate) struct Clients(Vec<Mutex<Prepared>>);

struct Prepared {
    client: Client,
    select: Statement,
    insert: Statement,
}

impl Postgres for Clients {
    async fn open(url: String, connections: usize) -> Self {
        let mut clients = Vec::new();
        for _ in 0..connections {
            let (client, _) = connect(&url).await;
            let select = client.prepare(SELECT).await.expect("a statement");
            let insert = client.prepare(INSERT).await.expect("a statement");
            clients.push(Mutex::new(Prepared { client, select, insert }));
        }
        Clients(clients)
    }

    async fn read(&self, id: i64, task: usize) -> String {
        // Nobody else wants it.
        let prepared = self.0[task].lock().await;
        prepared.client.query_one(&prepared.select, &[&id]).await.expect("a row").get(0)
    }

    async fn insert(&self, task: usize) {
        let mut prepared = self.0[task].lock().await;
        let insert = prepared.insert.clone();
        let transaction = prepared.client.transaction().await.expect("a transaction");
        transaction.execute(&insert, &[&TEXT]).await.expect("a row");
        transaction.commit().await.expect("a commit");
    }

    async fn connect(url: &str) {
        let (client, carried) = connect(url).await;
        drop(client);
        carried.await.expect("no panic");
    }
}

/// A connection, and the task that ends with it. TLS verifies name and certificate where the URL has a bundle of CAs, which
/// tokio-postgres does not read; who has no password has a token.
async fn connect(url: &str) -> (Client, JoinHandle<()>) {
    let Some((url, bundle)) = url.split_once("?sslmode=verify-full&sslrootcert=") else {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
        return (client, tokio::spawn(async move { connection.await.expect("an orderly end") }));
    };
    let mut config = Config::from_str(url).expect("a URL");
    if config.get_password().is_none() {
        config.password(token(config.get_ports()[0]).await.password.expose());
    }
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("TLS");
    connector.set_ca_file(bundle).expect("a bundle of CAs");
    let connector = MakeTlsConnector::new(connector.build());
    let (client, connection) = config.ssl_mode(SslMode::Require).connect(connector).await.expect("a connection");
    (client, tokio::spawn(async move { connection.await.expect("an orderly end") }))
}

/// A token that is signed once, so that what signing costs is ours alone.
async fn token(port: u16) -> &'static Credential {
    static TOKEN: OnceCell<Credential> = OnceCell::const_new();
    let sign = || async move {
        let login = Login::new("localhost", port, Some("app".to_owned()));
        RdsIam::from_environment().credential(&login).await.expect("a token")
    };
    TOKEN.get_or_init(sign).await
}
