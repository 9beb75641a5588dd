//! Where the ledger's key and a server's password come from: each source opens the ledger, `check` names it, and nothing
//! shows what it gave.

use std::path::{Path, PathBuf};
use std::process::Command;

#[cfg(feature = "aws")]
use test_servers::{Ca, IamKeys, Moto};
use test_servers::{Postgres, needs};

use crate::certificates::Plan;
use crate::home::{Home, Run};

/// A password that is searched for in all output.
const CANARY: &str = "kanarie-3f7a-gruenes-Vogelhaus";

/// A home with SOPS files, the identity that decrypts them, and a certificate.
fn home() -> Home {
    let home = Home::new();
    let fixture = |name: &str| std::fs::read(fixtures().join(name)).unwrap();
    home.file("types.yaml", fixture("types.yaml"));
    home.file("truncated.yaml", &fixture("types.yaml")[..900]);
    home.secret("age.txt", &String::from_utf8(fixture("keys/age.txt")).unwrap());
    home.secret("other-age.txt", &String::from_utf8(fixture("keys/other-age.txt")).unwrap());
    home.secret("canary.key", CANARY);
    home.file("a.pem", Plan::server(1, "a.example").pem());
    home
}

/// Those of strongroom's tests; `db_key` is `canary passphrase`, `database.password` is `canary päss`.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../strongroom/tests/fixtures/sops")
}

/// Runs with these variables, all that can be logged, and looks for every secret of these tests in what it says.
#[track_caller]
fn run(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command: Command = home.command(arguments);
    let loud = Run::of(command.args(["-vv"]).env("RUST_LOG", "trace").envs(variables.iter().copied()));
    let said = format!("{}{}", loud.stdout, loud.stderr);
    for secret in [CANARY, "canary p", "AGE-SECRET-KEY-12", "X-Amz-Signature", "X-Amz-Security-Token"] {
        assert!(!said.contains(secret), "{secret} is shown by {arguments:?}: {said}");
    }
    loud
}

/// The same without the logs.
#[track_caller]
fn quiet(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    run(home, arguments, variables);
    let quiet = Run::of(home.command(arguments).envs(variables.iter().copied()));
    assert!(!format!("{}{}", quiet.stdout, quiet.stderr).contains(CANARY));
    quiet
}

/// `check` succeeds, and tells the source.
#[track_caller]
fn assert_checked(home: &Home, arguments: &[&str], variables: &[(&str, &str)], source: &str) {
    let checked = quiet(home, &[&["check"], arguments].concat(), variables).expect(0);
    assert!(checked.stdout.contains(&format!("{source} answered")), "{source}: {}", checked.stdout);
}

/// Creates a ledger, records a certificate in it and finds it again.
#[track_caller]
fn assert_works(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) {
    run(home, &[&["init"], arguments].concat(), variables).expect(0);
    run(home, &[&["import", "a.pem"], arguments].concat(), variables).expect(0);
    let listed = run(home, &[&["list", "--json"], arguments].concat(), variables).expect(0);
    assert!(listed.stdout.contains("a.example"), "{}", listed.stdout);
}

#[test]
fn a_key_in_a_sops_file_opens_the_ledger_by_its_name_or_as_db_key() {
    let home = home();
    let age = home.path("age.txt");
    let age = [("SOPS_AGE_KEY_FILE", age.to_str().unwrap())];
    let db = ["--db", "a.db", "--key-sops", "types.yaml"];
    assert_works(&home, &db, &age);
    assert_checked(&home, &db, &age, "SOPS file types.yaml");
    // The default name is db_key.
    let key = ["--db", "a.db", "--key-sops", "types.yaml#db_key"];
    assert_checked(&home, &key, &age, "SOPS file types.yaml, key db_key");
    let other = run(&home, &["list", "--db", "a.db", "--key-sops", "types.yaml#database.password"], &age).expect(1);
    assert!(other.stderr.contains("wrong key"), "{}", other.stderr);
    assert_works(&home, &["--db", "b.db", "--key-sops", "types.yaml#database.password"], &age);

    let variables = [age[0], ("TRUST_LEDGER_DB", "a.db"), ("TRUST_LEDGER_KEY_SOPS", "types.yaml")];
    assert_checked(&home, &[], &variables, "SOPS file types.yaml");
    let file = "[db]\nurl = 'sqlite:a.db'\n[db.cipher]\nsops_path = 'types.yaml'\nsops_key = 'db_key'\n";
    home.file("settings.toml", file);
    let path = home.path("types.yaml").display().to_string();
    assert_checked(&home, &["--settings", "settings.toml"], &age, &format!("SOPS file {path}, key db_key"));
    assert!(!home.key().exists(), "nobody needed a key of our own");
}

