//! What the texts mean, compared with libpq's manual (34.1.1) and with what psql 15 does.

use std::path::Path;
use std::time::Duration;

use super::super::settings::{ChannelBinding, Host, Place, Settings, TargetSession};
use super::super::tls::{Roots, TlsMode};
use super::parse;

fn settings(text: &str) -> Settings {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).0
}

fn refusal(text: &str) -> String {
    match parse(text) {
        Ok((settings, _)) => panic!("{text} is read as {settings:?}"),
        Err(error) => format!("{error} {error:?}"),
    }
}

/// Hosts, user, password and database in one line; what is not said is `-`.
fn seen(text: &str) -> String {
    let (settings, password) = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let host = |host: &Host| {
        let port = host.port.map_or_else(|| "-".to_owned(), |port| port.to_string());
        match &host.place {
            Place::Tcp { name, address: Some(address) } if *name != address.to_string() => {
                format!("{name}={address} {port}")
            }
            Place::Tcp { name, .. } => format!("{name} {port}"),
            Place::Unix(folder) => format!("{} {port}", folder.display()),
        }
    };
    let hosts: Vec<_> = settings.hosts.iter().map(host).collect();
    let port = settings.port.filter(|_| settings.hosts.is_empty());
    let or = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let hosts = match (hosts.is_empty(), port) {
        (true, Some(port)) => format!("- {port}"),
        (true, None) => "-".to_owned(),
        (false, _) => hosts.join(","),
    };
    let password = password.as_ref().and_then(|password| password.expose_str());
    format!("{hosts} | {} | {} | {}", or(settings.user.as_deref()), or(password), or(settings.database.as_deref()))
}

#[test]
fn urls_are_read_as_libpq_reads_them() {
    let cases = [
        // The manual's examples.
        ("postgresql://", "- | - | - | -"),
        ("postgresql://localhost", "localhost - | - | - | -"),
        ("postgresql://localhost:5433", "localhost 5433 | - | - | -"),
        ("postgresql://localhost/mydb", "localhost - | - | - | mydb"),
        ("postgresql://user@localhost", "localhost - | user | - | -"),
        ("postgresql://user:secret@localhost", "localhost - | user | secret | -"),
        (
            "postgresql://other@localhost/otherdb?connect_timeout=10&application_name=myapp",
            "localhost - | other | - | otherdb",
        ),
        (
            "postgresql://host1:123,host2:456/somedb?target_session_attrs=any&application_name=myapp",
            "host1 123,host2 456 | - | - | somedb",
        ),
        ("postgresql:///mydb?host=localhost&port=5433", "localhost 5433 | - | - | mydb"),
        ("postgresql://[2001:db8::1234]/database", "2001:db8::1234 - | - | - | database"),
        ("postgresql:///dbname?host=/var/lib/postgresql", "/var/lib/postgresql - | - | - | dbname"),
        ("postgresql://%2Fvar%2Flib%2Fpostgresql/dbname", "/var/lib/postgresql - | - | - | dbname"),
        // Others.
        ("postgres://h/db", "h - | - | - | db"),
        ("postgres:///db", "- | - | - | db"),
        ("postgres://:5433/db", "- 5433 | - | - | db"),
        ("postgres://[::1]:5433/db", "::1 5433 | - | - | db"),
        ("postgres://u@[::1]", "::1 - | u | - | -"),
        ("postgres://a,b,c:1/db", "a -,b -,c 1 | - | - | db"),
        ("postgres://u:p@%2Ftmp:5433/db", "/tmp 5433 | u | p | db"),
        ("postgres://u:p@/db?host=/tmp", "/tmp - | u | p | db"),
        ("postgres://h/db?user=u&password=p", "h - | u | p | db"),
        ("postgres://h/db?dbname=other", "h - | - | - | other"),
        ("postgres://h/db?host=other", "other - | - | - | db"),
        ("postgres://h/my%20db", "h - | - | - | my db"),
        ("postgres://h/db?hostaddr=10.0.0.1", "h=10.0.0.1 - | - | - | db"),
        ("postgres:///db?hostaddr=10.0.0.1", "10.0.0.1 - | - | - | db"),
        ("postgres://a,b/db?hostaddr=10.0.0.1,10.0.0.2&port=1", "a=10.0.0.1 1,b=10.0.0.2 1 | - | - | db"),
        ("postgres://:p@h/db", "h - | - | p | db"),
        ("postgres://u:@h/db", "h - | u | - | db"),
        // Passwords: all but @ and / may stand as they are, with % always encoded.
        ("postgres://u:a:b@h/db", "h - | u | a:b | db"),
        ("postgres://u:a?b#c&d=e f'g\"h\\i@h/db", "h - | u | a?b#c&d=e f'g\"h\\i | db"),
        ("postgres://u:a+b@h/db", "h - | u | a+b | db"),
        ("postgres://u:%40%2F%3A%25%20%C3%BC@h/db", "h - | u | @/:% ü | db"),
        ("postgres://u%40corp:p@h/db", "h - | u@corp | p | db"),
        ("postgres://u:[x],y@h/db", "h - | u | [x],y | db"),
    ];
    for (text, expected) in cases {
        assert_eq!(seen(text), expected, "{text}");
    }
}

