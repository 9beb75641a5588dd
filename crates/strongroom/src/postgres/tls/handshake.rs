//! One TLS handshake, as tokio-postgres asks for it, and why it failed.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ssl::{Ssl, SslConnector, SslRef, SslVerifyMode};
use openssl::x509::X509StoreContextRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_openssl::SslStream;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::{TlsFacts, certificate};
use crate::error::Cause;

/// A handshake that has not begun.
pub(in super::super) struct Handshake {
    ssl: Ssl,
    seen: Arc<Seen>,
}

/// What a handshake leaves behind: tokio-postgres keeps the connection for itself.
#[derive(Default)]
pub(in super::super) struct Seen {
    facts: OnceLock<TlsFacts>,
    /// Why the certificate is not accepted.
    problem: Mutex<Option<String>>,
}

/// Why a handshake failed.
#[derive(Clone, Debug)]
pub(in super::super) struct Failure {
    /// What was seen, and what to do.
    pub(in super::super) reason: String,
    /// The connection was lost: another attempt may succeed.
    pub(in super::super) passing: bool,
    pub(in super::super) cause: Option<Cause>,
}

impl Handshake {
    pub(super) fn new(connector: &SslConnector, host: &str, verify_name: bool) -> Result<Self, ErrorStack> {
        let seen = Arc::new(Seen::default());
        let mut ssl = connector.configure()?.verify_hostname(verify_name).into_ssl(host)?;
        let (note, host) = (Arc::clone(&seen), host.to_owned());
        ssl.set_verify_callback(SslVerifyMode::PEER, move |accepted, context| {
            if !accepted {
                note.problem().get_or_insert_with(|| explain(context, &host));
            }
            accepted
        });
        Ok(Handshake { ssl, seen })
    }

    /// What is known once the handshake is over.
    pub(in super::super) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }
}

impl Seen {
    pub(in super::super) fn facts(&self) -> Option<TlsFacts> {
        self.facts.get().cloned()
    }

    fn problem(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self, error: openssl::ssl::Error) -> Failure {
        if let Some(reason) = self.problem().take() {
            return Failure { reason, passing: false, cause: Some(Arc::new(error)) };
        }
        let passing = error.ssl_error().is_none();
        let reason = match refusal(&error) {
            Some(reason) => reason,
            None if passing => "the connection was lost in the TLS handshake".to_owned(),
            None => "the TLS handshake failed; its cause says of what".to_owned(),
        };
        Failure { reason, passing, cause: Some(Arc::new(error)) }
    }
}

