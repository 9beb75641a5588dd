//! Logging in: what is refused, how often it is tried, and what rotates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use test_servers::{Ca, Fault, FaultProxy, IamKeys, Postgres, needs};

use super::{Given, dialer, logged, told};
use crate::credential::{Cached, Credential, CredentialProvider, Login, Server};
use crate::error::{Error, Result};
use crate::postgres::{Dialer, Settings};
use crate::secret::{BoxFuture, Secret};

const REFUSED: &str = "password authentication failed";

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_by_many_at_a_time_and_then_not_until_the_breaker_closes() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "secret").start();
    let provider = Given::new("app", "Kanarien");
    let dialer = Arc::new(dialer(&server.url("app"), provider.clone()));
    let dials: Vec<_> = (0..30)
        .map(|_| {
            tokio::spawn({
                let dialer = Arc::clone(&dialer);
                async move { dialer.dial().await.err().unwrap() }
            })
        })
        .collect();
    let (mut refused, mut broken) = (0, 0);
    for dial in dials {
        let error = dial.await.unwrap();
        let (line, passing) = told(&error);
        assert!(!passing && !format!("{error:?}").contains("Kanarien"), "{error:?}");
        match &error {
            Error::Connection { reason, .. } => {
                assert_eq!(reason, "the server refused the password of app, which came from: what the test gives");
                refused += 1;
            }
            Error::Credential { .. } => {
                assert!(
                    line.starts_with(
                        "what the test gives: the server refused what it gave, once; it is not tried again for"
                    ),
                    "{line}"
                );
                broken += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((refused, broken), (1, 29));
    // The provider was asked again once, in case it knew something newer.
    assert_eq!((logged(&server, REFUSED), provider.asked()), (1, 2));
    // The right one is taken when the breaker lets the next one through.
    provider.change(|credential| *credential = Credential::new("app", Secret::new("secret"), 2));
    assert!(matches!(dialer.dial().await, Err(Error::Credential { .. })));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let dialed = dialer.dial().await.unwrap();
    assert_eq!((dialed.generation, dialed.user.as_str()), (2, "app"));
    assert_eq!(logged(&server, REFUSED), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_fills_in_where_the_server_is_and_the_settings_win_where_they_speak() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "secret").start();
    let database = server.create_database();
    let told = Server {
        host: Some("127.0.0.1".to_owned()),
        port: Some(server.port()),
        database: Some(database.name().to_owned()),
    };
    let dialed = dialer("postgres://", Given::new("app", "secret").at(told.clone())).dial().await.unwrap();
    assert_eq!((dialed.facts.port, dialed.facts.database.as_str()), (server.port(), database.name()));
    let dialed = dialer("postgres:///app", Given::new("app", "secret").at(told.clone())).dial().await.unwrap();
    assert_eq!(dialed.facts.database, "app");
    let wrong = Server { host: Some("192.0.2.1".to_owned()), port: Some(1), database: Some("nothing".to_owned()) };
    let url = format!("postgres://localhost:{}/app?hostaddr=127.0.0.1", server.port());
    let dialed = dialer(&url, Given::new("app", "secret").at(wrong)).dial().await.unwrap();
    assert_eq!((dialed.facts.host.as_str(), dialed.facts.port), ("localhost", server.port()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_password_that_libpq_could_send_is_sent() {
    if !needs::postgres() {
        return;
    }
    let password = "p@ss:w/o?r#d%20 'quoted' \"double\" \\ $1 ü€ [x]&=+,;";
    let server = Postgres::scram("app", password).start();
    super::dial(&server.url("app")).await.unwrap();
    super::dial(&server.socket_url("app")).await.unwrap();
    let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
    super::dial(&format!("host=127.0.0.1 port={} user=app dbname=app password='{quoted}'", server.port()))
        .await
        .unwrap();
}

/// A store whose secret changes, as a cloud's does: what it answers is what was put last.
struct Store {
    user_and_password: std::sync::Mutex<(String, String, u64)>,
    patience: Duration,
}

impl CredentialProvider for Store {
    fn credential<'a>(&'a self, _: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (user, password, generation) = self.user_and_password.lock().unwrap().clone();
            Ok(Credential::new(user, Secret::new(password), generation))
        })
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}

impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the store")
    }
}

/// Connects by several tasks without end while `rotate` is run 100 times; answers how many connections were made. None
/// may fail.
async fn dial_through_rotations(server: &Postgres, store: Store, mut rotate: impl FnMut(u64, &Store)) -> u64 {
    let store = Arc::new(store);
    let settings = Settings::from_text(&format!("postgres://127.0.0.1:{}/app", server.port())).unwrap();
    let settings = settings.credentials(Arc::new(Cached::new(Arc::clone(&store)).keep(Duration::from_secs(300))));
    let dialer = Arc::new(Dialer::new(&settings).unwrap());
    let (done, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let work = |_| {
        let (dialer, done, made) = (Arc::clone(&dialer), Arc::clone(&done), Arc::clone(&made));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let mut dialed = dialer.dial().await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
                dialed.wire.carry(dialed.client.query_one("select 1", &[])).await.unwrap();
                made.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let tasks: Vec<_> = (0..4).map(work).collect();
    for round in 1..=100 {
        tokio::task::block_in_place(|| rotate(round, &store));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    done.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    made.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_100_times_under_load_fails_nobody() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "pw0").setting("max_connections", "50").start();
    let first = ("app".to_owned(), "pw0".to_owned(), 1);
    let store = Store { user_and_password: first.into(), patience: Duration::from_secs(5) };
    // The server first, then the store: in between nothing logs in.
    let made = dial_through_rotations(&server, store, |round, store| {
        server.execute(&format!("alter role app password 'pw{round}'"));
        std::thread::sleep(Duration::from_millis(10));
        *store.user_and_password.lock().unwrap() = ("app".to_owned(), format!("pw{round}"), round + 1);
    })
    .await;
    let refused = logged(&server, REFUSED);
    assert!(made > 100 && refused > 0, "{made} connections, {refused} refusals");
    // Each rotation may be met by all four, and once more by the one that looks again.
    assert!(refused <= 100 * 8, "{made} connections, {refused} refusals");
    println!("{made} connections, {refused} refusals");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_in_turn_changed_100_times_under_load_fail_nobody() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "pw0").setting("max_connections", "50").start();
    server.execute("create role app_b login password 'none'; grant app to app_b");
    let first = ("app".to_owned(), "pw0".to_owned(), 1);
    let store = Store { user_and_password: first.into(), patience: Duration::ZERO };
    let made = dial_through_rotations(&server, store, |round, store| {
        let user = if round % 2 == 0 { "app" } else { "app_b" };
        server.execute(&format!("alter role {user} password 'pw{round}'"));
        *store.user_and_password.lock().unwrap() = (user.to_owned(), format!("pw{round}"), round + 1);
    })
    .await;
    assert!(made > 100, "{made} connections");
    println!("{made} connections, {} refusals", logged(&server, REFUSED));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_refused_is_not_sent_to_the_other_hosts() {
    if !needs::postgres() {
        return;
    }
    let ca = Ca::new();
    let first = Postgres::scram("app", "secret").tls(&ca.server()).start();
    let second = Postgres::scram("app", "secret").tls(&ca.server()).start();
    let text = format!(
        "host=db.test,db.test hostaddr=127.0.0.1,127.0.0.1 port={},{} user=app sslmode=verify-full sslrootcert={}",
        first.port(),
        second.port(),
        ca.file().display()
    );
    let error = dialer(&text, Given::new("app", "wrong")).dial().await.err().unwrap();
    assert!(told(&error).0.contains("the server refused the password of app"), "{error}");
    assert_eq!((logged(&first, REFUSED), logged(&second, REFUSED)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_logs_in_over_tls_and_never_without() {
    if !needs::iam() {
        return;
    }
    let ca = Ca::new();
    let keys = IamKeys {
        access_key: "AKIATEST".into(),
        secret_key: "secret half".into(),
        session_token: None,
        region: "eu-central-1".into(),
    };
    let server = Postgres::rds_iam("app", &keys, &ca.server()).start();
    let port = server.port();
    let url = format!("postgres://db.test:{port}/app?hostaddr=127.0.0.1&sslrootcert={}", ca.file().display());
    let signed = |generation| {
        let token = token(&keys, &format!("db.test:{port}"), "app");
        Credential::new("app", Secret::new(token), generation)
            .valid_until(std::time::SystemTime::now() + Duration::from_secs(900))
    };
    let provider = Given::new("app", "");
    provider.change(|credential| *credential = signed(1));
    let dialer = dialer(&url, provider.clone());
    let dialed = dialer.dial().await.unwrap();
    assert!(dialed.facts.tls.is_some() && dialed.generation == 1);

    // Too old: the server refuses it by 28000, and a fresh one is asked for at once.
    server.shift_iam_clock(901);
    let error = dialer.dial().await.err().unwrap();
    let (line, passing) = told(&error);
    assert!(
        line.contains("the server does not let app log in with what came from: what the test gives (28000)")
            && !passing,
        "{line}"
    );
    assert!(!format!("{error:?}").contains("X-Amz-Signature"), "{error:?}");
    server.shift_iam_clock(0);
    provider.change(|credential| *credential = signed(2));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(dialer.dial().await.unwrap().generation, 2);

    // The same by a name that is not this machine's, without TLS: refused before anything is sent.
    let there = super::dialer("host=192.0.2.1 sslmode=disable connect_timeout=1", provider);
    let line = there.dial().await.err().unwrap().to_string();
    assert!(line.contains("disable would send a token to 192.0.2.1:5432 unencrypted"), "{line}");
}

/// An RDS token as AWS's tools make it: a presigned URL (SigV4, query string) without its scheme.
fn token(keys: &IamKeys, endpoint: &str, user: &str) -> String {
    use openssl::hash::{MessageDigest, hash};
    use openssl::pkey::PKey;
    use openssl::sign::Signer;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sign = |key: &[u8], text: &str| {
        let key = PKey::hmac(key).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        signer.update(text.as_bytes()).unwrap();
        signer.sign_to_vec().unwrap()
    };
    let now = time::OffsetDateTime::now_utc();
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let date = format!("{year}{month:02}{day:02}");
    let time = format!("{date}T{:02}{:02}{:02}Z", now.hour(), now.minute(), now.second());
    let scope = format!("{date}/eu-central-1/rds-db/aws4_request");
    let query = format!(
        "Action=connect&DBUser={user}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}%2F{}&X-Amz-Date={time}\
         &X-Amz-Expires=900&X-Amz-SignedHeaders=host",
        keys.access_key,
        scope.replace('/', "%2F")
    );
    let empty = hex(&hash(MessageDigest::sha256(), b"").unwrap());
    let request = format!("GET\n/\n{query}\nhost:{endpoint}\n\nhost\n{empty}");
    let request = hex(&hash(MessageDigest::sha256(), request.as_bytes()).unwrap());
    let mut key = sign(format!("AWS4{}", keys.secret_key).as_bytes(), &date);
    for part in ["eu-central-1", "rds-db", "aws4_request"] {
        key = sign(&key, part);
    }
    let signature = hex(&sign(&key, &format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{request}")));
    format!("{endpoint}/?{query}&X-Amz-Signature={signature}")
}

/// Everything that is logged, of every level, from this crate and the driver, on the way to a refusal and to a success.
#[tokio::test]
async fn no_log_line_shows_a_password() {
    if !needs::postgres() {
        return;
    }
    let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
    let writer = {
        let lines = Arc::clone(&lines);
        move || Lines(Arc::clone(&lines))
    };
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(writer).finish();
    // With one subscriber alone, a line that another test's thread comes to first would be switched off for this one
    // too.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().finish());
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Postgres::scram("app", "Kanarienvogel").start();
    super::dial(&server.url("app")).await.unwrap();
    let wrong = server.url("app").replace("Kanarienvogel", "Kanarienvogel2");
    assert!(super::dial(&wrong).await.is_err());
    let logged = String::from_utf8(std::mem::take(&mut *lines.lock().unwrap())).unwrap();
    assert!(
        logged.contains("the URL holds a password") && logged.contains("the server refused a credential"),
        "{logged}"
    );
    assert!(!logged.contains("Kanarien"), "{logged}");
}

struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Gives a password that is wrong and ends soon, and then the right one.
struct Ending(AtomicU64);

impl CredentialProvider for Ending {
    fn credential<'a>(&'a self, _: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        let generation = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let (password, life) = if generation == 1 { ("Kanarien", 300) } else { ("secret", 900_000) };
        let end = std::time::SystemTime::now() + Duration::from_millis(life);
        Box::pin(async move { Ok(Credential::new("app", Secret::new(password), generation).valid_until(end)) })
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the test's signer")
    }
}

/// The way to the server is slow, so that a token ends between the first message and the password. Had it been sent, the
/// server would have refused it and logged that.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_while_it_is_on_its_way_is_replaced_and_not_sent() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "secret").start();
    let proxy = tokio::task::block_in_place(|| FaultProxy::in_front_of(server.address()));
    proxy.set(Fault::Delay(Duration::from_millis(250)));
    let provider = Arc::new(Ending(AtomicU64::new(0)));
    let url = format!("postgres://127.0.0.1:{}/app", proxy.address().port());
    let dialed = dialer(&url, provider.clone()).dial().await.unwrap();
    assert_eq!((dialed.generation, provider.0.load(Ordering::Relaxed)), (2, 2));
    assert_eq!(logged(&server, REFUSED), 0);
}

/// A clock or a source that is wrong: no end of asking, nothing sent, and no breaker for what the server has not refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_tokens_that_have_ended_is_asked_twice_and_nothing_is_sent() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "secret").start();
    let provider = Given::new("app", "Kanarien");
    provider.change(|credential| credential.valid_until = Some(std::time::SystemTime::UNIX_EPOCH));
    let dialer = dialer(&format!("postgres://127.0.0.1:{}/app", server.port()), provider.clone());
    let (line, passing) = told(&dialer.dial().await.err().unwrap());
    assert!(
        line.ends_with("connecting outlasted the token of app, from what the test gives, which was not sent"),
        "{line}"
    );
    assert!(passing);
    assert_eq!((logged(&server, REFUSED), provider.asked()), (0, 2));
    provider.change(|credential| *credential = Credential::new("app", Secret::new("secret"), 2));
    dialer.dial().await.unwrap();
}
