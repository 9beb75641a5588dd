//! What callers hand over and are told, and whether the database agrees.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use strongroom::{Batch, Database, Error, Params, Result, params};

use crate::config;
use crate::disk::{Disk, Image};

/// Longest wait for an answer; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const CREATE: &str = "CREATE TABLE IF NOT EXISTS part (
    unit INTEGER NOT NULL, part INTEGER NOT NULL, parts INTEGER NOT NULL, filling BLOB NOT NULL, PRIMARY KEY (unit, part)
)";

const INSERT: &str = "INSERT INTO part (unit, part, parts, filling) VALUES ($1, $2, $3, zeroblob($4))";

/// The ways to write a unit. Its parts are rows, of which there must be all or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Statement,
    Batch,
    Session,
    /// A session that its holder takes back.
    Rollback,
    /// A batch whose last statement violates a constraint.
    Violation,
    /// More executions than the writer gives a savepoint to, and more pages than the smallest cache holds.
    Large,
}

impl Shape {
    fn parts(self) -> i64 {
        match self {
            Shape::Statement => 1,
            Shape::Large => 80,
            _ => 4,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// Handed over and not answered, or answered that nobody knows.
    Unknown,
    Acknowledged,
    /// Answered with an error, or taken back by its holder.
    Refused,
}

/// What the callers know of their units.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<HashMap<i64, Fate>>);

impl Ledger {
    /// Writes a unit and notes the answer.
    pub(crate) async fn write(&self, db: &Database, shape: Shape) -> Result<()> {
        let unit = self.hand_over();
        let parts = shape.parts();
        let filling = if shape == Shape::Large { 1000 } else { unit % 700 };
        let rows = (0..parts).map(|part| params![unit, part, parts, filling]).collect();
        let answer = tokio::time::timeout(PATIENCE, run(db, shape, rows)).await.expect("every caller is answered");
        let fate = match &answer {
            Ok(fate) => *fate,
            Err(Error::CommitUnknown { .. }) => Fate::Unknown,
            Err(_) => Fate::Refused,
        };
        self.units().insert(unit, fate);
        match answer {
            Err(error) if shape == Shape::Violation && error.is_unique_violation() => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Notes a new unit and answers its number.
    fn hand_over(&self) -> i64 {
        let mut units = self.units();
        // An odd multiplier spreads the units over the table's pages.
        let unit = (units.len() as i64 + 1).wrapping_mul(0x5851_f42d_4c95_7f2d) & i64::MAX;
        units.insert(unit, Fate::Unknown);
        unit
    }

    fn units(&self) -> MutexGuard<'_, HashMap<i64, Fate>> {
        self.0.lock().unwrap()
    }

    pub(crate) fn acknowledged(&self) -> Vec<i64> {
        let units = self.units();
        units.iter().filter(|(_, fate)| **fate == Fate::Acknowledged).map(|(unit, _)| *unit).collect()
    }

    /// Compares what a handle sees with what the callers were told.
    pub(crate) async fn compare(&self, db: &Database) -> Result<Findings> {
        let mut findings = Findings::default();
        let mut found = HashMap::new();
        for row in db.fetch_all("SELECT unit, max(parts), count(*) FROM part GROUP BY unit", params![]).await? {
            let (unit, parts, rows): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            found.insert(unit, parts == rows);
        }
        let units = self.units();
        for (unit, is_whole) in &found {
            if !is_whole {
                findings.partial.push(*unit);
            }
            if units.get(unit).is_none_or(|fate| *fate == Fate::Refused) {
                findings.unexpected.push(*unit);
            }
        }
        drop(units);
        findings.lost = self.acknowledged().into_iter().filter(|unit| !found.contains_key(unit)).collect();
        Ok(findings)
    }

    /// Opens what a disk holds after a power cut, and compares.
    pub(crate) async fn inspect(&self, image: &Image) -> Findings {
        let disk = Disk::holding(image);
        let inspected = async {
            let db = config(&disk).connect().await?;
            let mut findings = self.compare(&db).await?;
            let mut damage = db.fetch_all("PRAGMA integrity_check", params![]).await?;
            damage.retain(|row| row.get::<String>(0).is_ok_and(|line| line != "ok"));
            db.close().await?;
            // It looks at the file alone, past the log: a page that the power cut in a checkpoint is whole in the log, and
            // in the file only now that closing has copied it.
            let db = config(&disk).connect().await?;
            damage.extend(db.fetch_all("PRAGMA cipher_integrity_check", params![]).await?);
            findings.damage = damage.iter().map(|row| row.get(0)).collect::<Result<_>>()?;
            Ok(findings)
        };
        inspected.await.unwrap_or_else(|error: Error| Findings {
            lost: self.acknowledged(),
            damage: vec![error.to_string()],
            ..Findings::default()
        })
    }

    /// Life goes on with what a power cut has left: a unit of which nobody knew is now one that must stay, or must not come
    /// back.
    pub(crate) async fn settle(&self, image: &Image) {
        let disk = Disk::holding(image);
        let db = config(&disk).connect().await.unwrap();
        let rows = db.fetch_all("SELECT DISTINCT unit FROM part", params![]).await.unwrap();
        let found: HashSet<i64> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        for (unit, fate) in self.units().iter_mut().filter(|(_, fate)| **fate == Fate::Unknown) {
            *fate = if found.contains(unit) { Fate::Acknowledged } else { Fate::Refused };
        }
    }
}

/// What is wrong with a database, in the eyes of who was told what it holds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Findings {
    /// Acknowledged and not there.
    pub(crate) lost: Vec<i64>,
    /// There without all their rows.
    pub(crate) partial: Vec<i64>,
    /// There, and refused or never handed over.
    pub(crate) unexpected: Vec<i64>,
    /// What the integrity checks say, or why the database cannot be opened.
    pub(crate) damage: Vec<String>,
}

async fn run(db: &Database, shape: Shape, mut rows: Vec<Params>) -> Result<Fate> {
    match shape {
        Shape::Statement => drop(db.execute(INSERT, rows.remove(0)).await?),
        Shape::Large => drop(db.execute_many(INSERT, rows).await?),
        Shape::Batch | Shape::Violation => {
            if shape == Shape::Violation {
                rows.push(rows[0].clone());
            }
            let batch = rows.into_iter().fold(Batch::new(), |batch, row| batch.then(INSERT, row));
            db.batch(batch).await?;
        }
        Shape::Session | Shape::Rollback => {
            let mut session = db.session().await?;
            for row in rows {
                session.execute(INSERT, row).await?;
            }
            if shape == Shape::Rollback {
                session.rollback().await?;
                return Ok(Fate::Refused);
            }
            session.commit().await?;
        }
    }
    Ok(Fate::Acknowledged)
}
