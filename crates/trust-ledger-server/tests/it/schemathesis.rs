//! Schemathesis, from PyPI, asks whatever the description allows and much that it does not.

use std::ffi::OsStr;
use std::process::Command;

use trust_ledger_registry::Role;
use trust_ledger_server::{Server, Settings};

use crate::support::{Service, services};

/// Requests for each operation; `TRUST_LEDGER_SCHEMATHESIS_EXAMPLES` says another number.
const EXAMPLES: u32 = 10;

/// Every answer is one that the description has: its status, its type, its form; none is a failure of the service; what the
/// description forbids is refused, and nobody is let in without a token.
#[tokio::test]
async fn every_answer_is_as_described_and_none_is_a_failure_of_ours() {
    let Some(python) = std::env::var_os("TRUST_LEDGER_PYTHON") else {
        return test_servers::needs::skip("TRUST_LEDGER_PYTHON");
    };
    for service in services().await {
        asked_by_schemathesis(&python, &service).await;
    }
}

async fn asked_by_schemathesis(python: &OsStr, service: &Service) {
    let mut settings = Settings::default();
    settings.listen.set_port(0);
    // It asks without a token, again and again.
    settings.limits.rate_without_token = 0;
    let server = Server::bind(service.registry.clone(), settings).await.unwrap();
    let url = format!("http://{}/openapi.json", server.address().unwrap());
    let running = tokio::spawn(server.run(std::future::pending()));
    let examples = std::env::var("TRUST_LEDGER_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_string());
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/schemathesis.toml"))
        .args(["run", &url, "--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", &examples, "--continue-on-failure", "--no-color", "--generation-database", "none"])
        .args(["--header", &format!("Authorization: Bearer {}", service.tokens[&Role::Admin])])
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path());
    let run = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    running.abort();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("16/16") || said.contains("Tested: 16"), "{said}");
}
