//! A soak: many tasks with random work, cancellation, errors and short lifetimes on one encrypted file, or on a PostgreSQL
//! server that is cut off, restarted and replaced by its standby, and at the end the proof that nothing went astray.
//!
//! `cargo xtask soak --seconds N` runs it; a plain `cargo test` runs it for a second. It proves that
//!
//! * no acknowledged unit is missing, none is there twice or in part, and none that failed is there at all;
//! * a unit whose caller went away is there as a whole or not at all;
//! * a read sees what was acknowledged before it, a snapshot and a backup see one moment;
//! * SQLite's and SQLCipher's integrity checks and the foreign keys are clean;
//! * all connections are home, and after `close` no thread, no descriptor and no file is left over; on a server, no session
//!   and before that none `idle in transaction`.
//!
//! `STRONGROOM_SOAK_SECONDS` and `STRONGROOM_SOAK_SEED` set length and seed, `STRONGROOM_SOAK_ENGINE=postgres` the engine. The seed repeats the choices, not the
//! interleaving.

mod cluster;
mod ledger;
mod process;
mod random;
mod tally;
mod work;
mod world;

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use strongroom::{Database, Result, params};

use self::cluster::Cluster;
use self::random::Random;
use self::tally::End;
use self::work::PATIENCE;
use self::world::World;

/// Tasks that work at the same time.
const WORKERS: u64 = 24;

/// What a task panics with on purpose; nothing is printed for it.
struct Planned;

