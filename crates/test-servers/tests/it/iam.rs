//! Servers that take IAM tokens: what AWS would take they take, and nothing else.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::hash::{MessageDigest, hash};
use openssl::pkey::PKey;
use openssl::sign::Signer;
use test_servers::{Ca, IamKeys, Postgres, needs};

use crate::client::answer;

fn keys(session_token: Option<&str>) -> IamKeys {
    IamKeys {
        access_key: "AKIDEXAMPLE".into(),
        secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        session_token: session_token.map(str::to_owned),
        region: "eu-west-3".into(),
    }
}

/// A token to be signed, as SigV4 presigns a GET; the fields are what the tests get wrong.
struct Token<'a> {
    keys: IamKeys,
    endpoint: &'a str,
    service: &'a str,
    /// What is asked for: parameters that sort before `X-Amz-…`.
    wanted: Vec<(&'a str, &'a str)>,
    age: Duration,
    expires: u32,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = PKey::hmac(key).unwrap();
    Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(text.as_bytes()).unwrap()
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

impl Token<'_> {
    fn sign(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - self.age;
        let at = format!("@{}", now.as_secs());
        let stamp = Command::new("date").args(["-u", "+%Y%m%dT%H%M%SZ", "-d", &at]).output().unwrap();
        let stamp = String::from_utf8(stamp.stdout).unwrap().trim().to_owned();
        let scope = [&stamp[..8], &self.keys.region, self.service, "aws4_request"];
        let expires = self.expires.to_string();
        let credential = format!("{}/{}", self.keys.access_key, scope.join("/"));
        let mut query = self.wanted.clone();
        query.extend([("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), ("X-Amz-Credential", &credential)]);
        query.extend([("X-Amz-Date", &*stamp), ("X-Amz-Expires", &expires)]);
        query.extend(self.keys.session_token.iter().map(|token| ("X-Amz-Security-Token", &**token)));
        query.push(("X-Amz-SignedHeaders", "host"));
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let query = query.join("&");
        let digest = |text: &str| hex(&hash(MessageDigest::sha256(), text.as_bytes()).unwrap());
        let request = format!("GET\n/\n{query}\nhost:{}\n\nhost\n{}", self.endpoint, digest(""));
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{}\n{}", scope.join("/"), digest(&request));
        let secret = format!("AWS4{}", self.keys.secret_key).into_bytes();
        let key = scope.iter().fold(secret, |key, part| hmac(&key, part));
        format!("{}/?{query}&X-Amz-Signature={}", self.endpoint, hex(&hmac(&key, &text)))
    }
}

/// Logs in with `token` for a password: the role, or the server's error.
fn log_in(server: &Postgres, user: &str, token: &str, tls: &str) -> Result<String, String> {
    let url = format!("postgres://{user}@{}/{}", server.address(), server.user());
    answer(&url, &[("PGPASSWORD", token), ("PGSSLMODE", tls)], "select current_user")
}

#[test]
fn rds_takes_what_aws_takes_and_nothing_else() {
    if !needs::iam() {
        return;
    }
    for session_token in [None, Some("IQoJb3JpZ2luX2VjE//+=".repeat(40))] {
        let keys = keys(session_token.as_deref());
        let server = Postgres::rds_iam("app", &keys, &Ca::new().server()).start();
        server.execute("create role other login in role rds_iam; create role password login password 'secret'");
        let endpoint = format!("127.0.0.1:{}", server.port());
        let good = || Token {
            keys: keys.clone(),
            endpoint: &endpoint,
            service: "rds-db",
            wanted: vec![("Action", "connect"), ("DBUser", "app")],
            age: Duration::ZERO,
            expires: 900,
        };
        let comes_in = |token: &str| assert_eq!(log_in(&server, "app", token, "require"), Ok("app".into()));
        let refused = |token: &str, reason: &str| {
            let before = server.log().len();
            let error = log_in(&server, "app", token, "require").unwrap_err();
            assert!(error.contains("PAM authentication failed for user \"app\""), "{error}");
            let log = server.log().split_off(before);
            assert!(log.contains(&format!("IAM token refused: {reason}\n")), "{reason}: {log}");
            assert!(!log.contains("X-Amz"), "{log}");
        };

        let token = good().sign();
        comes_in(&token);
        comes_in(&Token { age: Duration::from_secs(890), ..good() }.sign());
        refused(&Token { age: Duration::from_secs(901), ..good() }.sign(), "expired");
        server.shift_iam_clock(890);
        comes_in(&good().sign());
        server.shift_iam_clock(901);
        refused(&good().sign(), "expired");
        server.shift_iam_clock(-400);
        refused(&good().sign(), "signed in the future");
        server.shift_iam_clock(0);

        let (rest, last) = token.split_at(token.len() - 1);
        refused(&format!("{rest}{}", if last == "0" { "1" } else { "0" }), "the signature does not match");
        refused("garbled", "not a token");
        refused(&format!("{token}&Action=connect"), "duplicate parameter Action");
        refused(&format!("{token}&More=1"), "a parameter is missing or does not belong there");
        refused(&Token { expires: 901, ..good() }.sign(), "the lifetime is out of range");
        let mut wrong = good();
        wrong.keys.secret_key.push('x');
        refused(&wrong.sign(), "the signature does not match");
        let mut wrong = good();
        wrong.keys.region = "eu-west-1".into();
        refused(&wrong.sign(), "another access key, region or service");
        let wrong = Token { wanted: vec![("Action", "connect"), ("DBUser", "other")], ..good() };
        refused(&wrong.sign(), "signed for another user");
        refused(&Token { endpoint: "elsewhere.test:5432", ..good() }.sign(), "signed for another host or port");
        server.accept_tokens_for("elsewhere.test:5432");
        comes_in(&Token { endpoint: "elsewhere.test:5432", ..good() }.sign());

        assert!(log_in(&server, "other", &token, "require").unwrap_err().contains("PAM authentication failed"));
        assert!(log_in(&server, "app", &token, "disable").unwrap_err().contains("no pg_hba.conf entry"));
        assert_eq!(log_in(&server, "password", "secret", "require"), Ok("password".into()));
    }
}

#[test]
fn dsql_tells_the_administrator_from_others() {
    if !needs::iam() {
        return;
    }
    for (user, right, wrong) in [("admin", "DbConnectAdmin", "DbConnect"), ("app", "DbConnect", "DbConnectAdmin")] {
        let server = Postgres::dsql(user, &keys(None), &Ca::new().server()).start();
        let token = |action| Token {
            keys: keys(None),
            endpoint: "db.test",
            service: "dsql",
            wanted: vec![("Action", action)],
            age: Duration::ZERO,
            expires: 3600,
        };
        assert_eq!(log_in(&server, user, &token(right).sign(), "require"), Ok(user.into()));
        assert!(log_in(&server, user, &token(wrong).sign(), "require").is_err());
        assert!(log_in(&server, user, &Token { service: "rds-db", ..token(right) }.sign(), "require").is_err());
        assert!(server.log().contains(&format!("the action is not {right}")), "{}", server.log());
    }
}

/// The judge of our verifier: AWS's own library makes the token.
#[test]
fn tokens_of_botocore_are_taken() {
    let python = std::env::var_os("TRUST_LEDGER_PYTHON").filter(|python| {
        Command::new(python).args(["-c", "import boto3"]).output().is_ok_and(|output| output.status.success())
    });
    let Some(python) = python else {
        return needs::skip("TRUST_LEDGER_PYTHON with boto3");
    };
    if !needs::iam() {
        return;
    }
    let keys = keys(Some("a session/token+="));
    let server = Postgres::rds_iam("app@x y", &keys, &Ca::new().server()).start();
    let program = "import boto3, sys\nport, user = int(sys.argv[1]), sys.argv[2]\n\
        print(boto3.client('rds').generate_db_auth_token('localhost', port, user))";
    let output = Command::new(python)
        .args(["-c", program, &server.port().to_string(), server.user()])
        .env("AWS_ACCESS_KEY_ID", &keys.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &keys.secret_key)
        .env("AWS_SESSION_TOKEN", keys.session_token.unwrap())
        .env("AWS_DEFAULT_REGION", &keys.region)
        .output()
        .unwrap();
    let token = String::from_utf8(output.stdout).unwrap();
    let url = server.url(server.user());
    let environment = [("PGPASSWORD", token.trim()), ("PGSSLMODE", "require")];
    assert_eq!(answer(&url, &environment, "select 1"), Ok("1".into()), "{}", server.log());
}
