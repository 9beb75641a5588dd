//! The blocking register: as complete as the asynchronous one, without a runtime.

use std::collections::BTreeSet;
use std::path::Path;

use strongroom::blocking::Database;
use trust_ledger_registry::blocking::Registry;
use trust_ledger_registry::{
    Annotations, CrlQuery, Error, EventFilter, ImportInput, ImportOptions, Page, RevocationRequest, RevocationTarget,
    Revoke,
};
use uuid::Uuid;

use crate::support::{Ca, Leaf, NOW, pem};

fn ledger() -> Registry {
    Registry::in_memory().unwrap().with_clock(|| NOW)
}

/// Every public method of the register is one of the blocking register too, and the other way round: the names are read from
/// the sources of both.
#[test]
fn every_operation_has_its_blocking_twin() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut asynchronous = BTreeSet::new();
    for file in rust_files(&sources) {
        if !file.ends_with("blocking.rs") {
            asynchronous.extend(methods(&file, "impl Registry {", &["    pub async fn ", "    pub fn "]));
        }
    }
    assert!(asynchronous.contains("import") && asynchronous.len() > 25, "{asynchronous:?}");
    let file = sources.join("blocking.rs");
    let mut blocking = methods(&file, "impl Registry {", &["    pub fn "]);
    blocking.extend(methods(&file, "waiting! {", &["    fn "]));
    assert_eq!(asynchronous, blocking);
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] }).collect()
}

/// The names after these prefixes in the blocks of a file that begin with this line.
fn methods(file: &Path, block: &str, prefixes: &[&str]) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().scan(false, |inside, line| {
        *inside = line == block || (*inside && line != "}");
        Some(line).filter(|_| *inside).or(Some(""))
    });
    let names = lines.filter_map(|line| prefixes.iter().find_map(|prefix| line.strip_prefix(prefix)));
    names.map(|name| name.split(['(', '<']).next().unwrap().to_owned()).collect()
}

/// One certificate from its registration to its issuer's CRL, seen by both kinds of handle.
#[test]
fn a_certificate_is_registered_found_revoked_and_listed_without_a_runtime() {
    let registry = ledger().acting_as("anna");
    let ca = Ca::new("CA");
    let leaf = ca.issue(&Leaf::new("a.example"));
    let registered = registry.register_many(vec![ca.certificate(), leaf.clone()], &Annotations::default()).unwrap();
    let id = registered[1].id();
    assert_eq!(registry.register(&leaf, &Annotations::default()).unwrap().id(), id);
    assert_eq!(registry.by_name("a.example").unwrap().unwrap().id, id);
    let issuer = registry.get(id).unwrap().unwrap().issuer_id;
    assert_eq!(registry.crl_entries(issuer, &CrlQuery::default()).unwrap().count(), 0);
    let revoked = registry.revoke(&RevocationTarget::Id(id), &RevocationRequest::default()).unwrap();
    assert_eq!(revoked, Revoke::Revoked);
    let entries = registry.crl_entries(issuer, &CrlQuery::default()).unwrap();
    let serials: Vec<_> = entries.map(|entry| entry.unwrap().serial).collect();
    assert_eq!(serials, [leaf.serial().clone()]);
    let unknown = Uuid::from_u128(7);
    assert!(matches!(registry.crl_entries(unknown, &CrlQuery::default()), Err(Error::UnknownIssuer { .. })));
    let events = registry.events(&EventFilter::default(), &Page::default()).unwrap();
    assert!(events.events.iter().all(|event| event.actor == "anna"));
    let counted: Option<i64> =
        registry.database().fetch_value("SELECT count(*) FROM certificate", strongroom::params![]).unwrap();
    assert_eq!(counted, Some(2));
}

#[test]
fn an_import_reports_on_the_callers_thread_and_may_run_in_several_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("CA");
    for index in 0..8 {
        let pem = pem(&ca.issue(&Leaf::new(&format!("{index}.example"))));
        std::fs::write(folder.path().join(format!("{index}.pem")), pem).unwrap();
    }
    let registry = ledger();
    let new: u64 = std::thread::scope(|scope| {
        let imports: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let here = std::thread::current().id();
                    let inputs = vec![ImportInput::Path(folder.path().to_owned())];
                    let mut reports = 0;
                    let mut progress = |_: &_| {
                        assert_eq!(std::thread::current().id(), here);
                        assert!(matches!(registry.counts(), Err(Error::Database(strongroom::Error::BlockingInTask))));
                        reports += 1;
                    };
                    let summary = registry.import(inputs, &ImportOptions::default(), &mut progress).unwrap();
                    assert!(reports > 0);
                    summary.new
                })
            })
            .collect();
        imports.into_iter().map(|import| import.join().unwrap()).sum()
    });
    assert_eq!(new, 8);
}

/// Nothing is registered, listed or imported by a call that would have blocked a runtime.
#[test]
fn an_operation_inside_a_task_is_refused() {
    let registry = ledger();
    let certificate = Ca::new("CA").certificate();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let refused = registry.register(&certificate, &Annotations::default());
        assert!(matches!(refused, Err(Error::Database(strongroom::Error::BlockingInTask))));
        let refused = registry.import(Vec::new(), &ImportOptions::default(), &mut |_| {}).unwrap_err();
        assert!(matches!(refused.error, Error::Database(strongroom::Error::BlockingInTask)));
    });
    assert!(registry.issuers().unwrap().is_empty());
}

/// A file that one kind of handle has written is read by the other, over the same connections.
#[test]
fn a_register_is_opened_on_a_blocking_database() {
    let folder = tempfile::tempdir().unwrap();
    let config = strongroom::Config::sqlite(folder.path().join("ledger.db"));
    let db: Database = config.migrations(&trust_ledger_registry::MIGRATIONS).connect_blocking().unwrap();
    let registry = Registry::open(db.clone());
    let id = registry.register(&Ca::new("CA").certificate(), &Annotations::default()).unwrap().id();
    let other = trust_ledger_registry::Registry::from(registry);
    assert!(strongroom::blocking::wait(other.get(id)).unwrap().is_some());
    db.close().unwrap();
}
