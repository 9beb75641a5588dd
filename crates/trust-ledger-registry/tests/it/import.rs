//! Importing files and streams.

use std::fs;

use time::Duration;
use trust_ledger_registry::{Annotations, Error, ImportInput, ImportOptions, Status};

use crate::support::{Ca, Leaf, NOW, add, get, import, import_with, ledgers, pem};

#[tokio::test]
async fn a_folder_goes_in_and_what_is_no_certificate_is_counted_with_its_place() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("ca.pem"), ca.x509.to_pem().unwrap()).unwrap();
        let (one, two) = (ca.issue(&Leaf::new("a.example")), ca.issue(&Leaf::new("b.example")));
        fs::write(file("bundle.pem"), [pem(&one), b"not a certificate\n".to_vec(), pem(&two), pem(&one)].concat())
            .unwrap();
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
        let summary =
            registry.import(inputs.clone_paths(), &options, &mut |report| reports.push(*report)).await.unwrap();
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
    for registry in ledgers().await {
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
}

#[tokio::test]
async fn an_input_that_is_not_there_is_an_error_before_anything_is_read() {
    for registry in ledgers().await {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), Ca::new("CA").x509.to_pem().unwrap()).unwrap();
        let inputs =
            vec![ImportInput::Path(folder.path().to_owned()), ImportInput::Path(folder.path().join("missing.pem"))];
        let outcome = registry.import(inputs, &ImportOptions::default(), &mut |_| {}).await;
        assert!(
            matches!(outcome, Err(stopped) if matches!(&stopped.error, Error::Input { input, .. } if input.ends_with("missing.pem")))
        );
        assert_eq!(registry.counts().await.unwrap().total, 0);
    }
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

    for registry in ledgers().await {
        let summary = import(&registry, &path).await;
        assert_eq!((summary.revocations, summary.refused_count), (0, 1));
        assert!(summary.refused[0].reason.contains("--issuer"), "{:?}", summary.refused);

        let id = add(&registry, &leaf).await;
        let summary = import(&registry, &path).await;
        assert_eq!((summary.revocations, summary.skipped.values().sum::<u64>()), (1, 1));
        assert_eq!(get(&registry, id).await.status, Status::Revoked);
    }

    for registry in ledgers().await {
        let issuer = get(&registry, add(&registry, &ca.certificate()).await).await.issuer_id;
        let options = ImportOptions { issuer: Some(issuer), ..ImportOptions::default() };
        assert_eq!(import_with(&registry, &path, &options).await.revocations, 1);
    }

    fs::write(folder.path().join("ca.crt"), ca.x509.to_pem().unwrap()).unwrap();
    for registry in ledgers().await {
        assert_eq!(import(&registry, folder.path()).await.revocations, 1);
        assert_eq!(get(&registry, add(&registry, &leaf).await).await.status, Status::Revoked);
    }
}

#[tokio::test]
async fn unrevoked_lines_of_an_index_are_counted_by_whether_their_certificate_is_there() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let folder = tempfile::tempdir().unwrap();
        let until = NOW + Duration::days(90);
        let leaf = ca.issue(&Leaf::new("a.example").serial(0x1001).valid(NOW, until));
        let line = |status: &str, serial: &str| format!("{status}\t270219120000Z\t\t{serial}\tunknown\t/CN=x\n");
        let index = [line("V", "1001"), line("V", "1002"), line("E", "1003")].concat();
        fs::write(folder.path().join("index.txt"), index).unwrap();
        fs::write(folder.path().join("all.pem"), [pem(&leaf), ca.x509.to_pem().unwrap()].concat()).unwrap();
        let summary = import(&registry, folder.path()).await;
        assert_eq!(summary.skipped["an index entry that is not revoked"], 1);
        let missing = "an index entry that is not revoked, and whose certificate is not in the ledger";
        assert_eq!(summary.skipped[missing], 2);
    }
}

#[tokio::test]
async fn of_two_cas_in_a_folder_the_index_is_of_the_one_in_the_usual_file() {
    for usual in ["ca.crt", "cacert.pem"] {
        for registry in ledgers().await {
            let (ca, root) = (Ca::new("CA"), Ca::new("Root"));
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("index.txt"), "R\t270219120000Z\t261101000000Z\t1001\tunknown\t/CN=a\n")
                .unwrap();
            fs::write(folder.path().join("root.pem"), root.x509.to_pem().unwrap()).unwrap();
            fs::write(folder.path().join(usual), ca.x509.to_pem().unwrap()).unwrap();
            assert_eq!(import(&registry, folder.path()).await.revocations, 1, "{usual}");
            let issuer = get(&registry, add(&registry, &ca.certificate()).await).await.issuer_id;
            let serial = trust_ledger_registry::Serial::from_content(&[0x10, 0x01]).unwrap();
            assert_eq!(registry.status(&serial, issuer).await.unwrap(), Status::Revoked, "{usual}");
        }
    }
}

#[tokio::test]
async fn a_dropped_import_keeps_what_it_committed() {
    for registry in ledgers().await {
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
        let mut reported = 0;
        // Beyond the CA, which is there before the others.
        while reported <= 1 {
            reported = committed.recv().await.expect("the import is under way");
        }
        import.abort();
        let _ = import.await;
        while let Ok(new) = committed.try_recv() {
            reported = new;
        }
        assert!(registry.counts().await.unwrap().total >= reported);
    }
}
