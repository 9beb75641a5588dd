//! Secrets, against moto.

use super::*;
use crate::credential::{CredentialProvider, Login};
use crate::key::KeySource;
use crate::secret::SecretProvider;

fn anybody() -> Login {
    Login::new("", 0, None)
}

fn of_rds(user: &str, password: &str, port: &str) -> String {
    format!(
        "{{\"engine\":\"postgres\",\"host\":\"db.example.com\",\"port\":{port},\"dbname\":\"app\",\"username\":{},\
         \"password\":{},\"dbInstanceIdentifier\":\"x\",\"extra\":{{\"a\":[1]}}}}",
        quoted(user),
        quoted(password)
    )
}

#[tokio::test]
async fn a_secret_of_rds_gives_user_password_and_server() {
    let Some(moto) = Moto::shared() else { return };
    moto.create("number", &of_rds("app", CANARY, "5433")).await;
    moto.create("text", &of_rds("app", CANARY, "\"5433\"")).await;
    moto.create("managed", "{\"username\":\"postgres\",\"password\":\"p\"}").await;
    for id in ["number", "text"] {
        let credential = secret_at(&moto.url, id).credential(&anybody()).await.unwrap();
        assert_eq!(credential.user, "app");
        assert_eq!(credential.password.expose_str(), Some(CANARY));
        let server = credential.server;
        assert_eq!((server.host.as_deref(), server.port), (Some("db.example.com"), Some(5433)));
        assert_eq!(server.database.as_deref(), Some("app"));
    }
    let credential = secret_at(&moto.url, "managed").credential(&anybody()).await.unwrap();
    assert_eq!((credential.user.as_str(), credential.server), ("postgres", crate::Server::default()));
}

#[tokio::test]
async fn a_key_is_the_whole_secret_or_a_field_of_it() {
    let Some(moto) = Moto::shared() else { return };
    moto.create("plain", CANARY).await;
    moto.create("json", &format!("{{\"db_key\":{},\"number\":17,\"list\":[],\"empty\":\"\"}}", quoted(CANARY))).await;
    let binary = openssl::base64::encode_block(&[0, 255, 7]);
    let body = format!("{{\"Name\":\"binary\",\"SecretBinary\":\"{binary}\",\"ClientRequestToken\":\"{}\"}}", token());
    moto.call("secretsmanager", "secretsmanager.CreateSecret", &body).await;
    let source = |id: &str| KeySource::from(secret_at(&moto.url, id));
    assert_eq!(source("plain").secret().await.unwrap().expose_str(), Some(CANARY));
    assert_eq!(source("binary").secret().await.unwrap().expose(), [0, 255, 7]);
    let field = |name: &str| secret_at(&moto.url, "json").field(name);
    assert_eq!(field("db_key").secret().await.unwrap().expose_str(), Some(CANARY));
    assert_eq!(field("number").secret().await.unwrap().expose_str(), Some("17"));
    for (name, reason) in
        [("none", "its JSON has no none"), ("list", "its list is an array"), ("empty", "its empty is empty")]
    {
        let error = field(name).secret().await.unwrap_err();
        assert!(chain(&error).starts_with(&format!("AWS secret json: {reason}")), "{error}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_is_said_without_showing_it() {
    let Some(moto) = Moto::shared() else { return };
    let cases = [
        ("not-json", CANARY.to_owned(), "is not a JSON object: expected { at byte 0"),
        ("list", "[\"canary\"]".to_owned(), "is not a JSON object: expected { at byte 0"),
        ("cut", of_rds("app", CANARY, "1").replace('}', ""), "is not a JSON object: expected , or }"),
        ("no-password", "{\"username\":\"canary\"}".to_owned(), "its JSON has no password"),
        ("no-user", "{\"password\":\"canary\"}".to_owned(), "its JSON has no username"),
        ("empty", "{\"username\":\"a\",\"password\":\"\"}".to_owned(), "its password is empty"),
        ("null", "{\"username\":\"a\",\"password\":null}".to_owned(), "its password is null, expected a string"),
        ("port", of_rds("app", CANARY, "70000"), "its port is not a number from 1 to 65535"),
        ("engine", "{\"engine\":\"mysql\"}".to_owned(), "is for engine \"mysql\", expected postgres"),
    ];
    for (id, value, expected) in cases {
        moto.create(id, &value).await;
        let error = secret_at(&moto.url, id).credential(&anybody()).await.unwrap_err();
        assert!(chain(&error).starts_with(&format!("AWS secret {id}: {expected}")), "{error}");
        assert!(!error.is_passing(), "{id}");
    }
    let error = secret_at(&moto.url, "nowhere").credential(&anybody()).await.unwrap_err();
    let text = chain(&error);
    assert!(text.starts_with("AWS secret nowhere: there is none in region eu-central-1"), "{text}");
    assert!(text.contains("(ResourceNotFoundException)") && !error.is_passing(), "{text}");
    moto.create("deleted", "{}").await;
    moto.call("secretsmanager", "secretsmanager.DeleteSecret", "{\"SecretId\":\"deleted\"}").await;
    let error = secret_at(&moto.url, "deleted").credential(&anybody()).await.unwrap_err();
    assert!(
        chain(&error).starts_with("AWS secret deleted: it was deleted") && !error.is_passing(),
        "{}",
        chain(&error)
    );
}

/// Kept until refused; then fetched at once, also when two rotations came together; the same content has the same number.
#[tokio::test]
async fn a_refused_secret_is_fetched_at_once_and_equal_content_keeps_its_generation() {
    let Some(moto) = Moto::shared() else { return };
    moto.create("refused", &of_rds("app", "one", "1")).await;
    let secret = secret_at(&moto.url, "refused");
    let first = secret.credential(&anybody()).await.unwrap();
    moto.put("refused", &of_rds("app", "two", "1")).await;
    moto.put("refused", &of_rds("app", "three", "1")).await;
    assert_eq!(secret.credential(&anybody()).await.unwrap().generation, first.generation);
    secret.refused(first.generation);
    let third = secret.credential(&anybody()).await.unwrap();
    assert_eq!(third.password.expose(), b"three");
    assert_ne!(third.generation, first.generation);
    moto.put("refused", &of_rds("app", "one", "1")).await;
    secret.refused(third.generation);
    assert_eq!(secret.credential(&anybody()).await.unwrap().generation, first.generation);
    assert!(secret.patience() >= Duration::from_secs(1));
}