#[test]
fn what_is_wrong_with_a_sops_file_is_said_in_one_line_that_names_it() {
    let home = home();
    let (age, other) = (home.path("age.txt"), home.path("other-age.txt"));
    let (age, other) = (age.to_str().unwrap(), other.to_str().unwrap());
    home.run(["init", "--db", "a.db", "--key-file", "canary.key"]).expect(0);
    for (sops, identity, expected) in [
        ("types.yaml#nothing.here", age, "nothing.here is not in the file"),
        ("types.yaml#database", age, "database is a map, expected a value"),
        ("types.yaml", other, "cannot be decrypted: no age identity for age1"),
        ("truncated.yaml", age, "SOPS file truncated.yaml: "),
        ("missing.yaml", age, "SOPS file missing.yaml: cannot be opened"),
        ("", age, "--key-sops: it is empty"),
    ] {
        let arguments = ["list", "--db", "a.db", "--key-sops", sops];
        let refused = quiet(&home, &arguments, &[("SOPS_AGE_KEY_FILE", identity)]);
        assert_ne!(refused.code, 0);
        assert!(refused.failure().contains(expected), "{sops}: {}", refused.stderr);
    }
}

#[test]
fn a_key_that_a_command_prints_opens_the_ledger() {
    let home = home();
    let db = ["--db", "a.db", "--key-command", "/bin/cat canary.key"];
    assert_works(&home, &db, &[]);
    assert_checked(&home, &db, &[], "command /bin/cat");
    home.file("settings.toml", "[db]\nurl = 'sqlite:a.db'\n[db.cipher]\nkey_command = '/bin/cat canary.key'\n");
    assert_checked(&home, &["--settings", "settings.toml"], &[], "command /bin/cat");
    for command in ["/bin/false", "/bin/sh -c 'exit 3'", "/no/such/program", "/bin/cat 'canary.key"] {
        let refused = quiet(&home, &["list", "--db", "a.db", "--key-command", command], &[]);
        assert_ne!(refused.code, 0);
        refused.failure();
    }
}

/// A key that is named is the key: no other one is tried, though it is there and would fit.
#[test]
fn a_source_that_is_named_and_has_nothing_is_an_error_though_another_is_there() {
    let home = home();
    // The ledger of the first run, with the key that is used when none is named.
    home.run(["init"]).expect(0);
    for (option, value) in [
        ("--key-env", "NOT_SET"),
        ("--key-file", "missing.key"),
        ("--key-sops", "missing.yaml"),
        ("--key-command", "/bin/false"),
    ] {
        let refused = quiet(&home, &["list", option, value], &[]).expect(1);
        refused.failure();
        let checked = quiet(&home, &["check", option, value], &[]).expect(1);
        assert!(checked.stdout.contains("failed") && !checked.stdout.contains("answered"), "{}", checked.stdout);
    }
    // What stands in an earlier place is used, whatever a later one has.
    let variables = [("TRUST_LEDGER_KEY_SOPS", "missing.yaml")];
    let key = home.key();
    let key = ["--key-file", key.to_str().unwrap()];
    assert_checked(&home, &key, &variables, &format!("key file {}", home.key().display()));
    let refused = quiet(&home, &["list"], &variables).expect(1);
    assert!(refused.failure().contains("SOPS file missing.yaml: cannot be opened"), "{}", refused.stderr);
}

