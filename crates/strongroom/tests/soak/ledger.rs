//! What was written, by the answers that the writers got, and whether the database agrees.
//!
//! A *unit* writes one or more *pieces*: rows of the table `piece`, which has no unique index, so that a unit that ran twice
//! would show. Each piece's payload follows from its numbers, so that a torn one would show too.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use strongroom::{Database, Error, Params, Result, Row, params};

use crate::random::Random;

pub(crate) const SCHEMA: &str = "
    CREATE TABLE piece (unit INTEGER NOT NULL, part INTEGER NOT NULL, parts INTEGER NOT NULL, payload BLOB NOT NULL);
    CREATE INDEX piece_unit ON piece (unit);
    CREATE TABLE taken (id INTEGER PRIMARY KEY);
    INSERT INTO taken (id) VALUES (1);
    CREATE TABLE parent (unit INTEGER PRIMARY KEY);
    CREATE TABLE child (unit INTEGER NOT NULL REFERENCES parent DEFERRABLE INITIALLY DEFERRED);";

pub(crate) const INSERT: &str = "INSERT INTO piece (unit, part, parts, payload) VALUES ($1, $2, $3, $4)";

/// Nobody's work goes on for so long after its caller went away: longer than any acquire timeout and session age here.
const OVER: Duration = Duration::from_secs(30);

/// What the database must hold of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing: it failed, or was never begun.
    Absent,
    /// All or nothing, and it may still be under way.
    Open,
    /// All or nothing: its caller went away then, or was told that the outcome is unknown.
    Unknown(Instant),
    /// All of it, once.
    Stored,
    /// It was there, as it should, and is being deleted.
    Settling,
    /// Nothing any more.
    Settled,
}

#[derive(Default)]
pub(crate) struct Ledger {
    fates: Mutex<Vec<Fate>>,
    /// Why units are taken for absent.
    refusals: Mutex<BTreeMap<u64, String>>,
}

/// A unit that is being written. Dropped without an answer, its fate is unknown.
pub(crate) struct Unit {
    ledger: Arc<Ledger>,
    pub(crate) number: u64,
    pub(crate) parts: u64,
}

impl Ledger {
    pub(crate) fn begin(self: &Arc<Self>, parts: u64) -> Unit {
        let number = self.reserve(1);
        Unit { ledger: Arc::clone(self), number, parts }
    }

    /// Numbers of units that are about to be written; the first of them.
    pub(crate) fn reserve(&self, count: u64) -> u64 {
        let mut fates = self.lock();
        let first = fates.len();
        fates.resize(first + count as usize, Fate::Open);
        first as u64
    }

    pub(crate) fn set(&self, number: u64, fate: Fate) {
        self.lock()[number as usize] = fate;
    }

    pub(crate) fn fate(&self, number: u64) -> Fate {
        self.lock()[number as usize]
    }

    /// How many units have been given a number.
    pub(crate) fn len(&self) -> u64 {
        self.lock().len() as u64
    }

