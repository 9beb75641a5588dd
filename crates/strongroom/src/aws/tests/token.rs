//! Tokens, byte by byte against botocore.

use std::time::{Duration, SystemTime};

use super::*;
use crate::aws::token::{dsql_token, rds_token};

/// Reads cases as lines of JSON and prints the three tokens of each, at the case's time.
const BOTOCORE: &str = r#"
import json, sys, datetime, boto3, freezegun
for line in sys.stdin:
    case = json.loads(line)
    time = datetime.datetime.fromtimestamp(case["time"], datetime.timezone.utc)
    with freezegun.freeze_time(time):
        session = boto3.Session(aws_access_key_id=case["id"], aws_secret_access_key=case["secret"],
            aws_session_token=case["token"], region_name=case["region"])
        rds, dsql = session.client("rds"), session.client("dsql")
        print(rds.generate_db_auth_token(case["host"], case["port"], case["user"]))
        print(dsql.generate_db_connect_auth_token(case["host"]))
        print(dsql.generate_db_connect_admin_auth_token(case["host"]))
"#;

/// Every combination of hosts, ports, users, session tokens, regions and times gives the text that botocore gives.
#[test]
fn a_token_is_byte_by_byte_the_one_of_botocore() {
    let Some(python) = python() else { return };
    let long = "IQoJb3JpZ2luX2VjE+/=".repeat(80);
    let hosts =
        [("db.abc123.eu-central-1.rds.amazonaws.com", 5432), ("DB.Example.COM", 443), ("db", 80), ("[::1]", 6543)];
    let users =
        ["app", "app user", "a@b", "a&b", "a+b", "a/b", "a%b", "jürgen", "a=b?c#d", "~-._!*'()", "\"\\,;:<>[]{}|^`$"];
    let tokens = [None, Some("short"), Some("a+b/c=="), Some(long.as_str())];
    let times = [1_795_248_550_u64, 951_782_399, 4_102_444_800];
    let (mut cases, mut ours) = (String::new(), Vec::new());
    for (number, user) in users.iter().enumerate() {
        for (host, port) in hosts {
            for token in tokens {
                let region = ["us-east-1", "cn-north-1", "eu-central-1"][number % 3];
                let time = times[number % times.len()];
                let id = "AKIDEXAMPLE";
                let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
                let case = serde_json::json!({
                    "host": host, "port": port, "user": user, "token": token, "region": region, "time": time, "id": id,
                    "secret": secret,
                });
                cases.push_str(&format!("{case}\n"));
                let session_token = token.map(|token| Zeroizing::new(token.to_owned()));
                let keys = Keys { id: id.into(), secret: Zeroizing::new(secret.into()), session_token, end: None };
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
                ours.push((case.clone(), rds_token(&keys, region, host, port, user, time)));
                ours.push((case.clone(), dsql_token(&keys, region, host, false, time)));
                ours.push((case, dsql_token(&keys, region, host, true, time)));
            }
        }
    }
    let mut child =
        Command::new(python).args(["-I", "-c", BOTOCORE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::spawn(move || stdin.write_all(cases.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let theirs = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<_> = theirs.lines().collect();
    assert_eq!(theirs.len(), ours.len());
    assert!(ours.len() > 500);
    for ((case, ours), theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours.expose_str().unwrap(), theirs, "{case}");
    }
}

/// An IPv6 address needs brackets in the URL, which botocore's callers write themselves.
#[test]
fn an_address_of_ipv6_is_signed_with_its_brackets() {
    let time = SystemTime::now();
    let (keys, plain) = (keys(), "2001:db8::1");
    let token = rds_token(&keys, REGION, plain, 5432, "app", time);
    assert!(token.expose().starts_with(b"[2001:db8::1]:5432/?"));
    assert!(token == rds_token(&keys, REGION, "[2001:db8::1]", 5432, "app", time));
}

/// A provider with keys that end soon says so; each token has a generation of its own; a kept one is given again.
#[tokio::test]
async fn a_token_holds_no_longer_than_its_keys_and_is_kept_only_when_asked_for() {
    use crate::credential::{CredentialProvider, Login};
    use crate::{Dsql, RdsIam};
    let end = SystemTime::now() + Duration::from_secs(600);
    let short = || account("").with_keys(Keys { end: Some(end), ..keys() });
    let login = Login::new("db.example.com", 5432, Some("app".to_owned()));
    let provider = RdsIam::with_account(short());
    let (first, second) = (provider.credential(&login).await.unwrap(), provider.credential(&login).await.unwrap());
    assert_eq!(first.valid_until, Some(end));
    assert_eq!(first.user, "app");
    assert_ne!(first.generation, second.generation);
    let kept = RdsIam::with_account(short()).cached(Duration::from_secs(86_400));
    let (first, second) = (kept.credential(&login).await.unwrap(), kept.credential(&login).await.unwrap());
    assert_eq!(first.generation, second.generation);
    assert_eq!(format!("{kept:?}"), "Cached(RDS IAM token, 870s)");

    let nobody = Login::new("db.example.com", 5432, None);
    assert!(provider.credential(&nobody).await.unwrap_err().to_string().contains("user"));
    let nowhere = Login::new("", 5432, Some("app".to_owned()));
    assert!(provider.credential(&nowhere).await.unwrap_err().to_string().contains("host"));
    let provider = Dsql::with_account(short());
    assert_eq!(provider.credential(&nobody).await.unwrap().user, "admin");
    assert!(provider.credential(&login).await.unwrap_err().to_string().contains("is for user admin"));
}
