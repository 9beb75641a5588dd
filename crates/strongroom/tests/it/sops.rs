//! SOPS files: every kind that can be read gives its values, and whatever is wrong with a file has its own words.

use std::path::{Path, PathBuf};

use strongroom::{Error, KeySource, Secret, SecretProvider, Sops};

use crate::{Place, create_entry};

/// Files written by `make.py` there: by the original Python program, and as the Go program writes them.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sops").join(name)
}

/// The identity in a file of keys.
fn identity(name: &str) -> KeySource {
    KeySource::literal(std::fs::read(fixture("keys").join(name)).unwrap())
}

async fn read(file: &str, name: &str, key: &str) -> Result<Secret, Error> {
    Sops::new(fixture(file)).name(name).identity(identity(key)).secret().await
}

/// A copy of a file with something changed, and what reading `db_key` then answers.
async fn changed(file: &str, change: impl Fn(String) -> String) -> Result<Secret, Error> {
    let content = change(std::fs::read_to_string(fixture(file)).unwrap());
    written(file, content).await
}

async fn written(file: &str, content: impl AsRef<[u8]>) -> Result<Secret, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::write(&path, content).unwrap();
    Sops::new(path).identity(identity("age.txt")).secret().await
}

/// The reason of an error about a credential, which must name the file and hold nothing of its values.
fn reason(answer: Result<Secret, Error>) -> String {
    let Err(Error::Credential { from, reason, .. }) = &answer else { panic!("{answer:?}") };
    assert!(from.starts_with("SOPS file /"), "{from}");
    assert!(!reason.contains("canary"), "{reason}");
    reason.clone()
}

#[tokio::test]
async fn every_format_type_and_kind_of_key_gives_its_values() {
    for (file, key, values) in [
        (
            "types.yaml",
            "age.txt",
            &[
                ("db_key", "canary passphrase"),
                ("database.user", "app"),
                ("database.password", "canary päss"),
                ("database.port", "5432"),
                ("database.ratio", "0.25"),
                ("database.tls", "true"),
                ("database.spare", "false"),
                ("lines", "first\nsecond\n"),
                ("tls.key", "key with a dot"),
            ][..],
        ),
        ("types.json", "age.txt", &[("database.port", "5432")]),
        ("types.json", "other-age.txt", &[("db_key", "canary passphrase")]),
        (
            "python.yaml",
            "age.txt",
            &[("db_key", "canary passphrase"), ("database.ratio", "0.25"), ("database.tls", "true")],
        ),
        ("python.json", "age.txt", &[("tls.key", "key with a dot"), ("database.password", "canary päss")]),
        ("python.bin", "age.txt", &[("data", "canary content\n")]),
        ("variables.env", "age.txt", &[("db_key", "canary passphrase"), ("LINES", "a\nb")]),
        ("regex.yaml", "age.txt", &[("stringData.db_key", "canary passphrase")]),
        ("suffix.yaml", "age.txt", &[("db_key_enc", "canary passphrase")]),
        ("mac-only-encrypted.yaml", "age.txt", &[("db_key", "canary passphrase")]),
        ("comments.yaml", "age.txt", &[("db_key", "canary passphrase")]),
        ("documents.yaml", "age.txt", &[("db_key", "first")]),
        ("one-group.yaml", "age.txt", &[("db_key", "canary passphrase")]),
        ("ssh-ed25519.yaml", "ssh-ed25519", &[("db_key", "canary passphrase")]),
        ("ssh-to-age.yaml", "ssh-ed25519", &[("db_key", "canary passphrase")]),
        ("ssh-rsa.yaml", "ssh-rsa", &[("db_key", "canary passphrase")]),
        ("ssh-rsa-pem.yaml", "ssh-rsa-pem", &[("db_key", "canary passphrase")]),
    ] {
        for (name, value) in values {
            let secret = read(file, name, key).await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(secret.expose_str(), Some(*value), "{file}: {name}");
        }
    }
}

