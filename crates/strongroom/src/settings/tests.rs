//! The cascade from files, and from an environment that is given.

use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// Every key with a value in TOML, in YAML and in a variable, and the field it ends in.
const EVERY_KEY: [(&str, &str, &str, &str, &str); 32] = [
    ("url", "\"sqlite::memory:\"", "'sqlite::memory:'", "sqlite::memory:", "url: Some(Said { value: Memory,"),
    ("credentials", "'env:PW'", "env:PW", "env:PW", "credentials: Some(environment variable PW)"),
    ("create", "false", "false", "false", "create: Some(false)"),
    ("session_max_age_s", "90", "90", "90", "session_max_age: Some(90s)"),
    ("cache_kib", "0x400", "0x400", "1024", "cache_kib: Some(1024)"),
    ("inline_reads", "true", "True", "true", "inline_reads: Some(true)"),
    ("pool.min_size", "0", "0", "0", "pool_min_size: Some(0)"),
    ("pool.max_size", "5", "5", "5", "pool_max_size: Some(5)"),
    ("pool.acquire_timeout_s", "2.5", "2.5", "2.5", "acquire_timeout: Some(2.5s)"),
    ("pool.max_lifetime_s", "1_800", "1800", "1800", "pool_max_lifetime: Some(Some(1800s))"),
    ("pool.idle_timeout_s", "6e2", "6e2", "6e2", "pool_idle_timeout: Some(Some(600s))"),
    ("pool.keepalive_s", "30", "+30", "30", "pool_keepalive: Some(Some(30s))"),
    ("pool.test_after_idle_s", "0.5", ".5", ".5", "pool_test_after_idle: Some(Some(500ms))"),
    ("pool.leak_warning_s", "0", "0", "0", "pool_leak_warning: Some(Some(0ns))"),
    ("retry.attempts", "7", "0o7", "7", "connect_attempts: Some(7)"),
    ("retry.delay_s", "0.25", "0.25", "0.25", "connect_delay: Some(250ms)"),
    ("cipher.enabled", "true", "TRUE", "true", "enabled: Some(Said { value: true,"),
    ("cipher.key_source", "'file'", "'file'", "file", "key_source: Some(Said { value: File,"),
    ("cipher.key_env", "\"APP_KEY\"", "APP_KEY", "APP_KEY", "key_env: Some(Said { value: \"APP_KEY\","),
    ("cipher.key_file", "'/run/key'", "/run/key", "/run/key", "key_file: Some(Said { value: \"/run/key\","),
    ("cipher.sops_path", "'/run/sops'", "\"/run/sops\"", "/run/sops", "sops_path: Some(Said { value: \"/run/sops\","),
    ("cipher.sops_key", "'a.b'", "a.b", "a.b", "sops_key: Some(Said { value: \"a.b\","),
    ("cipher.key_command", "'pass a'", "pass a", "pass a", "key_command: Some(Said { value: \"pass a\","),
    ("cipher.aws_secret", "'app/db'", "app/db", "app/db", "aws_secret: Some(Said { value: \"app/db\","),
    ("cipher.aws_secret_field", "'k'", "k", "k", "aws_secret_field: Some(Said { value: \"k\","),
    ("postgres.statement_timeout_s", "2.5", "2.5", "2.5", "statement_timeout: Some(Said { value: Some(2.5s),"),
    ("postgres.lock_timeout_s", "0", "false", "false", "lock_timeout: Some(Said { value: None,"),
    ("postgres.connect_timeout_s", "20", "20", "20", "connect_timeout: Some(Said { value: 20s,"),
    ("postgres.application_name", "'a b'", "a b", "a b", "application_name: Some(Said { value: \"a b\","),
    ("postgres.named_statements", "false", "false", "false", "named_statements: Some(Said { value: false,"),
    ("postgres.sslrootcert", "'/ca.pem'", "/ca.pem", "/ca.pem", "sslrootcert: Some(Said { value: File(\"/ca.pem\"),"),
    ("postgres.token_cache_s", "false", "600", "600", "token_cache: Some(Said { value: "),
];

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Reads a file of this name and content.
    fn read(&self, name: &str, content: impl AsRef<[u8]>) -> Result<Settings> {
        Settings::new().file(self.write(name, content))
    }

    /// Why a file of this name and content is refused, from the setting's name on; the folder is left out.
    fn refused(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let error = match self.read(name, content).and_then(|settings| settings.over(Config::memory())) {
            Ok(config) => panic!("accepted: {config:?}"),
            Err(error) => error,
        };
        assert!(matches!(error, Error::Config { .. }), "{error:?}");
        message(&error).replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn message(error: &Error) -> String {
    let message = error.to_string();
    assert!(!message.contains("canary") && !message.contains('\n'), "{message}");
    message.strip_prefix("setting ").unwrap().to_owned()
}

fn environment(settings: Settings, prefix: &str, variables: &[(&str, &str)]) -> Result<Settings> {
    settings.variables(prefix, variables.iter().map(|(name, value)| (name.into(), value.into())))
}

/// Settings of variables `APP_DB_…`, over a database in memory.
fn variables(variables: &[(&str, &str)]) -> Result<Config> {
    environment(Settings::new(), "APP", variables)?.over(Config::memory())
}

fn refused_variable(name: &str, value: &str) -> String {
    message(&variables(&[(name, value)]).unwrap_err())
}

/// A file in which one key is set.
fn toml(path: &str, value: &str) -> String {
    format!("db.{path} = {value}\n")
}

fn yaml(path: &str, value: &str) -> String {
    match path.split_once('.') {
        Some((section, key)) => format!("db:\n  {section}:\n    {key}: {value}\n"),
        None => format!("db:\n  {path}: {value}\n"),
    }
}

/// Each key alone is read from TOML, from YAML and from a variable, and ends in its field.
#[test]
fn every_key_is_read_from_toml_from_yaml_and_from_the_environment() {
    let folder = Folder::new();
    for (path, in_toml, in_yaml, in_variable, field) in EVERY_KEY {
        let name = format!("APP_DB_{}", path.replace('.', "_").to_uppercase());
        for settings in [
            folder.read("a.toml", toml(path, in_toml)).unwrap(),
            folder.read("a.yaml", yaml(path, in_yaml)).unwrap(),
            folder.read("a.yml", format!("{{\"db\": {{{}}}}}", flow(path, in_yaml))).unwrap(),
            environment(Settings::new(), "APP", &[(&name, in_variable)]).unwrap(),
        ] {
            let read = format!("{:?}", settings.layer);
            assert!(read.contains(field), "{path}: {read}");
            let said = read.replace("Some(Some(", "Some(").replace("value: Some(", "value: ").matches("Some(").count();
            assert_eq!(said, 1, "{path}: {read}");
        }
    }
    assert_eq!(EVERY_KEY.map(|(path, ..)| path), layer::KEYS.each_ref().map(|key| key.path));
}

fn flow(path: &str, value: &str) -> String {
    match path.split_once('.') {
        Some((section, key)) => format!("{section}: {{{key}: {value}}}"),
        None => format!("{path}: {value}"),
    }
}

/// What is read reaches the configuration: compared with one that the builder made.
#[test]
fn what_is_read_ends_in_the_configuration() {
    let folder = Folder::new();
    let text = "[db]\nurl = 'sqlite:a.db'\ncreate = false\ninline_reads = false\nsession_max_age_s = 1.5\ncache_kib = 128\n\
                [db.pool]\nmin_size = 2\nmax_size = 3\nacquire_timeout_s = 4\n\
                max_lifetime_s = 5\nidle_timeout_s = false\nkeepalive_s = 6\ntest_after_idle_s = 0\nleak_warning_s = 7\n\
                [db.retry]\nattempts = 8\ndelay_s = 9\n[db.cipher]\nkey_env = 'K'\n";
    let read = Config::from_file(folder.write("a.toml", text)).unwrap();
    let built = Config::sqlite(folder.path("a.db"))
        .create(false)
        .session_max_age(Duration::from_millis(1500))
        .cache_kib(128)
        .pool_min_size(2)
        .pool_max_size(3)
        .acquire_timeout(Duration::from_secs(4))
        .inline_reads(false)
        .pool_max_lifetime(Some(Duration::from_secs(5)))
        .pool_idle_timeout(None)
        .pool_keepalive(Some(Duration::from_secs(6)))
        .pool_test_after_idle(Some(Duration::ZERO))
        .pool_leak_warning(Some(Duration::from_secs(7)))
        .connect_attempts(8)
        .connect_delay(Duration::from_secs(9))
        .key(crate::KeySource::env("K"));
    assert_eq!(format!("{read:?}"), format!("{built:?}"));
}

/// The same of a server, and of a file that names `system` for the CAs.
#[test]
fn what_is_read_of_a_server_ends_in_the_configuration() {
    let folder = Folder::new();
    let text = "[db]\nurl = 'postgres://app@db.test/app'\n[db.postgres]\nstatement_timeout_s = 1.5\nlock_timeout_s = 0.25\n\
                connect_timeout_s = 20\napplication_name = 'ledger'\nnamed_statements = false\nsslrootcert = 'ca.pem'\n";
    let url = format!("postgres://app@db.test/app?sslrootcert={}", folder.path("ca.pem").display());
    let built = Config::from_url(&url)
        .unwrap()
        .statement_timeout(Some(Duration::from_millis(1500)))
        .lock_timeout(Some(Duration::from_millis(250)))
        .connect_timeout(Duration::from_secs(20))
        .application_name("ledger")
        .named_statements(false);
    let read = Config::from_file(folder.write("a.toml", text)).unwrap();
    assert_eq!(format!("{read:?}"), format!("{built:?}"));
    let system = variables_over("postgres://app@db.test/app", &[("APP_DB_POSTGRES_SSLROOTCERT", "system")]);
    let built = Config::from_url("postgres://app@db.test/app?sslrootcert=system").unwrap();
    assert_eq!(format!("{system:?}"), format!("{built:?}"));
}

/// Variables `APP_DB_…` over a program's own URL.
fn variables_over(url: &str, variables: &[(&str, &str)]) -> Config {
    environment(Settings::new(), "APP", variables).unwrap().over(Config::from_url(url).unwrap()).unwrap()
}

/// One key, `statement_timeout`, said in a URL and in section `postgres`, in the same place, in an earlier and in a later one;
/// by the program before and after. What stays is read off the configuration.
#[test]
fn a_servers_url_wins_over_the_section_of_its_place_and_whatever_is_later_wins_over_both() {
    let folder = Folder::new();
    let limit = |config: Config| {
        let shown = format!("{config:?}");
        let (_, rest) = shown.split_once("statement_timeout: ").unwrap();
        rest.split_once(", lock_timeout").unwrap().0.to_owned()
    };
    let speaks = "postgres://h/d?statement_timeout=1s";
    let both = |url: &str| format!("db: {{url: '{url}', postgres: {{statement_timeout_s: 2}}}}");
    let read = |content: String, variables: &[(&str, &str)]| {
        environment(folder.read("a.yaml", content).unwrap(), "APP", variables).unwrap()
    };
    // In one place.
    assert_eq!(limit(read(both(speaks), &[]).config().unwrap()), "Some(1s)");
    assert_eq!(limit(read(both("postgres://h/d"), &[]).config().unwrap()), "Some(2s)");
    assert_eq!(limit(read(both("postgres://h/d?statement_timeout=0"), &[]).config().unwrap()), "None");
    // A later URL, which speaks of it or does not; a later section.
    let url = |url| [("APP_DB_URL", url)];
    assert_eq!(limit(read(both("postgres://h/d"), &url(speaks)).config().unwrap()), "Some(1s)");
    assert_eq!(limit(read(both(speaks), &url("postgres://h/e")).config().unwrap()), "Some(2s)");
    let section = [("APP_DB_POSTGRES_STATEMENT_TIMEOUT_S", "3")];
    assert_eq!(limit(read(both(speaks), &section).config().unwrap()), "Some(3s)");
    let off = [("APP_DB_POSTGRES_STATEMENT_TIMEOUT_S", "0")];
    assert_eq!(limit(read(both(speaks), &off).config().unwrap()), "None");
    // The program's own: what it brings is the earliest, what it sets afterwards the last.
    assert_eq!(limit(variables_over(speaks, &section)), "Some(3s)");
    let config = read(both(speaks), &section).config().unwrap();
    assert_eq!(limit(config.statement_timeout(Some(Duration::from_secs(4)))), "Some(4s)");
    // A name that a URL gives only in case nobody names one.
    let config =
        variables_over("postgres://h/d?fallback_application_name=f", &[("APP_DB_POSTGRES_APPLICATION_NAME", "a")]);
    assert!(format!("{config:?}").contains("application_name: \"a\""), "{config:?}");
    let text = "db: {url: 'postgres://h/d?fallback_application_name=f', postgres: {application_name: a}}".to_owned();
    let config = read(text, &[]).config().unwrap();
    assert!(format!("{config:?}").contains("application_name: \"a\""), "{config:?}");
}

/// Each key of the section beside a file's URL: refused where it stands.
#[test]
fn a_servers_key_beside_a_database_that_is_not_on_one_is_refused() {
    let folder = Folder::new();
    let server = EVERY_KEY.iter().filter(|(path, ..)| path.starts_with("postgres."));
    for (path, value, ..) in server {
        let content = toml(path, value);
        let column = content.find(" = ").unwrap() + 4;
        assert_eq!(
            folder.refused("a.toml", content),
            format!(
                "db.{path}: a.toml, line 1, column {column}: it is a server's, and the database, :memory:, is not on one; \
                 leave it out"
            )
        );
    }
    assert_eq!(
        refused_variable("APP_DB_POSTGRES_LOCK_TIMEOUT_S", "1"),
        "db.postgres.lock_timeout_s: environment variable APP_DB_POSTGRES_LOCK_TIMEOUT_S: it is a server's, and the \
         database, :memory:, is not on one; leave it out"
    );
}

/// Only tokens are kept: another log-in, and none, are refused beside the key, unless it says that nothing is kept.
#[test]
fn a_token_is_kept_only_where_there_is_one() {
    let read = |variables: &[(&str, &str)]| {
        let server = Config::from_url("postgres://app@db.test/app").unwrap();
        environment(Settings::new(), "APP", variables).unwrap().over(server)
    };
    let cache = |seconds| ("APP_DB_POSTGRES_TOKEN_CACHE_S", seconds);
    for kind in ["rds-iam", "dsql", "dsql-admin"] {
        read(&[("APP_DB_CREDENTIALS", kind), cache("600")]).unwrap();
    }
    let place = "db.postgres.token_cache_s: environment variable APP_DB_POSTGRES_TOKEN_CACHE_S: only tokens are kept, those of \
                 rds-iam, dsql and dsql-admin, and db.credentials";
    let other = [("APP_DB_CREDENTIALS", "command:pass canary"), cache("600")];
    assert_eq!(
        message(&read(&other).unwrap_err()),
        format!("{place} is another one, command pass; leave it out, or say false")
    );
    assert_eq!(message(&read(&[cache("1")]).unwrap_err()), format!("{place} is not set; leave it out, or say false"));
    for none in ["false", "0"] {
        read(&[("APP_DB_CREDENTIALS", "env:PW"), cache(none)]).unwrap();
        read(&[cache(none)]).unwrap();
    }
}

/// One key said in each place: the later place wins, and what only an earlier one says stays.
#[test]
fn defaults_are_overridden_by_files_these_by_the_environment_and_that_by_the_builder() {
    let folder = Folder::new();
    let first =
        folder.write("a.toml", "[db]\nurl = 'sqlite:a.db'\ncache_kib = 101\n[db.pool]\nmax_size = 11\nmin_size = 1");
    let second = folder.write("b.yaml", "db: {cache_kib: 102, pool: {max_size: 12}}");
    let settings = Settings::new().file(first).unwrap().file(second).unwrap();
    let settings = environment(settings, "APP", &[("APP_DB_POOL_MAX_SIZE", "13")]).unwrap();
    let defaults = Config::sqlite("default.db").cache_kib(100).session_max_age(Duration::from_secs(5));
    let config = settings.over(defaults).unwrap().pool_min_size(4);
    let read = config.settings();
    assert_eq!(read.name(), folder.path("a.db").display().to_string());
    assert_eq!((read.cache_kib, read.pool.max_size, read.pool.min_size), (102, 13, 4));
    assert_eq!(read.session_max_age.as_secs(), 5);
    assert_eq!(config.pool_max_size(14).settings().pool.max_size, 14);
}

#[test]
fn paths_are_relative_to_the_file_that_names_them_and_in_variables_to_the_working_directory() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("conf")).unwrap();
    let file = folder.write("conf/a.toml", "[db]\nurl = 'sqlite:../a.db'\ncipher.key_file = 'key'");
    let config = Config::from_file(&file).unwrap();
    assert_eq!(config.settings().name(), folder.path("conf/../a.db").display().to_string());
    let key = format!("{:?}", config.settings().key.as_ref().unwrap());
    assert!(key.contains(&format!("conf{}key", std::path::MAIN_SEPARATOR)), "{key}");

    let absolute = folder.path("b.db");
    let file = folder.write("conf/b.toml", format!("db.url = 'sqlite://{}'", absolute.display()));
    assert_eq!(Config::from_file(file).unwrap().settings().name(), absolute.display().to_string());
    assert_eq!(variables(&[("APP_DB_URL", "sqlite:c.db")]).unwrap().settings().name(), "c.db");
}

