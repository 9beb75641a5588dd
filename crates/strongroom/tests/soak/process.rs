//! A second process on the same file: this program once more, told by its environment. At times it is killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::{Database, Error, Result};

use crate::ledger::{Fate, INSERT, piece};
use crate::random::Random;
use crate::world::{self, World};

/// Set in the child: first unit, how many, and the seed; and the keys.
const ORDERS: &str = "STRONGROOM_SOAK_CHILD";
const KEYS: &str = "STRONGROOM_SOAK_KEYS";

/// Units that a child may write.
const UNITS: u64 = 500;

/// Runs a child and notes what it says it has written.
pub(crate) async fn run(world: Arc<World>, random: &mut Random) -> Result<()> {
    let first = world.ledger.reserve(UNITS);
    let mut child = Command::new(std::env::current_exe().expect("this program is at its place"))
        .env(ORDERS, format!("{} {first} {UNITS} {}", world.path().display(), random.next()))
        .env(KEYS, world.keys().join(" "))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process can be started");
    let life = random.once_in(2).then(|| Duration::from_millis(random.below(400)));
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        let listening = std::thread::spawn(move || listen(&world, output, first));
        if let Some(life) = life {
            std::thread::sleep(life);
            // It may have ended by itself.
            let _ = child.kill();
        }
        let _ = child.wait();
        let _ = listening.join();
        let _ = ended.send(());
    });
    end.await.map_err(|_| Error::NoRow)
}

/// Notes what a child says, line by line, and at its end what it did not come to say.
fn listen(world: &World, output: impl BufRead, first: u64) {
    let mut begun = first;
    for line in output.lines().map_while(|line| line.ok()) {
        match line.split_once(' ').map(|(word, unit)| (word, unit.parse::<u64>())) {
            Some(("begin", Ok(unit))) => begun = unit + 1,
            Some(("stored", Ok(unit))) => world.ledger.set(unit, Fate::Stored),
            Some(("absent", Ok(unit))) => world.ledger.set(unit, Fate::Absent),
            _ => world.tally.fault(format!("another process says: {line}")),
        }
    }
    for unit in first..first + UNITS {
        if unit >= begun {
            world.ledger.set(unit, Fate::Absent);
        } else if world.ledger.fate(unit) == Fate::Open {
            world.ledger.set(unit, Fate::Unknown(Instant::now()));
        }
    }
}

/// The child's part, if this is one.
pub(crate) fn as_child() -> Option<ExitCode> {
    let orders = std::env::var(ORDERS).ok()?;
    let keys: Vec<String> = std::env::var(KEYS).ok()?.split(' ').map(str::to_owned).collect();
    let mut orders = orders.rsplitn(4, ' ');
    let mut number = || orders.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let (seed, count, first) = (number(), number(), number());
    let path = orders.next()?.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be had");
    runtime.block_on(async {
        // A file that is being given another key cannot be opened, and that is no fault of this process.
        let Ok(db) = world::open(path, &keys, |config| config).await else { return };
        write(&db, first, count, &mut Random::new(seed)).await;
        let _ = db.close().await;
    });
    Some(ExitCode::SUCCESS)
}

async fn write(db: &Database, first: u64, count: u64, random: &mut Random) {
    let end = Instant::now() + Duration::from_millis(400);
    for unit in first..first + count {
        if Instant::now() >= end {
            return;
        }
        say(&format!("begin {unit}"));
        let parts = 1 + random.below(4);
        let rows = (0..parts).map(|part| piece(unit, part, parts));
        match db.execute_many(INSERT, rows).await {
            Ok(_) => say(&format!("stored {unit}")),
            Err(Error::CommitUnknown { .. }) => {}
            Err(error) => {
                say(&format!("absent {unit}"));
                if !world::is_ordinary(&error) {
                    say(&error.to_string());
                }
                return;
            }
        }
    }
}

/// Straight to the pipe, so that what was said is heard even if this process is killed next.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    // Nobody listens when the soak is over.
    let _ = writeln!(output, "{line}");
    let _ = output.flush();
}
