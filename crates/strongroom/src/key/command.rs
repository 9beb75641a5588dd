//! A secret that a command prints.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::file::strip_newline;
use crate::error::{Error, Result};
use crate::secret::{BoxFuture, MAX_SECRET_LEN, Secret, SecretProvider};

/// Longest time that a command may take; somebody may have to type a password or touch a token.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the output of a command that has ended is read on.
const AFTERWARDS: Duration = Duration::from_millis(100);

pub(super) struct Command {
    line: String,
    /// The first word, which names the command in messages: an argument may be a secret.
    program: String,
}

impl Command {
    pub(super) fn new(line: String) -> Self {
        let first = shlex::Shlex::new(&line).next().unwrap_or_default();
        let program = match variable(&first) {
            Some(name) => format!("{name}=…"),
            None => first,
        };
        Command { line, program }
    }
}

impl SecretProvider for Command {
    fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
        Box::pin(async move {
            let mut output = run(self, &self.line, &[]).await?;
            strip_newline(&mut output);
            match output.iter().filter(|&&byte| byte == b'\n').count() {
                0 if output.is_empty() => Err(Error::credential(self, "printed nothing; expected the secret")),
                0 => Ok(output.into()),
                more => {
                    let lines = more + 1;
                    Err(Error::credential(self, format!("printed {lines} lines; expected one, which is the secret")))
                }
            }
        })
    }
}

/// Names the program only: the arguments may hold a secret.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command {}", self.program)
    }
}

/// Runs a command line, without a shell and with these variables in its environment beside ours, and answers what it
/// printed. `who` is blamed when it fails.
///
/// # Cancel safety
///
/// Dropped, the command is killed.
pub(crate) async fn run(
    who: &(dyn fmt::Display + Sync),
    line: &str,
    environment: &[(&str, &str)],
) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |reason: String| Error::credential(who, reason);
    let words = shlex::split(line).ok_or_else(|| failed("has a quote that is not closed".to_owned()))?;
    let [program, arguments @ ..] = words.as_slice() else {
        return Err(failed("is empty; expected a program and its arguments".to_owned()));
    };
    if variable(program).is_some() {
        return Err(failed("begins with a variable, which only a shell sets; write sh -c '…'".to_owned()));
    }
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("cannot be started ({})", error.kind())).caused_by(error))?;
    // It was asked for just above.
    let stdout = child.stdout.take().expect("a piped standard output");
    // Reserved at full size, so that no reallocation leaves a copy of the secret behind.
    let mut output = Zeroizing::new(Vec::with_capacity(MAX_SECRET_LEN + 3));
    let work = async {
        let mut stdout = stdout.take(MAX_SECRET_LEN as u64 + 3);
        let reading = async {
            while stdout.read_buf(&mut *output).await? > 0 {}
            // What it still wants to print must not hold it up.
            drop(stdout);
            Ok::<_, std::io::Error>(())
        };
        tokio::pin!(reading);
        tokio::select! {
            read = &mut reading => {
                read?;
                child.wait().await
            }
            status = child.wait() => {
                // What it has printed is there. Something that it left running may hold its output open for ever.
                if let Ok(read) = tokio::time::timeout(AFTERWARDS, reading).await {
                    read?;
                }
                status
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, work)
        .await
        .map_err(|_| failed(format!("did not end within {} s and was stopped", PATIENCE.as_secs())))?
        .map_err(|error| failed(format!("cannot be waited for ({})", error.kind())).caused_by(error))?;
    if !status.success() {
        return Err(failed(format!("failed ({status}); what it said is on standard error")));
    }
    Ok(output)
}

/// The variable that a word would set for a shell: `NAME=…`, of which what stands behind the `=` may be a secret.
fn variable(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(name)
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::KeySource;

    async fn refused(line: &str) -> String {
        KeySource::command(line).secret().await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_a_command_prints_is_the_secret_without_one_final_newline() {
        for (line, expected) in [
            ("printf secret", "secret"),
            ("echo 'two words'", "two words"),
            ("sh -c 'echo noise >&2; echo \"a secret\"'", "a secret"),
        ] {
            assert_eq!(KeySource::command(line).secret().await.unwrap().expose(), expected.as_bytes());
        }
    }

    #[tokio::test]
    async fn a_command_that_fails_or_prints_something_else_is_refused() {
        assert_eq!(
            refused("sh -c 'echo canary; exit 3'").await,
            "command sh: failed (exit status: 3); what it said is on standard error"
        );
        assert_eq!(
            refused("printf 'canary\nuser: app\n'").await,
            "command printf: printed 2 lines; expected one, which is the secret"
        );
        assert_eq!(refused("true").await, "command true: printed nothing; expected the secret");
        assert_eq!(
            refused("TOKEN=canary pass show db").await,
            "command TOKEN=…: begins with a variable, which only a shell sets; write sh -c '…'"
        );
        assert_eq!(refused("  ").await, "command : is empty; expected a program and its arguments");
        assert_eq!(refused("echo 'canary").await, "command echo: has a quote that is not closed");
        assert!(refused("/nowhere/pass show").await.starts_with("command /nowhere/pass: cannot be started ("));
    }

    #[tokio::test]
    async fn what_a_command_leaves_running_does_not_hold_it_up() {
        let began = std::time::Instant::now();
        let source = KeySource::command("sh -c 'sleep 20 & echo secret'");
        assert_eq!(source.secret().await.unwrap().expose(), b"secret");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_command_that_prints_without_end_is_stopped() {
        assert!(refused("yes").await.starts_with("command yes: "));
    }

    /// The command says its process id and goes on; when nobody waits any more, there is no such process.
    #[tokio::test]
    async fn a_command_that_nobody_waits_for_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let source = KeySource::command(format!("sh -c 'echo $$ > {}; exec sleep 600'", file.display()));
        let waited = tokio::time::timeout(Duration::from_secs(2), source.secret()).await;
        assert!(waited.is_err(), "{waited:?}");
        let pid = std::fs::read_to_string(&file).unwrap().trim().to_owned();
        let is_running = || {
            // A killed process that nobody has waited for yet is a zombie.
            let status = std::fs::read_to_string(Path::new("/proc").join(&pid).join("stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        };
        for _ in 0..200 {
            if !is_running() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {pid} still runs");
    }
}
