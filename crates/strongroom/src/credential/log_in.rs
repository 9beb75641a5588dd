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

/// First pause before another look for a newer credential, doubled for each further one.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// The longest of these pauses: what a log-in waits at most for nothing when the rotation is over.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// Asks a provider for each log-in, and keeps a refused one from being repeated without end.
///
/// A refusal drops that credential's generation; a newer one is tried at once. A provider with
/// [patience](CredentialProvider::patience) is asked again for a while, with pauses, when nothing newer has come or
/// that was refused as well. Then the refusal is final: the *breaker* opens, and log-ins fail without asking the
/// server, for a pause that grows with each further one. When it is over one goes first, and the others do as it fares.
///
/// From a refusal, and from the beginning, until the first success there is one log-in at a time, so that a wrong
/// password is tried by one and not by the whole pool.
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

/// Why an attempt, or all of a log-in, failed.
#[derive(Debug)]
pub(crate) enum Refusal<E = Error> {
    /// The server does not accept the credential. As the answer of [`LogIn::connect`]: or there is none, or the breaker
    /// is open; another server of the same kind would not do better.
    Credential(Error),
    /// The credential's own end came before it was sent. As the answer of [`LogIn::connect`]: that of a new one, too.
    Ended(E),
    /// Anything else.
    Other(E),
}

/// How a series of attempts ended.
enum Failed<E> {
    /// The provider gave no credential.
    Unknown(Error),
    /// The server refused the last one.
    Refused(Error),
    /// The last one ended before it was sent.
    Ended(E),
    Other(E),
}

impl LogIn {
    pub(crate) fn new(provider: Arc<dyn CredentialProvider>) -> Self {
        LogIn { provider, breaker: Mutex::default(), one_at_a_time: tokio::sync::Mutex::default() }
    }

    /// Logs in by `attempt`.
    ///
    /// # Errors
    ///
    /// The provider's; that of the last attempt; or, with the breaker open, one that says so, with the last refusal as
    /// its cause.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing stays behind but what the attempt leaves.
    pub(crate) async fn connect<C, E, F, Fut>(&self, login: &Login, attempt: F) -> Result<C, Refusal<E>>
    where
        F: Fn(Credential) -> Fut,
        Fut: Future<Output = Result<C, Refusal<E>>>,
    {
        let mut turn = None;
        if !self.is_proven() {
            turn = Some(self.one_at_a_time.lock().await);
            // Whoever had the turn before may have proven it: then nobody has to wait any longer.
            if self.is_proven() {
                turn = None;
            }
        }
        self.pass_breaker().map_err(Refusal::Credential)?;
        let outcome = match self.attempts(login, attempt).await {
            Ok(connection) => {
                *self.breaker() = Breaker { proven: true, ..Breaker::default() };
                Ok(connection)
            }
            Err(Failed::Unknown(error)) => Err(Refusal::Credential(error)),
            Err(Failed::Refused(error)) => {
                self.breaker().note(error.clone());
                Err(Refusal::Credential(error))
            }
            Err(Failed::Ended(error)) => Err(Refusal::Ended(error)),
            Err(Failed::Other(error)) => Err(Refusal::Other(error)),
        };
        drop(turn);
        outcome
    }

    async fn attempts<C, E, F, Fut>(&self, login: &Login, attempt: F) -> Result<C, Failed<E>>
    where
        F: Fn(Credential) -> Fut,
        Fut: Future<Output = Result<C, Refusal<E>>>,
    {
        let mut credential = self.ask(login).await?;
        let mut deadline = None;
        let mut pause = FIRST_LOOK;
        let mut is_renewed = false;
        loop {
            let generation = credential.generation;
            let refusal = match attempt(credential).await {
                Ok(connection) => return Ok(connection),
                // A long way to the server outlasts a token that was kept until then; a new one it should not.
                Err(Refusal::Ended(_)) if !is_renewed => {
                    is_renewed = true;
                    credential = self.ask(login).await?;
                    continue;
                }
                Err(Refusal::Ended(error)) => return Err(Failed::Ended(error)),
                Err(Refusal::Other(error)) => return Err(Failed::Other(error)),
                Err(Refusal::Credential(error)) => error,
            };
            self.provider.refused(generation);
            self.breaker().proven = false;
            tracing::debug!(provider = %self.provider, generation, "the server refused a credential");
            loop {
                match deadline {
                    // The look at once after the first refusal is never spared.
                    None => deadline = Some(Instant::now() + self.provider.patience()),
                    Some(deadline) => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            return Err(Failed::Refused(refusal));
                        }
                        tokio::time::sleep(left.min(pause - random::up_to(pause / 2))).await;
                        pause = LONGEST_LOOK.min(pause * 2);
                    }
                }
                credential = self.ask(login).await?;
                if credential.generation != generation {
                    break;
                }
            }
        }
    }

    async fn ask<E>(&self, login: &Login) -> Result<Credential, Failed<E>> {
        self.provider.credential(login).await.map_err(Failed::Unknown)
    }

    /// Refuses while the breaker is open. Those who come afterwards take turns, as nothing is proven, until one
    /// succeeds or opens it again.
    fn pass_breaker(&self) -> Result<()> {
        let breaker = self.breaker();
        let now = Instant::now();
        let Some(open_until) = breaker.open_until.filter(|open_until| now < *open_until) else { return Ok(()) };
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

    fn is_proven(&self) -> bool {
        self.breaker().proven
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breaker {
    fn note(&mut self, error: Error) {
        self.proven = false;
        let now = Instant::now();
        // Several that were under way together are refused together: that is one refusal.
        if self.open_until.is_none_or(|open_until| open_until <= now) {
            self.refusals += 1;
            self.last = Some(error);
            self.open_until = Some(now + self.pause());
        }
    }

    fn pause(&self) -> Duration {
        LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(self.refusals.saturating_sub(1).min(6)))
    }
}
