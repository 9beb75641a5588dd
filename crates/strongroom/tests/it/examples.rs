//! The examples are run, and print what the comment at their head says.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Every example in the folder, as Cargo has built it for this test. One that says what it prints must print that, line by
/// line; other lines may stand between.
#[test]
fn every_example_runs_and_prints_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // Cargo builds it with that feature only.
        if name == "axum_service" && !cfg!(feature = "axum") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("--example {name}")), "{name}: its head says how to run it");
        let home = tempfile::tempdir().unwrap();
        let output = Command::new(built(&name)).env("TMPDIR", home.path()).output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {}\n{out}\n{err}", output.status);
        assert!(!out.is_empty(), "{name} prints nothing");
        let mut printed = out.lines();
        for line in promised(&text) {
            assert!(printed.any(|found| found == line), "{name} does not print `{line}`:\n{out}");
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "{name} leaves something behind");
        names.push(name);
    }
    names.sort();
    let expected = [
        "bulk",
        "encrypted_file",
        "first_query",
        "monitoring",
        "own_credentials",
        "postgres",
        "several_databases",
        "sessions_and_savepoints",
        "streaming",
    ];
    for name in expected {
        assert!(names.iter().any(|found| found == name), "{name} is missing: {names:?}");
    }
}

/// The program, beside this one's folder: `target/debug/deps/it-…` and `target/debug/examples/…`.
fn built(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let program = this.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    let program = program.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        program.exists(),
        "{} is not built; `cargo test -p strongroom` builds the examples, with `--test it` they need `--examples` too",
        program.display()
    );
    program
}

/// The lines between the fences of the head's comment.
fn promised(text: &str) -> Vec<&str> {
    let head =
        text.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.strip_prefix(' ').unwrap_or(line));
    let fenced = head.skip_while(|line| *line != "```text").skip(1);
    fenced.take_while(|line| *line != "```").collect()
}
