//! TLS: what is encrypted, what is proven, and what each failure says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use openssl::pkey::PKey;
use openssl::symm::Cipher;
use test_servers::{Ca, Postgres, needs};

use super::{Given, ask, dial, dialer, refusal};

/// The server's URL for TLS with a CA's file, at a host of the test's choice.
fn url(server: &Postgres, host: &str, roots: &Path, more: &str) -> String {
    let (user, port) = (server.user(), server.port());
    let password = server.password().map(|password| format!(":{password}")).unwrap_or_default();
    let roots = roots.display();
    format!(
        "postgres://{user}{password}@{host}:{port}/{user}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={roots}{more}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_proves_its_name_is_connected_and_its_facts_are_known() {
    if !needs::postgres() {
        return;
    }
    let ca = Ca::new();
    let server = Postgres::scram("app", "secret").tls(&ca.server()).only_tls().start();
    for (host, more) in [
        ("db.test", ""),
        ("localhost", ""),
        ("127.0.0.1", ""),
        ("db.test", "&channel_binding=require"),
        ("db.test", "&channel_binding=disable"),
        ("db.test", "&ssl_min_protocol_version=TLSv1.3"),
    ] {
        let mut dialed = dial(&url(&server, host, ca.file(), more)).await.unwrap();
        let tls = dialed.facts.tls.clone().unwrap();
        assert_eq!((tls.protocol.as_str(), tls.peer_name.as_str()), ("TLSv1.3", "db.test, localhost, 127.0.0.1"));
        let days = (tls.not_after - time::OffsetDateTime::now_utc()).whole_days();
        assert_eq!(days, 29, "{}", tls.not_after);
        let (theirs, cipher) = {
            let asked = "select version, cipher from pg_stat_ssl where pid = pg_backend_pid()";
            let row = dialed.wire.carry(dialed.client.query_one(asked, &[])).await.unwrap();
            (row.get::<_, String>(0), row.get::<_, String>(1))
        };
        assert_eq!((tls.protocol, tls.cipher), (theirs, cipher));
        assert_eq!((dialed.facts.host.as_str(), dialed.facts.port), (host, server.port()));
        assert!(dialed.facts.server_version.starts_with(|c: char| c.is_ascii_digit()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_proven_is_refused_and_the_reason_says_what_to_do() {
    if !needs::postgres() {
        return;
    }
    let (ca, other) = (Ca::new(), Ca::new());
    let good = Postgres::scram("app", "secret").tls(&ca.server()).start();
    let expired = Postgres::scram("app", "secret").tls(&ca.expired_server()).start();
    let future = Postgres::scram("app", "secret").tls(&ca.server_with(&Ca::NAMES, 2..30)).start();
    let plain = Postgres::scram("app", "secret").start();
    let cases = [
        (url(&good, "db2.test", ca.file(), ""), "is for db.test, localhost, 127.0.0.1, not for db2.test"),
        (url(&good, "127.0.0.2", ca.file(), "").replace("hostaddr=127.0.0.1&", ""), "not for 127.0.0.2"),
        // The server sends its CA's certificate with its own.
        (url(&good, "db.test", other.file(), ""), "is a root that is not trusted; name its file by sslrootcert"),
        (url(&expired, "db.test", ca.file(), ""), "the server's certificate expired on 20"),
        (url(&future, "db.test", ca.file(), ""), "compare the clocks"),
        (
            url(&plain, "db.test", ca.file(), ""),
            "the server does no TLS; switch it on there (ssl = on), or say sslmode=disable",
        ),
        // The system's CAs do not know it either.
        (
            format!("postgres://app:secret@localhost:{}/app?sslmode=require", good.port()),
            "is a root that is not trusted",
        ),
    ];
    for (url, expected) in cases {
        let (line, passing) = refusal(&url).await;
        // 127.0.0.2 is another machine to the server, which listens on 127.0.0.1 only.
        if line.contains("was refused") && expected.contains("127.0.0.2") {
            continue;
        }
        assert!(line.contains(expected), "{url}: {line}");
        assert!(!passing, "{line}");
        assert!(line.starts_with("setting") || line.starts_with("postgres://"), "{line}");
    }
    // None of them has come to a log-in, so that no password was sent.
    for server in [&good, &expired, &future, &plain] {
        assert!(!server.log().contains("password authentication failed"));
    }
    // A CA that is named means TLS, on this machine as well.
    let (line, _) = refusal(&url(&plain, "localhost", ca.file(), "").replace("&sslmode=verify-full", "")).await;
    assert!(line.contains("the server does no TLS"), "{line}");
    // A name that does not fit is of no interest with verify-ca.
    let url = url(&good, "db2.test", ca.file(), "&sslmode=verify-ca");
    assert!(dial(&url).await.unwrap().facts.tls.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_is_refused_unless_it_is_named() {
    if !needs::postgres() {
        return;
    }
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", "/CN=alone.test", "-keyout", &file("key"), "-out", &file("pem")])
        .output()
        .unwrap();
    assert!(made.status.success());
    let identity = ca.server();
    fs::copy(file("pem"), identity.certificate_file()).unwrap();
    let server = Postgres::scram("app", "secret").tls(&identity).start();
    replace_identity(&server, &file("pem"), &file("key"));
    let (line, _) = refusal(&url(&server, "alone.test", ca.file(), "")).await;
    assert!(line.contains("is self-signed and not trusted"), "{line}");
    // Its common name serves, as it has no others; libpq and OpenSSL see it so.
    let dialed = dial(&url(&server, "alone.test", Path::new(&file("pem")), "")).await.unwrap();
    assert_eq!(dialed.facts.tls.unwrap().peer_name, "alone.test");
}

/// Gives a running server another certificate.
fn replace_identity(server: &Postgres, certificate: &str, key: &str) {
    let setting = |name| server.query(&format!("show {name}"))[0][0].clone();
    let data = setting("data_directory");
    let at = |name: &str| Path::new(&data).join(name);
    let (to_certificate, to_key) = (at(&setting("ssl_cert_file")), at(&setting("ssl_key_file")));
    // Written in place: the files stay the server's user's.
    fs::write(to_certificate, fs::read(certificate).unwrap()).unwrap();
    fs::write(to_key, fs::read(key).unwrap()).unwrap();
    server.execute("select pg_reload_conf()");
    std::thread::sleep(std::time::Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_certificate_and_a_bundle_that_are_renewed_are_used_at_once() {
    if !needs::postgres() {
        return;
    }
    let (ca, next) = (Ca::new(), Ca::new());
    let server = Postgres::scram("app", "secret").tls(&ca.server()).start();
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    fs::write(&bundle, ca.pem()).unwrap();
    let settings = super::Settings::from_text(&url(&server, "db.test", &bundle, "")).unwrap();
    let dialer = super::Dialer::new(&settings).unwrap();
    dialer.dial().await.unwrap();
    let renewed = next.server();
    let file = |path: &Path| path.display().to_string();
    replace_identity(&server, &file(renewed.certificate_file()), &file(renewed.key_file()));
    assert!(dialer.dial().await.is_err());
    fs::write(&bundle, ca.pem() + "\nsome words between\n" + &next.pem()).unwrap();
    dialer.dial().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_cannot_be_used_is_named() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.pem");
    let damaged = ca.pem().replacen("MII", "!!!", 1);
    let cut = ca.pem()[..200].to_owned();
    for (content, expected) in [
        (Some(""), "bundle.pem is empty; expected certificates in PEM"),
        (Some("no certificate"), "holds no certificate; expected PEM"),
        (Some(damaged.as_str()), "damaged or cut off"),
        (Some(cut.as_str()), "damaged or cut off"),
        (None, "cannot be opened (entity not found)"),
    ] {
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let (line, passing) =
            refusal(&format!("postgres://u@db.test/?hostaddr=127.0.0.1&port=1&sslrootcert={}", path.display())).await;
        assert!(line.starts_with("setting sslrootcert: ") && line.contains(expected) && !passing, "{line}");
    }
    let (line, _) = refusal("postgres://u@db.test/?hostaddr=127.0.0.1&port=1&sslrootcert=/etc").await;
    assert!(line.contains("is not a regular file"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_logs_in_and_its_key_must_be_private() {
    if !needs::postgres() {
        return;
    }
    let (ca, other) = (Ca::new(), Ca::new());
    let server = Postgres::client_certificate("app", &ca.server()).start();
    let (own, foreign) = (ca.client("app"), other.client("app"));
    let (certificate, key) = (own.certificate_file(), own.key_file());
    let with = |certificate: &Path, key: &Path, more: &str| {
        let more = format!("&sslcert={}&sslkey={}{more}", certificate.display(), key.display());
        url(&server, "db.test", ca.file(), &more)
    };
    let mut dialed = dial(&with(certificate, key, "")).await.unwrap();
    assert_eq!(ask(&mut dialed, "select current_user::text").await, "app");
    assert_eq!(dialed.generation, 0);

    let (line, _) = refusal(&url(&server, "db.test", ca.file(), "")).await;
    assert!(line.contains("pg_hba.conf lets app not into app from here with TLS"), "{line}");
    let (line, _) = refusal(&with(foreign.certificate_file(), foreign.key_file(), "")).await;
    // With TLS 1.3 the client has sent its first message before the server looks at the certificate; the server closes with that
    // unread, and the system may throw its alert away with it (RFC 1122, section 4.2.2.13).
    let alert = "the server does not accept the client's certificate (tlsv1 alert unknown ca)";
    assert!(line.contains(alert) || line.contains("the server closed the connection"), "{line}");
    let (line, _) = refusal(&with(certificate, foreign.key_file(), "")).await;
    assert!(line.starts_with("setting sslkey: ") && line.contains("is not the key of"), "{line}");
    let (line, _) = refusal(&with(certificate, certificate, "")).await;
    assert!(line.contains("others could read it") || line.contains("holds no private key"), "{line}");

    let folder = tempfile::tempdir().unwrap();
    let encrypted = folder.path().join("encrypted.key");
    let clear = PKey::private_key_from_pem(own.key().as_bytes()).unwrap();
    fs::write(&encrypted, clear.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame").unwrap())
        .unwrap();
    let (line, _) = refusal(&with(certificate, &encrypted, "")).await;
    assert!(line.contains("has mode 0644, others could read it; expected 0600"), "{line}");
    fs::set_permissions(&encrypted, fs::Permissions::from_mode(0o600)).unwrap();
    let (line, _) = refusal(&with(certificate, &encrypted, "")).await;
    assert!(line.contains("is encrypted; name its passphrase by sslpassword"), "{line}");
    let (line, _) = refusal(&with(certificate, &encrypted, "&sslpassword=wrong")).await;
    assert!(line.contains("is encrypted, and not with this passphrase"), "{line}");
    dial(&with(certificate, &encrypted, "&sslpassword=open%20sesame")).await.unwrap();
}

#[tokio::test]
async fn no_password_or_token_goes_over_a_plain_connection_to_another_machine_unless_asked_for_by_name() {
    // 192.0.2.0/24 is nobody's (RFC 5737): a connection that is tried ends by its time limit.
    let there = "hostaddr=192.0.2.1 connect_timeout=1 user=u dbname=d";
    let token = dialer(&format!("{there} sslmode=disable"), Given::new("u", "t").token()).dial().await.err().unwrap();
    assert_eq!(
        token.to_string(),
        "setting sslmode: disable would send a token to 192.0.2.1:5432 unencrypted; say verify-full"
    );
    // Asked for by name: it is tried.
    let password = dialer(&format!("{there} sslmode=disable"), Given::new("u", "p")).dial().await.err().unwrap();
    assert!(matches!(password, crate::Error::Connection { passing: true, .. }), "{password}");
    // A name for this machine that leads elsewhere.
    let elsewhere = dialer("host=localhost hostaddr=192.0.2.1 connect_timeout=1", Given::new("u", "p"));
    assert!(!elsewhere.settings().hosts[0].place.is_local());
}
