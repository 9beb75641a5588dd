//! The operations, by kind. Each notes in the ledger what became of what it wrote.

use std::sync::Arc;
use std::time::Duration;

use strongroom::{Batch, Database, Error, KeySource, QueryErrorKind, Result, Session, params};

use crate::ledger::{Fate, INSERT, Unit, found};
use crate::random::Random;
use crate::world::{self, World};

pub(crate) const KINDS: usize = 27;

/// Kinds with the share of the work that they are, in order of the table.
const WORK: [(&str, u64); KINDS] = [
    ("statement", 300),
    ("execute_many", 60),
    ("batch", 100),
    ("script", 40),
    ("returning", 60),
    ("returning, streamed", 30),
    ("session", 80),
    ("session, dropped", 40),
    ("transaction", 60),
    ("transaction, panics", 20),
    ("unique violation", 40),
    ("OR ROLLBACK", 30),
    ("deferred reference", 30),
    ("inline read", 300),
    ("slow read", 15),
    ("stream", 40),
    ("snapshot", 40),
    ("pinned connection", 40),
    ("connection alone", 3),
    ("another handle", 4),
    ("another process", 1),
    ("another runtime", 4),
    ("checkpoint, optimize", 6),
    ("vacuum", 1),
    ("backup", 2),
    ("rekey", 2),
    ("check", 2),
];

/// What there is on a file alone.
const OF_FILES: [&str; 4] = ["OR ROLLBACK", "another process", "backup", "rekey"];

pub(crate) const NAMES: [&str; KINDS] = {
    let mut names = [""; KINDS];
    let mut kind = 0;
    while kind < KINDS {
        names[kind] = WORK[kind].0;
        kind += 1;
    }
    names
};

/// A kind by its weight, of those that the engine has.
pub(crate) fn choose(random: &mut Random, is_server: bool) -> usize {
    loop {
        let kind = by_weight(random);
        if !is_server || !OF_FILES.contains(&NAMES[kind]) {
            return kind;
        }
    }
}

fn by_weight(random: &mut Random) -> usize {
    let mut at = random.below(WORK.iter().map(|(_, weight)| weight).sum());
    let mut kinds = WORK.iter();
    kinds
        .position(|(_, weight)| {
            let found = at < *weight;
            at = at.saturating_sub(*weight);
            found
        })
        .expect("the weights add up")
}

