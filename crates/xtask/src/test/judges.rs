//! Python packages that judge our results, in a virtual environment of their own under `target/judges`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps;

/// Pins of what is installed; also the stamp's content, so that another pin means another installation.
const PINS: &str = include_str!("../../judges.txt");

/// The CAs that this machine trusts, on Debian and Ubuntu.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Certificates and CRLs that PKITS holds.
const PKITS: (usize, usize) = (405, 173);

/// Opens and reads a SQLCipher database in memory, then says where PKITS is.
const PROBE: &str = "
import os, boto3, cryptography_vectors, freezegun, moto, schemathesis, sqlcipher3
base = sqlcipher3.connect(':memory:')
base.execute(\"PRAGMA key = 'probe'\")
version = base.execute('PRAGMA cipher_version').fetchone()
assert version and version[0].startswith('4.'), f'sqlcipher3 has SQLCipher {version}, not 4'
print(version[0].split()[0])
print(os.path.join(os.path.dirname(cryptography_vectors.__file__), 'x509', 'PKITS_data'))
";

/// Where the judges are.
pub(super) struct Judges {
    /// Folder with `certs/` and `crls/`.
    pub(super) pkits: PathBuf,
    /// Interpreter that can import `sqlcipher3`, `boto3`, `freezegun`, `moto` and `schemathesis`.
    pub(super) python: PathBuf,
}

/// Installs the judges unless they are there and work.
pub(super) fn install_missing() -> Result<Judges, String> {
    let folder = steps::target_folder().join("judges");
    steps::step("judges", || {
        // Two runs at a time would build the same folder; the second waits here and then finds it done. The
        // lock ends with the process, however that ends.
        let _lock = lock(&folder)?;
        let stamp = folder.join("stamp");
        // A virtual environment holds its own path and cannot be moved.
        let pins = format!("{}\n{PINS}", folder.display());
        if fs::read_to_string(&stamp).is_ok_and(|found| found == pins) {
            // A new Python on the system, or a file lost, breaks it behind the stamp's back: build it anew.
            if let Ok((judges, seen)) = probe(&folder) {
                return Ok((judges, seen));
            }
        }
        install(&folder)?;
        let (judges, seen) = probe(&folder).map_err(|reason| {
            format!("the judges were installed into {} and do not work: {reason}", folder.display())
        })?;
        // Written last: a run that was interrupted leaves no stamp.
        fs::write(&stamp, pins).map_err(|error| format!("{} cannot be written: {error}", stamp.display()))?;
        Ok((judges, format!("installed; {seen}")))
    })
}

fn lock(folder: &Path) -> Result<File, String> {
    let path = folder.with_extension("lock");
    let parent = path.parent().expect("the folder lies in the target folder");
    let locked = fs::create_dir_all(parent).and_then(|()| File::create(&path)).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    locked.map_err(|error| format!("{} cannot be locked: {error}", path.display()))
}

fn install(folder: &Path) -> Result<(), String> {
    let wanted: Vec<&str> = PINS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    steps::announce("judges", &format!("pip install {}", wanted.join(" ")));
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| format!("{} cannot be removed: {error}", folder.display()))?;
    }
    steps::output(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(python(folder));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary", ":all:"])
        .args(&wanted);
    // pip brings its own list of CAs, in which that of a company's proxy is missing. The system's list has it, so
    // that one is used unless pip was told of another, by its settings or by PIP_CERT.
    let settings = steps::output(Command::new(python(folder)).args(["-m", "pip", "config", "list"]))?;
    if !settings.contains(".cert=") && Path::new(SYSTEM_CAS).exists() {
        pip.env("PIP_CERT", SYSTEM_CAS);
    }
    steps::output(&mut pip).map(drop).map_err(|error| {
        format!(
            "{error}; is PyPI reachable (PIP_CERT names the CA of a proxy), and is python3 CPython 3.10 to 3.14 on \
             x86_64 or aarch64 Linux?"
        )
    })
}

fn probe(folder: &Path) -> Result<(Judges, String), String> {
    let python = python(folder);
    // `-I`: nothing from the user's own Python set-up takes part.
    let seen = Command::new(&python).args(["-I", "-c", PROBE]).output();
    let seen = seen.map_err(|error| format!("{} could not be started: {error}", python.display()))?;
    let (out, err) = (String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
    let mut lines = out.lines();
    let (Some(version), Some(pkits), true) = (lines.next(), lines.next(), seen.status.success()) else {
        return Err(format!("Python says: {}", err.trim().lines().last().unwrap_or("nothing")));
    };
    let pkits = PathBuf::from(pkits);
    let found = (count(&pkits.join("certs"), "crt"), count(&pkits.join("crls"), "crl"));
    if found != PKITS {
        return Err(format!("{} holds {found:?} certificates and CRLs, not {PKITS:?}", pkits.display()));
    }
    let seen = format!("sqlcipher3 with SQLCipher {version}, PKITS with {} certificates and {} CRLs", found.0, found.1);
    Ok((Judges { pkits, python }, seen))
}

fn python(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}

/// Files in `folder` with this extension; 0 when there is no such folder.
fn count(folder: &Path, extension: &str) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().filter(|entry| entry.path().extension().is_some_and(|found| found == extension)).count()
}
