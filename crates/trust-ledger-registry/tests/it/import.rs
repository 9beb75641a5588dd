//! Importing files and streams.

use std::fs;
use std::path::Path;

use openssl::pkey::PKey;
use time::Duration;
use trust_ledger_registry::{Annotations, Error, ImportInput, ImportOptions, ImportSummary, Registry, Serial, Status};

use crate::support::{Ca, Leaf, NOW, add, get, ledger, pkits};

async fn import(registry: &Registry, path: &Path) -> ImportSummary {
    import_with(registry, path, &ImportOptions::default()).await
}

async fn import_with(registry: &Registry, path: &Path, options: &ImportOptions) -> ImportSummary {
    registry.import(vec![ImportInput::Path(path.to_owned())], options, &mut |_| {}).await.unwrap()
}

fn pem(certificate: &trust_ledger_registry::Certificate) -> Vec<u8> {
    openssl::x509::X509::from_der(certificate.der()).unwrap().to_pem().unwrap()
}

#[tokio::test]
async fn a_folder_goes_in_and_what_is_no_certificate_is_counted_with_its_place() {
    let registry = ledger().await;
    let ca = Ca::new("CA");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("ca.pem"), ca.x509.to_pem().unwrap()).unwrap();
    let (one, two) = (ca.issue(&Leaf::new("a.example")), ca.issue(&Leaf::new("b.example")));
    fs::write(file("bundle.pem"), [pem(&one), b"not a certificate\n".to_vec(), pem(&two), pem(&one)].concat()).unwrap();
    fs::write(file("one.der"), one.der()).unwrap();
    fs::write(file("key.pem"), ca.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::write(file("notes.txt"), "nothing here").unwrap();
    let mut broken = pem(&two);
    broken.truncate(broken.len() / 2);
    fs::write(file("broken.pem"), broken).unwrap();
    let mut reports = Vec::new();
    let options = ImportOptions {
        annotations: Annotations { owner: Some("team".to_owned()), ..Annotations::default() },
        issuer: None,
    };
    let inputs = vec![ImportInput::Path(folder.path().to_owned())];
    let summary = registry.import(inputs.clone_paths(), &options, &mut |report| reports.push(*report)).await.unwrap();
    assert_eq!((summary.new, summary.known), (3, 2));
    assert_eq!(summary.skipped["a private key"], 1);
    assert_eq!(summary.refused_count, 1);
    assert!(summary.refused[0].position.contains("broken.pem"), "{:?}", summary.refused);
    assert_eq!(reports.last().map(|report| (report.new, report.known, report.refused)), Some((3, 2, 1)));
    assert_eq!(reports.last().map(|report| report.bytes_read), reports.last().map(|report| report.bytes_total));
    let record = registry.by_name("a.example").await.unwrap().unwrap();
    assert_eq!(record.owner.as_deref(), Some("team"));
    let again = registry.import(inputs.clone_paths(), &options, &mut |_| {}).await.unwrap();
    assert_eq!((again.new, again.known), (0, 5));
}

/// Inputs hold streams and cannot be cloned; these hold paths.
trait ClonePaths {
    fn clone_paths(&self) -> Vec<ImportInput>;
}

impl ClonePaths for Vec<ImportInput> {
    fn clone_paths(&self) -> Vec<ImportInput> {
        let path = |input: &ImportInput| match input {
            ImportInput::Path(path) => ImportInput::Path(path.clone()),
            ImportInput::Stream { name, .. } => panic!("{name} is a stream"),
        };
        self.iter().map(path).collect()
    }
}

#[tokio::test]
async fn leaves_before_their_ca_and_in_other_chunks_belong_to_it_in_the_end() {
    let registry = ledger().await;
    let ca = Ca::new("CA");
    let mut bundle = Vec::new();
    for number in 0..6_200 {
        bundle.extend(pem(&ca.issue(&Leaf::new(&format!("host{number}.example")))));
    }
    bundle.extend(ca.x509.to_pem().unwrap());
    let stream = ImportInput::Stream { name: "-".to_owned(), reader: Box::new(std::io::Cursor::new(bundle)) };
    let summary = registry.import(vec![stream], &ImportOptions::default(), &mut |_| {}).await.unwrap();
    assert_eq!((summary.new, summary.refused_count), (6_201, 0));
    let counts = registry.counts().await.unwrap();
    assert_eq!((counts.total, counts.by_issuer.len()), (6_201, 1));
}