/// Does one operation. Boxed: it may do others in turn.
pub(crate) async fn perform(kind: usize, world: Arc<World>, db: Database, mut random: Random) -> Result<()> {
    let random = &mut random;
    match NAMES[kind] {
        "statement" => statement(&world, &db, random).await,
        "execute_many" => {
            let most = if random.once_in(5) { 300 } else { 10 };
            let unit = world.ledger.begin(1 + random.below(most));
            let answer = db.execute_many(INSERT, unit.pieces()).await;
            unit.answered(answer).map(drop)
        }
        "batch" => {
            let unit = world.ledger.begin(1 + random.below(4));
            let answer = db.batch(batch(&unit)).await;
            unit.answered(answer).map(drop)
        }
        "script" => script(&world, &db, random).await,
        "returning" => {
            let unit = world.ledger.begin(1);
            let sql = format!("{INSERT} RETURNING unit");
            let answer = db.fetch_all(&sql, unit.piece(0)).await;
            unit.answered(answer).map(drop)
        }
        "returning, streamed" => {
            let unit = world.ledger.begin(1);
            let sql = format!("{INSERT} RETURNING unit");
            let mut rows = db.fetch(&sql, unit.piece(0));
            let first = rows.next().await;
            unit.answered(first.unwrap_or(Err(Error::NoRow))).map(drop)
        }
        "session" => session(&world, &db, random).await,
        "session, dropped" => dropped_session(&world, &db, random).await,
        "transaction" => transaction(&world, &db, random).await,
        "transaction, panics" => panicking_transaction(&world, &db).await,
        "unique violation" => unique_violation(&world, &db, random).await,
        "OR ROLLBACK" => or_rollback(&world, &db, random).await,
        "deferred reference" => deferred(&world, &db, random).await,
        "inline read" => own_writes(&world, &db, random).await,
        "slow read" => {
            let sql =
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) SELECT count(*) FROM n";
            let limit = 1 + random.below(300_000) as i64;
            let counted: Option<i64> = db.fetch_value(sql, params![limit]).await?;
            if counted != Some(limit) {
                world.tally.fault(format!("a read counted {counted:?} where there are {limit}"));
            }
            Ok(())
        }
        "stream" => stream(&db, random).await,
        "snapshot" => snapshot(&world, &db, random).await,
        "pinned connection" => {
            let pinned = db.connection().await?;
            with_connection(&world, pinned, random).await
        }
        "connection alone" => {
            if let Some(cluster) = &world.cluster {
                let alone = world::impatient(cluster.config()).connect_one().await?;
                return with_connection(&world, alone, random).await;
            }
            let key = world.keys().swap_remove(0);
            let alone = world::config(world.path(), &key).connect_one().await;
            match alone {
                Ok(alone) => with_connection(&world, alone, random).await,
                // The newest key is not the file's when rekeying failed.
                Err(Error::Encryption { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        }
        "another handle" => another_handle(&world, random).await,
        "another process" => crate::process::run(Arc::clone(&world), random).await,
        "another runtime" => another_runtime(&world, &db, random).await,
        "checkpoint, optimize" => {
            if random.once_in(3) {
                db.optimize().await
            } else {
                db.checkpoint().await.map(drop)
            }
        }
        "vacuum" => db.vacuum().await,
        "backup" => backup(&world, &db, random).await,
        "rekey" => {
            let key = random.key();
            // Before it is tried: cancelled, it may have taken effect.
            world.add_key(&key);
            db.rekey(KeySource::literal(key), |_| ()).await
        }
        "check" => db.check().await.failure().map_or(Ok(()), |error| Err(error.clone())),
        other => unreachable!("{other} is not done by anything"),
    }
}

pub(crate) async fn statement(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    if random.once_in(2) {
        let unit = world.ledger.begin(1);
        let answer = db.execute(INSERT, unit.piece(0)).await;
        return unit.answered(answer).map(drop);
    }
    // A caller that keeps nothing of the database but the future.
    let (unit, db) = (world.ledger.begin(1), db.clone());
    let write = db.execute(INSERT, unit.piece(0));
    let answer = write.await;
    unit.answered(answer).map(drop)
}

fn batch(unit: &Unit) -> Batch {
    let number = unit.number as i64;
    Batch::new()
        .then("INSERT INTO child (unit) VALUES ($1)", params![number])
        .then_many(INSERT, unit.pieces())
        .then("INSERT INTO parent (unit) VALUES ($1)", params![number])
        .then("DELETE FROM child WHERE unit = $1", params![number])
        .then("DELETE FROM parent WHERE unit = $1", params![number])
}

async fn script(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    let unit = world.ledger.begin(1 + random.below(3));
    let statements: Vec<String> = unit
        .pieces()
        .into_iter()
        .enumerate()
        .map(|(part, _)| {
            let payload = crate::ledger::payload(unit.number, part as u64);
            let payload: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            let payload = if world.is_server() { format!("'\\x{payload}'") } else { format!("x'{payload}'") };
            format!(
                "INSERT INTO piece (unit, part, parts, payload) VALUES ({}, {part}, {}, {payload})",
                unit.number, unit.parts
            )
        })
        .collect();
    let fails = random.once_in(4);
    let end = if fails { "; INSERT INTO taken (id) VALUES (1)" } else { "" };
    let answer = db.execute_script(&format!("{}{end}", statements.join("; "))).await;
    if fails && answer.is_ok() {
        world.tally.fault("a script with a row that is taken was acknowledged");
    }
    unit.answered(answer)
}

/// Statements and savepoints, of which some are taken back.
async fn session(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    let unit = world.ledger.begin(1 + random.below(5));
    let answer = async {
        let mut session = db.session().await?;
        for part in 0..unit.parts {
            match random.below(4) {
                0 => drop(session.execute(INSERT, unit.piece(part)).await?),
                1 => {
                    let mut point = session.savepoint().await?;
                    point.execute(INSERT, unit.piece(part)).await?;
                    point.release().await?;
                }
                _ => {
                    let mut point = session.savepoint().await?;
                    point.execute(INSERT, unit.piece(part)).await?;
                    let mut inner = point.savepoint().await?;
                    inner.execute(INSERT, unit.piece(part)).await?;
                    if random.once_in(2) {
                        let taken = inner.execute("INSERT INTO taken (id) VALUES (1)", params![]).await;
                        let fails = |error: &Error| error.is_unique_violation() || world.is_ordinary(error);
                        ensure(world, taken.as_ref().is_err_and(fails), "a row that is taken");
                    }
                    if random.once_in(2) {
                        inner.rollback().await?;
                    } else {
                        drop(inner);
                    }
                    point.release().await?;
                }
            }
            if random.once_in(3) {
                let seen = "SELECT unit, part, parts, payload FROM piece WHERE unit = $1";
                let seen = found(session.fetch(seen, params![unit.number as i64])).await?;
                let seen = seen.get(&unit.number).map_or(0, crate::ledger::Pieces::len);
                ensure(world, seen == part as usize + 1, "a session does not see what it wrote");
            }
            if random.once_in(20) {
                tokio::time::sleep(random.moment()).await;
            }
        }
        if random.once_in(6) {
            session.execute("CREATE TEMP TABLE draft (id INTEGER)", params![]).await?;
        }
        session.commit().await
    };
    let answer = answer.await;
    unit.answered(answer)
}

/// Work that is never committed.
async fn dropped_session(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    let unit = world.ledger.begin(1);
    let mut session = match db.session().await {
        Ok(session) => session,
        Err(error) => return unit.answered(Err(error)),
    };
    let written = session.execute(INSERT, unit.piece(0)).await;
    if random.once_in(3) {
        // Its rows are not taken any more: dropped in the middle.
        let mut rows = session.fetch("SELECT unit FROM piece", params![]);
        let _ = rows.next().await;
    }
    let mut ended = Ok(());
    if random.once_in(2) {
        ended = session.rollback().await;
    } else {
        drop(session);
    }
    unit.taken_back();
    written.map(drop).and(ended)
}

/// Commits, or fails by its own wish. A neighbour's OR ROLLBACK makes it run again.
async fn transaction(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    let unit = world.ledger.begin(2);
    let fails = random.once_in(4);
    let answer: Result<()> = db
        .transaction(|mut session: Session| {
            let pieces = unit.pieces();
            async move {
                session.execute_many(INSERT, pieces).await?;
                if fails { Err(Error::NoRow) } else { Ok(()) }
            }
        })
        .await;
    match unit.answered(answer) {
        Err(Error::NoRow) if fails => Ok(()),
        answer => answer,
    }
}

async fn panicking_transaction(world: &World, db: &Database) -> Result<()> {
    let unit = world.ledger.begin(1);
    let (db, piece) = (db.clone(), unit.piece(0));
    let task = tokio::spawn(async move {
        db.transaction(|mut session: Session| {
            let piece = piece.clone();
            async move {
                session.execute(INSERT, piece).await?;
                std::panic::panic_any(crate::Planned);
                #[expect(unreachable_code, reason = "it gives the block its type")]
                Ok::<_, Error>(())
            }
        })
        .await
    });
    let answer = match task.await {
        Ok(answer) => answer,
        // As planned: nothing may be there.
        Err(_) => {
            unit.taken_back();
            return Ok(());
        }
    };
    ensure(world, answer.is_err(), "a transaction that panics was acknowledged");
    unit.answered(answer)
}

/// One row too many, which takes the others along.
async fn unique_violation(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    let unit = world.ledger.begin(1 + random.below(3));
    let taken = "INSERT INTO taken (id) VALUES ($1)";
    let answer = if random.once_in(2) {
        db.batch(Batch::new().then_many(INSERT, unit.pieces()).then(taken, params![1])).await.map(drop)
    } else {
        let taken = if world.is_server() { taken } else { "INSERT OR FAIL INTO taken (id) VALUES ($1)" };
        db.execute(taken, params![1]).await.map(drop)
    };
    expected(world, unit.answered(answer), QueryErrorKind::Unique)
}

/// The engine rolls the whole group back; only this unit may fail of it.
async fn or_rollback(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    let unit = world.ledger.begin(1);
    let taken = "INSERT OR ROLLBACK INTO taken (id) VALUES ($1)";
    let answer = if random.once_in(3) {
        let within = async {
            let mut session = db.session().await?;
            session.execute(INSERT, unit.piece(0)).await?;
            session.execute(taken, params![1]).await?;
            session.commit().await
        };
        within.await
    } else {
        db.batch(Batch::new().then(INSERT, unit.piece(0)).then(taken, params![1])).await.map(drop)
    };
    expected(world, unit.answered(answer), QueryErrorKind::Unique)
}

/// A reference without its target: the unit fails, by itself or at the session's commit.
async fn deferred(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    let unit = world.ledger.begin(1);
    let (child, number) = ("INSERT INTO child (unit) VALUES ($1)", unit.number as i64);
    let answer = if random.once_in(2) {
        db.batch(Batch::new().then(INSERT, unit.piece(0)).then(child, params![number])).await.map(drop)
    } else {
        let within = async {
            let mut session = db.session().await?;
            session.execute(child, params![number]).await?;
            session.execute(INSERT, unit.piece(0)).await?;
            session.commit().await
        };
        within.await
    };
    expected(world, unit.answered(answer), QueryErrorKind::ForeignKey)
}

/// What was acknowledged before is read, on whichever handle.
async fn own_writes(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    let Some(unit) = world.ledger.recently_stored(random) else { return Ok(()) };
    let sql = "SELECT count(*) FROM piece WHERE unit = $1";
    let seen: Option<i64> = db.fetch_value(sql, params![unit as i64]).await?;
    if seen == Some(0) && world.ledger.fate(unit) == Fate::Stored {
        world.tally.fault(format!("unit {unit} was acknowledged, and a later read does not see it"));
    }
    Ok(())
}

/// Rows read to the end, or up to some.
async fn stream(db: &Database, random: &mut Random) -> Result<()> {
    let mut rows = db.fetch("SELECT unit, payload FROM piece", params![]);
    let most = random.below(2_000);
    for _ in 0..most {
        match rows.next().await {
            Some(row) => drop(row?),
            None => return Ok(()),
        }
        if random.once_in(500) {
            tokio::time::sleep(random.moment()).await;
        }
    }
    Ok(())
}

/// Of one moment: every unit is whole or not there, and a second look sees the same.
async fn snapshot(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    let mut view = db.read_session().await?;
    let recent = world.ledger.len().saturating_sub(100 + random.below(400)) as i64;
    let sql = "SELECT unit, part, parts, payload FROM piece WHERE unit >= $1";
    let first = found(view.fetch(sql, params![recent])).await?;
    for (unit, pieces) in &first {
        if !pieces.are_whole() {
            world.tally.fault(format!("a snapshot sees a part of unit {unit}: {pieces:?}"));
        }
    }
    tokio::time::sleep(random.moment()).await;
    let again = found(view.fetch(sql, params![recent])).await?;
    ensure(world, first.keys().eq(again.keys()), "a snapshot changed");
    let written = view.fetch_all("DELETE FROM piece RETURNING unit", params![]).await;
    ensure(world, written.is_err(), "a read session wrote");
    Ok(())
}

/// TEMP tables, single statements, batches that fail as a whole.
async fn with_connection(world: &World, mut pinned: strongroom::Connection, random: &mut Random) -> Result<()> {
    let left = match world.is_server() {
        true => "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()",
        false => "SELECT count(*) FROM sqlite_temp_schema",
    };
    let left: Option<i64> = pinned.fetch_value(left, params![]).await?;
    ensure(world, left == Some(0), "a pinned connection has somebody else's TEMP tables");
    if random.once_in(2) {
        let draft = "CREATE TEMP TABLE draft (unit INTEGER, part INTEGER, parts INTEGER, payload BLOB)";
        pinned.execute(&world.dialect(draft), params![]).await?;
        let unit = world.ledger.begin(2);
        let into_draft = INSERT.replace("piece", "draft");
        pinned.execute_many(&into_draft, unit.pieces()).await?;
        let answer = pinned.execute("INSERT INTO piece SELECT unit, part, parts, payload FROM draft", params![]).await;
        unit.answered(answer)?;
    }
    let unit = world.ledger.begin(2);
    let fails = random.once_in(3);
    let mut batch = batch(&unit);
    if fails {
        batch.push("INSERT INTO taken (id) VALUES (1)", params![]);
    }
    let answer = pinned.batch(batch).await;
    ensure(world, !(fails && answer.is_ok()), "a batch with a row that is taken was acknowledged");
    match unit.answered(answer) {
        Err(error) if fails && error.is_unique_violation() => {}
        answer => drop(answer?),
    }
    let mut rows = pinned.fetch("SELECT unit FROM piece", params![]);
    for _ in 0..random.below(20) {
        if let Some(row) = rows.next().await {
            row?;
        }
    }
    drop(rows);
    if random.once_in(2) { pinned.close().await } else { Ok(()) }
}

/// A second handle in the same process, closed or dropped; at times it becomes everybody's, and the old one is closed under
/// their hands.
async fn another_handle(world: &World, random: &mut Random) -> Result<()> {
    let other = world.open(random).await?;
    for _ in 0..random.below(5) {
        statement(world, &other, random).await?;
    }
    if random.once_in(3) {
        let old = world.replace_handle(other);
        // Or dropped, at the end of whoever uses it last.
        return if random.once_in(4) { Ok(()) } else { old.close().await };
    }
    match random.below(3) {
        0 => Ok(()),
        1 => {
            let pinned = other.connection().await?;
            let session = other.read_session().await?;
            // The handle is gone before what was lent of it.
            drop(other);
            drop(session);
            with_connection(world, pinned, random).await
        }
        _ => other.close().await,
    }
}

/// The handle is used on a runtime that ends in the middle of it.
async fn another_runtime(world: &Arc<World>, db: &Database, random: &mut Random) -> Result<()> {
    let (world, db, mut random) = (Arc::clone(world), db.clone(), random.fork());
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be had");
        for _ in 0..4 {
            let (world, db, mut random) = (Arc::clone(&world), db.clone(), random.fork());
            runtime.spawn(async move {
                while statement(&world, &db, &mut random).await.is_ok() && stream(&db, &mut random).await.is_ok() {}
            });
        }
        let patience = random.moment();
        runtime.block_on(async { tokio::time::sleep(patience).await });
        drop((runtime, db, world));
        let _ = ended.send(());
    });
    // Gone only if its thread panicked.
    end.await.map_err(|_| Error::NoRow)
}