#[test]
fn keys_and_values_are_read_as_libpq_reads_them() {
    let cases = [
        ("host=localhost port=5432 dbname=mydb connect_timeout=10", "localhost 5432 | - | - | mydb"),
        ("host=h user=u password=p", "h - | u | p | -"),
        ("  host = h\tuser\n= u ", "h - | u | - | -"),
        ("host=h password='it''s'", ""),
        ("host=h password='with space'", "h - | - | with space | -"),
        (r"host=h password='it\'s \\ back'", r"h - | - | it's \ back | -"),
        (r"host=h password=it\'s\ \\", r"h - | - | it's \ | -"),
        ("host=h password='' user=''", "h - | - | - | -"),
        ("host=h password=a=b=c", "h - | - | a=b=c | -"),
        ("host=h password=@/:?#%20&", "h - | - | @/:?#%20& | -"),
        ("host=h password=ü'x", "h - | - | ü'x | -"),
        ("host=a,b port=1,2", "a 1,b 2 | - | - | -"),
        ("host=a,b port=1", "a 1,b 1 | - | - | -"),
        ("host=a,b port=,2", "a -,b 2 | - | - | -"),
        ("host=::1", "::1 - | - | - | -"),
        ("host=/tmp port=5433", "/tmp 5433 | - | - | -"),
        ("host=/tmp,h", "/tmp -,h - | - | - | -"),
        ("host=a host=b", "b - | - | - | -"),
        ("dbname=db", "- | - | - | db"),
    ];
    for (text, expected) in cases {
        if expected.is_empty() {
            // A quote ends the value; what follows is the next key, as libpq has it.
            refusal(text);
            continue;
        }
        assert_eq!(seen(text), expected, "{text}");
    }
}

#[test]
fn every_parameter_takes_effect() {
    let all = settings(
        "postgres://u@h/db?connect_timeout=3&keepalives_idle=11&keepalives_interval=12&keepalives_count=13&\
         tcp_user_timeout=14000&statement_timeout=1500&lock_timeout=2s&target_session_attrs=prefer-standby&\
         load_balance_hosts=random&channel_binding=require&options=-c%20geqo%3Doff&named_statements=0&\
         application_name=%C3%BCber&sslmode=verify-ca&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem&\
         ssl_min_protocol_version=TLSv1.3&client_encoding=UTF8&gssencmode=disable&sslsni=1&sslcompression=0",
    );
    assert_eq!(all.connect_timeout, Duration::from_secs(3));
    let keepalive = all.keepalive.unwrap();
    assert_eq!((keepalive.idle.as_secs(), keepalive.interval.as_secs(), keepalive.count), (11, 12, 13));
    assert_eq!(all.tcp_user_timeout, Some(Duration::from_secs(14)));
    assert_eq!(all.statement_timeout, Some(Duration::from_millis(1500)));
    assert_eq!(all.lock_timeout, Some(Duration::from_secs(2)));
    assert_eq!(all.target, TargetSession::PreferStandby);
    assert!(all.load_balance && !all.named_statements);
    assert_eq!(all.channel_binding, ChannelBinding::Require);
    assert_eq!(all.options.as_deref(), Some("-c geqo=off"));
    assert_eq!(all.application_name, "?ber");
    assert_eq!(all.tls.mode, Some(TlsMode::VerifyCa));
    assert_eq!(all.tls.roots, Some(Roots::File("/ca.pem".into())));
    let client = all.tls.client.unwrap();
    assert_eq!((client.certificate.as_path(), client.key.as_path()), (Path::new("/c.pem"), Path::new("/k.pem")));
    assert!(all.tls.only_1_3);

    let defaults = settings("postgres://h");
    assert_eq!(defaults.connect_timeout, Duration::from_secs(10));
    assert_eq!(defaults.tcp_user_timeout, Some(Duration::from_secs(60)));
    assert!(defaults.keepalive.is_some() && defaults.named_statements && !defaults.load_balance);
    assert_eq!((defaults.tls.mode, defaults.tls.roots), (None, None));
    assert!(defaults.application_name.starts_with("strongroom"), "{}", defaults.application_name);

    assert_eq!(settings("postgres://h?connect_timeout=0").connect_timeout, Duration::from_secs(300));
    assert_eq!(settings("postgres://h?keepalives=0").keepalive, None);
    assert_eq!(settings("postgres://h?tcp_user_timeout=0").tcp_user_timeout, None);
    assert_eq!(settings("postgres://h?statement_timeout=0").statement_timeout, None);
    assert_eq!(settings("postgres://h?ssl=true").tls.mode, Some(TlsMode::VerifyFull));
    assert_eq!(settings("postgres://h?sslmode=require").tls.mode, Some(TlsMode::VerifyFull));
    assert_eq!(settings("postgres://h?sslmode=disable").tls.mode, Some(TlsMode::Disable));
    assert_eq!(settings("postgres://h?sslrootcert=system").tls.roots, Some(Roots::System));
    assert_eq!(settings("postgres://h?fallback_application_name=x").application_name, "x");
}