#[test]
fn a_password_in_the_environment_logs_in_to_a_server() {
    if !needs::postgres() {
        return;
    }
    let (home, server) = (home(), Postgres::scram("app", CANARY).start());
    let url = format!("postgres://app@127.0.0.1:{}/app", server.port());
    let password = [("LEDGER_PASSWORD", CANARY)];
    let db = ["--db", &url, "--credentials", "env:LEDGER_PASSWORD"];
    assert_works(&home, &db, &password);
    assert_checked(&home, &db, &password, "environment variable LEDGER_PASSWORD");
    let variables = [password[0], ("TRUST_LEDGER_DB", &url), ("TRUST_LEDGER_CREDENTIALS", "env:LEDGER_PASSWORD")];
    assert_checked(&home, &[], &variables, "environment variable LEDGER_PASSWORD");
    home.file("settings.toml", format!("[db]\nurl = '{url}'\ncredentials = 'env:LEDGER_PASSWORD'\n"));
    assert_checked(&home, &["--settings", "settings.toml"], &password, "environment variable LEDGER_PASSWORD");
    assert_checked(&home, &["--db", &url, "--credentials", "file:canary.key"], &[], "key file canary.key");
    assert_checked(&home, &["--db", &url, "--credentials", "command:/bin/cat canary.key"], &[], "command /bin/cat");
    // The password that the URL has is used as long as no other source is named.
    let with_password = server.url("app");
    run(&home, &["list", "--db", &with_password], &[]).expect(0);

    let refused = quiet(&home, &["list", "--db", &with_password, "--credentials", "env:NOT_SET"], &[]).expect(1);
    assert!(refused.stderr.contains("trust-ledger: environment variable NOT_SET: is not set"), "{}", refused.stderr);
    let wrong = [("LEDGER_PASSWORD", "canary passphrase")];
    let refused = quiet(&home, &[&["list"], &db[..]].concat(), &wrong).expect(1);
    let expected = "refused the password of app, which came from: environment variable LEDGER_PASSWORD";
    assert!(refused.failure().contains(expected), "{}", refused.stderr);
    for (credentials, code) in [("LEDGER_PASSWORD", 2), ("env:", 2), ("vault:x", 2), (CANARY, 2)] {
        quiet(&home, &["list", "--db", &url, "--credentials", credentials], &[]).expect(code).failure();
    }
    assert!(!server.log().contains(CANARY));
}

/// An identity towards AWS, in the environment.
const IDENTITY: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", CANARY),
    ("AWS_REGION", REGION),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];
const REGION: &str = "eu-central-1";

#[test]
#[cfg(feature = "aws")]
fn a_key_in_secrets_manager_opens_the_ledger() {
    let Some(python) = needs::moto() else { return };
    let (home, moto) = (home(), Moto::start(&python));
    moto.put_secret(REGION, "app/key", CANARY);
    moto.put_secret(REGION, "app/json", &format!("{{\"db_key\":\"{CANARY}\",\"other\":\"x\"}}"));
    let endpoint = moto.endpoint();
    let variables = [&IDENTITY[..], &[("AWS_ENDPOINT_URL", &endpoint)]].concat();
    let whole = ["--db", "a.db", "--key-aws-secret", "app/key"];
    assert_works(&home, &whole, &variables);
    assert_checked(&home, &whole, &variables, "AWS secret app/key");
    let field = ["--db", "a.db", "--key-aws-secret", "app/json#db_key"];
    assert_checked(&home, &field, &variables, "AWS secret app/json, field db_key");
    home.file(
        "settings.toml",
        "[db]\nurl = 'sqlite:a.db'\n[db.cipher]\naws_secret = 'app/json'\naws_secret_field = 'db_key'\n",
    );
    assert_checked(&home, &["--settings", "settings.toml"], &variables, "AWS secret app/json, field db_key");
    for (id, expected) in [
        ("app/json#missing", "its JSON has no missing"),
        ("app/key#db_key", "is not a JSON object"),
        ("no/such", "AWS secret no/such: "),
        ("app/json#other", "wrong key"),
    ] {
        let refused = quiet(&home, &["list", "--db", "a.db", "--key-aws-secret", id], &variables).expect(1);
        assert!(refused.failure().contains(expected), "{id}: {}", refused.stderr);
    }
}

