//! Logging in with what a provider gives: what happens when the server refuses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Credential, CredentialProvider, Login};
use crate::error::{Error, Result};
use crate::random;

/// Pause after the first refusal that was final, doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// First pause between two looks for a newer credential, doubled for each further one.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// The longest of these pauses: what a log-in waits at most for nothing when the rotation is over.
const LONGEST_LOOK: Duration = Duration::from_millis(400);

/// Asks a provider for each log-in, and keeps a refused one from being repeated without end.
///
/// A refusal drops that credential's generation; a newer one is tried at once. A provider with
/// [patience](CredentialProvider::patience) is asked again for a while, when nothing newer has come or that was refused as
/// well. Then the refusal is final: the *breaker* opens, and log-ins fail without asking the server, for a pause that grows
/// with each further one.
///
/// From a refusal, and from the beginning, until the first success there is one log-in at a time, so that a wrong password
/// is tried by one and not by the whole pool.
pub(crate) struct LogIn {
    provider: Arc<dyn CredentialProvider>,
    breaker: Mutex<Breaker>,
    /// Held by the one log-in while the credential is not proven.
    one_at_a_time: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Breaker {
    /// The last log-in succeeded.
    proven: bool,
    /// Refusals that were final, since the last success.
    refusals: u32,
    open_until: Option<Instant>,
    last: Option<Error>,
}

/// Why a log-in failed.
pub(crate) enum Refusal {
    /// The server does not accept the credential.
    Credential(Error),
    /// Anything else.
    Other(Error),
}

impl LogIn {
    pub(crate) fn new(provider: Arc<dyn CredentialProvider>) -> Self {
        LogIn { provider, breaker: Mutex::default(), one_at_a_time: tokio::sync::Mutex::default() }
    }

    /// Logs in by `attempt`.
    ///
    /// # Errors
    ///
    /// The provider's; that of the last attempt; or, with the breaker open, one that says so, with that error as its cause.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing stays behind but what the attempt leaves.
    pub(crate) async fn connect<C, F, Fut>(&self, login: &Login, attempt: F) -> Result<C>
    where
        F: Fn(Credential) -> Fut,
        Fut: Future<Output = Result<C, Refusal>>,
    {
        let proven = self.breaker().proven;
        let _turn = match proven {
            true => None,
            false => Some(self.one_at_a_time.lock().await),
        };
        self.pass_breaker()?;
        let outcome = self.attempts(login, attempt).await;
        match outcome {
            Ok(connection) => {
                *self.breaker() = Breaker { proven: true, ..Breaker::default() };
                Ok(connection)
            }
            Err(Refusal::Other(error)) => Err(error),
            Err(Refusal::Credential(error)) => {
                self.breaker().note(error.clone());
                Err(error)
            }
        }
    }

    async fn attempts<C, F, Fut>(&self, login: &Login, attempt: F) -> Result<C, Refusal>
    where
        F: Fn(Credential) -> Fut,
        Fut: Future<Output = Result<C, Refusal>>,
    {
        let mut credential = self.ask(login).await?;
        // The look at once after the first refusal is never spared; those after it take as long as the provider is patient.
        let mut deadline = None;
        let mut look = FIRST_LOOK;
        loop {
            let generation = credential.generation;
            let refusal = match attempt(credential).await {
                Err(Refusal::Credential(error)) => error,
                outcome => return outcome,
            };
            self.provider.refused(generation);
            self.breaker().proven = false;
            tracing::debug!(provider = %self.provider, generation, "the server refused a credential");
            let is_first = deadline.is_none();
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.provider.patience());
            if !is_first && Instant::now() >= deadline {
                return Err(Refusal::Credential(refusal));
            }
            credential = self.ask(login).await?;
            while credential.generation == generation {
                if Instant::now() >= deadline {
                    return Err(Refusal::Credential(refusal));
                }
                tokio::time::sleep(look - random::up_to(look / 2)).await;
                look = LONGEST_LOOK.min(look * 2);
                credential = self.ask(login).await?;
            }
        }
    }

    async fn ask(&self, login: &Login) -> Result<Credential, Refusal> {
        self.provider.credential(login).await.map_err(Refusal::Other)
    }

    /// Refuses while the breaker is open. The first who comes afterwards is let through, and the others wait for how it ends.
    fn pass_breaker(&self) -> Result<()> {
        let mut breaker = self.breaker();
        let Some(open_until) = breaker.open_until else { return Ok(()) };
        let now = Instant::now();
        if now >= open_until {
            breaker.open_until = Some(now + breaker.pause());
            return Ok(());
        }
        let refusals = breaker.refusals;
        let times = if refusals == 1 { "once".to_owned() } else { format!("{refusals} times in a row") };
        let left = (open_until - now).as_secs_f64();
        let reason = format!("the server refused what it gave, {times}; it is not tried again for {left:.1} s");
        let error = Error::credential(&self.provider, reason);
        Err(match breaker.last.clone() {
            Some(last) => error.caused_by(last),
            None => error,
        })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breaker {
    fn note(&mut self, error: Error) {
        self.proven = false;
        self.refusals += 1;
        self.last = Some(error);
        self.open_until = Some(Instant::now() + self.pause());
    }

    fn pause(&self) -> Duration {
        LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(self.refusals.saturating_sub(1).min(6)))
    }
}
