//! A client like any other: `psql`.

use std::process::Command;

/// What `sql` answers over `url` (and libpq's variables), or `psql`'s complaint.
pub(crate) fn answer(url: &str, environment: &[(&str, &str)], sql: &str) -> Result<String, String> {
    let mut command = Command::new("psql");
    command.args(["-X", "-w", "-A", "-t", "-d", url, "-c", sql]).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}