#[test]
fn what_is_not_supported_is_refused_and_says_what_to_do() {
    let cases = [
        ("postgres://h?sslmode=prefer", "use verify-full, or disable"),
        ("postgres://h?sslmode=allow", "use verify-full, or disable"),
        ("postgres://h?sslmode=on", "has sslmode=on; expected disable, require, verify-ca, verify-full"),
        ("postgres://h?service=prod", "service files are not read; write the settings out"),
        ("postgres://h?passfile=/x", "name the password's source instead"),
        ("postgres://h?sslcrl=/x", "revocation lists are not read"),
        ("postgres://h?sslnegotiation=direct", "has sslnegotiation=direct; expected postgres"),
        ("postgres://h?client_encoding=LATIN1", "has client_encoding=LATIN1; expected UTF8"),
        ("postgres://h?gssencmode=require", "expected disable, prefer"),
        ("postgres://h?sslmod=disable", "has an unknown key, sslmod"),
        ("host=h sslmod=disable", "has an unknown key, sslmod"),
        ("postgres://h?connect_timeout=soon", "has a connect_timeout that is no number in range"),
        ("postgres://h?statement_timeout=5weeks", "expected ms, s, min, h or d"),
        ("postgres://h?target_session_attrs=master", "expected any, read-write, read-only, primary"),
        ("postgres://h?sslcert=/c.pem", "needs both"),
        ("postgres://h?hostaddr=db.example", "has a hostaddr that is no IP address"),
        ("postgres://a,b?hostaddr=10.0.0.1", "has 2 hosts and 1 hostaddr"),
        ("host=a,b,c port=1,2", "has 2 ports and 3 hosts"),
        ("postgres://a,,b", "has an empty host in a list"),
        ("postgres://h:0/db", "no number from 1 to 65535"),
        ("postgres://h:65536/db", "no number from 1 to 65535"),
        ("postgres://::1/db", "in brackets"),
        ("postgres://[::1/db", "has a [ without ]"),
        ("postgres://[::1]x/db", "other than :port after the ]"),
        ("postgres://h/%zz", "has in the database a % without two hexadecimal digits"),
        ("postgres://h/%00", "%00, which is forbidden"),
        ("postgres://h/%ff", "no UTF-8"),
        ("postgres://h?sslmode", "has a parameter without ="),
        ("postgres://h%20x", "a character that no host name has"),
        ("host=@socket", "abstract unix sockets are not supported"),
        ("host=h user='x", "has a quote that is not closed in the value of user"),
        ("localhost", "is neither a URL"),
        ("mysql://h/db", "is neither a URL"),
    ];
    for (text, expected) in cases {
        let refusal = refusal(text);
        assert!(refusal.contains(expected), "{text}: {refusal}");
    }
}

/// Every way to write a password wrongly that comes to mind; no error shows a piece of it, nor does what is accepted.
#[test]
fn no_error_and_no_debug_shows_a_password() {
    let canary = "Kanarien";
    let texts = [
        "postgres://u:Kanarien@h/db",
        "postgres://u:Kanarien@h:bad/db",
        "postgres://u:Kanarien%@h/db",
        "postgres://u:%zzKanarien@h/db",
        "postgres://u:%ffKanarien@h/db",
        "postgres://u:x@Kanarien@h/db",
        "postgres://u:Kanarien/x@h/db",
        "postgres://u:x/Kanarien@h/db",
        "postgres://u:x/y@Kanarien@h/db",
        "postgres://u:x@y/Kanarien@h/db",
        "postgres://u:x@y?Kanarien@h/db",
        "postgres://u:x?Kanarien=1@h/db",
        "postgres://u:x?Kanarien=1/y@h/db",
        "postgres://u:Kanarien",
        "postgres://u:1?Kanarien=1&x@h",
        "postgres://u:x?Kanarien=1",
        "postgres://u:x]Kanarien@[h/db",
        "postgres://u@h/db?password=Kanarien%",
        "postgres://u@h/db?password=%ffKanarien",
        "postgres://u@h/db?password=Kanarien",
        "postgres://u@h/db?password=Kanarien&sslmode=bad",
        "postgres://u@h/db?sslcert=c&sslkey=k&sslpassword=Kanarien",
        "postgres://u@h/db?sslpassword=Kanarien",
        "host=h password=Kanarien",
        "host=h password=Kanarien bad",
        "host=h password=x Kanarien",
        "host=h password=x Kanarien=1",
        "host=h password=x Kanarien =1",
        "host=h sslpassword=x Kanarien=1",
        "host=h password='Kanarien",
        "host=h password='x' Kanarien",
        "password='Kanarien' nonsense=1",
        "mysql://u:Kanarien@h/db",
        "Kanarien",
        "postgres:/u:Kanarien@h/db",
        "host=h,, password=Kanarien",
    ];
    for text in texts {
        let shown = match Settings::from_text(text) {
            Ok(settings) => format!("{settings:?} {}", settings.shown()),
            Err(error) => format!("{error} {error:?} {:?}", std::error::Error::source(&error)),
        };
        assert!(!shown.contains(canary), "{text}: {shown}");
    }
}

