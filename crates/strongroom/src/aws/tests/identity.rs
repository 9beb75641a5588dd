//! Where an identity is found, and what is said when there is none. Each case is a process of its own, because variables
//! belong to the whole process.

use super::*;
use crate::RdsIam;
use crate::credential::{CredentialProvider, Login};
use crate::secret::SecretProvider;

/// What the child does: nothing when the whole suite is run.
const ROLE: &str = "STRONGROOM_AWS_CHILD";

/// The other half of the tests below: prints whose token it gets, or why it gets none.
#[tokio::test]
async fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Whatever anybody logs is part of what is searched for secrets.
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).init();
    let login = Login::new("db.example.com", 5432, Some("app".to_owned()));
    let shown = |outcome: Result<crate::Credential, Error>| match outcome {
        Ok(credential) => {
            let token = credential.password.expose_str().unwrap().to_owned();
            let scope = token.split("X-Amz-Credential=").nth(1).unwrap().split('&').next().unwrap().replace("%2F", " ");
            let words: Vec<_> = scope.split(' ').collect();
            println!(
                "signed by {} in {}{}",
                words[0],
                words[2],
                if token.contains("Security") { " with a token" } else { "" }
            );
        }
        Err(error) => println!("passing {} {}", error.is_passing(), chain(&error)),
    };
    let mut provider = RdsIam::from_environment();
    if role == "profile" {
        provider = provider.profile("special");
    }
    match role.as_str() {
        "many" => {
            let provider = Arc::new(provider);
            let ask = || {
                let (provider, login) = (Arc::clone(&provider), login.clone());
                tokio::spawn(async move { provider.credential(&login).await })
            };
            for asked in (0..50).map(|_| ask()).collect::<Vec<_>>() {
                shown(asked.await.unwrap());
            }
        }
        "twice" => {
            shown(provider.credential(&login).await);
            tokio::time::sleep(Duration::from_millis(1500)).await;
            shown(provider.credential(&login).await);
        }
        "kms" => {
            let outcome = crate::aws::kms::decrypt(
                REGION,
                "alias/x",
                Some("arn:aws:iam::123456789012:role/x"),
                None,
                &std::collections::BTreeMap::new(),
                b"no",
            )
            .await;
            println!("{}", chain(&outcome.unwrap_err()));
        }
        "secret" => match AwsSecret::new("by-variable").secret().await {
            Ok(secret) => println!("secret of {} bytes", secret.expose().len()),
            Err(error) => println!("{}", chain(&error)),
        },
        _ => shown(provider.credential(&login).await),
    }
}

/// Runs the child with these variables and no others; its lines, and how long it took.
fn run(role: &str, variables: &[(&str, &str)]) -> (String, Duration) {
    let begun = Instant::now();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "aws::tests::identity::child", "--nocapture", "--quiet"])
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env(ROLE, role)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("canary"), "{text}");
    (text, begun.elapsed())
}