/// A copy, which must be of one moment.
async fn backup(world: &World, db: &Database, random: &mut Random) -> Result<()> {
    let target = world.copies().join(format!("copy-{}.db", random.next()));
    let removed = Removed(target.clone());
    db.backup(&target, |_| ()).await?;
    let copy = world::open(target, &world.keys(), |config| config).await?;
    let cut = "SELECT unit FROM piece GROUP BY unit HAVING count(*) <> max(parts) OR count(DISTINCT part) <> count(*)";
    let cut: Option<i64> = copy.fetch_value(cut, params![]).await?;
    ensure(world, cut.is_none(), "a backup holds a part of a unit");
    copy.close().await?;
    drop(removed);
    Ok(())
}

/// A file that is deleted when this is dropped, however the work on it ended.
struct Removed(std::path::PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn ensure(world: &World, holds: bool, otherwise: &str) {
    if !holds {
        world.tally.fault(otherwise);
    }
}

/// The failure that was meant counts as done.
fn expected<T>(world: &World, answer: Result<T>, kind: QueryErrorKind) -> Result<()> {
    match answer {
        Ok(_) => {
            world.tally.fault(format!("a unit that must fail ({kind}) was acknowledged"));
            Ok(())
        }
        Err(error) if error.query_kind() == Some(kind) => Ok(()),
        Err(error) => Err(error),
    }
}

/// How long a caller has patience with one operation: beyond, something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
