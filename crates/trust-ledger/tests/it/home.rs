//! A user's home folder, empty at first, in which the program runs.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A home folder; gone when dropped.
pub(crate) struct Home {
    folder: TempDir,
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Home {
        Home { folder: tempfile::tempdir().unwrap() }
    }

    /// A home with a ledger that holds these certificates.
    pub(crate) fn with(pem: &str) -> Home {
        let home = Home::new();
        let file = home.file("given.pem", pem);
        home.run(["import", file.to_str().unwrap()]).expect(0);
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the first run puts the ledger.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.path(".local/share/trust-ledger/ledger.db")
    }

    /// Where the first run puts the key.
    pub(crate) fn key(&self) -> PathBuf {
        self.path(".config/trust-ledger/ledger.key")
    }

    /// Writes a file into the home; gives back its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A file that only its owner may read, as keys have to be.
    pub(crate) fn secret(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The program, with this home and no other environment.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trust-ledger"));
        command.args(arguments).env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// Runs with something on standard input.
    pub(crate) fn run_with_input<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: impl AsRef<[u8]>,
    ) -> Run {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_ref()).unwrap();
        Run::from(child.wait_with_output().unwrap())
    }

    /// What `--json` writes.
    pub(crate) fn json<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> serde_json::Value {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        let run = self.run(arguments.chain(["--json".into()])).expect(0);
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
    }
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Run {
        Run::from(command.output().unwrap())
    }

    /// Fails unless the exit code is this.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Run {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The one line on standard error that every failure is.
    #[track_caller]
    pub(crate) fn failure(&self) -> &str {
        let line = self.stderr.trim_end_matches('\n');
        assert!(line.starts_with("trust-ledger: ") && !line.contains('\n'), "not one line: {:?}", self.stderr);
        line
    }
}

impl From<std::process::Output> for Run {
    fn from(output: std::process::Output) -> Run {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
        Run {
            // A signal is no exit code.
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// Compares text with a golden file; `UPDATE_GOLDEN=1` writes it instead.
#[track_caller]
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, golden, "differs from {}; UPDATE_GOLDEN=1 writes it anew", path.display());
}