#[test]
#[cfg(feature = "aws")]
fn a_secret_says_who_logs_in_and_where_the_server_is() {
    if !needs::postgres() {
        return;
    }
    let Some(python) = needs::moto() else { return };
    let (home, moto, server) = (home(), Moto::start(&python), Postgres::scram("app", CANARY).start());
    let (endpoint, port) = (moto.endpoint(), server.port());
    let variables = [&IDENTITY[..], &[("AWS_ENDPOINT_URL", &endpoint)]].concat();
    let secret = |host: &str, port: u16, dbname: &str| {
        format!(
            "{{\"username\":\"app\",\"password\":\"{CANARY}\",\"engine\":\"postgres\",\
             \"host\":\"{host}\",\"port\":{port},\"dbname\":\"{dbname}\"}}"
        )
    };
    moto.put_secret(REGION, "app/db", &secret("127.0.0.1", port, "app"));
    let db = ["--db", "postgres:///", "--credentials", "aws-secret:app/db"];
    assert_works(&home, &db, &variables);
    assert_checked(&home, &db, &variables, "AWS secret app/db");
    home.file("settings.toml", "[db]\nurl = 'postgres:///'\ncredentials = 'aws-secret:app/db'\n");
    assert_checked(&home, &["--settings", "settings.toml"], &variables, "AWS secret app/db");
    let tables = server.query_in("app", "select count(*) from pg_tables where tableowner = 'app'");
    assert_ne!(tables, [["0"]], "the ledger is where the secret says");

    // What the URL says holds.
    moto.put_secret(REGION, "app/db", &secret("192.0.2.1", 1, "nothing"));
    let url = format!("postgres://127.0.0.1:{port}/app");
    assert_checked(&home, &["--db", &url, "--credentials", "aws-secret:app/db"], &variables, "AWS secret app/db");
    let refused = quiet(&home, &["list", "--db", &url, "--credentials", "aws-secret:no/such"], &variables).expect(1);
    assert!(refused.failure().contains("AWS secret no/such"), "{}", refused.stderr);
    // A wrong one.
    server.execute("alter role app password 'another'");
    let refused = quiet(&home, &["check", "--db", &url, "--credentials", "aws-secret:app/db"], &variables).expect(1);
    assert!(refused.stdout.contains("AWS secret app/db"), "{}", refused.stdout);
}

#[test]
#[cfg(feature = "aws")]
fn a_token_logs_in_to_a_server_that_checks_it() {
    if !needs::iam() {
        return;
    }
    let (home, ca) = (home(), Ca::new());
    let keys = |secret: &str| IamKeys {
        access_key: IDENTITY[0].1.into(),
        secret_key: secret.into(),
        session_token: None,
        region: REGION.into(),
    };
    let server = Postgres::rds_iam("app", &keys(CANARY), &ca.server()).start();
    let (port, root) = (server.port(), ca.file().display());
    let url = format!("postgres://app@db.test:{port}/app?hostaddr=127.0.0.1&sslrootcert={root}");
    let db = ["--db", &url, "--credentials", "rds-iam"];
    assert_works(&home, &db, &IDENTITY);
    assert_checked(&home, &db, &IDENTITY, "RDS IAM token");
    home.file("settings.toml", format!("[db]\nurl = '{url}'\ncredentials = 'rds-iam'\n"));
    assert_checked(&home, &["--settings", "settings.toml"], &IDENTITY, "RDS IAM token");

    // Signed with another key, for another region, and without any.
    let mut other = IDENTITY;
    other[1].1 = "another";
    let refused = quiet(&home, &[&["list"], &db[..]].concat(), &other).expect(1);
    assert!(refused.failure().contains("RDS IAM token"), "{}", refused.stderr);
    let mut other = IDENTITY;
    other[2].1 = "eu-west-1";
    quiet(&home, &[&["list"], &db[..]].concat(), &other).expect(1).failure();
    let refused = quiet(&home, &[&["list"], &db[..]].concat(), &IDENTITY[2..]).expect(1);
    assert!(
        refused.failure().contains("there is no AWS identity; tried in this order: environment: "),
        "{}",
        refused.stderr
    );
    assert!(!server.log().contains(CANARY));
}

/// What needs AWS can be asked for in every build, which then says how to get one that can.
#[test]
#[cfg(not(feature = "aws"))]
fn without_the_feature_aws_what_needs_it_names_it() {
    let home = home();
    home.run(["init"]).expect(0);
    let server = ["--db", "postgres://app@127.0.0.1:1/app?connect_timeout=1"];
    for (arguments, source) in [
        (&["--key-aws-secret", "app/key"][..], "AWS secret app/key"),
        (&["--key-aws-secret", "app/key#db_key"], "AWS secret app/key"),
        (&[&server[..], &["--credentials", "aws-secret:app/db"]].concat(), "AWS secret app/db"),
        (&[&server[..], &["--credentials", "rds-iam"]].concat(), "RDS IAM token"),
        (&[&server[..], &["--credentials", "dsql"]].concat(), "DSQL token"),
    ] {
        let refused = quiet(&home, &[&["list"], arguments].concat(), &IDENTITY).expect(1);
        let line = refused.failure();
        assert!(line.contains(source) && line.contains("build with the feature `aws`"), "{line}");
        let checked = quiet(&home, &[&["check"], arguments].concat(), &IDENTITY).expect(1);
        assert!(
            checked.stdout.contains("--features aws") && !checked.stdout.contains("answered"),
            "{}",
            checked.stdout
        );
    }
}