fn outcome(role: &str, variables: &[(&str, &str)]) -> String {
    run(role, variables).0
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDENV"), ("AWS_SECRET_ACCESS_KEY", "canary")];

#[test]
fn keys_and_region_are_taken_from_the_environment() {
    let with = |more: &[(&'static str, &'static str)]| [&KEYS[..], more].concat();
    let both = [("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "eu-west-2")];
    assert!(outcome("plain", &with(&both)).contains("signed by AKIDENV in eu-west-1\n"));
    let default = [("AWS_DEFAULT_REGION", "eu-west-2"), ("AWS_SESSION_TOKEN", "canary")];
    assert!(outcome("plain", &with(&default)).contains("signed by AKIDENV in eu-west-2 with a token\n"));
    let none = outcome("plain", &KEYS);
    assert!(none.contains("RDS IAM token: no region: name it in the settings or in AWS_REGION"), "{none}");
}

#[test]
fn a_profile_that_is_named_is_the_only_source() {
    let folder = tempfile::tempdir().unwrap();
    let (config, credentials) = (folder.path().join("config"), folder.path().join("credentials"));
    std::fs::write(&config, "[profile special]\nregion = eu-north-1\n").unwrap();
    std::fs::write(&credentials, "[special]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = canary\n")
        .unwrap();
    let files =
        [("AWS_CONFIG_FILE", config.to_str().unwrap()), ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap())];
    assert!(outcome("profile", &[&files[..], &KEYS].concat()).contains("signed by AKIDPROFILE in eu-north-1\n"));
    let by_variable = [&files[..], &[("AWS_PROFILE", "special")]].concat();
    assert!(outcome("plain", &by_variable).contains("signed by AKIDPROFILE in eu-north-1\n"));
    std::fs::write(&credentials, "").unwrap();
    std::fs::write(&config, "").unwrap();
    let missing = outcome("profile", &[&files[..], &KEYS, &[("AWS_REGION", "eu-west-1")]].concat());
    assert!(missing.contains("passing false RDS IAM token: profile special gives no AWS identity: "), "{missing}");
}

/// Without any source every one is named, in order, within the time that EC2's metadata service has.
#[test]
fn without_an_identity_all_that_was_tried_is_named_and_it_does_not_take_long() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (text, took) = run(
        "plain",
        &[
            ("AWS_REGION", "eu-west-1"),
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url),
        ],
    );
    let mut rest = text.as_str();
    for part in [
        "passing false RDS IAM token: there is no AWS identity; tried in this order: environment: ",
        "; profile: ",
        "; web identity: ",
        "; container: ",
        "; EC2 metadata: ",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} is missing: {text}"));
        rest = &rest[at + part.len()..];
    }
    assert!(took < Duration::from_secs(4), "{took:?}");
    // Disabled, it is not waited for.
    let (_, took) = run("plain", &[("AWS_REGION", "eu-west-1")]);
    assert!(took < Duration::from_secs(2), "{took:?}");
    // Nor is it when nothing is there.
    let (text, took) = run(
        "plain",
        &[
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9"),
            ("AWS_REGION", "eu-west-1"),
        ],
    );
    assert!(text.contains("EC2 metadata: ") && took < Duration::from_secs(3), "{took:?} {text}");
}

fn lasting(seconds: i64) -> String {
    let end = time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let end = end.format(format).unwrap();
    format!(
        "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"AKIDNEAR\",\"SecretAccessKey\":\"canary\",\
         \"Token\":\"canary\",\"Expiration\":\"{end}\",\"LastUpdated\":\"2026-01-01T00:00:00Z\"}}"
    )
}

/// A container's service is asked once by many, again when its keys end, and its failures are told from its absence.
#[test]
fn a_containers_identity_is_asked_for_once_and_renewed() {
    let server = Server::start(|_, head| match head.to_lowercase().contains("authorization: canary-token\r\n") {
        true => Reply::json(200, lasting(3600)),
        false => Reply::json(403, "{\"code\":\"canary\"}"),
    });
    let url = format!("{}/keys", server.url());
    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary-token");
    let set = [("AWS_REGION", "eu-west-1"), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str())];
    let text = outcome("many", &[&set[..], &[token]].concat());
    assert_eq!(text.matches("signed by AKIDNEAR in eu-west-1 with a token").count(), 50, "{text}");
    assert_eq!(server.requests(), 1);

    server.now_answers(|_, _| Reply::json(200, lasting(11)));
    let text = outcome("twice", &[&set[..], &[token]].concat());
    assert_eq!((text.matches("signed by AKIDNEAR").count(), server.requests()), (2, 3), "{text}");

    server.now_answers(|_, _| Reply::json(500, "canary"));
    let text = outcome("plain", &[&set[..], &[token]].concat());
    assert!(text.contains("the AWS identity of source `container` cannot be had"), "{text}");
    server.now_answers(|_, _| Reply::Hangs);
    let (text, took) = run("plain", &[&set[..], &[token]].concat());
    assert!(text.contains("passing true") && text.contains("no answer within 2 s"), "{text}");
    assert!(took < Duration::from_secs(4), "{took:?}");

    let text = outcome("plain", &[&set[..], &[("AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary\ntoken")]].concat());
    assert!(text.contains("has a character that no header may have"), "{text}");
}