#[test]
fn a_file_without_section_db_says_nothing_and_other_sections_are_the_programs() {
    let folder = Folder::new();
    for (name, content) in [
        ("a.toml", ""),
        ("a.toml", "\u{feff}[server]\nport = 1\n[[db2]]\nurl = 1\n[db]\n[db.pool]\n"),
        ("a.yaml", ""),
        ("a.yaml", "# nothing\n"),
        ("a.yaml", "---\n...\n"),
        (
            "a.yaml",
            "server: &a {key: [1, {x: *a}]}\n? [1, 2]\n: {db: {key: 1}}\n*a : 2\ndb:\n  pool:\n    # max_size: 3\n",
        ),
    ] {
        let config = folder.read(name, content).unwrap().over(Config::memory()).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::memory()), "{content}");
        let error = Config::from_file(folder.path(name)).unwrap_err();
        assert!(message(&error).starts_with("db.url: nothing names the database"), "{error}");
    }
    let settings = Settings::new().file_if_there(folder.path("missing.toml")).unwrap();
    assert!(format!("{:?}", settings.layer).matches("Some(").count() == 0);
}

/// Names that are wrong in TOML and in YAML: by name, line and column, with the right name when it is near.
#[test]
fn unknown_keys_are_refused_by_name_line_and_column() {
    let folder = Folder::new();
    for (name, content, expected) in [
        (
            "a.toml",
            "[db]\nurl = 'x'\n".replace("url", "  uri").as_str(),
            "db.uri: a.toml, line 2, column 3: there is no such setting; did you mean db.url?",
        ),
        (
            "a.toml",
            "[x]\r\n\"Ä\" = 1\r\n[db.pool]\r\nmin_size = 1\r\nmaxsize = 1\r\n",
            "db.pool.maxsize: a.toml, line 5, column 1: there is no such setting; did you mean db.pool.max_size?",
        ),
        ("a.toml", "db = { \"Ä\" = 1 }", "db.Ä: a.toml, line 1, column 8: there is no such setting"),
        (
            "a.toml",
            "db.max_size = 1",
            "db.max_size: a.toml, line 1, column 4: there is no such setting; did you mean db.pool.max_size?",
        ),
        ("a.toml", "[db.pol]", "db.pol: a.toml, line 1, column 5: there is no such setting; did you mean db.pool?"),
        (
            "a.toml",
            "[db.pool.max_sizes]",
            "db.pool.max_sizes: a.toml, line 1, column 10: there is no such setting; did you mean db.pool.max_size?",
        ),
        (
            "a.yaml",
            "x: \"Ä\"\ndb:\n  pool: {min_size: 1, \"Ä\\u001b\": 2}\n",
            "db.pool.Ä\\u{1b}: a.yaml, line 3, column 23: there is no such setting",
        ),
        (
            "a.yml",
            "db:\r\n  retry:\r\n    delay: 2\r\n",
            "db.retry.delay: a.yml, line 3, column 5: there is no such setting; did you mean db.retry.delay_s?",
        ),
        (
            "a.toml",
            "db.postgres.statement_timeout = 1",
            "db.postgres.statement_timeout: a.toml, line 1, column 13: there is no such setting; did you mean \
             db.postgres.statement_timeout_s?",
        ),
        ("a.toml", "db.z = 1\ndb.a = 1", "db.z: a.toml, line 1, column 4: there is no such setting"),
        ("a.toml", "\u{feff}db.z = 1", "db.z: a.toml, line 1, column 4: there is no such setting"),
        ("a.yaml", "\u{feff}db: {z: 1}", "db.z: a.yaml, line 1, column 6: there is no such setting"),
        ("a.yaml", "a: &a {url: b}\ndb:\n  <<: *a\n", "db.<<: a.yaml, line 3, column 3: there is no such setting"),
        (
            "a.yaml",
            "db: {}\ndb.url: x",
            "db.url: a.yaml, line 2, column 1: a name with dots is one name in YAML; expected section db with the rest inside",
        ),
        ("a.yaml", "db: {[1]: 2}", "db: a.yaml, line 1, column 6: expected the name of a setting"),
    ] {
        assert_eq!(folder.refused(name, content), expected, "{content}");
    }
    let long = folder.refused("a.toml", format!("db.{} = 1", "x".repeat(10_000)));
    assert!(long.len() < 200, "{long}");
}