#[tokio::test]
async fn a_binary_file_gives_its_content_without_a_name() {
    let blob = Sops::new(fixture("blob.bin")).identity(identity("age.txt"));
    assert_eq!(blob.secret().await.unwrap().expose(), b"canary \0\xff content\n");
    assert_eq!(blob.name("data").secret().await.unwrap().expose(), b"canary \0\xff content\n");
    assert_eq!(reason(read("blob.bin", "db_key", "age.txt").await), "db_key is not in the file");
}

/// What the Go program has written, in the folder that `STRONGROOM_SOPS_FIXTURES` names or in `shared/fixtures/sops`
/// above.
#[tokio::test]
async fn files_of_the_go_program_are_decrypted_as_far_as_their_keys_allow() {
    let above = || {
        let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        above.map(|folder| folder.join("shared/fixtures/sops")).find(|folder| folder.is_dir())
    };
    let Some(folder) = std::env::var_os("STRONGROOM_SOPS_FIXTURES").map(PathBuf::from).or_else(above) else {
        // Not part of the repository, whose own files are of the same kinds; so nowhere it is required.
        println!("none are here: see STRONGROOM_SOPS_FIXTURES");
        return;
    };
    let key = |name: &str| KeySource::literal(std::fs::read(folder.join(name)).unwrap());
    for (file, name, keys, value) in [
        ("flux-algorithms-age.yaml", "stringData.key", "flux-keys-age.txt", "value"),
        ("flux-component-env.env", "key", "flux-keys-age.txt", "value"),
        ("flux-envs-env.env", "key", "flux-keys-age.txt", "value"),
        ("flux-files-file.txt", "data", "flux-keys-age.txt", "value"),
        ("flux-global-secret.yaml", "stringData.key", "flux-keys-age-global.txt", "global-value"),
    ] {
        let secret = Sops::new(folder.join(file)).name(name).identity(key(keys)).secret().await;
        let secret = secret.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(secret.expose_str(), Some(value), "{file}");
    }
    let post_quantum = Sops::new(folder.join("flux-algorithms-age-pq.yaml")).name("stringData.key");
    let refused = reason(post_quantum.identity(key("flux-keys-age-pq.txt")).secret().await);
    assert!(refused.contains("post-quantum age is not supported (age1pq1ehusfwsvr…)"), "{refused}");
    let not_sops = Sops::new(folder.join("flux-.sops.yaml")).name("stores").secret().await;
    assert!(reason(not_sops).starts_with("cannot be read as YAML: line 19: an alias (*) is not followed"));
}

#[tokio::test]
async fn a_value_opens_an_encrypted_database() {
    let place = Place::new();
    let key = Sops::new(fixture("types.yaml")).identity(identity("age.txt"));
    let db = strongroom::Config::sqlite(place.path()).key(key).connect().await.unwrap();
    create_entry(&db).await;
    db.close().await.unwrap();
    let again = strongroom::Config::sqlite(place.path()).key(KeySource::literal("canary passphrase"));
    assert!(again.connect().await.unwrap().table_exists("entry").await.unwrap());
}

