//! TLS: the service's certificate, read again when it is renewed.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslMethod, SslVersion, select_next_proto};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;
use zeroize::Zeroizing;

use crate::settings::TlsFiles;

/// How often the files are looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(60);

/// HTTP/1.1, as ALPN writes it.
const PROTOCOLS: &[u8] = b"\x08http/1.1";

/// The service's end of TLS: 1.2 and later, with the certificate of its files. A cheap handle.
#[derive(Clone)]
pub(crate) struct Tls {
    files: TlsFiles,
    loaded: Arc<RwLock<Loaded>>,
}

struct Loaded {
    acceptor: SslAcceptor,
    /// When the files were last changed.
    changed: [Option<SystemTime>; 2],
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct TlsError {
    /// The file that is wrong.
    file: String,
    problem: String,
    #[source]
    source: Option<ErrorStack>,
}

impl Tls {
    /// Reads the files.
    pub(crate) fn load(files: &TlsFiles) -> Result<Tls, TlsError> {
        Ok(Tls { files: files.clone(), loaded: Arc::new(RwLock::new(load(files)?)) })
    }

    /// Reads the files again if they have changed. When they cannot be used, what was read before stays.
    pub(crate) fn look_again(&self) {
        let changed = changed(&self.files);
        if self.loaded.read().unwrap_or_else(PoisonError::into_inner).changed == changed {
            return;
        }
        match load(&self.files) {
            Ok(loaded) => {
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                tracing::info!(file = %self.files.certificate.display(), "the service's certificate was read again");
            }
            // Looked at again next time: its key may follow.
            Err(error) => {
                tracing::warn!(%error, "the service's certificate has changed and cannot be used; the old one stays")
            }
        }
    }

    pub(crate) async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<SslStream<S>, String> {
        let ssl = {
            let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
            Ssl::new(loaded.acceptor.context()).map_err(|error| error.to_string())?
        };
        let mut stream = SslStream::new(ssl, stream).map_err(|error| error.to_string())?;
        Pin::new(&mut stream).accept().await.map_err(|error| error.to_string())?;
        Ok(stream)
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    // Before they are read: what changes meanwhile is read again.
    let changed = changed(files);
    let wrong = |file: &Path, problem: &str, source: ErrorStack| TlsError {
        file: file.display().to_string(),
        problem: problem.to_owned(),
        source: Some(source),
    };
    let read = |file: &Path| {
        let unreadable = |error| TlsError {
            file: file.display().to_string(),
            problem: format!("cannot be read: {error}"),
            source: None,
        };
        std::fs::read(file).map_err(unreadable)
    };
    // What it says of files that are not there is less clear than the system's words.
    read(&files.certificate)?;
    let set_up = |source| wrong(&files.certificate, "TLS cannot be set up", source);
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).map_err(set_up)?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2)).map_err(set_up)?;
    builder
        .set_certificate_chain_file(&files.certificate)
        .map_err(|source| wrong(&files.certificate, "is no certificate in PEM", source))?;
    let pem = Zeroizing::new(read(&files.key)?);
    // No passphrase is asked for on a terminal that nobody watches.
    let key = PKey::private_key_from_pem_callback(&pem, |_| Ok(0))
        .map_err(|source| wrong(&files.key, "is no private key in PEM without a passphrase", source))?;
    builder.set_private_key(&key).map_err(|source| wrong(&files.key, "is the key of another certificate", source))?;
    builder.set_alpn_select_callback(|_, offered| select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK));
    Ok(Loaded { acceptor: builder.build(), changed })
}

fn changed(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.key].map(|file| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok())
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}
