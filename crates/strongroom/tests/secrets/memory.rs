//! Memory that held a secret is zeroed before it is given back.
//!
//! The allocator of this program looks into every block that is freed (or moved, which frees it) for the secret, for the
//! value of the SOPS files, and for the age identity that decrypts them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom::{Cached, Config, CredentialProvider, KeySource, Login, Password, params};

use crate::{HALVES, secret, secret_in_place, sops, sources};

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
    let others = [sops::VALUE.as_bytes(), sops::identity().as_bytes(), sops::raw_identity()];
    let holds = |other: &[u8]| block.windows(other.len()).filter(|window| *window == other).count();
    FOUND.fetch_add(found + others.into_iter().map(holds).sum::<usize>(), Ordering::Relaxed);
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

/// The secret was in so many blocks that were freed since this was asked last.
fn found() -> usize {
    FOUND.swap(0, Ordering::Relaxed)
}

/// Each kind of source gives its secret, as a key and as a password, and leaves nothing of it behind.
pub(crate) async fn is_zeroed() {
    found();
    drop(secret());
    assert_eq!(found(), 1, "this test finds what is not zeroed");
    drop(sops::raw_identity().to_vec());
    drop([sops::identity(), sops::VALUE].concat());
    assert_eq!(found(), 3, "this test finds what is not zeroed");

    for (name, source) in sources() {
        let secret = source.secret().await.unwrap();
        let expected = if name.starts_with("SOPS") { sops::VALUE.as_bytes() } else { secret_in_place() };
        assert_eq!(secret.expose(), expected, "{name}");
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
    for source in sops::broken_sources(folder.path()) {
        let error = source.secret().await.unwrap_err();
        drop(source);
        assert_eq!(found(), 0, "{error}");
    }
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
    for form in [
        "postgres://app:{}@host/db",
        "postgres://app@host/db?password={}",
        "host=host user=app password='{}'",
        "postgres://app:{}@host:port/db",
        "postgres://app:{}@host/db?sslmode=some",
        "postgres://app:{}@host/db?nothing=1",
        "host=host password='{}",
        "mysql://app:{}@host/db",
    ] {
        // Not freed: the text is the caller's.
        let url = form.replace("{}", std::str::from_utf8(secret_in_place()).unwrap()).leak();
        found();
        drop(Config::from_url(url));
        assert_eq!(found(), 0, "{form}");
    }
    #[cfg(feature = "aws")]
    is_zeroed_in_tokens().await;
}

/// A token holds the session token. What the SDK found in the environment it does not zero, and that is asked for once.
#[cfg(feature = "aws")]
async fn is_zeroed_in_tokens() {
    let login = Login::new("db.test", 5432, Some("app".into()));
    let rds = strongroom::RdsIam::from_environment().region("eu-central-1");
    let dsql = strongroom::Dsql::from_environment().region("eu-central-1");
    let providers: [&dyn CredentialProvider; 2] = [&rds, &dsql];
    for provider in providers {
        drop(provider.credential(&login).await.unwrap());
        found();
        let token = provider.credential(&login).await.unwrap().password;
        assert!(token.expose().windows(secret_in_place().len()).any(|window| window == secret_in_place()));
        drop(token);
        assert_eq!(found(), 0, "{provider}");
    }
    drop((rds, dsql));
    assert_eq!(found(), 0, "the identity");
}