/// What a server's TLS alert means. With TLS 1.3 it comes after the handshake, when the first answer is waited for.
pub(in super::super) fn refusal(error: &openssl::ssl::Error) -> Option<String> {
    let mut reasons = error.ssl_error()?.errors().iter().filter_map(|error| error.reason());
    let alert = reasons.find(|reason| reason.contains("alert"))?;
    // Only the client's certificate can be meant (RFC 8446, section 6.2).
    Some(match alert.contains("certificate") || alert.contains("unknown ca") {
        true => format!(
            "the server does not accept the client's certificate ({alert}); name sslcert and sslkey of a CA it trusts"
        ),
        false => format!("the server refused the TLS handshake ({alert})"),
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Why OpenSSL does not accept the certificate that it looks at, and what to do.
fn explain(context: &mut X509StoreContextRef, host: &str) -> String {
    let error = context.error();
    let depth = context.error_depth();
    let Some(seen) = context.current_cert() else {
        return format!("the server's certificate is refused ({})", error.error_string());
    };
    let whose = match depth {
        0 => "the server's certificate".to_owned(),
        _ => format!("the CA certificate {}", certificate::distinguished(seen.subject_name())),
    };
    let issuer = certificate::distinguished(seen.issuer_name());
    let date = |time: Option<time::OffsetDateTime>| time.map_or("?".to_owned(), |time| time.date().to_string());
    match error.as_raw() {
        HOSTNAME_MISMATCH | IP_ADDRESS_MISMATCH => {
            let names = match certificate::names(seen) {
                names if names.is_empty() => "nobody by name".to_owned(),
                names => names.join(", "),
            };
            format!("{whose} is for {names}, not for {host}; connect by a name that it is for, or have it issued anew")
        }
        CERT_HAS_EXPIRED => {
            format!("{whose} expired on {}; renew it on the server", date(certificate::time(seen.not_after())))
        }
        CERT_NOT_YET_VALID => {
            let begin = date(certificate::time(seen.not_before()));
            format!("{whose} is valid from {begin} on only; compare the clocks")
        }
        DEPTH_ZERO_SELF_SIGNED_CERT => {
            format!("{whose} is self-signed and not trusted; have a CA issue one, or name it itself by sslrootcert")
        }
        SELF_SIGNED_CERT_IN_CHAIN => {
            format!("{whose} is a root that is not trusted; name its file by sslrootcert")
        }
        UNABLE_TO_GET_ISSUER_CERT | UNABLE_TO_GET_ISSUER_CERT_LOCALLY | UNABLE_TO_VERIFY_LEAF_SIGNATURE => {
            format!("{whose} was issued by {issuer}, which is not trusted; name that CA's certificate by sslrootcert")
        }
        _ => format!("{whose} is refused ({})", error.error_string()),
    }
}

// Results of `X509_verify_cert`, <openssl/x509_vfy.h>.
const UNABLE_TO_GET_ISSUER_CERT: i32 = 2;
const CERT_NOT_YET_VALID: i32 = 9;
const CERT_HAS_EXPIRED: i32 = 10;
const DEPTH_ZERO_SELF_SIGNED_CERT: i32 = 18;
const SELF_SIGNED_CERT_IN_CHAIN: i32 = 19;
const UNABLE_TO_GET_ISSUER_CERT_LOCALLY: i32 = 20;
const UNABLE_TO_VERIFY_LEAF_SIGNATURE: i32 = 21;
const HOSTNAME_MISMATCH: i32 = 62;
const IP_ADDRESS_MISMATCH: i32 = 64;

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for Handshake {
    type Stream = Encrypted<S>;
    type Error = Failure;
    type Future = Connecting<S>;

    fn connect(self, stream: S) -> Connecting<S> {
        Connecting { stream: Some(SslStream::new(self.ssl, stream)), seen: self.seen }
    }
}

/// A handshake under way.
pub(in super::super) struct Connecting<S> {
    /// Taken when it is over.
    stream: Option<Result<SslStream<S>, ErrorStack>>,
    seen: Arc<Seen>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Connecting<S> {
    type Output = Result<Encrypted<S>, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A future is not polled after its end.
        let mut stream = match self.stream.take().expect("a handshake that is not over") {
            Ok(stream) => stream,
            Err(error) => {
                let reason = "OpenSSL cannot begin a handshake".to_owned();
                return Poll::Ready(Err(Failure { reason, passing: false, cause: Some(Arc::new(error)) }));
            }
        };
        match Pin::new(&mut stream).poll_connect(context) {
            Poll::Pending => {
                self.stream = Some(Ok(stream));
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.seen.failure(error))),
            Poll::Ready(Ok(())) => {
                if let Some(facts) = facts(stream.ssl()) {
                    let _ = self.seen.facts.set(facts);
                }
                Poll::Ready(Ok(Encrypted(stream)))
            }
        }
    }
}

fn facts(ssl: &SslRef) -> Option<TlsFacts> {
    let peer = ssl.peer_certificate()?;
    Some(TlsFacts {
        protocol: ssl.version_str().to_owned(),
        cipher: ssl.current_cipher()?.name().to_owned(),
        peer_name: certificate::names(&peer).join(", "),
        not_after: certificate::time(peer.not_after())?,
    })
}

/// A connection with TLS.
pub(in super::super) struct Encrypted<S>(SslStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        end_point(self.0.ssl()).map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// The certificate's hash (RFC 5929, section 4.1). `None` where its signature has no hash of its own, as Ed25519's.
fn end_point(ssl: &SslRef) -> Option<Vec<u8>> {
    let certificate = ssl.peer_certificate()?;
    let signature = certificate.signature_algorithm().object().nid().signature_algorithms()?;
    let digest = match signature.digest {
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        other => MessageDigest::from_nid(other)?,
    };
    certificate.digest(digest).ok().map(|hash| hash.to_vec())
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
