//! What it takes to obtain a credential, in microseconds: the median of each case, and the slowest in a hundred.
//!
//! `cargo bench -p strongroom --bench credentials`. Whatever is asked is on this machine; files are in the cache.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom::{KeySource, Sops};

const ROUNDS: usize = 1_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("{:<46} {:>12} {:>12}  target", "case", "median µs", "99 % µs");
    for (case, file, key) in [
        ("SOPS file, yaml, age", "types.yaml", "age.txt"),
        ("SOPS file, json, age, two recipients", "types.json", "age.txt"),
        ("SOPS file, dotenv, age", "variables.env", "age.txt"),
        ("SOPS file, yaml, age by ssh-ed25519", "ssh-ed25519.yaml", "ssh-ed25519"),
        ("SOPS file, yaml, age by ssh-rsa", "ssh-rsa.yaml", "ssh-rsa"),
    ] {
        let identity = KeySource::literal(std::fs::read(fixture("keys").join(key)).expect("a fixture's key"));
        let source = KeySource::from(Sops::new(fixture(file)).identity(identity));
        report(case, &runtime, &source, "<= 5000");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = KeySource::from(Sops::new(large(folder.path())).identity(key()));
    report("SOPS file, yaml, age, 1,000 values more", &runtime, &source, "");
}

fn report(case: &str, runtime: &tokio::runtime::Runtime, source: &KeySource, target: &str) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            runtime.block_on(source.secret()).expect("the fixture's value");
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!("{case:<46} {:>12.0} {:>12.0}  {target}", micros(times[ROUNDS / 2]), micros(times[ROUNDS * 99 / 100]));
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sops").join(name)
}

fn key() -> KeySource {
    KeySource::literal(std::fs::read(fixture("keys/age.txt")).expect("a fixture's key"))
}

/// A file whose MAC leaves out what is not encrypted, with a thousand values of that kind.
fn large(folder: &Path) -> PathBuf {
    let more: String = (0..1_000).map(|value| format!("value_{value}_unencrypted: some text\n")).collect();
    let small = std::fs::read_to_string(fixture("mac-only-encrypted.yaml")).expect("a fixture");
    let path = folder.join("large.yaml");
    std::fs::write(&path, more + &small).expect("a temporary file");
    path
}