#[tokio::test]
async fn an_input_that_is_not_there_is_an_error_before_anything_is_read() {
    let registry = ledger().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), Ca::new("CA").x509.to_pem().unwrap()).unwrap();
    let inputs =
        vec![ImportInput::Path(folder.path().to_owned()), ImportInput::Path(folder.path().join("missing.pem"))];
    let outcome = registry.import(inputs, &ImportOptions::default(), &mut |_| {}).await;
    assert!(matches!(outcome, Err(Error::Input { input, .. }) if input.ends_with("missing.pem")));
    assert_eq!(registry.counts().await.unwrap().total, 0);
}

/// DER by hand, so that a CRL can be made here: a SEQUENCE, or anything with this tag.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        length @ 0..128 => der.push(u8::try_from(length).unwrap()),
        length => {
            der.push(0x82);
            der.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    der.extend(content);
    der
}

/// A CRL of this CA, signed with this key, that revokes serials for reasons by their code.
fn crl(ca: &Ca, key: &PKey<openssl::pkey::Private>, entries: &[(u8, u8)]) -> Vec<u8> {
    let algorithm = tlv(0x30, &tlv(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]));
    let time = tlv(0x17, b"261101000000Z");
    let entry = |(serial, reason): &(u8, u8)| {
        let code = tlv(0x30, &[tlv(0x06, &[0x55, 0x1d, 0x15]), tlv(0x04, &tlv(0x0a, &[*reason]))].concat());
        tlv(0x30, &[tlv(0x02, &[*serial]), time.clone(), tlv(0x30, &code)].concat())
    };
    let entries: Vec<u8> = entries.iter().flat_map(entry).collect();
    let identifier = ca.x509.subject_key_id().unwrap().as_slice().to_vec();
    let identifier = tlv(0x30, &tlv(0x80, &identifier));
    let authority = tlv(0x30, &[tlv(0x06, &[0x55, 0x1d, 0x23]), tlv(0x04, &identifier)].concat());
    let extensions = tlv(0xa0, &tlv(0x30, &authority));
    let issuer = ca.x509.subject_name().to_der().unwrap();
    let content =
        [tlv(0x02, &[1]), algorithm.clone(), issuer, time.clone(), time.clone(), tlv(0x30, &entries), extensions];
    let content = tlv(0x30, &content.concat());
    let mut signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), key).unwrap();
    let signature = signer.sign_oneshot_to_vec(&content).unwrap();
    tlv(0x30, &[content, algorithm, tlv(0x03, &[vec![0], signature].concat())].concat())
}

#[tokio::test]
async fn a_crl_of_a_known_issuer_is_checked_and_recorded() {
    let registry = ledger().await;
    let ca = Ca::new("CA");
    let folder = tempfile::tempdir().unwrap();
    let leaf = ca.issue(&Leaf::new("a.example").serial(5));
    fs::write(folder.path().join("a.crl"), crl(&ca, &ca.key, &[(5, 1), (6, 6)])).unwrap();
    fs::write(folder.path().join("z.pem"), [pem(&leaf), ca.x509.to_pem().unwrap()].concat()).unwrap();
    let summary = import(&registry, folder.path()).await;
    assert_eq!((summary.revocations, summary.refused_count, summary.unchecked.len()), (2, 0, 0), "{summary:?}");
    let record = registry.by_fingerprint(leaf.fingerprint()).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Revoked);
    let six = Serial::from_content(&[6]).unwrap();
    assert_eq!(registry.status(&six, record.issuer_id).await.unwrap(), Status::OnHold);
    let source = registry.revocation(&six, record.issuer_id).await.unwrap().unwrap().source.unwrap();
    assert!(source.ends_with("a.crl"), "{source}");
    let again = import(&registry, folder.path()).await;
    assert_eq!((again.revocations, again.revocations_known), (0, 2));
}

#[tokio::test]
async fn a_crl_that_its_issuer_did_not_sign_is_refused() {
    let registry = ledger().await;
    let (ca, forger) = (Ca::new("CA"), Ca::new("CA"));
    add(&registry, &ca.certificate()).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("forged.crl"), crl(&ca, &forger.key, &[(5, 1)])).unwrap();
    let summary = import(&registry, folder.path()).await;
    assert_eq!((summary.revocations, summary.refused_count), (0, 1));
    assert!(summary.refused[0].reason.contains("signature"), "{:?}", summary.refused);
}

#[tokio::test]
async fn a_crl_of_an_unknown_issuer_is_recorded_as_unchecked_and_resolved_with_the_ca() {
    let registry = ledger().await;
    let ca = Ca::new("CA");
    let folder = tempfile::tempdir().unwrap();
    let leaf = ca.issue(&Leaf::new("a.example").serial(5));
    let id = add(&registry, &leaf).await;
    fs::write(folder.path().join("a.crl"), crl(&ca, &ca.key, &[(5, 1), (7, 4)])).unwrap();
    let summary = import(&registry, folder.path()).await;
    assert_eq!((summary.revocations, summary.unchecked.len()), (2, 1));
    assert_eq!(get(&registry, id).await.status, Status::Revoked);
    add(&registry, &ca.certificate()).await;
    let record = get(&registry, id).await;
    assert_eq!(record.status, Status::Revoked);
    let seven = Serial::from_content(&[7]).unwrap();
    assert_eq!(registry.status(&seven, record.issuer_id).await.unwrap(), Status::Revoked);
}

