//! A client like any other: `psql`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// What `sql` answers over `url` (and libpq's variables), or `psql`'s complaint.
pub(crate) fn answer(url: &str, environment: &[(&str, &str)], sql: &str) -> Result<String, String> {
    let mut command = Command::new("psql");
    command.args(["-X", "-w", "-A", "-t", "-d", url, "-c", sql]).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A `psql` that stays connected.
pub(crate) struct Interactive {
    psql: Child,
    answers: BufReader<ChildStdout>,
}

impl Interactive {
    pub(crate) fn new(url: &str) -> Interactive {
        let mut command = Command::new("psql");
        command.args(["-X", "-w", "-q", "-A", "-t", "-d", url]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut psql = command.stderr(Stdio::null()).spawn().unwrap();
        let answers = BufReader::new(psql.stdout.take().unwrap());
        Interactive { psql, answers }
    }

    /// Says it and does not wait.
    pub(crate) fn say(&mut self, sql: &str) {
        // It may have ended by itself, when its connection was lost.
        let _ = writeln!(self.psql.stdin.as_ref().unwrap(), "{sql}");
    }

    /// The one line that it answers; empty when the connection is lost.
    pub(crate) fn ask(&mut self, sql: &str) -> String {
        self.say(&format!("{sql};"));
        self.say("\\echo");
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        if !line.trim().is_empty() {
            self.answers.read_line(&mut String::new()).unwrap();
        }
        line.trim().to_owned()
    }
}

impl Drop for Interactive {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}
