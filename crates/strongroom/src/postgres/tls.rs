//! TLS to a server: whom to trust, what to show, and what went wrong.
//!
//! OpenSSL does it, which SQLCipher brings anyway. Start from [`TlsSettings`]; [`Tls`] makes connections of it.

mod certificate;
mod files;
mod handshake;

use std::path::PathBuf;

use openssl::ssl::SslConnector;
use time::OffsetDateTime;

use self::files::Stamp;
pub(super) use self::handshake::{Failure, Handshake, refusal};
use crate::error::{Error, Result};
use crate::key::KeySource;
use crate::secret::off_the_runtime;

/// How a connection is encrypted.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsSettings {
    /// Default: none to this machine, over a unix socket or the loopback, unless something else here asks for TLS;
    /// [`VerifyFull`](TlsMode::VerifyFull) elsewhere.
    pub(super) mode: Option<TlsMode>,
    /// Default: [`System`](Roots::System).
    pub(super) roots: Option<Roots>,
    pub(super) client: Option<ClientCertificate>,
    /// Not even TLS 1.2, which is the oldest otherwise.
    pub(super) only_1_3: bool,
}

/// What the server must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// No TLS: whoever is on the wire reads and changes everything.
    Disable,
    /// A certificate from a trusted CA, whoever it is for.
    VerifyCa,
    /// And it is for the host's name.
    VerifyFull,
}

/// Which CAs are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Those of the system; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as with OpenSSL.
    System,
    /// Those in a file in PEM, and no others.
    File(PathBuf),
}

/// What the client shows of itself.
#[derive(Clone, Debug)]
pub(crate) struct ClientCertificate {
    /// The certificate in PEM, and those of the CAs between it and the root.
    pub(super) certificate: PathBuf,
    /// Its key in PEM, which nobody else may read.
    pub(super) key: PathBuf,
    pub(super) passphrase: Option<KeySource>,
}

/// What is known about a connection's encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFacts {
    /// Such as `TLSv1.3`.
    pub(crate) protocol: String,
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub(crate) cipher: String,
    /// The names that the server's certificate is for.
    pub(crate) peer_name: String,
    /// The end of the server's certificate.
    pub(crate) not_after: OffsetDateTime,
}

/// Makes TLS connections. The files are read again when they have changed, so that a renewed certificate is used at
/// once.
pub(super) struct Tls {
    settings: TlsSettings,
    made: tokio::sync::Mutex<Option<(Stamp, SslConnector)>>,
}

impl TlsSettings {
    /// Whether anything is said that only TLS gives a meaning.
    fn ask_for_tls(&self) -> bool {
        self.roots.is_some() || self.client.is_some() || self.only_1_3
    }
}

impl Tls {
    pub(super) fn new(mut settings: TlsSettings) -> Self {
        if settings.mode.is_none() && settings.ask_for_tls() {
            settings.mode = Some(TlsMode::VerifyFull);
        }
        Tls { settings, made: tokio::sync::Mutex::default() }
    }

    /// What is said, or what is right for a place on this machine or elsewhere.
    pub(super) fn mode(&self, is_local: bool) -> TlsMode {
        self.settings.mode.unwrap_or(if is_local { TlsMode::Disable } else { TlsMode::VerifyFull })
    }

    /// Prepares a handshake with `host`, which the server's certificate must be for.
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when a file cannot be used; the passphrase's source's.
    pub(super) async fn handshake(&self, host: &str, mode: TlsMode) -> Result<Handshake> {
        let connector = self.connector().await?;
        Handshake::new(&connector, host, mode == TlsMode::VerifyFull).map_err(|error| unusable("sslmode", &error))
    }

    async fn connector(&self) -> Result<SslConnector> {
        let mut made = self.made.lock().await;
        let settings = self.settings.clone();
        let stamp = off_the_runtime(move || Ok(files::stamp(&settings))).await?;
        if let Some((_, connector)) = made.as_ref().filter(|(then, _)| *then == stamp) {
            return Ok(connector.clone());
        }
        let passphrase = match self.settings.client.as_ref().and_then(|client| client.passphrase.as_ref()) {
            Some(source) => Some(source.secret().await?),
            None => None,
        };
        let settings = self.settings.clone();
        let connector = off_the_runtime(move || files::connector(&settings, passphrase.as_ref())).await?;
        *made = Some((stamp, connector.clone()));
        Ok(connector)
    }
}

fn unusable(setting: &str, error: &openssl::error::ErrorStack) -> Error {
    Error::config(setting, format!("is refused by OpenSSL ({error})"))
}
