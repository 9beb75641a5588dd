//! The service behind its sockets: TLS, slow and silent clients, and its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssl::ssl::{Ssl, SslConnector, SslMethod, SslVersion};
use test_servers::{Ca, Identity};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use trust_ledger_registry::{Registry, Role};
use trust_ledger_server::{Server, Settings, StartError, TlsFiles};

use crate::support::{Service, certificates, on_file};

/// A service that listens.
struct Running {
    service: Arc<Service>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), strongroom::Error>>,
}

impl Running {
    async fn start(change: impl FnOnce(&mut Settings)) -> Running {
        let mut settings = Settings::default();
        settings.listen.set_port(0);
        change(&mut settings);
        let service = Arc::new(on_file(Settings::default()).await);
        let server = Server::bind(service.registry.clone(), settings).await.unwrap();
        let address = server.address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Running { service, address, stop: Some(stop), ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn request(&self, method: &str, path: &str, more: &str) -> String {
        let token = &self.service.tokens[&Role::Registrar];
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{more}\r\n")
    }

    /// Asks once on a connection of its own; the whole answer.
    async fn get(&self, path: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(self.request("GET", path, "connection: close\r\n").as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// How long it takes until the other end closes.
async fn closed_after(stream: &mut (impl AsyncRead + Unpin)) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.expect("an end");
    began.elapsed()
}

#[tokio::test]
async fn what_other_machines_can_reach_is_not_served_without_tls() {
    let service = on_file(Settings::default()).await;
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:443", "[::ffff:192.0.2.1]:443"] {
        let mut settings = Settings::default();
        settings.listen = address.parse().unwrap();
        let refused = Server::bind(service.registry.clone(), settings).await.unwrap_err();
        assert!(matches!(refused, StartError::WithoutTls { .. }), "{refused}");
    }
    let mut settings = Settings::default();
    settings.listen = "[::ffff:127.0.0.1]:0".parse().unwrap();
    Server::bind(service.registry.clone(), settings).await.unwrap();
}

#[tokio::test]
async fn a_request_and_many_on_one_connection_are_answered() {
    let running = Running::start(|_| {}).await;
    assert!(running.get("/v1/stats").await.starts_with("HTTP/1.1 200 OK"));
    let mut stream = running.connect().await;
    let request = running.request("GET", "/livez", "");
    let last = running.request("GET", "/livez", "connection: close\r\n");
    stream.write_all((request.repeat(9) + &last).as_bytes()).await.unwrap();
    assert_eq!(read_all(&mut stream).await.matches("HTTP/1.1 200 OK").count(), 10);
}

#[tokio::test]
async fn who_sends_nothing_or_half_a_request_is_cut_and_others_are_served_meanwhile() {
    let running = Running::start(|settings| settings.limits.stall = Duration::from_millis(300)).await;
    let mut silent = running.connect().await;
    let mut half = running.connect().await;
    half.write_all(b"GET /livez HTTP/1.1\r\nhost:").await.unwrap();
    let mut drip = running.connect().await;
    let dripping = async {
        for byte in b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: yes, very slow".iter().cycle() {
            if drip.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut idle = running.connect().await;
    idle.write_all(running.request("GET", "/livez", "").as_bytes()).await.unwrap();
    let others = async {
        for _ in 0..10 {
            assert!(running.get("/livez").await.contains("200 OK"));
        }
    };
    let limit = Duration::from_secs(3);
    let cut = async {
        assert!(closed_after(&mut silent).await < limit);
        assert!(closed_after(&mut half).await < limit);
        assert!(closed_after(&mut idle).await < limit);
        tokio::time::timeout(limit, dripping).await.expect("who drips is cut, too");
    };
    tokio::join!(others, cut);
}

/// A client that asks for much and reads nothing fills the buffers of both ends, and is then cut.
#[tokio::test]
async fn who_takes_no_answer_is_cut() {
    let running = Running::start(|settings| settings.limits.stall = Duration::from_millis(300)).await;
    let mut greedy = running.connect().await;
    let request = running.request("GET", "/openapi.json", "").repeat(50);
    let began = Instant::now();
    let sent = async { while greedy.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), sent).await.expect("the connection is cut");
    assert!(began.elapsed() >= Duration::from_millis(250));
    assert!(running.get("/livez").await.contains("200 OK"));
}

#[tokio::test]
async fn too_many_and_too_large_headers_and_what_is_no_http_are_refused() {
    let running = Running::start(|_| {}).await;
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "y".repeat(64 << 10));
    let more_than_allowed = format!("x-large: {}\r\n", "y".repeat(32 << 10));
    let a_few_more: String = (0..101).map(|number| format!("x-{number}: y\r\n")).collect();
    for headers in [more_than_allowed, a_few_more] {
        let mut stream = running.connect().await;
        stream.write_all(running.request("GET", "/livez", &headers).as_bytes()).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431") && answer.contains("headers-too-large"), "{answer}");
        assert!(answer.contains("x-request-id"), "{answer}");
    }
    for (request, status) in [
        (running.request("GET", "/livez", &many), "431"),
        (running.request("GET", "/livez", &large), "431"),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(70 << 10)), "4"),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".to_owned(), "400"),
        ("GET /livez HTTP/9.9\r\n\r\n".to_owned(), "400"),
        ("GET /livez HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n".to_owned(), "400"),
    ] {
        let mut stream = running.connect().await;
        // It may be refused before it is sent to its end.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = read_all(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert!(running.get("/livez").await.contains("200 OK"));
}

/// A client that hangs up in the middle of anything leaves no request under way and no connection of the database in use.
#[tokio::test]
async fn who_hangs_up_leaves_nothing_open() {
    let running = Running::start(|_| {}).await;
    let pem = &certificates(&Ca::new(), &["a.example"])[0];
    for keep in [0, 1, 50, pem.len() / 2, pem.len()] {
        let mut stream = running.connect().await;
        let head = format!("content-type: application/pem-certificate-chain\r\ncontent-length: {}\r\n", pem.len());
        let request = running.request("POST", "/v1/certificates", &head) + &pem[..keep];
        stream.write_all(request.as_bytes()).await.unwrap();
        drop(stream);
    }
    let mut stream = running.connect().await;
    stream.write_all(running.request("GET", "/openapi.json", "").as_bytes()).await.unwrap();
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let metrics = running.get("/metrics").await;
        let is_quiet = metrics.contains("trust_ledger_http_requests_under_way 1\n");
        if is_quiet && running.service.registry.database().stats().readers.active == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{metrics}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A request that is under way when the service is told to stop is answered; nobody new is let in; the ledger is closed.
#[tokio::test]
async fn stopping_lets_end_what_is_under_way_and_lets_nobody_in() {
    let mut running = Running::start(|_| {}).await;
    let pem = &certificates(&Ca::new(), &["a.example"])[0];
    let mut idle = running.connect().await;
    idle.write_all(running.request("GET", "/livez", "").as_bytes()).await.unwrap();
    let mut slow = running.connect().await;
    let head = format!("content-type: application/pem-certificate-chain\r\ncontent-length: {}\r\n", pem.len());
    let request = running.request("POST", "/v1/certificates", &head) + &pem[..10];
    slow.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop.take().unwrap().send(()).unwrap();
    closed_after(&mut idle).await;
    let refused = async {
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("nobody is let in");
    slow.write_all(&pem.as_bytes()[10..]).await.unwrap();
    let answer = read_all(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), running.ended).await.expect("an end").unwrap().unwrap();
}

#[tokio::test]
async fn stopping_cuts_what_does_not_end_in_time() {
    let mut running = Running::start(|settings| settings.shutdown_deadline = Duration::from_millis(200)).await;
    let mut slow = running.connect().await;
    let head = "content-type: application/pem-certificate-chain\r\ncontent-length: 100\r\n";
    slow.write_all(running.request("POST", "/v1/certificates", head).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), running.ended).await.expect("an end").unwrap().unwrap();
    assert_eq!(read_all(&mut slow).await, "");
}

/// When tokens were used is written down at the latest when the service ends.
#[tokio::test]
async fn the_last_use_of_a_token_is_kept() {
    let mut running = Running::start(|_| {}).await;
    let began = time::OffsetDateTime::now_utc();
    running.get("/v1/stats").await;
    running.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), running.ended).await.expect("an end").unwrap().unwrap();
    let registry = Registry::open(running.service.config.clone().connect().await.unwrap());
    for token in registry.tokens().await.unwrap() {
        assert_eq!(token.last_used_at.is_some_and(|used| used >= began), token.role == Role::Registrar, "{token:?}");
    }
}

