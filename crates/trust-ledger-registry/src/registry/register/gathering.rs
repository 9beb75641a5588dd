//! Registrations of several callers at once on a server: together in one statement.
//!
//! To start a statement costs a server more than one row of it, and each commit waits for the disk. So whoever registers while
//! others do goes along with them: some statements are under way at a time, and whatever comes meanwhile is the next. Nobody
//! waits for company: where nothing is under way, a registration is sent at once, alone.
//!
//! In a file the writer does this for everything that is written (strongroom's group commit).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom::QueryErrorKind;
use time::OffsetDateTime;
use tokio::sync::oneshot;

use super::super::Registry;
use super::super::author::Author;
use super::super::issuers::Identity;
use super::{Entry, registration};
use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::record::{Annotations, Registration};

/// Statements under way at once: while one waits for the disk, the other is worked on.
const UNDER_WAY: usize = 2;

/// Certificates of one statement at most: bounds for how long the first waits for the others.
const TOGETHER: usize = 64;

/// Who waits for the next statement.
#[derive(Default)]
pub(in super::super) struct Gathering(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    under_way: usize,
}

/// What becomes of a certificate: `None` when it is not there afterwards, since somebody has deleted it.
type Answer = strongroom::Result<Option<Registration>>;

struct Waiting {
    certificate: Certificate,
    annotations: Annotations,
    identity: Identity,
    author: Arc<Author>,
    now: OffsetDateTime,
    answer: oneshot::Sender<Answer>,
}

/// The right to have a statement under way.
struct Turn {
    gathering: Arc<Gathering>,
    is_over: bool,
}

impl Gathering {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn, unless all are taken.
    fn turn(self: &Arc<Self>) -> Option<Turn> {
        let mut state = self.state();
        (state.under_way < UNDER_WAY).then(|| {
            state.under_way += 1;
            Turn { gathering: Arc::clone(self), is_over: false }
        })
    }
}

impl Turn {
    /// The next who wait. When there are none, the turn is over before anybody else can begin to wait.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut state = self.gathering.state();
        let most = state.waiting.len().min(TOGETHER);
        if most == 0 {
            state.under_way -= 1;
            self.is_over = true;
            return None;
        }
        Some(state.waiting.drain(..most).collect())
    }
}

impl Drop for Turn {
    /// Before it is over, its runtime has ended. Who waits for the next statement has nobody to begin it, and is told so.
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.gathering.state();
            state.under_way -= 1;
            state.waiting.clear();
        }
    }
}

impl Waiting {
    fn entry(&self) -> Entry<'_> {
        Entry::new(&self.certificate, &self.annotations, &self.identity, &self.author, self.now)
    }
}

impl Registry {
    /// Registers a certificate together with those that others register at the moment.
    pub(super) async fn register_in_company(
        &self,
        certificate: &Certificate,
        annotations: &Annotations,
        identity: Identity,
    ) -> Result<Option<Registration>> {
        let tried = identity.tried_under(certificate);
        let (answer, answered) = oneshot::channel();
        self.gathering.state().waiting.push_back(Waiting {
            certificate: certificate.clone(),
            annotations: annotations.clone(),
            identity,
            author: Arc::clone(&self.author),
            now: self.now(),
            answer,
        });
        if let Some(turn) = self.gathering.turn() {
            tokio::spawn(self.clone().register_all_who_wait(turn));
        }
        let registered = answered.await.map_err(|_| Error::Worker { doing: "registering certificates" })??;
        if matches!(registered, Some(Registration::Registered(_))) {
            self.overtaken(tried.into_iter()).await?;
        }
        Ok(registered)
    }

    async fn register_all_who_wait(self, mut turn: Turn) {
        while let Some(group) = turn.next() {
            // By a task of its own, so that a panic takes nobody along but those of the statement.
            let _ = tokio::spawn(self.clone().register_group(group)).await;
        }
    }

    async fn register_group(self, mut group: Vec<Waiting>) {
        // Who has given up is not registered.
        group.retain(|waiting| !waiting.answer.is_closed());
        // In one order, so that two statements with the same certificates never wait for each other.
        group.sort_unstable_by_key(|waiting| *waiting.certificate.fingerprint());
        match self.insert_group(&group).await {
            Ok(registrations) => {
                let is_new =
                    |registration: &&Option<Registration>| matches!(registration, Some(Registration::Registered(_)));
                let new = registrations.iter().filter(is_new).count();
                for (waiting, registration) in group.into_iter().zip(registrations) {
                    let _ = waiting.answer.send(Ok(registration));
                }
                self.tidy(new as u64).await;
            }
            // The fault of one is not the others'.
            Err(error) if group.len() > 1 && is_of_a_row(&error) => {
                for waiting in group {
                    Box::pin(self.clone().register_group(vec![waiting])).await;
                }
            }
            Err(error) => {
                for waiting in group {
                    let _ = waiting.answer.send(Err(error.clone()));
                }
            }
        }
    }

    async fn insert_group(&self, group: &[Waiting]) -> strongroom::Result<Vec<Option<Registration>>> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let identified = group.iter().map(|waiting| (&waiting.certificate, &waiting.identity));
        let issuers = self.issuers_to_record(identified);
        let entries: Vec<Entry<'_>> = group.iter().map(Waiting::entry).collect();
        let inserted = self.insert_on_server(&issuers, &entries).await?;
        self.issuers.recorded(&issuers);
        if inserted == entries.len() as u64 {
            return Ok(entries.iter().map(|entry| Some(Registration::Registered(entry.id))).collect());
        }
        let known = self.ids_of(entries.iter().map(|entry| *entry.certificate.fingerprint()).collect()).await?;
        let answer =
            |entry: &Entry<'_>| known.get(entry.certificate.fingerprint()).map(|found| registration(entry.id, *found));
        Ok(entries.iter().map(answer).collect())
    }
}

/// Whether a row may be what a statement failed of, so that the others can be inserted without it.
fn is_of_a_row(error: &strongroom::Error) -> bool {
    use QueryErrorKind::{Busy, Corrupt, Full, Io, ReadOnly, Serialization, Timeout};
    error
        .query_kind()
        .is_some_and(|kind| !matches!(kind, Busy | Corrupt | Full | Io | ReadOnly | Serialization | Timeout))
}
