//! Nothing shows a secret: no output, log, `Debug`, error or panic.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::time::{Duration, SystemTime};

use strongroom::{
    BoxFuture, Cached, Config, Credential, CredentialProvider, KeySource, Login, Password, Result, Secret, Settings,
    params,
};

use crate::{VARIABLE, secret, secret_in_place, server, sops, sources, write_private};

/// A line of the text that holds one of the secrets, as it is or in a usual encoding, or the signature of a token.
pub(crate) fn first_line_that_shows_a_secret(text: &str) -> Option<&str> {
    let secrets = [&secret()[..], sops::VALUE.as_bytes(), &sops::identity().as_bytes()[16..], sops::raw_identity()];
    let mut traces: Vec<String> = secrets.into_iter().flat_map(traces).collect();
    traces.extend(["x-amz-signature=".to_owned(), "x-amz-security-token=".to_owned()]);
    // base64 is looked for as it is; no line has it by chance in other letters.
    let traces: Vec<String> = traces.into_iter().map(|trace| trace.to_lowercase()).collect();
    let shows = |line: &&str| {
        let line = line.to_lowercase();
        traces.iter().any(|trace| line.contains(trace))
    };
    text.lines().find(shows)
}

/// Parts of a secret that would be seen, whatever stands before it.
fn traces(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = format!("{secret:?}").replace(['[', ']'], "");
    let mut traces = vec![hex[8..30].to_owned(), bytes[12..40].to_owned()];
    traces.extend(std::str::from_utf8(secret).map(|text| text[4..16].to_owned()));
    // The encoding of its inside is the same at one of three offsets.
    traces.extend((0..3).map(|offset| openssl::base64::encode_block(&secret[offset..])[..16].to_owned()));
    traces
}

/// Prints all that this crate would ever show of a process that has secrets.
pub(crate) async fn is_kept() {
    let level = tracing::level_filters::LevelFilter::TRACE;
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    let folder = tempfile::tempdir().unwrap();

    for (name, source) in sources() {
        show(&source);
        let path = folder.path().join(format!("{name}.db"));
        let config = Config::sqlite(&path).key(source.clone());
        show_debug(&config);
        let db = config.connect().await.unwrap();
        show_debug(&db);
        println!("{}", db.check().await);
        show_failure(db.execute("SELEKT 1", params![]).await);
        show_failure(Config::sqlite(&path).key(KeySource::literal(reversed())).connect().await);
        show_failure(Config::sqlite(&path).connect().await);
        db.rekey(source.clone(), drop).await.unwrap();
        db.close().await.unwrap();
        show_debug(&source.secret().await.unwrap());
        show_panic(move || panic!("{source} {source:?}")).await;
    }
    for source in broken_sources(folder.path()).into_iter().chain(sops::broken_sources(folder.path())) {
        show(&source);
        show_failure(Config::sqlite(folder.path().join("never.db")).key(source).connect().await);
    }
    providers().await;
    settings(folder.path());
    server::is_silent().await;
    #[cfg(feature = "aws")]
    crate::aws::is_silent().await;
}

/// Sources that have the secret, and something about it is wrong.
fn broken_sources(folder: &std::path::Path) -> Vec<KeySource> {
    let with = |before: &str, after: &str| [before.as_bytes(), secret_in_place(), after.as_bytes()].concat();
    let file = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        write_private(&path, content);
        path
    };
    let open = file("open", secret_in_place());
    #[cfg(unix)]
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let two_lines = file("lines", &with("", "\nuser: app\n"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    vec![
        KeySource::literal(with("", "\0")),
        KeySource::literal(with("x'", "'")),
        KeySource::literal(secret().repeat(2_000)),
        KeySource::file(open),
        KeySource::file(file("long", &secret().repeat(2_000))),
        KeySource::file(folder.join("missing")),
        KeySource::command(format!("cat {}", two_lines.display())),
        KeySource::command(text(with("false ", ""))),
        KeySource::command(text(with("sh -c 'exit 3' ", ""))),
        KeySource::command(text(with("sh -c 'kill -9 $$' ", ""))),
        KeySource::command(text(with("echo '", ""))),
        KeySource::command("no-such-program"),
    ]
}

/// Credentials, as whoever brings a provider of their own sees them.
async fn providers() {
    let login = Login::new("db.test", 5432, Some("app".into()));
    show_debug(&login);
    for (_, source) in sources() {
        let password = Password::from_source(source);
        show(&password);
        show_debug(&password.credential(&login).await.unwrap());
        let cached = Cached::new(password).keep(Duration::from_secs(60));
        show(&cached);
        show_debug(&cached.credential(&login).await.unwrap());
        show_failure(cached.credential(&Login::new("db.test", 5432, None)).await);
    }
    let flaky = Cached::new(Flaky::default()).keep(Duration::from_secs(1));
    show_debug(&flaky.credential(&login).await.unwrap());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    show_debug(&flaky.credential(&login).await.unwrap());
    flaky.refused(1);
    show_failure(flaky.credential(&login).await);
}

/// Answers once, and then that it is out of reach.
#[derive(Default)]
struct Flaky(std::sync::atomic::AtomicBool);

impl std::fmt::Display for Flaky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("flaky store")
    }
}