fn main() -> ExitCode {
    if let Some(code) = process::as_child() {
        return code;
    }
    if !is_wanted() {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seconds = number("STRONGROOM_SOAK_SECONDS").unwrap_or(1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number("STRONGROOM_SOAK_SEED").unwrap_or_else(|| now.map_or(0, |now| now.as_micros() as u64));
    let on_server = std::env::var_os("STRONGROOM_SOAK_ENGINE").is_some_and(|engine| engine == "postgres");
    if on_server && !test_servers::needs::postgres() {
        return ExitCode::SUCCESS;
    }
    println!("soak: {seconds} s, seed {seed}{}", if on_server { ", on PostgreSQL" } else { "" });
    let cluster = on_server.then(Cluster::start);

    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload().is::<Planned>() {
            report(panic);
        }
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let faults = runtime.expect("threads can be had").block_on(soak(Duration::from_secs(seconds), seed, cluster));
    match faults {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            eprintln!("error: {faults} violations with seed {seed}; they are named above");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: the soak could not go on with seed {seed}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether this program's test is among those that `cargo test` was asked for. What it is told besides is not for it.
fn is_wanted() -> bool {
    let mut filters = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => {
                println!("soak: test");
                return false;
            }
            "--ignored" => return false,
            // These come with a value.
            "--skip" if arguments.next().is_some_and(|skipped| "soak".contains(&skipped)) => return false,
            "--test-threads" | "--format" | "--color" | "--logfile" | "--shuffle-seed" | "-Z" => drop(arguments.next()),
            flag if flag.starts_with('-') => {}
            _ => filters.push(argument),
        }
    }
    filters.is_empty() || filters.iter().any(|filter| "soak".contains(filter.as_str()))
}

/// Works for so long, then proves. Answers how many violations there were.
async fn soak(length: Duration, seed: u64, cluster: Option<Cluster>) -> Result<usize> {
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let before = Belongings::after_warming_up(folder.path()).await?;
    let world = World::new(folder.path().to_owned(), cluster, &mut random).await?;

    let began = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(worker(Arc::clone(&world), random.fork()));
    }
    // A thread only where it has something to do: one more would be a thread left over.
    let disturbing = world.is_server().then(|| {
        let (world, mut random) = (Arc::clone(&world), random.fork());
        tokio::task::spawn_blocking(move || {
            while let Some(cluster) = world.cluster.as_ref().filter(|_| !world.is_stopped()) {
                cluster.disturb(&mut random);
            }
        })
    });
    while began.elapsed() < length {
        let next = Duration::from_secs(1).min(length.saturating_sub(began.elapsed()));
        tokio::time::sleep(next).await;
        show_progress(&world, began.elapsed());
        settle(&world).await;
    }
    world.stop();
    while let Some(worker) = workers.join_next().await {
        if let Err(panic) = worker {
            world.tally.fault(format!("a worker panicked: {panic}"));
        }
    }
    if let Some(disturbing) = disturbing
        && let Err(panic) = disturbing.await
    {
        world.tally.fault(format!("the servers could not be brought back: {panic}"));
    }
    if std::io::stderr().is_terminal() {
        eprintln!();
    }

    let db = world.handle();
    all_home(&world, &db).await;
    prove(&world, &db).await?;
    db.close().await?;
    match &world.cluster {
        None => nothing_is_left(&world, before, &mut random).await?,
        Some(cluster) => {
            sessions_end(&world, "is open after the pool was closed", || cluster.sessions(false)).await;
            println!("{}", cluster.history());
        }
    }

    println!("{:<22} {:>10} {:>10} {:>10}\n{}", "operation", "done", "failed", "cancelled", world.tally);
    let (units, stored) = (world.ledger.len(), world.ledger.acknowledged());
    println!("{units} units, {stored} acknowledged, {} violations, {:.1?}", world.tally.faults(), began.elapsed());
    Ok(world.tally.faults())
}

/// The file is closed: there is nothing beside it, and it can be opened again.
async fn nothing_is_left(world: &World, before: Belongings, random: &mut Random) -> Result<()> {
    before.are_all_there_is(world, "closed").await;
    let drafts = files(&world.copies()).into_iter().filter(|name| name.starts_with('.'));
    let beside = files(&world.folder).into_iter().filter(|name| name != "soak.db" && name != "copies");
    let left: Vec<_> = beside.chain(drafts).collect();
    if !left.is_empty() {
        world.tally.fault(format!("files are left over: {}", left.join(", ")));
    }
    let again = world.open(random).await?;
    prove(world, &again).await?;
    again.close().await?;
    before.are_all_there_is(world, "opened and closed again").await;
    Ok(())
}

/// Sessions that are to end do so soon.
async fn sessions_end(world: &World, what: &str, sessions: impl Fn() -> Vec<String>) {
    if !becomes_true(Duration::from_secs(5), || sessions().is_empty()).await {
        for session in sessions() {
            world.tally.fault(format!("a session {what}: {session}"));
        }
    }
}

async fn worker(world: Arc<World>, mut random: Random) {
    while !world.is_stopped() {
        let kind = work::choose(&mut random, world.is_server());
        let patient = tokio::time::timeout(PATIENCE, attempt(&world, kind, &mut random));
        if patient.await.is_err() {
            world.tally.fault(format!("`{}` hangs: no answer within {PATIENCE:?}", work::NAMES[kind]));
        }
    }
}

/// Does one operation, to its end or to some moment of its life.
async fn attempt(world: &Arc<World>, kind: usize, random: &mut Random) {
    let work = work::perform(kind, Arc::clone(world), world.handle(), random.fork());
    let outcome = match random.below(12) {
        0 => tokio::time::timeout(random.moment(), work).await.ok(),
        1 => {
            let task = tokio::spawn(work);
            tokio::time::sleep(random.moment()).await;
            task.abort();
            match task.await {
                Err(panic) if panic.is_panic() => return world.tally.fault(format!("{}: {panic}", work::NAMES[kind])),
                answer => answer.ok(),
            }
        }
        2 => {
            let mut work = Box::pin(work);
            let mut answer = None;
            for _ in 0..random.below(8) {
                let poll = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
                if let Poll::Ready(ready) = poll {
                    answer = Some(ready);
                    break;
                }
                tokio::task::yield_now().await;
            }
            answer
        }
        3 => {
            let (mut work, patience) = (Box::pin(work), random.moment());
            tokio::select! {
                answer = &mut work => Some(answer),
                () = tokio::time::sleep(patience) => None,
            }
        }
        _ => Some(work.await),
    };
    match outcome {
        None => world.tally.count(kind, End::Cancelled),
        Some(Ok(())) => world.tally.count(kind, End::Done),
        Some(Err(error)) => {
            world.tally.count(kind, End::Failed);
            if !world.is_ordinary(&error) {
                world.tally.fault(format!("{} failed of {error:?}", work::NAMES[kind]));
            }
        }
    }
}

/// Compares and deletes what was acknowledged. A handle that is being closed is no reason to stop.
async fn settle(world: &World) {
    match world.ledger.settle(&world.handle()).await {
        Ok(faults) => faults.into_iter().for_each(|fault| world.tally.fault(fault)),
        Err(error) if world.is_ordinary(&error) => {}
        Err(error) => world.tally.fault(format!("what was written could not be compared: {error:?}")),
    }
}

fn show_progress(world: &World, elapsed: Duration) {
    if std::io::stderr().is_terminal() {
        let [done, failed, cancelled] = world.tally.sums();
        let violations = world.tally.faults();
        eprint!(
            "\r{:>5.0} s: {done} done, {failed} failed, {cancelled} cancelled, {violations} violations ",
            elapsed.as_secs_f64()
        );
        let _ = std::io::stderr().flush();
    }
}

/// Nobody works any more: soon every connection is home, and the writer is free.
async fn all_home(world: &World, db: &Database) {
    let is_home = || {
        let readers = db.stats().readers;
        readers.active == 0 && readers.waiting == 0 && readers.connecting == 0
    };
    if !becomes_true(Duration::from_secs(15), is_home).await {
        world.tally.fault(format!("not all connections came home: {:?}", db.stats()));
    }
    if let Err(error) = db.execute("INSERT INTO taken (id) VALUES ($1)", params![2]).await {
        world.tally.fault(format!("the writer is not free: {error}"));
    }
}

/// The database is sound, and holds what the ledger says.
async fn prove(world: &World, db: &Database) -> Result<()> {
    match &world.cluster {
        None => the_file_is_sound(world, db).await?,
        Some(cluster) => sessions_end(world, "holds a transaction", || cluster.sessions(true)).await,
    }
    world.ledger.verify(db).await?.into_iter().for_each(|fault| world.tally.fault(fault));
    Ok(())
}

async fn the_file_is_sound(world: &World, db: &Database) -> Result<()> {
    // SQLCipher's check reads the file alone: a page that is in the log only, and was never written, would count as damaged.
    while !db.checkpoint().await? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (check, sound) in
        [("integrity_check", Some("ok")), ("cipher_integrity_check", None), ("foreign_key_check", None)]
    {
        let found = db.fetch_optional(&format!("PRAGMA {check}"), params![]).await?;
        let found = found.map(|row| row.get::<String>(0)).transpose()?;
        if found.as_deref() != sound {
            world.tally.fault(format!("{check}: {found:?}"));
        }
    }
    Ok(())
}

/// Threads and descriptors of this process; none where the system does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Belongings {
    threads: Option<usize>,
    descriptors: Option<usize>,
}