    /// How many were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        let fates = self.lock();
        fates.iter().filter(|fate| matches!(fate, Fate::Stored | Fate::Settling | Fate::Settled)).count()
    }

    /// A unit that is stored, near to the last one.
    pub(crate) fn recently_stored(&self, random: &mut Random) -> Option<u64> {
        let fates = self.lock();
        let stored = fates.iter().enumerate().rev().take(500).filter(|(_, fate)| **fate == Fate::Stored);
        stored.map(|(number, _)| number as u64).nth(random.below(20) as usize)
    }

    /// Compares what was acknowledged until now with what is there, and deletes that, so that the file stays small.
    ///
    /// An unknown unit may still be on its way, for a while.
    pub(crate) async fn settle(&self, db: &Database) -> Result<Vec<String>> {
        let before = self.lock().clone();
        let mut session = db.session().await?;
        let found = found(session.fetch("SELECT unit, part, parts, payload FROM piece", params![])).await?;
        let mut faults = Vec::new();
        let mut stored = Vec::new();
        for (number, fate) in (0..).zip(before) {
            match (fate, found.get(&number)) {
                (Fate::Stored, Some(pieces)) if pieces.are_whole() => stored.push(number),
                (Fate::Unknown(since), Some(pieces)) if since.elapsed() > OVER && pieces.are_whole() => {
                    stored.push(number);
                }
                (Fate::Unknown(since), None) if since.elapsed() > OVER => {
                    self.refused(number, format!("nobody answered, and it was not there {:?} later", since.elapsed()));
                }
                (Fate::Stored, None) => faults.push(format!("unit {number} was acknowledged and is missing")),
                (Fate::Absent | Fate::Settled, None) | (Fate::Open, _) => {}
                (Fate::Unknown(_), None) => {}
                (Fate::Unknown(_), Some(pieces)) if pieces.are_whole() => {}
                (fate, pieces) => faults.push(self.fault(number, fate, pieces)),
            }
        }
        stored.iter().for_each(|number| self.set(*number, Fate::Settling));
        let deleting = async {
            let rows: Vec<Params> = stored.iter().map(|number| params![*number as i64]).collect();
            session.execute_many("DELETE FROM piece WHERE unit = $1", rows).await?;
            session.commit().await
        };
        let deleted = deleting.await;
        let fate = match &deleted {
            Ok(()) => Fate::Settled,
            Err(Error::CommitUnknown { .. }) => Fate::Unknown(Instant::now()),
            Err(_) => Fate::Stored,
        };
        stored.iter().for_each(|number| self.set(*number, fate));
        deleted.map(|()| faults)
    }

    /// Compares everything, when nothing is under way any more.
    pub(crate) async fn verify(&self, db: &Database) -> Result<Vec<String>> {
        let found = found(db.fetch("SELECT unit, part, parts, payload FROM piece", params![])).await?;
        let fates = self.lock().clone();
        let mut faults = Vec::new();
        for (number, fate) in (0..).zip(&fates) {
            match (fate, found.get(&number)) {
                (Fate::Stored | Fate::Unknown(_), Some(pieces)) if pieces.are_whole() => {}
                (Fate::Absent | Fate::Settled | Fate::Unknown(_), None) => {}
                (Fate::Stored, None) => faults.push(format!("unit {number} was acknowledged and is missing")),
                (fate, pieces) => faults.push(self.fault(number, *fate, pieces)),
            }
        }
        if let Some((number, _)) = found.range(fates.len() as u64..).next() {
            faults.push(format!("unit {number} is there and nobody wrote it"));
        }
        Ok(faults)
    }

    /// Notes that nothing of a unit may be there, and why.
    fn refused(&self, number: u64, why: String) {
        self.refusals.lock().expect("nothing panics while it is held").insert(number, why);
        self.set(number, Fate::Absent);
    }

    fn fault(&self, number: u64, fate: Fate, pieces: Option<&Pieces>) -> String {
        let refusals = self.refusals.lock().expect("nothing panics while it is held");
        let why = refusals.get(&number).map(|why| format!(" ({why})")).unwrap_or_default();
        format!("unit {number} should be {fate:?}{why}: {pieces:?}")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fate>> {
        self.fates.lock().expect("nothing panics while it is held")
    }
}

impl Unit {
    /// Parameters of [`INSERT`] for one piece.
    pub(crate) fn piece(&self, part: u64) -> Params {
        piece(self.number, part, self.parts)
    }

    pub(crate) fn pieces(&self) -> Vec<Params> {
        (0..self.parts).map(|part| self.piece(part)).collect()
    }

    /// Notes the answer that the unit got, and from where in the work.
    #[track_caller]
    pub(crate) fn answered<T>(self, answer: Result<T>) -> Result<T> {
        match &answer {
            Ok(_) => self.ledger.set(self.number, Fate::Stored),
            Err(Error::CommitUnknown { .. }) => self.ledger.set(self.number, Fate::Unknown(Instant::now())),
            Err(error) => self.ledger.refused(self.number, format!("{error:?} at {}", Location::caller())),
        }
        answer
    }

    /// Notes that its work was taken back on purpose.
    pub(crate) fn taken_back(self) {
        self.ledger.set(self.number, Fate::Absent);
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let mut fates = self.ledger.lock();
        let fate = &mut fates[self.number as usize];
        if *fate == Fate::Open {
            *fate = Fate::Unknown(Instant::now());
        }
    }
}

pub(crate) fn piece(unit: u64, part: u64, parts: u64) -> Params {
    params![unit as i64, part as i64, parts as i64, payload(unit, part)]
}

/// Bytes that follow from the numbers: a few, and sometimes more than fit on a page.
pub(crate) fn payload(unit: u64, part: u64) -> Vec<u8> {
    let mut random = Random::new(unit << 16 | part);
    let most = if random.once_in(100) { 20_000 } else { 200 };
    let words = random.below(most) / 8;
    (0..words).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// A unit's pieces, as they were read.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    parts: Vec<u64>,
    expected: u64,
    damaged: bool,
}

impl Pieces {
    pub(crate) fn are_whole(&self) -> bool {
        let mut parts = self.parts.clone();
        parts.sort_unstable();
        !self.damaged && parts.into_iter().eq(0..self.expected)
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    fn add(&mut self, unit: u64, row: &Row) -> Result<()> {
        let part = row.get::<i64>("part")? as u64;
        self.expected = row.get::<i64>("parts")? as u64;
        self.damaged |= row.get::<Vec<u8>>("payload")? != payload(unit, part);
        self.parts.push(part);
        Ok(())
    }
}

/// The pieces of each unit that a query of `unit, part, parts, payload` answers.
pub(crate) async fn found(mut rows: strongroom::RowStream<'_>) -> Result<BTreeMap<u64, Pieces>> {
    let mut found: BTreeMap<u64, Pieces> = BTreeMap::new();
    while let Some(row) = rows.next().await {
        let row = row?;
        let unit = row.get::<i64>("unit")? as u64;
        found.entry(unit).or_default().add(unit, &row)?;
    }
    Ok(found)
}