/// Three ways to know whose an index.txt is, and none.
#[tokio::test]
async fn an_index_needs_its_issuer_from_the_caller_the_certificates_or_the_folder() {
    let ca = Ca::new("CA");
    let until = NOW + Duration::days(90);
    let leaf = ca.issue(&Leaf::new("a.example").serial(0x1001).valid(NOW, until));
    let index = "V\t270219120000Z\t\t1000\tunknown\t/CN=ok\nR\t270219120000Z\t261101000000Z,keyCompromise\t1001\tunknown\t/CN=a.example\n";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.txt"), index).unwrap();
    let path = folder.path().join("index.txt");

    let registry = ledger().await;
    let summary = import(&registry, &path).await;
    assert_eq!((summary.revocations, summary.refused_count), (0, 1));
    assert!(summary.refused[0].reason.contains("--issuer"), "{:?}", summary.refused);

    let id = add(&registry, &leaf).await;
    let summary = import(&registry, &path).await;
    assert_eq!((summary.revocations, summary.skipped["an index entry that is not revoked"]), (1, 1));
    assert_eq!(get(&registry, id).await.status, Status::Revoked);

    let registry = ledger().await;
    fs::write(folder.path().join("ca.crt"), ca.x509.to_pem().unwrap()).unwrap();
    assert_eq!(import(&registry, folder.path()).await.revocations, 1);
    assert_eq!(get(&registry, add(&registry, &leaf).await).await.status, Status::Revoked);

    let registry = ledger().await;
    let issuer = get(&registry, add(&registry, &ca.certificate()).await).await.issuer_id;
    let options = ImportOptions { issuer: Some(issuer), ..ImportOptions::default() };
    assert_eq!(import_with(&registry, &path, &options).await.revocations, 1);
}

#[tokio::test]
async fn a_dropped_import_keeps_what_it_committed() {
    let registry = ledger().await;
    let ca = Ca::new("CA");
    let mut bundle = ca.x509.to_pem().unwrap();
    for number in 0..9_500 {
        bundle.extend(pem(&ca.issue(&Leaf::new(&format!("host{number}.example")))));
    }
    let (sender, mut committed) = tokio::sync::mpsc::unbounded_channel();
    let importer = registry.clone();
    let import = tokio::spawn(async move {
        let stream = ImportInput::Stream { name: "-".to_owned(), reader: Box::new(std::io::Cursor::new(bundle)) };
        let mut report = |progress: &trust_ledger_registry::ImportProgress| {
            let _ = sender.send(progress.new);
        };
        importer.import(vec![stream], &ImportOptions::default(), &mut report).await.map(|_| ())
    });
    while committed.recv().await.is_some_and(|new| new == 0) {}
    import.abort();
    let _ = import.await;
    let mut reported = 3_000;
    while let Ok(new) = committed.try_recv() {
        reported = new;
    }
    assert!(registry.counts().await.unwrap().total >= reported);
}

/// All of PKITS goes in, but for the one CRL whose signature is wrong on purpose; and going in again changes nothing,
/// although its delta CRL lifts a hold that its base CRL set.
#[tokio::test]
async fn pkits_goes_in_once_and_again_changes_nothing() {
    let Some(folder) = pkits() else { return };
    let registry = ledger().await;
    let everything = || vec![ImportInput::Path(folder.join("certs")), ImportInput::Path(folder.join("crls"))];
    let first = registry.import(everything(), &ImportOptions::default(), &mut |_| {}).await.unwrap();
    assert_eq!((first.new, first.known, first.refused_count), (405, 0, 1), "{:?}", first.refused);
    assert!(first.refused[0].position.contains("BadCRLSignatureCACRL.crl"), "{:?}", first.refused);
    assert!(first.revocations > 30 && first.holds_lifted == 1, "{first:?}");
    let before = registry.counts().await.unwrap();
    let again = registry.import(everything(), &ImportOptions::default(), &mut |_| {}).await.unwrap();
    assert_eq!((again.new, again.known, again.refused_count), (0, 405, 1));
    assert_eq!((again.revocations, again.holds_lifted), (0, 0));
    assert_eq!(again.revocations_known, first.revocations + first.revocations_known + first.holds_lifted);
    assert_eq!(registry.counts().await.unwrap(), before);
}