#[test]
fn a_key_given_twice_is_refused_by_name_line_and_column() {
    let folder = Folder::new();
    for (name, content, expected) in [
        ("a.toml", "[db.pool]\nmax_size = 1\nmax_size = 2", "max_size: a.toml, line 3, column 1: duplicate key"),
        ("a.toml", "[db.pool]\n[db.pool]", "pool: a.toml, line 2, column 5: duplicate key"),
        ("a.yaml", "db:\n  create: true\n  create: true", "db.create: a.yaml, line 3, column 3: it is given twice"),
        ("a.yaml", "db: {pool: {}, pool: {}}", "db.pool: a.yaml, line 1, column 16: it is given twice"),
        ("a.yaml", "db: {}\n'db': {}", "db: a.yaml, line 2, column 1: it is given twice"),
    ] {
        assert_eq!(folder.refused(name, content), expected);
    }
}

/// Each kind of value where another one belongs, in a file with line and column, and in a variable.
#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_place_and_without_its_content() {
    let folder = Folder::new();
    for (path, value, reason) in [
        ("url", "7", "expected a text, found a whole number"),
        ("url", "''", "it is empty"),
        ("url", "'canary'", "it has no scheme; expected sqlite:PATH, sqlite::memory: or postgres://HOST/DATABASE"),
        (
            "url",
            "'pg://me:canary@host/db'",
            "scheme pg is not known; expected sqlite:PATH, sqlite::memory: or postgres://HOST/DATABASE",
        ),
        ("create", "'canary'", "expected true or false, found a text"),
        ("create", "1", "expected true or false, found a whole number"),
        ("cache_kib", "'canary'", "expected a whole number, found a text"),
        ("cache_kib", "'64'", "expected a whole number, found a text"),
        ("pool.max_size", "2.0", "expected a whole number, found a number with a fraction"),
        ("pool.max_size", "-2", "expected a whole number, found a negative number"),
        ("pool.max_size", "[1]", "expected a whole number, found a list"),
        ("pool.max_size", "{}", "expected a whole number, found a section"),
        ("pool.max_size", "true", "expected a whole number, found true"),
        ("retry.delay_s", "'1 s'", "expected a number of seconds, found a text"),
        ("retry.delay_s", "-0.5", "expected a number of seconds, found a negative number"),
        ("pool.idle_timeout_s", "true", "expected a number of seconds, or false, found true"),
        ("pool.idle_timeout_s", "'canary'", "expected a number of seconds, or false, found a text"),
        ("pool.idle_timeout_s", "-1", "expected a number of seconds, found a negative number"),
        ("postgres.statement_timeout_s", "true", "expected a number of seconds, or false, found true"),
        ("postgres.connect_timeout_s", "false", "expected a number of seconds, found false"),
        ("postgres.application_name", "''", "it is empty"),
        ("postgres.named_statements", "0", "expected true or false, found a whole number"),
        ("postgres.sslrootcert", "1", "expected a text, found a whole number"),
        ("cipher.key_source", "'canary'", "expected env, file, sops, command or aws-secret"),
        ("cipher.key_source", "1", "expected env, file, sops, command or aws-secret, found a whole number"),
        (
            "cipher.key_env",
            "\"x'canary'\"",
            "expected the name of an environment variable (letters, digits and _), not the key",
        ),
    ] {
        let content = toml(path, value);
        let column = content.find(" = ").unwrap() + 4;
        let expected = format!("db.{path}: a.toml, line 1, column {column}: {reason}");
        assert_eq!(folder.refused("a.toml", content), expected);

        let content = yaml(path, value);
        let line = content.lines().count();
        let column = content.lines().last().unwrap().find(": ").unwrap() + 3;
        let expected = format!("db.{path}: a.yaml, line {line}, column {column}: {reason}");
        assert_eq!(folder.refused("a.yaml", content), expected);
    }
    for (name, value, reason) in [
        ("URL", "canary", "it has no scheme; expected sqlite:PATH, sqlite::memory: or postgres://HOST/DATABASE"),
        ("CREATE", "yes canary", "expected true or false, found a text"),
        ("CREATE", "1", "expected true or false, found a whole number"),
        ("CACHE_KIB", "64 canary", "expected a whole number, found a text"),
        ("POOL_MAX_SIZE", "-1", "expected a whole number, found a negative number"),
        ("POOL_MAX_SIZE", "1.5", "expected a whole number, found a number with a fraction"),
        ("RETRY_DELAY_S", "nan", "expected a number of seconds, found a text"),
        ("RETRY_DELAY_S", ".inf", "expected a number of seconds, found infinity"),
        ("CIPHER_KEY_SOURCE", "canary", "expected env, file, sops, command or aws-secret"),
    ] {
        let refused = refused_variable(&format!("APP_DB_{name}"), value);
        assert!(refused.ends_with(&format!(": environment variable APP_DB_{name}: {reason}")), "{refused}");
    }
    for (value, reason) in
        [("inf", "infinity"), ("-inf", "infinity"), ("nan", "no number (NaN)"), ("1979-05-27", "a date")]
    {
        let refused = folder.refused("a.toml", format!("db.retry.delay_s = {value}"));
        assert!(refused.ends_with(&format!("column 20: expected a number of seconds, found {reason}")), "{refused}");
    }
    for (value, reason) in [
        (".inf", "infinity"),
        (".NaN", "no number (NaN)"),
        ("~", "nothing"),
        ("", "nothing"),
        ("*a", "an alias (*), which is not followed here; write the value itself"),
        ("!!int 3", "a value with a tag (!)"),
        ("!secret [canary]", "a value with a tag (!)"),
    ] {
        let refused = folder.refused("a.yaml", format!("a: &a 1\ndb:\n  retry:\n    delay_s: {value}\n"));
        assert!(refused.starts_with("db.retry.delay_s: a.yaml, line "), "{refused}");
        assert!(refused.ends_with(&format!("expected a number of seconds, found {reason}")), "{refused}");
    }
    for (name, content) in [("a.toml", "db = 1"), ("a.toml", "[[db]]"), ("a.yaml", "db: canary"), ("a.yaml", "db: [1]")]
    {
        assert!(folder.refused(name, content).contains("line 1, column"), "{content}");
        assert!(folder.refused(name, content).contains("expected a section, found "), "{content}");
    }
}

