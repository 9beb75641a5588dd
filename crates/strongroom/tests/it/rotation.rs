//! The password of a server is rotated in Secrets Manager (moto) while a service works: no request is lost.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use strongroom::{AwsSecret, Config, Database, blocking, params};
use test_servers::{Moto, Postgres, needs};

const REGION: &str = "eu-central-1";
const ROTATIONS: u32 = 100;
const TASKS: usize = 8;

/// For how long the server knows the new password and Secrets Manager does not.
const GAP: Duration = Duration::from_millis(30);

/// From one rotation to the next.
const PERIOD: Duration = Duration::from_millis(100);

/// How long a refused log-in looks for a newer password: who waits longer is lost, as by an error.
const PATIENCE: Duration = Duration::from_secs(5);

/// One user: its password is changed in the server and then in the secret. In between nobody logs in.
#[test]
fn a_hundred_rotations_of_one_users_password_lose_no_request() {
    with_identity("rotation::a_hundred_rotations_of_one_users_password_lose_no_request", || {
        let world = World::start();
        let report = world.rotate_under_load(|number| {
            let password = format!("pw{number}");
            world.alter("app", &password);
            std::thread::sleep(GAP);
            world.put("app", &password);
        });
        // Whoever connects after a rotation has the old password, and learns of the new one by being refused.
        assert!(report.refused >= u64::from(ROTATIONS) / 2, "{report:?}");
    });
}

/// Two users in turn: the one that is not in use gets its new password, then the secret names it.
#[test]
fn a_hundred_rotations_between_two_users_lose_no_request() {
    with_identity("rotation::a_hundred_rotations_between_two_users_lose_no_request", || {
        let world = World::start();
        world.server.execute("create role app_clone login; grant app to app_clone");
        let report = world.rotate_under_load(|number| {
            let (user, password) = (if number % 2 == 0 { "app" } else { "app_clone" }, format!("pw{number}"));
            world.alter(user, &password);
            world.put(user, &password);
        });
        // Only every second rotation changes the password of the user that is kept.
        assert!(report.refused >= u64::from(ROTATIONS) / 4, "{report:?}");
    });
}

/// The second begins before anybody can have learned of the first.
#[test]
fn two_rotations_within_50_ms_lose_no_request() {
    with_identity("rotation::two_rotations_within_50_ms_lose_no_request", || {
        let world = World::start();
        let (mut number, mut fast, mut pairs) = (0, 0, 0);
        let report = world.under_load(|| {
            // On a machine that does other things as well, few pairs are as fast as they are meant to be.
            while pairs < 10 || (fast < 5 && pairs < 60) {
                pairs += 1;
                let mut began = None::<Instant>;
                for _ in 0..2 {
                    number += 1;
                    let password = format!("pw{number}");
                    world.alter("app", &password);
                    if began.is_some_and(|began| began.elapsed() < Duration::from_millis(50)) {
                        fast += 1;
                    }
                    began = Some(Instant::now());
                    world.put("app", &password);
                }
                std::thread::sleep(4 * PERIOD);
            }
        });
        assert!(fast >= 5 && report.refused >= 10, "{fast} of {pairs} were fast; {report:?}");
    });
}

/// A server that knows the passwords, and Secrets Manager.
struct World {
    server: Postgres,
    /// The superuser.
    admin: blocking::Database,
    moto: Moto,
}

/// What a service met.
#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct Report {
    requests: u64,
    longest: Duration,
    logged_in: u64,
    refused: u64,
}

impl World {
    fn start() -> World {
        let python = needs::moto().expect("it was there a moment ago");
        let setup = Postgres::scram("app", "pw0").setting("max_connections", "60");
        let server = setup.setting("log_connections", "on").start();
        let folder = server.socket_folder().display();
        let admin = format!("host={folder} port={} user=postgres dbname=app", server.port());
        let admin = blocking::Database::connect(&admin).unwrap();
        let world = World { server, admin, moto: Moto::start(&python) };
        world.put("app", "pw0");
        let insert = format!("INSERT INTO work SELECT task, 0 FROM generate_series(1, {TASKS}) task");
        for sql in
            ["CREATE TABLE work (task BIGINT PRIMARY KEY, times BIGINT)", "ALTER TABLE work OWNER TO app", &insert]
        {
            world.admin.execute(sql, params![]).unwrap();
        }
        world
    }