#[tokio::test]
async fn an_identity_that_does_not_fit_is_told_with_the_recipient_that_was_looked_for() {
    let wrong = reason(read("types.yaml", "db_key", "other-age.txt").await);
    assert!(wrong.starts_with("cannot be decrypted: no age identity for age1"), "{wrong}");
    assert!(wrong.ends_with("looked at key given by the program: 1 identity, which does not fit"), "{wrong}");
    let wrong = reason(read("ssh-rsa.yaml", "db_key", "ssh-ed25519").await);
    assert!(wrong.contains("no age identity for ssh-rsa AAAA") && wrong.contains("2 identities"), "{wrong}");
    let protected = reason(read("ssh-passphrase.yaml", "db_key", "ssh-passphrase").await);
    assert!(protected.contains("is protected by a passphrase, which is not supported"), "{protected}");
    let nothing = Sops::new(fixture("types.yaml")).identity(KeySource::literal("# nothing\n"));
    assert!(reason(nothing.secret().await).ends_with("holds no identity"));
    let missing = Sops::new(fixture("types.yaml")).identity(KeySource::file("/nowhere/age.txt")).secret().await;
    let cause = std::error::Error::source(missing.as_ref().unwrap_err()).unwrap().to_string();
    assert!(cause.starts_with("key file /nowhere/age.txt: cannot be opened"), "{cause}");
    assert_eq!(reason(missing), "the age identity that was named for it cannot be had");
    for (text, expected) in [
        ("AGE-PLUGIN-YUBIKEY-1CANARY", "line 1 is an age plugin's, which is not supported"),
        ("#\nAGE-SECRET-KEY-PQ-1CANARY", "line 2 is post-quantum, which is not supported"),
        ("AGE-SECRET-KEY-1CANARY", "line 1 is no age identity"),
        ("-----BEGIN AGE ENCRYPTED FILE-----", "is encrypted itself, which is not supported"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", "is not an SSH private key"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "is not an SSH private key"),
    ] {
        let unusable = Sops::new(fixture("types.yaml")).identity(KeySource::literal(text));
        let refused = reason(unusable.secret().await);
        assert!(refused.contains(expected) && !refused.contains("CANARY"), "{refused}");
        // A usable one beside it serves.
        let beside = format!("{text}\n{}", std::fs::read_to_string(fixture("keys/age.txt")).unwrap());
        if !text.starts_with('-') {
            let both = Sops::new(fixture("types.yaml")).identity(KeySource::literal(beside));
            assert!(both.secret().await.is_ok());
        }
    }
}

#[tokio::test]
async fn a_kms_key_needs_the_feature_and_an_age_identity_spares_it() {
    assert!(read("python.yaml", "db_key", "age.txt").await.is_ok());
    let error = read("kms.yaml", "db_key", "age.txt").await.unwrap_err();
    if cfg!(not(feature = "aws")) {
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with("AWS KMS in eu-west-1: "), "{cause}");
        assert!(cause.contains("build with the feature `aws`"), "{cause}");
    }
    assert!(reason(Err(error)).contains("AWS KMS key arn:aws:kms:eu-west-1:"));
}

/// Everything that somebody without the keys could do to a file's values.
#[tokio::test]
async fn a_file_that_was_tampered_with_is_refused() {
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key}: "))).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    let other_byte = |text: String| {
        let at = text.find("data:").unwrap() + 5;
        let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    };
    let swapped = |text: String, (one, two): (&str, &str)| {
        let (first, second) = (value(&text, one), value(&text, two));
        text.replace(&first, "\0").replace(&second, &first).replace('\0', &second)
    };
    let moved = "cannot be decrypted: it was changed, or moved here from elsewhere";
    let mac = "has a MAC that does not match its values";
    type Change<'c> = &'c dyn Fn(String) -> String;
    let cases: [(&str, Change<'_>, &str); 16] = [
        ("types.yaml", &other_byte, moved),
        ("types.yaml", &|text| swapped(text, ("user", "password")), moved),
        ("types.yaml", &|text| text.replace("in the clear", "in the dark"), mac),
        (
            "types.yaml",
            &|text| text.replace("\"most\": 1000", "\"most\": 1001").replace("most: 1000", "most: 1001"),
            mac,
        ),
        ("types.yaml", &|text| text.replace("nothing: null", "nothing_unencrypted: 1"), mac),
        ("types.yaml", &|text| text.replace("empty: \"\"", "empty: \"x\""), "a value empty that is not encrypted"),
        ("types.yaml", &|text| format!("more_unencrypted: x\n{text}"), mac),
        (
            "types.yaml",
            &|text| format!("more: x\n{text}"),
            "a value more that is not encrypted, which the section sops",
        ),
        (
            "types.yaml",
            &|text| format!("more: 1\n{text}"),
            "a value more that is not encrypted, which the section sops",
        ),
        ("types.yaml", &|text| text.replace("T08:00:00Z", "T08:00:01Z"), "sops.mac or sops.lastmodified was changed"),
        (
            "types.yaml",
            &|text| text.replace("_unencrypted\"\n    version", "_other\"\n    version"),
            "which the section sops",
        ),
        ("types.yaml", &|text| text.replace("    mac: ", "    mac_was: "), "has no MAC"),
        ("types.yaml", &|text| text.replace("    version", "    mac_only_encrypted: true\n    version"), mac),
        ("types.json", &|text| text.replace("\"half\": 0.5", "\"half\": 0.25"), mac),
        ("variables.env", &|text| text.replace("x=y", "x=z"), mac),
        ("documents.yaml", &|text| text.replacen("\ndb_key: ENC", "\nanother: ENC", 1), moved),
    ];
    for (number, (file, change, expected)) in cases.into_iter().enumerate() {
        let refused = reason(changed(file, change).await);
        assert!(refused.contains(expected), "case {number}: {refused}");
    }
    // List items have the same path: only the MAC sees that they were swapped.
    let content = std::fs::read_to_string(fixture("types.json")).unwrap();
    let items: Vec<_> = content.split("\"list\": [").nth(1).unwrap().lines().skip(1).take(2).collect();
    let swapped = content.replace(items[0], "\0").replace(items[1], items[0]).replace('\0', items[1]);
    assert_ne!(swapped, content);
    assert!(reason(written("types.json", swapped).await).contains(mac));
}

