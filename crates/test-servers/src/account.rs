//! The user as whom servers run: PostgreSQL and pgbouncer refuse to run as root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The user `postgres`, which Debian's package makes.
#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

/// Linux' file system in memory, and how many bytes of it are to be free before we use it: a server has some 50 MB to
/// begin with and may grow to 1 GB. Containers often have 64 MB of it, which is too little.
const IN_MEMORY: &str = "/dev/shm";
const ROOM: u64 = 4 << 30;

/// Whether servers can run here: we are not root, or there is a user `postgres` to become.
pub(crate) fn exists() -> bool {
    !is_root() || lookup().is_some()
}

/// A command in an environment of its own: the user's `PG…`, `PYTHON…` and locale settings do not reach it.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).env("LC_ALL", "C.UTF-8");
    command.current_dir("/");
    if let Some(account) = to_become() {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// A new folder, which the server's user owns and nobody else may read: on disk, in the system's temporary folder.
pub(crate) fn folder() -> PathBuf {
    folder_in(&std::env::temp_dir())
}

/// The same in memory, if there is room and `TMPDIR` does not say otherwise.
///
/// A database is 300 files. ext4 passes over the inodes of files deleted in the last minutes, one by one, when it makes
/// a new one, so that servers that come and go made each other slow: 1.2 s a start, and here 0.1 s.
pub(crate) fn folder_in_memory() -> PathBuf {
    static MEMORY: OnceLock<bool> = OnceLock::new();
    let has_room = || {
        let df = Command::new("df").args(["--output=avail", "-B1", IN_MEMORY]).output();
        let free = df.ok().and_then(|df| String::from_utf8(df.stdout).ok()?.lines().nth(1)?.trim().parse::<u64>().ok());
        std::env::var_os("TMPDIR").is_none() && free.is_some_and(|free| free >= ROOM)
    };
    if *MEMORY.get_or_init(has_room) { folder_in(Path::new(IN_MEMORY)) } else { folder() }
}

/// Gives `path`, and all in it, to the server's user.
pub(crate) fn own(path: &Path) {
    let Some(account) = to_become() else { return };
    chown(path, Some(account.uid), Some(account.gid)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder just made") {
            own(&entry.expect("a folder just made").path());
        }
    }
}

fn folder_in(parent: &Path) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("ts-").permissions(Permissions::from_mode(0o700)).tempdir_in(parent);
    let folder = folder.expect("a temporary folder can be made").keep();
    own(&folder);
    folder
}

fn to_become() -> Option<Account> {
    is_root().then(|| lookup().expect("`needs::postgres()` was asked: there is a user postgres"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn lookup() -> Option<Account> {
    static ACCOUNT: OnceLock<Option<Account>> = OnceLock::new();
    *ACCOUNT.get_or_init(|| {
        let users = fs::read_to_string("/etc/passwd").ok()?;
        let mut fields = users.lines().find(|line| line.starts_with("postgres:"))?.split(':').skip(2);
        Some(Account { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}
