//! Each block of settings in `docs/postgresql.md`, against the nearest thing to the server that it is for.

use std::path::Path;
use std::process::Command;

#[cfg(feature = "aws")]
use test_servers::IamKeys;
use test_servers::{Ca, PgBouncer, Postgres, needs};

use crate::certificates::Plan;
use crate::home::{Home, Run};

const PASSWORD: &str = "a password, $ic!";

/// Set for a process of this test that uses strongroom itself.
const SETTINGS: &str = "TRUST_LEDGER_TEST_SETTINGS";

#[cfg(feature = "aws")]
const IDENTITY: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIATEST"), ("AWS_SECRET_ACCESS_KEY", "secret half"), ("AWS_REGION", "eu-central-1")];

#[test]
fn each_block_of_settings_works() {
    if let Some(settings) = std::env::var_os(SETTINGS) {
        return connect(Path::new(&settings));
    }
    if !needs::postgres() || !needs::pgbouncer() {
        return;
    }
    let blocks = blocks();
    let headings: Vec<&str> = blocks.iter().map(|(heading, _)| heading.as_str()).collect();
    let known = [
        "A server of your own",
        "The same machine",
        "RDS with a password",
        "Aurora with IAM",
        "RDS Proxy",
        "pgbouncer",
        "Aurora DSQL",
    ];
    assert_eq!(headings, known);
    let block = |heading: &str| &blocks.iter().find(|(of, _)| of == heading).unwrap().1;

    let own = block("A server of your own");
    let ca = Ca::new();
    let server = Postgres::scram("ledger", PASSWORD).tls(&ca.server_with(&[host(own)], -1..30)).only_tls().start();
    works(own, server.port(), &ca, &[]);

    let socket = Postgres::plain().only_socket().start();
    socket.execute("create role ledger login");
    socket.execute("create database ledger owner ledger");
    let folder = socket.socket_folder().to_str().unwrap();
    works(&block("The same machine").replace("/var/run/postgresql", folder), socket.port(), &ca, &[]);

    let rds = block("RDS with a password");
    let server = Postgres::scram("ledger", PASSWORD).tls(&ca.server_with(&[host(rds)], -1..30)).only_tls().start();
    works(rds, server.port(), &ca, &[("LEDGER_DB_PASSWORD", PASSWORD)]);

    let server = Postgres::scram("ledger", PASSWORD).start();
    for (heading, variables) in [("RDS Proxy", &[("LEDGER_DB_PASSWORD", PASSWORD)][..]), ("pgbouncer", &[])] {
        let pooled = block(heading);
        server.execute("drop database ledger with (force)");
        server.execute("create database ledger owner ledger");
        let pooler = PgBouncer::in_front_of(&server).tls(&ca.server_with(&[host(pooled)], -1..30)).start();
        works(pooled, pooler.address().port(), &ca, variables);
    }
}

#[cfg(feature = "aws")]
#[test]
fn each_block_of_settings_for_tokens_works() {
    if !needs::iam() {
        return;
    }
    let blocks = blocks();
    let block = |heading: &str| &blocks.iter().find(|(of, _)| of == heading).unwrap().1;
    let ca = Ca::new();
    let keys = IamKeys {
        access_key: IDENTITY[0].1.into(),
        secret_key: IDENTITY[1].1.into(),
        session_token: None,
        region: IDENTITY[2].1.into(),
    };

    let aurora = block("Aurora with IAM");
    let server = Postgres::rds_iam("ledger", &keys, &ca.server_with(&[host(aurora)], -1..30)).start();
    server.accept_tokens_for(&format!("{}:{}", host(aurora), server.port()));
    works(aurora, server.port(), &ca, &IDENTITY);

    let dsql = block("Aurora DSQL");
    let server = Postgres::dsql("admin", &keys, &ca.server_with(&[host(dsql)], -1..30)).start();
    server.accept_tokens_for(&format!("{}:{}", host(dsql), server.port()));
    // What it has instead of a database to be made: one of this name.
    server.execute("grant all on database postgres to admin");
    let home = home(dsql, server.port(), &ca);
    connects(&home, &IDENTITY);
    let checked = run(&home, &["check"], &IDENTITY);
    assert!(checked.stdout.contains("DSQL token answered"), "{}{}", checked.stdout, checked.stderr);
}

