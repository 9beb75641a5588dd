//! A secret store of one's own: `SecretProvider` for the key of a file, `CredentialProvider` for log-ins to a server.
//!
//! The store here is a map in memory; a real one would be asked over the network. Run it with
//! `cargo run -p strongroom --example own_credentials`, and it prints:
//!
//! ```text
//! encrypted with the key of store entry app/key: true
//! app logs in with generation 1, and after a refusal with 2
//! store entry b/key: is not there; put it into the store first
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom::{
    BoxFuture, Cached, Config, Credential, CredentialProvider, Error, Login, Result, Secret, SecretProvider, params,
};

/// The store: names, each with the number of its version and its value.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<HashMap<String, (u64, Secret)>>>);

impl Store {
    fn put(&self, name: &str, value: &str) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let version = entries.get(name).map_or(1, |(version, _)| version + 1);
        entries.insert(name.to_owned(), (version, Secret::new(value)));
    }

    async fn get(&self, name: &str) -> Option<(u64, Secret)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// One name of the store.
struct Entry {
    store: Store,
    name: String,
}

/// Names the source in errors; never what it holds.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store entry {}", self.name)
    }
}

impl Entry {
    async fn get(&self) -> Result<(u64, Secret)> {
        let found = self.store.get(&self.name).await;
        found.ok_or_else(|| Error::credential(self, "is not there; put it into the store first"))
    }
}

/// As a file's key.
impl SecretProvider for Entry {
    fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
        Box::pin(async move { Ok(self.get().await?.1) })
    }
}

/// As a user's password: the version tells one generation from the next.
impl CredentialProvider for Entry {
    fn credential<'a>(&'a self, login: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        Box::pin(async move {
            let user = login.user.as_ref().ok_or_else(|| Error::credential(self, "has no user; name it in the URL"))?;
            let (version, password) = self.get().await?;
            Ok(Credential::new(user, password, version))
        })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let store = Store::default();
    let entry = |name: &str| Entry { store: store.clone(), name: name.to_owned() };

    // The key of a file, asked for once.
    store.put("app/key", "correct horse battery staple");
    let folder = tempfile::tempdir().expect("a folder for the example");
    let db = Config::sqlite(folder.path().join("app.db")).key(entry("app/key")).connect().await?;
    db.execute("CREATE TABLE greeting (text TEXT)", params![]).await?;
    println!("encrypted with the key of {}: {}", entry("app/key"), db.is_encrypted());
    db.close().await?;

    // A password, asked for by each physical connection, and kept for a while.
    let login = Login::new("db.example.com", 5432, Some("app".to_owned()));
    store.put("app/password", "old");
    let credentials = Cached::new(entry("app/password"));
    let first = credentials.credential(&login).await?;
    store.put("app/password", "new");
    assert_eq!(credentials.credential(&login).await?.generation, first.generation, "the cache still has it");

    // What the pool says when the server refuses a log-in: then the store is asked at once.
    credentials.refused(first.generation);
    let second = credentials.credential(&login).await?;
    println!(
        "{} logs in with generation {}, and after a refusal with {}",
        second.user, first.generation, second.generation
    );

    // What is missing is named.
    let missing = Config::sqlite(folder.path().join("b.db")).key(entry("b/key")).connect().await;
    println!("{}", missing.expect_err("there is no such entry"));
    Ok(())
}
