//! HTTP/1.1 for the few requests that are sent to AWS: one connection each, TLS by OpenSSL.
//!
//! Requests are minutes apart, so connections are not kept. The SDK's own client would bring a second TLS library.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{DATE, HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use openssl::ssl::{SslConnector, SslMethod};
use time::PrimitiveDateTime;
use time::macros::format_description;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use zeroize::Zeroizing;

/// The longest answer that is read, in bytes: a secret has 64 KiB at most, which JSON's escapes can make six times as long.
const LONGEST: usize = 1024 * 1024;

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For name, connection and TLS.
    pub(super) connect: Duration,
    /// For the answer, from then on.
    pub(super) answer: Duration,
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The server's clock, if it said.
    pub(super) date: Option<SystemTime>,
    /// What HTTP and TLS held of it on the way is not zeroed.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Name, connection or TLS.
    Connect(io::Error),
    /// The connection was lost, or what came over it was not HTTP.
    Exchange(Box<dyn std::error::Error + Send + Sync>),
    /// One of the limits, and for what.
    TimedOut(&'static str, Duration),
    /// More bytes than any answer has.
    TooLong,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(error) => write!(f, "cannot be connected to ({})", error.kind()),
            Failure::Exchange(_) => f.write_str("broke the connection off"),
            Failure::TimedOut(what, limit) => write!(f, "{what} within {:.1} s", limit.as_secs_f64()),
            Failure::TooLong => write!(f, "answered with more than {LONGEST} bytes"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Connect(error) => Some(error),
            Failure::Exchange(error) => Some(&**error),
            Failure::TimedOut(..) | Failure::TooLong => None,
        }
    }
}

/// Sends a request and reads the answer.
///
/// # Cancel safety
///
/// Dropped, the connection is closed.
pub(super) async fn send<B>(request: Request<B>, limits: Limits) -> Result<Answer, Failure>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let response = exchange(request, limits).await?;
    let date = response.headers().get(DATE).and_then(|date| parse_date(date.to_str().ok()?));
    Ok(Answer { status: response.status().as_u16(), date, body: response.into_body() })
}

async fn exchange<B>(mut request: Request<B>, limits: Limits) -> Result<Response<Zeroizing<Vec<u8>>>, Failure>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = tokio::time::timeout(limits.connect, connect(request.uri()));
    let stream = stream.await.map_err(|_| Failure::TimedOut("could not be connected to", limits.connect))?;
    let stream = TokioIo::new(stream.map_err(Failure::Connect)?);
    // A client sends the path alone, and the host in a header.
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(host)) = authority {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse::<Uri>();
    *request.uri_mut() = path.map_err(|error| Failure::Exchange(error.into()))?;
    let work = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let answer = async {
            let (head, mut body) = sender.send_request(request).await?.into_parts();
            // Reserved at once, so that hardly an answer is moved while it grows.
            let mut whole = Zeroizing::new(Vec::with_capacity(128 * 1024));
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame?.into_data() else { continue };
                if whole.len() + data.len() > LONGEST {
                    return Ok(None);
                }
                whole.extend_from_slice(&data);
            }
            Ok::<_, hyper::Error>(Some(Response::from_parts(head, whole)))
        };
        tokio::pin!(answer, connection);
        // The connection does the work; it is driven here, so that nothing goes on when this future is dropped.
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error),
            },
        }
    };
    let answer = tokio::time::timeout(limits.answer, work).await;
    let answer = answer.map_err(|_| Failure::TimedOut("did not answer", limits.answer))?;
    answer.map_err(|error| Failure::Exchange(error.into()))?.ok_or(Failure::TooLong)
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

async fn connect(uri: &Uri) -> io::Result<Pin<Box<dyn Stream>>> {
    let is_tls = uri.scheme_str() != Some("http");
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    if !is_tls {
        return Ok(Box::pin(stream));
    }
    let session = tls()?.configure()?.into_ssl(host)?;
    let mut stream = Box::pin(SslStream::new(session, stream)?);
    stream.as_mut().connect().await.map_err(|error| error.into_io_error().unwrap_or_else(io::Error::other))?;
    Ok(stream)
}

/// Certificates are checked against those of the system, or of `AWS_CA_BUNDLE`, `SSL_CERT_FILE`, `SSL_CERT_DIR`.
fn tls() -> io::Result<&'static SslConnector> {
    static TLS: OnceLock<SslConnector> = OnceLock::new();
    if let Some(tls) = TLS.get() {
        return Ok(tls);
    }
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    let found = openssl_probe::probe();
    let file = std::env::var_os("AWS_CA_BUNDLE").filter(|file| !file.is_empty());
    let file = file.as_deref().map(Path::new).or(found.cert_file.as_deref());
    builder.load_verify_locations(file, found.cert_dir.first().map(|folder| &**folder)).or_else(|error| {
        // Neither is there: OpenSSL's own places, which the builder has set, have to do.
        if file.is_none() && found.cert_dir.is_empty() { Ok(()) } else { Err(error) }
    })?;
    Ok(TLS.get_or_init(|| builder.build()))
}

/// `Sat, 21 Nov 2026 08:09:10 GMT` (RFC 9110, section 5.6.7).
fn parse_date(date: &str) -> Option<SystemTime> {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    PrimitiveDateTime::parse(date, format).ok().map(|date| date.assume_utc().into())
}

/// The client that the SDK's identity providers use.
#[derive(Clone, Debug)]
pub(super) struct Client;

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let limits = Limits {
            connect: settings.connect_timeout().unwrap_or(Duration::from_secs(2)),
            answer: settings.read_timeout().unwrap_or(Duration::from_secs(5)),
        };
        SharedHttpConnector::new(Connector(limits))
    }
}

#[derive(Debug)]
struct Connector(Limits);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let limits = self.0;
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = exchange(request, limits).await.map_err(|failure| match failure {
                Failure::TimedOut(..) => ConnectorError::timeout(failure.into()),
                Failure::Connect(_) | Failure::Exchange(_) => ConnectorError::io(failure.into()),
                Failure::TooLong => ConnectorError::user(failure.into()),
            })?;
            let response = response.map(|mut body| SdkBody::from(std::mem::take(&mut *body)));
            HttpResponse::try_from(response).map_err(|error| ConnectorError::user(error.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_and_a_text_that_is_none_is_not() {
        let date = parse_date("Sat, 21 Nov 2026 08:09:10 GMT").unwrap();
        assert_eq!(date.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 1_795_248_550);
        assert_eq!(parse_date("yesterday"), None);
    }
}
