//! AWS down, slow, throttling, failing, and refusing, played by a small server.

use super::*;
use crate::credential::{CredentialProvider, Login};

fn anybody() -> Login {
    Login::new("", 0, None)
}

fn refusal(code: &str) -> String {
    format!("{{\"__type\":\"com.amazonaws#{code}\",\"message\":\"told by AWS\"}}")
}

fn good(password: &str) -> Reply {
    Reply::json(
        200,
        format!("{{\"SecretString\":{}}}", quoted(&format!("{{\"username\":\"u\",\"password\":\"{password}\"}}"))),
    )
}

/// Each answer of AWS with what is said of it, whether it may pass, and how often it was asked.
#[tokio::test]
async fn each_failure_says_what_to_do_and_whether_it_may_pass() {
    let cases = [
        (Reply::json(400, refusal("ThrottlingException")), "AWS throttles the requests", true, 3),
        (Reply::json(429, ""), "AWS throttles the requests", true, 3),
        (Reply::json(500, refusal("InternalServiceError")), "AWS failed", true, 3),
        (Reply::json(503, "<html>busy</html>"), "AWS failed", true, 3),
        (Reply::Breaks, "127.0.0.1 broke the connection off", true, 3),
        (Reply::json(400, refusal("ResourceNotFoundException")), "there is none in region eu-central-1", false, 1),
        (Reply::json(400, refusal("InvalidRequestException")), "it was deleted", false, 1),
        (Reply::json(400, refusal("AccessDeniedException")), "the AWS identity may not do this", false, 1),
        (Reply::json(403, refusal("InvalidSignatureException")), "AWS does not accept the signature", false, 1),
        (Reply::json(400, refusal("DecryptionFailure")), "AWS refused", false, 1),
        (Reply::json(200, "canary"), "AWS answered no JSON", false, 1),
        (Reply::json(200, "{}"), "AWS answered without its value", false, 1),
        (Reply::json(302, ""), "AWS refused", false, 1),
        (Reply::json(200, "x".repeat(2 << 20)), "127.0.0.1 answered with more than 1048576 bytes", true, 3),
    ];
    for (reply, expected, passes, times) in cases {
        let server = Server::start(move |_, _| reply.clone());
        let error = secret_at(&server.url(), "app").credential(&anybody()).await.unwrap_err();
        let text = chain(&error);
        assert!(text.starts_with(&format!("AWS secret app: {expected}")), "{expected}: {text}");
        assert_eq!((error.is_passing(), server.requests()), (passes, times), "{text}");
    }
}

#[tokio::test]
async fn nobody_who_listens_and_nobody_who_answers_are_errors_that_may_pass() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = secret_at(&format!("http://127.0.0.1:{port}"), "app").credential(&anybody()).await.unwrap_err();
    assert!(chain(&error).starts_with("AWS secret app: 127.0.0.1 cannot be connected to (connection refused)"));
    assert!(error.is_passing());

    let server = Server::start(|_, _| Reply::Hangs);
    let begun = Instant::now();
    let error = secret_at(&server.url(), "app").credential(&anybody()).await.unwrap_err();
    assert!(chain(&error).starts_with("AWS secret app: 127.0.0.1 did not answer within 3.0 s"), "{error}");
    assert!(error.is_passing() && begun.elapsed() < Duration::from_secs(15));
}

/// A clock that is an hour off is told by AWS's own, in the header of its refusal, and nothing of the request is repeated.
#[tokio::test]
async fn a_clock_that_is_off_by_an_hour_is_named() {
    for (hours, expected) in [(-1, "60 min ahead of that of AWS"), (1, "60 min behind that of AWS")] {
        let date = time::OffsetDateTime::now_utc() + time::Duration::hours(hours) - time::Duration::seconds(5);
        let format = time::macros::format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        let header = format!("date: {}\r\n", date.format(format).unwrap());
        let body = "{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature expired: canary session+/=\"}";
        let server = Server::start(move |_, _| Reply::Says(403, header.clone(), body.to_owned()));
        let error = secret_at(&server.url(), "app").credential(&anybody()).await.unwrap_err();
        let text = chain(&error);
        let about = expected.replace("60", if hours < 0 { "61" } else { "60" });
        assert!(text.contains(expected) || text.contains(&about), "{text}");
        assert!(error.is_passing());
    }
}

/// Through every failure that may pass the last value serves on; not through one that is final, and not when it was refused.
#[tokio::test]
async fn the_last_good_value_serves_through_what_may_pass() {
    let server = Server::start(|_, _| good("one"));
    let secret = secret_at(&server.url(), "app").keep(Duration::from_secs(1));
    let first = secret.credential(&anybody()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    server.now_answers(|_, _| Reply::json(500, ""));
    assert_eq!(secret.credential(&anybody()).await.unwrap().generation, first.generation);
    assert_eq!(server.requests(), 4);
    // For some seconds it is not asked again.
    secret.credential(&anybody()).await.unwrap();
    assert_eq!(server.requests(), 4);
    secret.refused(first.generation);
    assert!(secret.credential(&anybody()).await.unwrap_err().is_passing());

    server.now_answers(|_, _| good("two"));
    let second = secret.credential(&anybody()).await.unwrap();
    assert_eq!(second.password.expose(), b"two");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    server.now_answers(|_, _| Reply::json(400, refusal("ResourceNotFoundException")));
    assert!(!secret.credential(&anybody()).await.unwrap_err().is_passing());
}

/// Many who ask at once share one request, and so do those who get its failure.
#[tokio::test]
async fn many_who_ask_at_once_share_one_request() {
    let server = Server::start(|_, _| {
        std::thread::sleep(Duration::from_millis(100));
        good("one")
    });
    let secret = Arc::new(secret_at(&server.url(), "app"));
    let ask = |secret: &Arc<AwsSecret>| {
        let secret = Arc::clone(secret);
        tokio::spawn(async move { secret.credential(&anybody()).await })
    };
    // One of them goes away in the middle; another one takes over.
    let gone = ask(&secret);
    let rest: Vec<_> = (0..50).map(|_| ask(&secret)).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    gone.abort();
    for asked in rest {
        assert_eq!(asked.await.unwrap().unwrap().password.expose(), b"one");
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_endpoint_in_the_open_or_with_more_than_a_host_is_refused() {
    for (url, reason) in [
        ("http://10.1.2.3", "is http:// and not on this machine"),
        ("https://user:canary@example.com", "has more than a host and a port"),
        ("https://example.com/path", "has more than a host and a port"),
        ("example.com", "has no scheme"),
        ("https://exa mple", "cannot be read"),
    ] {
        let error = secret_at(url, "app").credential(&anybody()).await.unwrap_err();
        assert!(chain(&error).starts_with(&format!("AWS secret app: the endpoint's URL {reason}")), "{error}");
    }
    let error = AwsSecret::new("app").region("eu central").credential(&anybody()).await.unwrap_err();
    assert!(chain(&error).contains("region \"eu central\" is none"));
}