impl Belongings {
    fn now() -> Self {
        let count = |folder: &str| std::fs::read_dir(folder).ok().map(Iterator::count);
        Belongings { threads: count("/proc/self/task"), descriptors: count("/proc/self/fd") }
    }

    /// What there is when a database was open once: libraries keep something from their first use.
    async fn after_warming_up(folder: &Path) -> Result<Self> {
        let path = folder.join("warm.db");
        let key = Random::new(0).key();
        let db = world::config(path.clone(), &key).connect().await?;
        db.fetch_all("SELECT 1", params![]).await?;
        db.close().await?;
        drop(db);
        // Threads are gone a moment after they have let go of everything.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _ = std::fs::remove_file(path);
        Ok(Self::now())
    }

    async fn are_all_there_is(self, world: &World, when: &str) {
        if !becomes_true(Duration::from_secs(2), || Self::now() == self).await {
            world.tally.fault(format!("{when}: {:?} instead of {self:?}; {}", Self::now(), Self::names().join(", ")));
        }
    }

    /// The threads by name and the descriptors by what they are of.
    fn names() -> Vec<String> {
        let entries = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten();
        let threads =
            entries("/proc/self/task").filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        let threads = threads.map(|name| name.trim().to_owned());
        let descriptors = entries("/proc/self/fd").filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
        threads.chain(descriptors.map(|target| target.display().to_string())).collect()
    }
}

async fn becomes_true(patience: Duration, holds: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    entries.map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned()).collect()
}