#[test]
fn a_number_out_of_its_range_is_moved_to_the_nearest_bound() {
    let folder = Folder::new();
    let text = "db.cache_kib = 1\ndb.pool.max_size = 99999999999999999999999\ndb.pool.acquire_timeout_s = 1e300\n\
                db.session_max_age_s = 0.01";
    let config = folder.read("a.toml", text).unwrap().over(Config::memory()).unwrap();
    let read = config.settings();
    assert_eq!((read.cache_kib, read.pool.max_size), (64, 100));
    assert_eq!((read.pool.acquire_timeout.as_secs(), read.session_max_age.as_secs()), (300, 1));
}

/// A key where it does not belong, under the names that one would think of: refused, and not shown.
#[test]
fn a_secret_in_the_settings_is_refused_and_not_shown() {
    let folder = Folder::new();
    for path in ["key", "password", "cipher.key", "cipher.passphrase", "cipher.hex_key", "secret"] {
        for refused in
            [folder.refused("a.toml", toml(path, "'canary'")), folder.refused("a.yaml", yaml(path, "canary"))]
        {
            assert!(refused.contains("a key does not belong into the settings"), "{refused}");
            assert!(refused.starts_with(&format!("db.{path}: a.")), "{refused}");
        }
        let name = format!("APP_DB_{}", path.replace('.', "_").to_uppercase());
        let refused = refused_variable(&name, "canary");
        assert!(refused.starts_with(&name) && refused.contains("db.cipher.key_env"), "{refused}");
    }
    // Where a parser stops there may be a secret.
    for (name, content) in [
        ("a.toml", "[db]\nkey = canary"),
        ("a.toml", "[db]\nkey = \"canary"),
        ("a.toml", "[db]\ncanary"),
        ("a.yaml", "db:\n  key: *canary"),
        ("a.yaml", "db:\n  key: \"canary"),
        ("a.yaml", "db:\n  key: !canary!canary x"),
        ("a.yaml", "db:\n  key: x\n canary"),
        ("a.yaml", "db: {key: canary]"),
        ("a.yaml", "canary"),
    ] {
        assert!(folder.refused(name, content).contains(", line "), "{content}");
    }
}

