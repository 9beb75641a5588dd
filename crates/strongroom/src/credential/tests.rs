//! The promises of [`Cached`], [`LogIn`] and [`Password`], with providers and servers that do what a test says, and a
//! clock that stands still until somebody waits.

mod cached;
mod log_in;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Credential, CredentialProvider, Login, Password};
use crate::error::{Error, Result};
use crate::key::KeySource;
use crate::secret::{BoxFuture, Secret};

/// A provider that answers in turn what the test has put in, each time after `takes`; the last answer again and again.
struct Scripted {
    answers: Mutex<VecDeque<Result<Credential>>>,
    takes: Duration,
    patience: Duration,
    asked: AtomicUsize,
    /// How many are asking at this moment, and at most.
    asking: AtomicUsize,
    most: AtomicUsize,
    refused: Mutex<Vec<u64>>,
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = Result<Credential>>) -> Self {
        Scripted {
            answers: Mutex::new(answers.into_iter().collect()),
            takes: Duration::from_millis(1),
            patience: Duration::ZERO,
            asked: AtomicUsize::new(0),
            asking: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            refused: Mutex::default(),
        }
    }

    fn takes(mut self, takes: Duration) -> Self {
        self.takes = takes;
        self
    }

    fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn put(&self, answer: Result<Credential>) {
        *self.answers.lock().unwrap() = VecDeque::from([answer]);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Counts who asks for as long as it lives, also when the asking is dropped.
struct Asking<'a>(&'a Scripted);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CredentialProvider for Scripted {
    fn credential<'a>(&'a self, _: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        Box::pin(async {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let now = self.asking.fetch_add(1, Ordering::Relaxed) + 1;
            let _asking = Asking(self);
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(self.takes).await;
            let mut answers = self.answers.lock().unwrap();
            match answers.len() {
                1 => answers[0].clone(),
                _ => answers.pop_front().unwrap(),
            }
        })
    }

    fn refused(&self, generation: u64) {
        self.refused.lock().unwrap().push(generation);
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}

impl fmt::Display for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script")
    }
}

fn login() -> Login {
    Login::new("db.test", 5432, None)
}

/// The credential of a generation; its password says which.
fn generation(generation: u64) -> Credential {
    Credential::new("app", Secret::new(format!("password {generation}")), generation)
}

fn broken() -> Error {
    Error::credential("the script", "has nothing")
}

fn passing() -> Error {
    Error::credential("the script", "does not answer").passing()
}

#[tokio::test]
async fn a_password_counts_a_generation_for_each_new_answer_of_its_source() {
    let source = Arc::new(Changing(Mutex::new("one")));
    let password = Password::new("app", KeySource::from(Arc::clone(&source)));
    let ask =
        || async { password.credential(&login()).await.map(|credential| (credential.user, credential.generation)) };
    assert_eq!(ask().await.unwrap(), ("app".to_owned(), 1));
    assert_eq!(ask().await.unwrap().1, 1);
    *source.0.lock().unwrap() = "two";
    assert_eq!(ask().await.unwrap().1, 2);
    *source.0.lock().unwrap() = "one";
    // Another time than the first, and another number: what is said of the first does not hold for it.
    assert_eq!(ask().await.unwrap().1, 3);
}

#[tokio::test]
async fn a_password_without_a_user_takes_the_one_that_the_settings_name() {
    let password = Password::from_source(KeySource::literal("secret"));
    let named = Login::new("h", 1, Some("from the settings".to_owned()));
    assert_eq!(password.credential(&named).await.unwrap().user, "from the settings");
    let nameless = password.credential(&login()).await.unwrap_err().to_string();
    assert!(nameless.contains("nothing names the user; name it in the URL"), "{nameless}");
    let own = Password::new("own", KeySource::literal("secret"));
    assert_eq!(own.credential(&named).await.unwrap().user, "own");
    assert!(!format!("{own:?} {own}").contains("secret"));
}

struct Changing(Mutex<&'static str>);

impl crate::secret::SecretProvider for Changing {
    fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
        Box::pin(async { Ok(Secret::new(*self.0.lock().unwrap())) })
    }
}

impl fmt::Display for Changing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what changes")
    }
}