impl CredentialProvider for Flaky {
    fn credential<'a>(&'a self, _: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        let has_answered = self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
        Box::pin(async move {
            if has_answered {
                return Err(strongroom::Error::credential(self, "is out of reach").passing());
            }
            let end = SystemTime::now() + Duration::from_secs(900);
            Ok(Credential::new("app", Secret::new(secret()), 1).valid_until(end))
        })
    }
}

/// The secret where a setting is expected.
fn settings(folder: &std::path::Path) {
    let secret = String::from_utf8(secret()).unwrap();
    let file = |text: String| {
        let path = folder.join("settings.toml");
        std::fs::write(&path, text).unwrap();
        Settings::new().file(path).and_then(Settings::config)
    };
    for line in [
        format!("key = '{secret}'"),
        format!("key_env = '{secret}'"),
        format!("key_source = '{secret}'"),
        format!("enabled = '{secret}'"),
        format!("key_env = ['{secret}']"),
        format!("key_file = '{secret}"),
    ] {
        show_failure(file(format!("[db]\nurl = 'sqlite:a.db'\n[db.cipher]\n{line}\n")));
    }
    for url in [
        format!("postgres://app:{secret}@host:port/db"),
        format!("postgres://app:{secret}@host/db?unknown=1"),
        format!("postgres://app:{secret}%zz@host/db"),
        format!("postgres://app:{secret}@[host/db"),
        format!("postgres://app:{secret}@host/db?sslmode=some"),
        format!("postgres://app@host/db?password={secret}%"),
        format!("postgres://app@host/db?pasword={secret}"),
        format!("postgres://app:{secret}:5432/db"),
        format!("postgresql://{secret}:app@host:0/db"),
        format!("host=db user=app password={secret} pasword=x"),
        format!("host=db user=app password='{secret}"),
        format!("host=db user=app password '{secret}'"),
        format!("mysql://app:{secret}@host/db"),
        format!("sqlite:a.db?key={secret}"),
    ] {
        show_failure(Config::from_url(&url));
        show_failure(file(format!("[db]\nurl = '{url}'\n")));
        show_failure(Settings::new().options([("url", url.into(), "--db")]));
    }
    show_debug(&Settings::new().options([("cipher.key_env", VARIABLE.into(), "--key-env")]).unwrap());
}

fn reversed() -> Vec<u8> {
    secret().into_iter().rev().collect()
}

pub(crate) fn show(shown: &(impl Debug + Display)) {
    println!("{shown}");
    show_debug(shown);
}

pub(crate) fn show_debug(shown: &impl Debug) {
    println!("{shown:?}\n{shown:#?}");
}

/// Prints the error with all its causes; there must be one.
#[track_caller]
pub(crate) fn show_failure<T>(outcome: Result<T>) {
    let Err(error) = outcome else { panic!("it succeeded") };
    show(&error);
    let mut cause = error.source();
    while let Some(error) = cause {
        println!("  because {error}\n  {error:?}");
        cause = error.source();
    }
}

/// Lets a task panic, whose message goes to standard error.
async fn show_panic(work: impl FnOnce() + Send + 'static) {
    assert!(tokio::task::spawn_blocking(work).await.unwrap_err().is_panic());
}
