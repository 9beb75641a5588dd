//! Memory that held a secret is zeroed before it is given back.
//!
//! The allocator of this test looks into every block that is freed (or moved, which frees it) for a secret that was never
//! written anywhere but where it is under test. A program of its own, so that nothing else frees blocks meanwhile.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom::{Cached, Config, CredentialProvider, KeySource, Login, Password, params};

/// The secret, made at run time from its parts, so that no block holds it that is not under test.
const HALVES: [&[u8]; 2] = [b"kanarie-5e1f", b"-9c07-gelbes-Vogelhaus"];

struct Watching;

static FOUND: AtomicUsize = AtomicUsize::new(0);

fn look(block: *const u8, len: usize) {
    // SAFETY: the block is allocated, `len` bytes long, and all of it was written: with zeros at least.
    let block = unsafe { std::slice::from_raw_parts(block, len) };
    let secret = || HALVES.iter().copied().flatten();
    let len = secret().count();
    // No text of the secret is made here: that would be one more block, or constant, to be found.
    let holds = |window: &&[u8]| window.iter().eq(secret());
    let first = HALVES[0][0];
    let found = block.windows(len).filter(|window| window[0] == first).filter(holds).count();
    FOUND.fetch_add(found, Ordering::Relaxed);
}

// SAFETY: every block is the system allocator's, asked for and given back with the layout that was asked for.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on. Zeroed, so that `look` never reads what was not written.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        look(block, layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn secret() -> Vec<u8> {
    let mut secret = Vec::with_capacity(HALVES.iter().map(|half| half.len()).sum());
    HALVES.iter().for_each(|half| secret.extend_from_slice(half));
    secret
}

/// The secret was in so many blocks that were freed since this was asked last.
fn found() -> usize {
    FOUND.swap(0, Ordering::Relaxed)
}

/// Holds the secret in its environment, where it was put before this process began.
const VARIABLE: &str = "STRONGROOM_ZEROIZE_TEST";

fn main() {
    // Copies of the environment that the standard library makes belong to whoever calls it: this process is started anew.
    if std::env::var_os(VARIABLE).is_none() {
        let myself = std::env::current_exe().expect("a program has a path");
        let value = String::from_utf8(secret()).expect("it is text");
        let ended = std::process::Command::new(myself).env(VARIABLE, value).status().expect("it can be started");
        std::process::exit(ended.code().unwrap_or(1));
    }
    found();
    drop(secret());
    assert_eq!(found(), 1, "this test finds what is not zeroed");

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        for (name, source) in sources() {
            let secret = source.secret().await.unwrap();
            assert_eq!(secret.expose(), self::secret_in_place(), "{name}");
            drop(secret.clone());
            drop(secret);
            assert_eq!(found(), 0, "{name}: the secret");
            drop(source);
            assert_eq!(found(), 0, "{name}: the source");
        }
        for (name, source) in sources() {
            let login = Login::new("db.test", 5432, Some("app".into()));
            let credentials = Cached::new(Password::from_source(source));
            drop(credentials.credential(&login).await.unwrap());
            drop(credentials.credential(&login).await.unwrap());
            drop(credentials);
            assert_eq!(found(), 0, "{name}: as a password");
        }
        let folder = tempfile::tempdir().unwrap();
        for (name, source) in sources() {
            let path = folder.path().join(format!("{name}.db"));
            let db = Config::sqlite(&path).key(source.clone()).connect().await.unwrap();
            db.execute("CREATE TABLE t (id INTEGER)", params![]).await.unwrap();
            db.rekey(source.clone(), drop).await.unwrap();
            let wrong = Config::sqlite(&path).key(KeySource::literal("wrong")).connect().await.unwrap_err();
            db.close().await.unwrap();
            drop((db, wrong));
            assert_eq!(found(), 0, "{name}: as a file's key");
        }
    });
    println!("memory that held a secret is zeroed: ok");
}

/// The secret, compared without a copy that would have to be freed.
fn secret_in_place() -> &'static [u8] {
    static PLACE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    PLACE.get_or_init(secret)
}

/// Each kind of source with the secret.
fn sources() -> Vec<(&'static str, KeySource)> {
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let file = folder.path().join("key");
    if !file.exists() {
        write_private(&file, secret_in_place());
    }
    vec![
        ("literal", KeySource::literal(secret())),
        ("environment", KeySource::env(VARIABLE)),
        ("file", KeySource::file(&file)),
        ("command", KeySource::command(format!("cat {}", file.display()))),
    ]
}

static FOLDER: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();

fn write_private(path: &std::path::Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
