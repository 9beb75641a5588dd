//! Connections to real servers, the right ones and the wrong ones.

mod credentials;
mod encryption;
mod hosts;
mod pooler;
mod sessions;

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use test_servers::Postgres;

use super::super::settings::Settings;
use super::{Dialed, Dialer};
use crate::credential::{Credential, CredentialProvider, Login, Server};
use crate::error::{Error, Result};
use crate::secret::{BoxFuture, Secret};

/// Dials once what a text says.
async fn dial(text: &str) -> Result<Dialed> {
    Dialer::new(&Settings::from_text(text)?)?.dial().await
}

/// Why a text is not connected, in one line, and whether it may pass.
async fn refusal(text: &str) -> (String, bool) {
    match dial(text).await {
        Ok(dialed) => panic!("{text} is connected: {:?}", dialed.facts),
        Err(error) => told(&error),
    }
}

/// An error's line and whether it may pass. What must hold of every one is looked at here: it is one line, and its
/// cause is not repeated in it.
fn told(error: &Error) -> (String, bool) {
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    if let Some(source) = error.source() {
        assert!(!line.contains(&source.to_string()), "the cause is repeated: {line}");
    }
    (line, error.is_passing())
}

async fn ask(dialed: &mut Dialed, question: &str) -> String {
    dialed.wire.carry(dialed.client.query_one(question, &[])).await.unwrap().get(0)
}

/// A provider that answers what the test puts into it, and counts.
struct Given {
    credential: std::sync::Mutex<Credential>,
    asked: AtomicU64,
}

impl Given {
    fn new(user: &str, password: &str) -> Arc<Self> {
        let credential = Credential::new(user, Secret::new(password), 1);
        Arc::new(Given { credential: credential.into(), asked: AtomicU64::new(0) })
    }

    fn change(&self, change: impl FnOnce(&mut Credential)) {
        change(&mut self.credential.lock().unwrap());
    }

    fn at(self: Arc<Self>, server: Server) -> Arc<Self> {
        self.change(|credential| credential.server = server);
        self
    }

    /// Makes a token of the password.
    fn token(self: Arc<Self>) -> Arc<Self> {
        self.change(|credential| {
            credential.valid_until = Some(SystemTime::now() + std::time::Duration::from_secs(900))
        });
        self
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl CredentialProvider for Given {
    fn credential<'a>(&'a self, _: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let credential = self.credential.lock().unwrap().clone();
        Box::pin(async { Ok(credential) })
    }
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("what the test gives")
    }
}

/// A dialer for a text, with a provider.
fn dialer(text: &str, provider: Arc<dyn CredentialProvider>) -> Dialer {
    Dialer::new(&Settings::from_text(text).unwrap().credentials(provider)).unwrap()
}

/// How often the server's log tells of something.
fn logged(server: &Postgres, what: &str) -> usize {
    server.log().matches(what).count()
}

#[test]
fn dialling_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let dialer = Dialer::new(&Settings::new("localhost", "db", "user").unwrap()).unwrap();
    is_send(&dialer.dial());
}