#[test]
fn unknown_variables_are_refused_by_name_unless_one_holds_the_key() {
    assert_eq!(
        refused_variable("APP_DB_POOL_MAXSIZE", "canary"),
        "APP_DB_POOL_MAXSIZE: no setting is read from this environment variable; did you mean APP_DB_POOL_MAX_SIZE?"
    );
    assert_eq!(
        refused_variable("APP_DB_QWERTZUIOP", "canary"),
        "APP_DB_QWERTZUIOP: no setting is read from this environment variable"
    );
    // Others, and empty ones, are not looked at.
    variables(&[("APP_DBX", "1"), ("XAPP_DB_URL", "1"), ("app_db_url", "1"), ("APP_DB_URL", ""), ("APP_DB_X", "")])
        .unwrap();
    variables(&[("APP_DB_KEY", "canary"), ("APP_DB_CIPHER_KEY_ENV", "APP_DB_KEY")]).unwrap();

    // Which variable holds the key may be said later, or be overridden.
    let folder = Folder::new();
    let file = folder.write("a.toml", "[db.cipher]\nkey_env = 'APP_DB_KEY'");
    let before = environment(Settings::new(), "APP", &[("APP_DB_KEY", "canary")]).unwrap();
    before.file(&file).unwrap().over(Config::memory()).unwrap();
    let after = Settings::new().file(&file).unwrap();
    let after = environment(after, "APP", &[("APP_DB_KEY", "canary"), ("APP_DB_CIPHER_KEY_ENV", "OTHER")]).unwrap();
    let config = after.over(Config::memory()).unwrap();
    assert!(format!("{:?}", config.settings().key).contains("OTHER"));

    for prefix in ["", "A B", "Ä", "A=", "A-B"] {
        assert!(environment(Settings::new(), prefix, &[]).is_err(), "{prefix}");
    }
}