async fn shake_hands(
    address: SocketAddr,
    ca: &Ca,
    change: impl FnOnce(&mut Ssl),
) -> Result<tokio_openssl::SslStream<TcpStream>, openssl::ssl::Error> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_ca_file(ca.file()).unwrap();
    connector.set_alpn_protos(b"\x08http/1.1").unwrap();
    let mut ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
    change(&mut ssl);
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = tokio_openssl::SslStream::new(ssl, stream).unwrap();
    std::pin::Pin::new(&mut stream).connect().await?;
    Ok(stream)
}

fn tls_of(identity: &Identity) -> Option<TlsFiles> {
    let file = |path: &std::path::Path| path.to_owned();
    Some(TlsFiles { certificate: file(identity.certificate_file()), key: file(identity.key_file()) })
}

#[tokio::test]
async fn tls_serves_with_its_certificate_and_takes_no_old_protocol_and_no_plain_http() {
    let ca = Ca::new();
    let identity = ca.server();
    let running = Running::start(|settings| settings.tls = tls_of(&identity)).await;
    let mut stream = shake_hands(running.address, &ca, |_| {}).await.unwrap();
    assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&b"http/1.1"[..]));
    stream.write_all(running.request("GET", "/v1/stats", "connection: close\r\n").as_bytes()).await.unwrap();
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 200"));
    let old = shake_hands(running.address, &ca, |ssl| {
        let _ = ssl.set_max_proto_version(Some(SslVersion::TLS1_1));
    });
    old.await.unwrap_err();
    shake_hands(running.address, &Ca::new(), |_| {}).await.unwrap_err();
    assert!(!running.get("/livez").await.contains("200 OK"));
    // Who begins a handshake and says no more is cut as any other.
    assert!(shake_hands(running.address, &ca, |_| {}).await.is_ok());
}