/// A file without MAC is read only when that was asked for, and then only what is encrypted.
#[tokio::test]
async fn a_missing_mac_can_be_accepted_by_name_and_a_wrong_one_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let text = std::fs::read_to_string(fixture("types.yaml")).unwrap();
    std::fs::write(&path, text.replace("    mac: ", "    mac_was: ")).unwrap();
    let file = Sops::new(&path).identity(identity("age.txt"));
    assert!(reason(file.secret().await).starts_with("has no MAC"));
    let file = file.accept_missing_mac();
    assert_eq!(file.secret().await.unwrap().expose_str(), Some("canary passphrase"));
    let plain = file.clone().name("note_unencrypted").secret().await;
    assert_eq!(reason(plain), "is not encrypted, so it is no secret; encrypt it");
    std::fs::write(&path, text.replace("in the clear", "in the dark")).unwrap();
    assert!(reason(file.secret().await).starts_with("has a MAC that does not match"));
}

#[tokio::test]
async fn a_value_in_the_clear_is_no_secret() {
    for (file, name) in [
        ("types.yaml", "note_unencrypted"),
        ("types.yaml", "empty"),
        ("regex.yaml", "created"),
        ("mac-only-encrypted.yaml", "note_unencrypted"),
        ("comments.yaml", "plain"),
    ] {
        let refused = reason(read(file, name, "age.txt").await);
        assert_eq!(refused, "is not encrypted, so it is no secret; encrypt it", "{file}");
    }
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_refused_before_any_key_is_asked_for() {
    let name = |name: &'static str| async move { reason(read("types.yaml", name, "other-age.txt").await) };
    assert_eq!(name("missing").await, "missing is not in the file");
    assert_eq!(name("db_key.x").await, "db_key.x is not in the file");
    assert_eq!(name("").await, " is not in the file");
    assert_eq!(name("sops.mac").await, "sops.mac is not in the file");
    assert_eq!(name("list").await, "list is a list, expected a value");
    assert_eq!(
        name("database").await,
        "database is a map, expected a value; go on with a dot and one of its keys: user, password, port, ratio, tls, …"
    );
    assert_eq!(reason(read("types.yaml", "nothing", "age.txt").await), "holds null, expected a value");
}

#[tokio::test]
async fn what_is_no_sops_file_is_refused_in_its_own_words() {
    assert!(reason(Sops::new("/nowhere/a.yaml").secret().await).starts_with("cannot be opened (entity not found)"));
    assert_eq!(reason(Sops::new(fixture("keys")).secret().await), "is not a regular file");
    let text = std::fs::read_to_string(fixture("types.yaml")).unwrap();
    let deep = format!("a: {}\n{text}", "[".repeat(100_000));
    let blocks: String = (0..2_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    let json = format!("{{\"a\": {}", "[".repeat(100_000));
    let large = vec![b' '; 50 << 20];
    let binary: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let cases: [(&str, &[u8], &str); 14] = [
        ("a.yaml", &large, "is larger than 4 MiB, which is no file of secrets"),
        ("a.yaml", deep.as_bytes(), "cannot be read as YAML: line 1: "),
        ("a.yaml", blocks.as_bytes(), "cannot be read as YAML: line "),
        ("a.json", json.as_bytes(), "cannot be read as JSON: recursion limit exceeded"),
        ("a.yaml", b"db_key: 1\ndb_key: 2\nsops: {}", "cannot be read as YAML: line 3: key db_key is given twice"),
        ("a.json", b"{\"a\": 1, \"a\": 2, \"sops\": {}}", "cannot be read as JSON: key a is given twice"),
        ("a.env", b"A=1\nA=2\nsops_mac=x", "cannot be read as dotenv: key A is given twice"),
        ("a.yaml", b"a: \xff", "is not UTF-8 (byte 3), so it is no SOPS file"),
        ("a", &binary, "is not UTF-8"),
        ("a.yaml", b"", "is not a SOPS file: it has no section sops"),
        ("a.yaml", b"just some text", "is not a SOPS file: expected a map"),
        ("a.json", b"[]", "is not a SOPS file: expected a JSON object"),
        ("a.ini", b"[sops]", "is an ini file, which is not supported"),
        ("a.yaml", b"db_key: x\nsops: {version: 3}", "is not a SOPS file: its section sops names no key"),
    ];
    for (file, content, expected) in cases {
        let refused = reason(written(file, content).await);
        assert!(refused.starts_with(expected), "{file}: {refused}");
    }
}

/// Cut off anywhere, a file is refused, and nothing panics.
#[tokio::test]
async fn a_truncated_file_is_refused() {
    for file in ["types.yaml", "types.json", "variables.env"] {
        let content = std::fs::read(fixture(file)).unwrap();
        // Behind the MAC, what is left over says nothing that is needed.
        let mac = content.windows(4).rposition(|window| window == b"type").unwrap();
        for length in (0..mac).step_by(97) {
            reason(written(file, &content[..length]).await);
        }
    }
}

#[tokio::test]
async fn what_a_file_needs_and_is_not_supported_is_named() {
    let age = |text: &str| text.find("    age:").unwrap()..text.find("    lastmodified").unwrap();
    for (keys, expected) in [
        ("pgp: [{fp: 35C1A64C, enc: x}]", "not supported: PGP key 35C1A64C"),
        ("gcp_kms: [{resource_id: projects/p, enc: x}]", "not supported: GCP KMS key projects/p"),
        ("azure_kv: [{vault_url: https://v, enc: x}]", "not supported: Azure Key Vault https://v"),
        ("hc_vault: [{vault_address: https://h, enc: x}]", "not supported: HashiCorp Vault https://h"),
        (
            "key_groups: [{pgp: [{fp: A, enc: x}]}, {pgp: [{fp: B, enc: x}]}]\n    shamir_threshold: 2",
            "needs keys of 2 of its 2 key groups (Shamir's secret sharing), which is not supported",
        ),
        ("age: [{recipient: age1x, enc: nothing}]", "the age message for age1x is damaged"),
    ] {
        let answer = changed("types.yaml", |mut text| {
            text.replace_range(age(&text), &format!("    {keys}\n"));
            text
        });
        let refused = reason(answer.await);
        assert!(refused.contains(expected), "{refused}");
    }
    // Any other key beside them serves.
    let answer = changed("types.yaml", |text| text.replace("    age:", "    pgp: [{fp: 35C1, enc: x}]\n    age:"));
    assert!(answer.await.is_ok());
}

#[test]
fn debug_and_display_name_file_and_key() {
    let sops = Sops::new("a.yaml").name("b.c").identity(KeySource::literal("canary"));
    assert_eq!(format!("{sops:?}"), "Sops(SOPS file a.yaml, key b.c)");
    assert_eq!(KeySource::sops("a.yaml", "b").to_string(), "SOPS file a.yaml, key b");
}