#[cfg(unix)]
#[test]
fn variables_that_are_not_utf8_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let settings = |name: &[u8], value: &[u8]| {
        let variable = (OsString::from_vec(name.into()), OsString::from_vec(value.into()));
        Settings::new().variables("APP", [variable].into_iter())?.over(Config::memory())
    };
    let refused = message(&settings(b"APP_DB_URL", b"sqlite:canary\xff").unwrap_err());
    assert_eq!(refused, "db.url: environment variable APP_DB_URL: its value is not UTF-8");
    assert!(message(&settings(b"APP_DB_\xff", b"1").unwrap_err()).starts_with("APP_DB_\u{fffd}: no setting"));
    settings(b"\xff", b"\xff").unwrap();
}

/// What `db.cipher` says in one place, and which key source follows from it.
#[test]
fn the_key_source_follows_from_what_is_named() {
    let folder = Folder::new();
    let key = |cipher: &str| {
        let config = folder.read("a.toml", format!("[db.cipher]\n{cipher}")).unwrap().over(Config::memory()).unwrap();
        config.settings().key.as_ref().map(|key| key.to_string())
    };
    assert_eq!(key(""), None);
    assert_eq!(key("enabled = false"), None);
    assert_eq!(key("key_env = 'K'").unwrap(), "environment variable K");
    assert_eq!(key("enabled = true\nkey_env = 'K'").unwrap(), "environment variable K");
    assert_eq!(key("key_source = 'env'\nkey_env = 'K'\nkey_file = '/k'").unwrap(), "environment variable K");
    assert_eq!(key("key_source = 'file'\nkey_env = 'K'\nkey_file = '/k'\nsops_key = 'x'").unwrap(), "key file /k");

    let refused = |cipher: &str| folder.refused("a.toml", format!("[db.cipher]\n{cipher}"));
    assert_eq!(
        refused("enabled = false\nkey_file = '/k'"),
        "db.cipher.enabled: a.toml, line 2, column 11: it is false, and key_file says where a key comes from \
         (a.toml, line 3, column 12); leave out enabled to encrypt the file, or key_file to keep it plain"
    );
    assert!(refused("enabled = false\nkey_source = 'env'").contains("or key_source to keep it plain"));
    assert_eq!(
        refused("enabled = true"),
        "db.cipher.enabled: a.toml, line 2, column 11: it is true and nothing says where the key comes from; expected \
         key_env, key_file or another source beside it"
    );
    assert!(refused("key_source = 'env'").ends_with("it is env, and key_env, the variable's name, is missing"));
    assert!(
        refused("key_source = 'file'\nkey_env = 'K'")
            .ends_with("it is file, and key_file, the file's path, is missing")
    );
    assert_eq!(key("sops_path = '/s.yaml'").unwrap(), "SOPS file /s.yaml");
    assert_eq!(key("sops_path = '/s.yaml'\nsops_key = 'a.b'").unwrap(), "SOPS file /s.yaml, key a.b");
    assert_eq!(key("key_source = 'sops'\nkey_env = 'K'\nsops_path = '/s'").unwrap(), "SOPS file /s");
    for (cipher, missing) in [
        ("key_source = 'sops'\nsops_key = 'b'", "it is sops, and sops_path, the file's path, is missing"),
        ("sops_key = 'b'", "it is sops, and sops_path, the file's path, is missing"),
        ("key_source = 'command'", "it is command, and key_command, the command line, is missing"),
        ("aws_secret_field = 'b'", "it is aws-secret, and aws_secret, the secret's name or ARN, is missing"),
    ] {
        let refused = refused(cipher);
        assert!(refused.ends_with(missing), "{refused}");
    }
}