#[tokio::test]
async fn files_that_are_no_certificate_and_key_of_each_other_are_named() {
    let (ca, service) = (Ca::new(), on_file(Settings::default()).await);
    let (one, other) = (ca.server(), ca.server());
    for (certificate, key, says) in [
        (one.certificate_file(), other.key_file(), "is the key of another certificate"),
        (one.key_file(), one.key_file(), "is no certificate in PEM"),
        (one.certificate_file(), one.certificate_file(), "is no private key in PEM"),
        (std::path::Path::new("/nowhere/x.pem"), one.key_file(), "/nowhere/x.pem: cannot be read"),
    ] {
        let mut settings = Settings::default();
        settings.listen.set_port(0);
        settings.tls = Some(TlsFiles { certificate: certificate.to_owned(), key: key.to_owned() });
        let error = Server::bind(service.registry.clone(), settings).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(says), "{cause}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let running = Running::start(|_| {}).await;
    let mut settings = Settings::default();
    settings.listen = running.address;
    let error = Server::bind(running.service.registry.clone(), settings).await.unwrap_err();
    assert!(
        matches!(&error, StartError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse),
        "{error}"
    );
}

/// A thousand connections that say nothing cost the others nothing. (The soak has ten thousand.)
#[tokio::test]
async fn silent_connections_do_not_hold_up_others() {
    let running = Running::start(|_| {}).await;
    let mut silent = Vec::new();
    for _ in 0..1_000 {
        silent.push(running.connect().await);
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert!(running.get("/v1/stats").await.contains("200 OK"));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // A proof that they are connected: a request on the last of them is answered.
    let last = silent.last_mut().unwrap();
    last.write_all(running.request("GET", "/livez", "connection: close\r\n").as_bytes()).await.unwrap();
    assert!(read_all(last).await.contains("200 OK"));
}

/// Who has sent half of a request when the service is told to stop is not waited for.
#[tokio::test]
async fn half_a_request_does_not_hold_up_the_end() {
    let mut running = Running::start(|_| {}).await;
    let mut half = running.connect().await;
    half.write_all(b"GET /livez HTTP/1.1\r\nhost:").await.unwrap();
    assert!(running.get("/livez").await.contains("200 OK"));
    let began = Instant::now();
    running.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), running.ended).await.expect("it ends").unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