/// Compared with psql, which is libpq: it prints what it makes of a text.
#[test]
fn psql_reads_the_same() {
    if !test_servers::needs::postgres() {
        return;
    }
    let server = test_servers::Postgres::shared();
    let (port, folder) = (server.port(), server.socket_folder().display().to_string());
    let database = server.create_database();
    server.execute("create role \"o'u@x\" login");
    let escaped = folder.replace('/', "%2F");
    let name = database.name();
    let texts = [
        format!("postgres://app@{escaped}:{port}/{name}"),
        format!("postgresql://app:any%40thing@{escaped}:{port}/{name}"),
        format!("postgres://o'u%40x@{escaped}:{port}/{name}"),
        format!("postgres:///{name}?host={folder}&port={port}&user=app"),
        format!("postgres://app@:{port}/{name}?host={escaped}"),
        format!("postgres://app@127.0.0.1:{port}/{name}"),
        format!("postgres://app@db.invalid:{port}/{name}?hostaddr=127.0.0.1&sslmode=disable"),
        format!("postgres://app@wrong/wrong?host=localhost&port={port}&dbname={name}"),
        format!("host={folder} port={port} user=app dbname={name}"),
        format!("host = '{folder}' port={port} user='o\\'u@x' dbname= {name}"),
        format!("host=127.0.0.1,{folder} port=1,{port} user=app dbname={name}"),
        format!("host={folder},127.0.0.1 port={port} user=wrong user=app dbname={name} application_name='a b\\\\c'"),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for text in texts {
        let asked =
            "select current_user || '|' || current_database() || '|' || coalesce(host(inet_server_addr()), 'socket')
            || '|' || replace(current_setting('application_name'), 'psql', '')";
        let theirs = std::process::Command::new("psql").args(["-XAtc", asked, &text]).output().unwrap();
        assert!(theirs.status.success(), "{text}: {}", String::from_utf8_lossy(&theirs.stderr));
        let mut settings = settings(&text);
        if !text.contains("application_name") {
            settings.application_name = String::new();
        }
        let ours = runtime.block_on(async {
            let mut dialed = super::super::Dialer::new(&settings).unwrap().dial().await.unwrap();
            dialed.wire.carry(dialed.client.query_one(asked, &[])).await.unwrap().get::<_, String>(0)
        });
        assert_eq!(ours, String::from_utf8_lossy(&theirs.stdout).trim_end(), "{text}");
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// As the manual has it: quoted, with a backslash before quotes and backslashes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

proptest::proptest! {
    #[test]
    fn any_user_password_and_database_comes_back(texts in proptest::array::uniform3("[^\0]{1,30}")) {
        let [user, password, database] = &texts;
        let expected = format!("h - | {user} | {password} | {database}");
        let url = format!("postgres://{}:{}@h/{}", encoded(user), encoded(password), encoded(database));
        proptest::prop_assert_eq!(seen(&url), expected.clone());
        let text = format!("user={} password={} host=h dbname={}", quoted(user), quoted(password), quoted(database));
        proptest::prop_assert_eq!(seen(&text), expected);
    }

    #[test]
    fn no_text_makes_the_parser_panic_or_show_what_follows_a_colon(before in "\\PC{0,12}", after in "\\PC{0,12}") {
        for text in [
            format!("postgres://u:{before}Kanarien{after}@h/db"),
            format!("postgres://{before}:Kanarien{after}"),
            format!("host=h password={before}Kanarien{after}"),
        ] {
            if let Err(error) = parse(&text) {
                proptest::prop_assert!(!format!("{error:?}").contains("Kanarien"), "{}: {:?}", text, error);
            }
        }
    }
}
