//! Where identities are looked for. The environment is handed over: that of the tests' process is everybody's.

use std::path::Path;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sops").join(name)
}

/// Reads `db_key` in these surroundings.
async fn read(file: &str, variables: &[(&'static str, &Path)]) -> Result<String> {
    let surroundings = Surroundings::of(variables.iter().map(|&(name, value)| (name, value.into())));
    let secret = Sops::new(fixture(file)).read(Some(surroundings)).await?;
    Ok(secret.expose_str().unwrap().to_owned())
}

async fn opens(file: &str, variables: &[(&'static str, &Path)]) {
    assert_eq!(read(file, variables).await.unwrap(), "canary passphrase", "{variables:?}");
}

async fn refusal(file: &str, variables: &[(&'static str, &Path)]) -> String {
    read(file, variables).await.unwrap_err().to_string()
}

/// A folder with one file in it.
fn folder(path: &str, content: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    folder
}

fn key(name: &str) -> String {
    std::fs::read_to_string(fixture("keys").join(name)).unwrap()
}

#[tokio::test]
async fn an_identity_is_found_at_every_place_of_the_go_program() {
    let age = key("age.txt");
    let secret = age.lines().last().unwrap();
    opens("types.yaml", &[("SOPS_AGE_KEY", Path::new(&age))]).await;
    opens("types.yaml", &[("SOPS_AGE_KEY", Path::new(&format!("{} {secret}", key("other-age.txt").trim())))]).await;
    opens("types.yaml", &[("SOPS_AGE_KEY_FILE", &fixture("keys/age.txt"))]).await;
    opens("ssh-rsa.yaml", &[("SOPS_AGE_SSH_PRIVATE_KEY_FILE", &fixture("keys/ssh-rsa"))]).await;

    let config = folder("sops/age/keys.txt", &age);
    opens("types.yaml", &[(if cfg!(windows) { "APPDATA" } else { "XDG_CONFIG_HOME" }, config.path())]).await;
    let home = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    if cfg!(not(windows)) {
        let below = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".config" };
        let folder = folder(&format!("{below}/sops/age/keys.txt"), &age);
        opens("types.yaml", &[(home, folder.path())]).await;
    }
    let ed25519 = folder(".ssh/id_ed25519", &key("ssh-ed25519"));
    opens("ssh-ed25519.yaml", &[(home, ed25519.path())]).await;
    opens("ssh-to-age.yaml", &[(home, ed25519.path())]).await;
    let rsa = folder(".ssh/id_rsa", &key("ssh-rsa-pem"));
    opens("ssh-rsa-pem.yaml", &[(home, rsa.path())]).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_gives_an_identity_and_is_told_the_recipient() {
    let print = |name: &str| format!("cat '{}'", fixture("keys").join(name).display());
    opens("types.yaml", &[("SOPS_AGE_KEY_CMD", Path::new(&print("age.txt")))]).await;
    opens("ssh-rsa.yaml", &[("SOPS_AGE_SSH_PRIVATE_KEY_CMD", Path::new(&print("ssh-rsa")))]).await;

    // The key that fits is printed only for its recipient, the second one of this file.
    let age = key("age.txt");
    let recipient = age.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let line = format!("sh -c 'test $SOPS_AGE_RECIPIENT = {recipient} && {}'", print("age.txt").replace('\'', ""));
    opens("types.json", &[("SOPS_AGE_KEY_CMD", Path::new(&line))]).await;
}

/// Commands may ask somebody for something: they are run only when nothing else serves.
#[cfg(unix)]
#[tokio::test]
async fn no_command_is_run_when_a_file_serves() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let touch = format!("touch '{}'", trace.display());
    let commands = [
        ("SOPS_AGE_KEY_CMD", Path::new(&touch)),
        ("SOPS_AGE_SSH_PRIVATE_KEY_CMD", Path::new(&touch)),
        ("SOPS_AGE_KEY_FILE", &fixture("keys/age.txt")),
    ];
    opens("types.yaml", &commands).await;
    assert!(!trace.exists());
    assert!(refusal("types.yaml", &commands[..2]).await.contains("SOPS_AGE_KEY_CMD: holds no identity"));
    assert!(trace.exists());
}

#[tokio::test]
async fn every_place_that_was_looked_at_is_named_with_what_was_there() {
    let home = folder(".ssh/id_rsa", &key("ssh-passphrase"));
    let at = |path: &str| home.path().join(path).display().to_string();
    let home_name = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    let other = key("other-age.txt");
    let refused = refusal(
        "types.yaml",
        &[
            (home_name, home.path()),
            ("XDG_CONFIG_HOME", home.path()),
            ("APPDATA", home.path()),
            ("SOPS_AGE_KEY", Path::new(&other)),
            ("SOPS_AGE_KEY_FILE", Path::new("/nowhere/keys.txt")),
            ("SOPS_AGE_SSH_PRIVATE_KEY_FILE", Path::new("")),
            ("SOPS_AGE_KEY_CMD", Path::new("false --token canary")),
        ],
    )
    .await;
    let expected = [
        "SOPS_AGE_KEY: 1 identity, which does not fit",
        "SOPS_AGE_KEY_FILE (/nowhere/keys.txt): not there",
        &format!("{}: not there", at("sops/age/keys.txt")),
        "SOPS_AGE_SSH_PRIVATE_KEY_FILE: not set",
        &format!("{}: not there", at(".ssh/id_ed25519")),
        &format!("{}: is protected by a passphrase, which is not supported", at(".ssh/id_rsa")),
        "SOPS_AGE_SSH_PRIVATE_KEY_CMD: not set",
        "SOPS_AGE_KEY_CMD: failed (exit status: 1); what it said is on standard error",
    ];
    assert!(refused.contains("no age identity for age1"), "{refused}");
    for part in expected {
        assert!(refused.contains(part), "{part} is missing: {refused}");
    }
    assert!(!refused.contains("canary") && !refused.contains("AGE-SECRET"), "{refused}");
}
