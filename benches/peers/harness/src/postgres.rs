//! PostgreSQL: point reads through a pool, sessions that write one row, and connecting.
//!
//! All peers talk to the same servers, over TCP on loopback, with statements prepared once per connection and no test at
//! checkout. Servers write durably (`fsync` and `synchronous_commit` are on).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::{CONNECTIONS, Measured, Operation, Run, report, runtime, tasks};

/// Rows of the table that is read.
pub const ROWS: i64 = 100_000;

/// The tables are there when a server has been started.
pub const CREATE: &str = "CREATE TABLE entry (id bigint PRIMARY KEY, text text NOT NULL)";
pub const CREATE_WRITTEN: &str = "CREATE TABLE written (text text NOT NULL)";
pub const SELECT: &str = "SELECT text FROM entry WHERE id = $1";
pub const INSERT: &str = "INSERT INTO written (text) VALUES ($1)";
/// What a session writes.
pub const TEXT: &str = "some text";

/// The text of a row.
pub fn text(id: i64) -> String {
    format!("the text of entry {id}")
}

/// Where servers are: written by whoever starts them, a line each, into the folder of the databases.
pub const SERVERS: &str = "servers";

/// How connections are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// By SCRAM, without TLS.
    Plain,
    /// By SCRAM over TLS, the server's name and certificate verified.
    Tls,
    /// By a token for RDS IAM over TLS; the server asks PAM.
    Iam,
}

impl Access {
    pub const ALL: [Access; 3] = [Access::Plain, Access::Tls, Access::Iam];
}

impl Run {
    /// The URL of a server.
    ///
    /// # Panics
    ///
    /// When none was started, or this one needs what is not installed.
    pub fn server(&self, access: Access) -> String {
        let servers = std::fs::read_to_string(self.file(SERVERS)).expect("servers were started");
        let line = servers.lines().nth(Access::ALL.iter().position(|one| *one == access).expect("it is one of all"));
        line.filter(|url| !url.is_empty()).expect("this server was started").to_owned()
    }
}

/// A peer: a pool of [`CONNECTIONS`].
pub trait Postgres: Sized + Send + Sync + 'static {
    /// Opens all connections. Called within the runtime.
    fn open(url: String, connections: usize) -> impl Future<Output = Self>;

    /// Runs [`SELECT`] and answers the text. `task` may choose the connection where there is no pool.
    fn read(&self, id: i64, task: usize) -> impl Future<Output = String> + Send;

    /// Runs [`INSERT`] with [`TEXT`] in a transaction of its own, as one does who does not know that it will be one
    /// statement, and answers when it is committed.
    fn insert(&self, task: usize) -> impl Future<Output = ()> + Send;

    /// Makes one connection, runs nothing on it, and closes it.
    fn connect(url: &str) -> impl Future<Output = ()> + Send {
        async move { unimplemented!("it takes no part in connecting to {url}") }
    }
}

/// Measures a peer.
pub fn run<P: Postgres>(run: &Run) {
    let runtime = runtime();
    // Some peers need it also where they are dropped.
    let _entered = runtime.enter();
    let open = || runtime.block_on(P::open(run.server(Access::Plain), CONNECTIONS));
    let select = |count| report(&run.workload, tasks(&runtime, count, run.time, Read(open())).per_second());
    let session = |count| report(&run.workload, tasks(&runtime, count, run.time, Insert(open())).per_second());
    match run.workload.as_str() {
        "pg-select-1" => select(1),
        "pg-select-8" => select(8),
        "pg-session-1" => session(1),
        "pg-session-8" => session(8),
        "pg-connect-plain" => connect::<P>(run, &runtime, Access::Plain),
        "pg-connect-tls" => connect::<P>(run, &runtime, Access::Tls),
        "pg-connect-iam" => connect::<P>(run, &runtime, Access::Iam),
        _ => run.is_unknown(),
    }
}

/// Reports how long a connection takes in the middle, one after the other: a session that is let in by PAM lingers.
fn connect<P: Postgres>(run: &Run, runtime: &Runtime, access: Access) {
    let url: Arc<str> = run.server(access).into();
    let connecting = tasks(runtime, 1, run.time, Connect::<P>(url, std::marker::PhantomData));
    report(&run.workload, millis(connecting.recorded_at(500)));
}

struct Read<P>(P);

impl<P: Postgres> Operation for Read<P> {
    async fn run(&self, turn: i64) -> Option<Duration> {
        assert!(self.0.read(id_of(turn), Measured::task_of(turn)).await.starts_with("the text"));
        None
    }
}

struct Insert<P>(P);

impl<P: Postgres> Operation for Insert<P> {
    async fn run(&self, turn: i64) -> Option<Duration> {
        self.0.insert(Measured::task_of(turn)).await;
        None
    }
}

struct Connect<P>(Arc<str>, std::marker::PhantomData<fn() -> P>);

impl<P: Postgres> Operation for Connect<P> {
    async fn run(&self, _: i64) -> Option<Duration> {
        let began = Instant::now();
        P::connect(&self.0).await;
        Some(began.elapsed())
    }
}

/// The row that a turn reads: all over the table, and not one after the other.
fn id_of(turn: i64) -> i64 {
    (turn * 7_919) % ROWS
}

fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}