/// Of several sources that one place names, the first in order is used: a source that is named and has nothing is an error
/// when it is asked, and no other one is tried.
#[test]
fn of_several_sources_in_one_place_the_first_in_order_is_used() {
    let folder = Folder::new();
    let all = [
        ("key_env = 'K'", "environment variable K"),
        ("key_file = '/k'", "key file /k"),
        ("sops_path = '/s.yaml'", "SOPS file /s.yaml"),
        ("key_command = 'pass db canary'", "command pass"),
        ("aws_secret = 'app/db'\naws_secret_field = 'f'", "AWS secret app/db, field f"),
    ];
    for first in 0..all.len() {
        let said: Vec<_> = all[first..].iter().rev().map(|(said, _)| *said).collect();
        let cipher = format!("[db.cipher]\n{}", said.join("\n"));
        let config = folder.read("a.toml", cipher).unwrap().over(Config::memory()).unwrap();
        assert_eq!(config.key_source().unwrap().to_string(), all[first].1);
    }
}

/// Options are one more place, which errors name as the program does.
#[test]
fn options_override_what_was_read_before() {
    let folder = Folder::new();
    let read = || folder.read("a.toml", "[db]\nurl = 'sqlite:a.db'\ncache_kib = 128").unwrap();
    assert!(!Settings::new().names_database() && read().names_database() && !read().speaks_of_key());
    let settings =
        read().options([("url", "sqlite:b.db".into(), "--db"), ("cipher.key_file", "k".into(), "--key")]).unwrap();
    assert!(settings.speaks_of_key());
    let config = settings.config().unwrap();
    assert_eq!((config.path(), config.key_source().unwrap().path()), (Some("b.db".as_ref()), Some("k".as_ref())));
    assert_eq!(config.settings().cache_kib, 128);
    let refused = |key: &str, value: &str| message(&read().options([(key, value.into(), "--db")]).unwrap_err());
    assert_eq!(refused("urls", "x"), "db.urls: --db: there is no such setting");
    assert!(refused("url", "x:canary").starts_with("db.url: --db: scheme x is not known"));
}

