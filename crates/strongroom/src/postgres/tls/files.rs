//! The files that TLS needs: trusted CAs, the client's certificate and its key.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVersion};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use zeroize::Zeroizing;

use super::{ClientCertificate, Roots, TlsSettings, unusable};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Larger files are no certificates: the system's bundle has some 200 KiB.
const MAX_FILE_LEN: u64 = 16 * 1024 * 1024;

/// Tells whether a file has changed: its time and length.
pub(super) type Stamp = Vec<Option<(SystemTime, u64)>>;

/// The state of every file that the settings name.
pub(super) fn stamp(settings: &TlsSettings) -> Stamp {
    let client = settings.client.iter().flat_map(|client| [&client.certificate, &client.key]);
    let system = match &settings.roots {
        Some(Roots::File(path)) => Some(path.clone()),
        Some(Roots::System) | None => openssl_probe::probe().cert_file,
    };
    let stamp = |path: &PathBuf| std::fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
    client.chain(system.as_ref()).map(stamp).collect()
}

/// Reads the files. Blocks.
pub(super) fn connector(settings: &TlsSettings, passphrase: Option<&Secret>) -> Result<SslConnector> {
    let failed = |error| unusable("sslmode", &error);
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
    let oldest = if settings.only_1_3 { SslVersion::TLS1_3 } else { SslVersion::TLS1_2 };
    builder.set_min_proto_version(Some(oldest)).map_err(failed)?;
    // A store of its own replaces the builder's, which holds what OpenSSL takes for the system's.
    let mut store = X509StoreBuilder::new().map_err(failed)?;
    let roots = match &settings.roots {
        Some(Roots::File(path)) => certificates(path, "sslrootcert")?,
        Some(Roots::System) | None => system_roots()?,
    };
    for root in roots {
        store.add_cert(root).map_err(|error| unusable("sslrootcert", &error))?;
    }
    builder.set_cert_store(store.build());
    if let Some(client) = &settings.client {
        show(&mut builder, client, passphrase)?;
    }
    Ok(builder.build())
}

/// What the system trusts: one file on most systems, a folder of files on some.
fn system_roots() -> Result<Vec<X509>> {
    let found = openssl_probe::probe();
    if let Some(file) = &found.cert_file {
        return certificates(file, "sslrootcert");
    }
    let mut roots = Vec::new();
    for entry in found.cert_dir.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten() {
        // A folder holds links, indexes and lists of revoked certificates beside what is looked for.
        roots.extend(certificates(&entry.path(), "sslrootcert").unwrap_or_default());
    }
    match roots.is_empty() {
        false => Ok(roots),
        true => Err(Error::config(
            "sslrootcert",
            "no trusted CAs of the system were found; install ca-certificates, or name a file in PEM",
        )),
    }
}

/// The certificates in a file, one at least.
fn certificates(path: &Path, setting: &str) -> Result<Vec<X509>> {
    let pem = read(path, setting)?;
    let wrong = |reason: &str| Error::config(setting, format!("{} {reason}", path.display()));
    if pem.is_empty() {
        return Err(wrong("is empty; expected certificates in PEM"));
    }
    let found = X509::stack_from_pem(&pem)
        .map_err(|_| wrong("holds a certificate that is damaged or cut off; expected certificates in PEM"))?;
    match found.is_empty() {
        true => Err(wrong("holds no certificate; expected PEM, which begins with -----BEGIN CERTIFICATE-----")),
        false => Ok(found),
    }
}

/// Has the client show a certificate.
fn show(builder: &mut SslConnectorBuilder, client: &ClientCertificate, passphrase: Option<&Secret>) -> Result<()> {
    let chain = certificates(&client.certificate, "sslcert")?;
    let key = private_key(&client.key, passphrase)?;
    let failed = |error| unusable("sslcert", &error);
    let mut chain = chain.into_iter();
    // There is one at least.
    let own = chain.next().expect("a file with certificates");
    if !own.public_key().is_ok_and(|public| public.public_eq(&key)) {
        let reason = format!("{} is not the key of {}", client.key.display(), client.certificate.display());
        return Err(Error::config("sslkey", reason));
    }
    builder.set_certificate(&own).map_err(failed)?;
    builder.set_private_key(&key).map_err(failed)?;
    for authority in chain {
        builder.add_extra_chain_cert(authority).map_err(failed)?;
    }
    Ok(())
}

fn private_key(path: &Path, passphrase: Option<&Secret>) -> Result<PKey<Private>> {
    let wrong = |reason: &str| Error::config("sslkey", format!("{} {reason}", path.display()));
    let pem = Zeroizing::new(read(path, "sslkey")?);
    is_private(path).map_err(|reason| wrong(&reason))?;
    let mut asked = false;
    // Without a callback OpenSSL would ask on the terminal.
    let key = PKey::private_key_from_pem_callback(&pem, |buffer| {
        asked = true;
        let passphrase = passphrase.map(Secret::expose).unwrap_or_default();
        let Some(room) = buffer.get_mut(..passphrase.len()) else { return Ok(0) };
        room.copy_from_slice(passphrase);
        Ok(passphrase.len())
    });
    key.map_err(|_| match (asked, passphrase) {
        (true, None) => wrong("is encrypted; name its passphrase by sslpassword, or decrypt it"),
        (true, Some(_)) => wrong("is encrypted, and not with this passphrase"),
        (false, _) => wrong("holds no private key; expected PEM, which begins with -----BEGIN PRIVATE KEY-----"),
    })
}

/// As libpq has it: mode 0600 or stricter; 0640 when the file is root's, as secrets are mounted into containers.
#[cfg(unix)]
fn is_private(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be examined ({})", error.kind()))?;
    let mode = metadata.mode() & 0o777;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    match mode & forbidden {
        0 => Ok(()),
        _ => Err(format!("has mode {mode:04o}, others could read it; expected 0600 (chmod 600)")),
    }
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> Result<(), String> {
    Ok(())
}

fn read(path: &Path, setting: &str) -> Result<Vec<u8>> {
    let failed = |reason: String| Error::config(setting, format!("{} {reason}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| failed(format!("cannot be opened ({})", error.kind())))?;
    // Opening a pipe would wait for whoever writes into it.
    if !metadata.is_file() {
        return Err(failed("is not a regular file; expected PEM".to_owned()));
    }
    if metadata.len() > MAX_FILE_LEN {
        return Err(failed(format!("has {} bytes, which no file of certificates has", metadata.len())));
    }
    std::fs::read(path).map_err(|error| failed(format!("cannot be read ({})", error.kind())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(roots: Option<Roots>) -> usize {
        let connector = connector(&TlsSettings { roots, ..TlsSettings::default() }, None).unwrap();
        connector.context().cert_store().all_certificates().len()
    }

    #[test]
    fn a_bundle_of_its_own_is_trusted_alone_and_the_systems_cas_otherwise() {
        let ca = test_servers::Ca::new();
        assert_eq!(roots(Some(Roots::File(ca.file().into()))), 1);
        if openssl_probe::probe().cert_file.is_some() {
            assert!(roots(None) > 20);
            assert_eq!(roots(None), roots(Some(Roots::System)));
        }
    }
}
