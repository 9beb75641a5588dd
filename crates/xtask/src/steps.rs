//! Running other programs: what a task prints while it does, and what its error says when one fails.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// The workspace's root folder.
pub(crate) fn workspace_root() -> PathBuf {
    // `cargo run` sets the variable to where the checkout is now; the binary may have been built before it moved.
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    // crates/xtask, so two up.
    PathBuf::from(manifest).join("../..").canonicalize().expect("this crate lies in crates/ of a workspace")
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, else `target` in the workspace.
pub(crate) fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::path::absolute(PathBuf::from(folder)).expect("the target folder's name is not empty"),
        None => workspace_root().join("target"),
    }
}

/// The cargo that runs this task, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root());
    command
}

/// Does `work` and prints one line: what it was, what `work` says about it, and how long it took.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<(T, String), String>) -> Result<T, String> {
    let start = Instant::now();
    let (value, seen) = work()?;
    eprintln!("{name:>8}: {seen} ({:.1} s)", start.elapsed().as_secs_f64());
    Ok(value)
}

/// Prints that something long begins.
pub(crate) fn announce(name: &str, what: &str) {
    eprintln!("{name:>8}: {what}");
}

/// Runs `command` without a terminal and gives its standard output, trimmed. The error holds the last line it
/// wrote, which is where apt, pip and Python say what is wrong.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let shown = shown(command);
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| format!("`{shown}` could not be started: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = [err.as_ref(), out.as_ref()].into_iter().find_map(|text| text.trim().lines().last());
    Err(format!("`{shown}` failed ({}): {}", output.status, last.unwrap_or("it wrote nothing").trim()))
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}
