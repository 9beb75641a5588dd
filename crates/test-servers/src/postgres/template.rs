//! Data folders: `initdb` runs once per version, and servers start from copies of what it made.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::account;

/// Role `postgres` is the superuser. Checksums let a dead primary be rewound; small WAL files make the copy small.
const OPTIONS: [&str; 8] = [
    "--auth=trust",
    "--username=postgres",
    "--no-sync",
    "--no-instructions",
    "--no-locale",
    "--encoding=UTF8",
    "--data-checksums",
    "--wal-segsize=1",
];

/// Makes the data folder `data`, which must not exist.
pub(super) fn data_folder(data: &Path) {
    static TEMPLATE: OnceLock<Option<PathBuf>> = OnceLock::new();
    match TEMPLATE.get_or_init(template) {
        Some(template) => copy(template, data).unwrap_or_else(|error| panic!("{}: {error}", data.display())),
        None => initdb(data),
    }
}

/// The template in cargo's target folder, made if it is not there. `None` when this program lies elsewhere, or
/// may not write there.
fn template() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    // Tests and benchmarks lie in `target/debug/deps`, or with another profile or triple in between.
    let target = program.parent().filter(|folder| folder.ends_with("deps"))?.parent()?;
    let mut key = DefaultHasher::new();
    (super::tool("initdb", &["--version"]), OPTIONS).hash(&mut key);
    let template = target.join("test-servers").join(format!("postgres-{:016x}", key.finish()));
    if template.exists() {
        return Some(template);
    }
    // The server's user may not reach the target folder, so it works elsewhere.
    let folder = account::folder();
    initdb(&folder.join("data"));
    let unfinished = template.with_extension(std::process::id().to_string());
    let copied = fs::create_dir_all(unfinished.parent()?).and_then(|()| copy(&folder.join("data"), &unfinished));
    fs::remove_dir_all(folder).expect("own folder");
    copied.ok()?;
    // Whole or not at all. Whoever comes second finds the first one's.
    if fs::rename(&unfinished, &template).is_err() {
        fs::remove_dir_all(&unfinished).ok()?;
    }
    Some(template)
}

fn initdb(data: &Path) {
    let mut arguments = vec!["-D", data.to_str().expect("temporary folders are UTF-8")];
    arguments.extend(OPTIONS);
    super::tool("initdb", &arguments);
}

/// Copies a folder with all in it and all modes.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