/// The same across places: the later one wins, and what it says is never without effect.
#[test]
fn a_later_place_may_choose_another_key_or_none() {
    let folder = Folder::new();
    let later = |first: &str, variables: &[(&str, &str)]| {
        let settings = folder.read("a.toml", format!("[db.cipher]\n{first}")).unwrap();
        let config = environment(settings, "APP", variables).unwrap().over(Config::memory())?;
        Ok::<_, Error>(config.settings().key.as_ref().map(|key| key.to_string()))
    };
    let (enabled, file, source) = ("APP_DB_CIPHER_ENABLED", "APP_DB_CIPHER_KEY_FILE", "APP_DB_CIPHER_KEY_SOURCE");
    let both = "key_source = 'env'\nkey_env = 'K'";
    assert_eq!(later(both, &[(enabled, "false")]).unwrap(), None);
    assert_eq!(later("key_env = 'K'", &[(file, "/k")]).unwrap().unwrap(), "key file /k");
    assert_eq!(later(both, &[(file, "/k"), (source, "file")]).unwrap().unwrap(), "key file /k");
    let refused = message(&later(both, &[(file, "/k")]).unwrap_err());
    assert!(
        refused.starts_with("db.cipher.key_file: environment variable APP_DB_CIPHER_KEY_FILE: key_source is env (")
    );
    assert!(refused.ends_with("so this would not be used; set key_source to file as well"), "{refused}");
    assert!(later("enabled = false", &[(file, "/k")]).is_err());
    assert_eq!(later("enabled = false", &[(file, "/k"), (enabled, "true")]).unwrap().unwrap(), "key file /k");

    // The program's own key is the earliest place of all.
    let own = || Config::sqlite("a.db").key(crate::KeySource::env("OWN"));
    let over =
        |cipher: &str| folder.read("b.yaml", format!("db: {{cipher: {{{cipher}}}}}")).unwrap().over(own()).unwrap();
    assert!(over("").settings().key.is_some() && over("enabled: true").settings().key.is_some());
    assert!(over("enabled: false").settings().key.is_none());
    assert!(format!("{:?}", over("key_env: K")).contains("variable K"));
}

/// Files that no program wrote on purpose are refused in the end, and nothing panics or takes long.
#[test]
fn garbage_is_refused() {
    let folder = Folder::new();
    assert_eq!(
        folder.refused("a.toml", b"[x]\n\xc3\xa4 = '\xff'"),
        "db: a.toml, line 2, column 6: the file is not UTF-8"
    );
    let too_large = "x".repeat(50_000_000);
    for name in ["a.toml", "a.yaml"] {
        assert!(folder.refused(name, &too_large).ends_with("larger than 1 MiB, which no settings file is"));
        let nested = folder.refused(name, "[".repeat(1_000_000));
        assert!(nested.starts_with(&format!("db: {name}, line 1, column ")), "{nested}");
        folder.refused(name, "db: {".repeat(100_000));
        folder.refused(name, "- ".repeat(500_000));
        folder.refused(name, "\0");
    }
    folder.refused("a.toml", format!("db{} = 1", ".pool".repeat(100_000)));
    folder.refused("a.toml", "[[db]]\n".repeat(100_000));
    folder.refused("a.yaml", format!("db:\n  create: {}", "[{a: ".repeat(100_000)));
    folder.refused("a.yaml", "db: {}\n---\ndb: {}\n");
    assert!(folder.refused("a.json", "{}").ends_with("expected a name that ends in .toml, .yaml or .yml"));
    assert!(folder.refused("toml", "").ends_with("expected a name that ends in .toml, .yaml or .yml"));
    let missing = Settings::new().file(folder.path("missing.toml")).unwrap_err();
    assert!(message(&missing).contains("missing.toml: cannot be read (entity not found)"), "{missing}");
    std::fs::create_dir(folder.path("folder.toml")).unwrap();
    assert!(Settings::new().file_if_there(folder.path("folder.toml")).is_err());
}

/// Aliases of aliases, ten each, nine deep: a billion when followed.
#[test]
fn an_alias_bomb_is_not_set_off() {
    let folder = Folder::new();
    let mut bomb = "a0: &a0 x\n".to_owned();
    for level in 1..10 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{inner}]\n");
    }
    let config = folder.read("a.yaml", format!("{bomb}db: {{create: false}}")).unwrap().over(Config::memory()).unwrap();
    assert!(!config.settings().create);
    assert!(folder.refused("a.yaml", format!("{bomb}db: *a9")).contains("found an alias"));
    assert!(folder.refused("a.yaml", format!("{bomb}db: {{url: *a9}}")).contains("found an alias"));
}

/// Random edits of a good file: read or refused, never a panic. The seed is fixed.
#[test]
fn no_damaged_file_makes_it_panic() {
    let good = [
        ("a.toml", EVERY_KEY.map(|(path, value, ..)| toml(path, value)).concat()),
        (
            "a.yaml",
            "x: &a [1, {b: *a}]\ndb:\n  pool: {max_size: 5}\n  cipher:\n    key_env: \"K\"\n  create: 'a'\n".to_owned(),
        ),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    };
    let bytes = b"[]{}:,'\"#&*!|>%@`=.-_ \t\r\n\0\\0n\xff\xc3";
    for round in 0..20_000 {
        let (name, text) = &good[round % 2];
        let mut text = text.clone().into_bytes();
        for _ in 0..=random(4) {
            let at = random(text.len());
            match random(3) {
                0 => text[at] = bytes[random(bytes.len())],
                1 => text.insert(at, bytes[random(bytes.len())]),
                _ => drop(text.remove(at)),
            }
        }
        let mut layer = Layer::default();
        if file::take(&mut layer, Path::new(name), &text, 1).is_ok() {
            let _ = layer.apply(Config::memory());
        }
    }
}