/// EC2's metadata service gives identity and region.
#[test]
fn ec2_gives_identity_and_region() {
    let server = Server::start(|request, _| match request {
        "PUT /latest/api/token" => {
            Reply::Says(200, "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n".into(), "t".into())
        }
        "GET /latest/meta-data/placement/region" => Reply::json(200, "ap-south-1"),
        "GET /latest/meta-data/iam/security-credentials/" => Reply::json(200, "role"),
        "GET /latest/meta-data/iam/security-credentials/role" => Reply::json(200, lasting(3600)),
        _ => Reply::json(404, ""),
    });
    let url = server.url();
    let set = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let text = outcome("plain", &set);
    assert!(text.contains("signed by AKIDNEAR in ap-south-1 with a token\n"), "{text}");
}

/// A web identity, and a role that is taken on for KMS, go through STS, and secrets to the service that a variable names.
#[test]
fn roles_are_taken_on_through_sts_and_variables_name_the_services() {
    let Some(moto) = Moto::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "canary.b.c").unwrap();
    let region = ("AWS_REGION", REGION);
    let all = ("AWS_ENDPOINT_URL", moto.url.as_str());
    let text = outcome(
        "plain",
        &[
            region,
            all,
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/web"),
        ],
    );
    assert!(text.contains("signed by ASIA") && text.contains(" with a token\n"), "{text}");
    std::fs::remove_file(&file).unwrap();
    let text = outcome(
        "plain",
        &[
            region,
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/web"),
        ],
    );
    assert!(text.contains("the AWS identity of source `web identity` cannot be had: "), "{text}");

    let text = outcome("kms", &[&KEYS[..], &[region, all]].concat());
    assert!(text.contains("AWS KMS in eu-central-1: ") && text.contains("AWS answered 4"), "{text}");
    let down = [region, ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")];
    let text = outcome("kms", &[&KEYS[..], &down].concat());
    assert!(text.contains("the identity could not take on role arn:aws:iam::123456789012:role/x"), "{text}");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(moto.create("by-variable", "12345"));
    let one = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto.url.as_str());
    assert!(outcome("secret", &[&KEYS[..], &[region, one]].concat()).contains("secret of 5 bytes"));
}

/// A service with TLS is asked only when its certificate is of a known CA and names it.
#[test]
fn a_service_whose_certificate_does_not_fit_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (port, certificate) = tls_server();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, certificate).unwrap();
    let ask = |host: &str, more: &[(&str, &str)]| {
        let url = format!("https://{host}:{port}");
        let named = [("AWS_REGION", REGION), ("AWS_ENDPOINT_URL_SECRETS_MANAGER", url.as_str())];
        outcome("secret", &[&KEYS[..], &named, more].concat())
    };
    let bundle = [("AWS_CA_BUNDLE", file.to_str().unwrap())];
    let text = ask("localhost", &bundle);
    assert!(text.contains("secret of 6 bytes"), "{text}");
    let text = ask("localhost", &[]);
    assert!(text.contains("localhost cannot be connected to") && text.contains("certificate verify failed"), "{text}");
    let text = ask("127.0.0.1", &bundle);
    assert!(text.contains("127.0.0.1 cannot be connected to") && text.contains("certificate verify failed"), "{text}");
}

/// Serves one secret to everybody, as `localhost`; its port and its certificate, which is its own CA's.
fn tls_server() -> (u16, Vec<u8>) {
    use openssl::asn1::Asn1Time;
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::ssl::{SslAcceptor, SslMethod};
    use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
    use openssl::x509::{X509, X509NameBuilder};
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    let names = SubjectAlternativeName::new().dns("localhost").build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(mut stream) = acceptor.accept(stream) else { continue };
            let mut request = [0; 8192];
            let _ = stream.read(&mut request);
            let body = "{\"SecretString\":\"canary\"}";
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.shutdown();
        }
    });
    (port, certificate.to_pem().unwrap())
}
