//! A provider's answers, kept for a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Credential, CredentialProvider, Login};
use crate::error::{Error, Result};
use crate::pool::clamp;
use crate::random;
use crate::secret::BoxFuture;

/// How long the last answer serves before a provider that has failed is asked once more.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Keeps what a provider answered, for each [`Login`].
///
/// - Who asks while the provider is being asked waits for that answer, also when it is an error: one fetch serves all.
/// - An answer is kept for [`keep`](Self::keep), less up to a tenth, so that machines which started together do not ask
///   together; and never beyond the credential's own end.
/// - One that the server refused is not answered from memory again: the provider is asked at once.
/// - When the provider fails with an error that may [pass](Error::passing), the last answer serves on, unless it was refused
///   or has ended, and a warning is logged; 5 s later the provider is asked again.
pub struct Cached<P> {
    provider: P,
    keep: Duration,
    slots: Mutex<HashMap<Login, Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    /// Locked while the provider is asked.
    kept: tokio::sync::Mutex<Kept>,
    /// How many times it has been asked.
    rounds: AtomicU64,
    /// The generations that the server has refused and that may still be kept, or come.
    refused: Mutex<Vec<u64>>,
}

#[derive(Default)]
struct Kept {
    answer: Option<Answer>,
    /// Why the last round failed, if it did.
    failure: Option<Error>,
}

struct Answer {
    credential: Credential,
    fresh_until: Instant,
    /// The credential's own end.
    ends: Option<Instant>,
}

impl<P: CredentialProvider> Cached<P> {
    /// Keeps what `provider` answers for 300 s, less up to a tenth.
    pub fn new(provider: P) -> Self {
        Cached { provider, keep: Duration::from_secs(300), slots: Mutex::default() }
    }

    /// How long an answer is kept. Default 300 s, 1 s to a day; a value outside is moved to the nearest bound.
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = clamp("credential keep", keep, Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
        self
    }

    fn slot(&self, login: &Login) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        match slots.get(login) {
            Some(slot) => Arc::clone(slot),
            None => Arc::clone(slots.entry(login.clone()).or_default()),
        }
    }

    async fn fetch(&self, slot: &Slot, login: &Login) -> Result<Credential> {
        let round = slot.rounds.load(Ordering::Acquire);
        let mut kept = slot.kept.lock().await;
        let now = Instant::now();
        let somebody_asked = slot.rounds.load(Ordering::Acquire) != round;
        if let Some(answer) = &kept.answer
            && (somebody_asked && kept.failure.is_none() || answer.is_fresh(now, slot))
        {
            return Ok(answer.credential.clone());
        }
        if let Some(failure) = kept.failure.as_ref().filter(|_| somebody_asked) {
            return Err(failure.clone());
        }
        let outcome = self.provider.credential(login).await;
        slot.rounds.fetch_add(1, Ordering::Release);
        // The asking may have taken long.
        let now = Instant::now();
        match outcome {
            Ok(credential) => {
                // No other one is kept; a refused one may come again, from a source that is late.
                slot.refused().retain(|&refused| refused == credential.generation);
                kept.answer = Some(Answer::new(credential.clone(), now, self.keep));
                kept.failure = None;
                Ok(credential)
            }
            Err(error) => match &mut kept.answer {
                Some(answer) if error.is_passing() && answer.is_usable(now, slot) => {
                    let error = &error as &(dyn std::error::Error + 'static);
                    tracing::warn!(error, "the credential's source does not answer; the last answer serves on");
                    answer.fresh_until = now + AFTER_FAILURE;
                    Ok(answer.credential.clone())
                }
                _ => {
                    kept.failure = Some(error.clone());
                    Err(error)
                }
            },
        }
    }
}

impl Slot {
    fn refused(&self) -> MutexGuard<'_, Vec<u64>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    fn new(credential: Credential, now: Instant, keep: Duration) -> Self {
        let left = |end: SystemTime| end.duration_since(SystemTime::now()).unwrap_or_default();
        let ends = credential.valid_until.map(|end| now + left(end));
        let kept_until = now + keep - random::up_to(keep / 10);
        Answer { credential, fresh_until: ends.map_or(kept_until, |ends| ends.min(kept_until)), ends }
    }

    fn is_fresh(&self, now: Instant, slot: &Slot) -> bool {
        now < self.fresh_until && self.is_usable(now, slot)
    }

    fn is_usable(&self, now: Instant, slot: &Slot) -> bool {
        !slot.refused().contains(&self.credential.generation) && self.ends.is_none_or(|ends| now < ends)
    }
}

impl<P: CredentialProvider> CredentialProvider for Cached<P> {
    fn credential<'a>(&'a self, login: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        Box::pin(async move { self.fetch(&self.slot(login), login).await })
    }

    fn refused(&self, generation: u64) {
        self.provider.refused(generation);
        for slot in self.slots.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let mut refused = slot.refused();
            if !refused.contains(&generation) {
                refused.push(generation);
            }
        }
    }

    fn patience(&self) -> Duration {
        self.provider.patience()
    }
}

/// Names the provider.
impl<P: fmt::Display> fmt::Display for Cached<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}

impl<P: fmt::Display> fmt::Debug for Cached<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cached({}, {:?})", self.provider, self.keep)
    }
}