    /// Changes a password in the server.
    fn alter(&self, user: &str, password: &str) {
        self.admin.execute(&format!("ALTER ROLE {user} PASSWORD '{password}'"), params![]).unwrap();
    }

    /// Makes it the secret's current version.
    fn put(&self, user: &str, password: &str) {
        self.moto.put_secret(REGION, "app/db", &format!("{{\"username\":\"{user}\",\"password\":\"{password}\"}}"));
    }

    /// Settings as a service has them, but for connections that do not live long.
    fn config(&self) -> Config {
        let secret = AwsSecret::new("app/db").region(REGION).endpoint_url(self.moto.endpoint());
        let url = format!("postgres://127.0.0.1:{}/app", self.server.port());
        let config = Config::from_url(&url).unwrap().credentials(secret);
        config.pool_max_size(TASKS).pool_max_lifetime(Some(Duration::from_secs(1)))
    }

    /// Rotates by `rotate`, which is given the rotation's number.
    fn rotate_under_load(&self, rotate: impl Fn(u32)) -> Report {
        self.under_load(|| {
            for number in 1..=ROTATIONS {
                rotate(number);
                std::thread::sleep(PERIOD);
            }
        })
    }

    /// Lets tasks work for as long as `meanwhile` takes. None may fail, or wait for long. Half of them share one handle;
    /// the others open one of their own for each request, so that somebody logs in after each rotation.
    fn under_load(&self, meanwhile: impl FnOnce()) -> Report {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let (requests, longest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (config, shared) = (self.config(), runtime.block_on(self.config().connect()).unwrap());
        let start = |task: usize| {
            let (done, requests, longest) = (Arc::clone(&done), Arc::clone(&requests), Arc::clone(&longest));
            let (config, shared, task) = (config.clone(), shared.clone(), i64::try_from(task).unwrap());
            runtime.spawn(async move {
                let mut times = 0_i64;
                while !done.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    if task % 2 == 0 {
                        work(&shared, task).await.unwrap();
                    } else {
                        let own = config.clone().connect().await.unwrap();
                        work(&own, task).await.unwrap();
                        own.close().await.unwrap();
                    }
                    let took = u64::try_from(began.elapsed().as_micros()).unwrap();
                    longest.fetch_max(took, Ordering::Relaxed);
                    requests.fetch_add(1, Ordering::Relaxed);
                    times += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                (task, times)
            })
        };
        let tasks: Vec<_> = (1..=TASKS).map(start).collect();
        meanwhile();
        done.store(true, Ordering::Relaxed);
        for task in tasks {
            let (task, times) = runtime.block_on(task).expect("no request is lost");
            let sql = "SELECT times FROM work WHERE task = $1";
            let stored: Option<i64> = runtime.block_on(shared.fetch_value(sql, params![task])).unwrap();
            assert_eq!(stored, Some(times), "task {task}: what was answered is there, once");
        }
        runtime.block_on(shared.close()).unwrap();
        let log = self.server.log();
        let report = Report {
            requests: requests.load(Ordering::Relaxed),
            longest: Duration::from_micros(longest.load(Ordering::Relaxed)),
            logged_in: log.matches("connection authorized: user=app").count() as u64,
            refused: log.matches("password authentication failed for user").count() as u64,
        };
        println!("{report:?}");
        assert!(report.longest < PATIENCE, "{report:?}");
        report
    }
}

async fn work(db: &Database, task: i64) -> strongroom::Result<()> {
    let unit = |mut session: strongroom::Session| async move {
        session.execute("UPDATE work SET times = times + 1 WHERE task = $1", params![task]).await
    };
    db.transaction(unit).await.map(drop)
}

/// Runs `test` with an AWS identity in the environment. That of a process cannot be changed while others may read it, so
/// this one starts itself anew for the test called `name`.
fn with_identity(name: &str, test: impl FnOnce()) {
    const IDENTITY: [(&str, &str); 2] =
        [("AWS_ACCESS_KEY_ID", "AKIDROTATION"), ("AWS_SECRET_ACCESS_KEY", "any will do for moto")];
    if std::env::var_os(IDENTITY[0].0).is_some_and(|id| id == IDENTITY[0].1) {
        return test();
    }
    if !needs::postgres() || needs::moto().is_none() {
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--nocapture"]).envs(IDENTITY).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
}
