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

pub(super) struct Command {
    line: String,
    /// The first word, which names the command in messages: an argument may be a secret.
    program: String,
}

impl Command {
    pub(super) fn new(line: String) -> Self {
        let program = shlex::Shlex::new(&line).next().unwrap_or_default();
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
        while stdout.read_buf(&mut *output).await? > 0 {}
        // What it still wants to print must not hold it up.
        drop(stdout);
        child.wait().await
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