/// The TOML blocks of the document, each with the heading that it stands under.
fn blocks() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/postgresql.md");
    let document = std::fs::read_to_string(path).unwrap();
    let sections = document.split("\n## ").skip(1);
    let blocks = sections.map(|section| {
        let (heading, rest) = section.split_once('\n').unwrap();
        let mut blocks = rest.split("```toml\n").skip(1);
        let block = blocks.next().unwrap_or_else(|| panic!("{heading} has no block of settings"));
        assert_eq!(blocks.next(), None, "{heading} has two blocks, of which one would not be tried");
        (heading.to_owned(), block.split_once("```").unwrap().0.to_owned())
    });
    blocks.collect()
}

/// The host that a block names.
fn host(block: &str) -> &str {
    let (_, rest) = block.split_once('@').unwrap();
    rest.split([':', '/']).next().unwrap()
}

/// A home with a block's settings, which name the server here instead of the one there, and the files that they name.
fn home(block: &str, port: u16, ca: &Ca) -> Home {
    let home = Home::new();
    home.secret("db.password", PASSWORD);
    home.file("a.pem", Plan::server(1, "a.example").pem());
    for bundle in ["ca.pem", "rds.pem"] {
        home.file(bundle, ca.pem());
    }
    let mut settings = block.replace("/etc/trust-ledger", home.path("").to_str().unwrap().trim_end_matches('/'));
    let (url, rest) = settings.split_once("url = \"").unwrap().1.split_once('"').unwrap();
    let mut here = url.replace(":6432/", "/");
    here.push(if url.contains('?') { '&' } else { '?' });
    here += &format!("port={port}");
    if !url.contains(":///") {
        here += "&hostaddr=127.0.0.1";
        if !url.contains("sslrootcert") {
            // By a CA of the system's there, and by ours here.
            here += &format!("&sslrootcert={}", home.path("ca.pem").display());
        }
    }
    settings = format!("[db]\nurl = \"{here}\"{rest}");
    home.file("settings.toml", settings);
    home
}

/// trust-ledger records a certificate and finds it again, and a program of strongroom's asks something.
#[track_caller]
fn works(block: &str, port: u16, ca: &Ca, variables: &[(&str, &str)]) {
    let home = home(block, port, ca);
    run(&home, &["init"], variables).expect(0);
    run(&home, &["import", "a.pem"], variables).expect(0);
    let listed = run(&home, &["list", "--json"], variables).expect(0);
    assert!(listed.stdout.contains("a.example"), "{}", listed.stdout);
    run(&home, &["check"], variables).expect(0);
    connects(&home, variables);
}

fn run(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    Run::of(home.command(arguments).args(["--settings", "settings.toml"]).envs(variables.iter().copied()))
}

/// A process of its own, because sources of passwords look at its environment.
#[track_caller]
fn connects(home: &Home, variables: &[(&str, &str)]) {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "postgresql::each_block_of_settings_works"]).envs(variables.iter().copied());
    let ran = Run::of(program.env(SETTINGS, home.path("settings.toml")));
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("1 passed"), "{}", ran.stdout);
}

/// What the document says that a program does.
fn connect(settings: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer: strongroom::Result<i64> = runtime.block_on(async {
        let db = strongroom::Settings::new().file(settings)?.config()?.connect().await?;
        db.fetch_one("SELECT $1::bigint", strongroom::params![7]).await?.get(0)
    });
    assert_eq!(answer.unwrap(), 7);
}
