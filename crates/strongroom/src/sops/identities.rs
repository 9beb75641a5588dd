//! Where age identities are looked for: the places of the Go program (getsops/sops, `age/keysource.go`).

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::age::Identity;
use super::ssh_key;
use crate::secret::{MAX_SECRET_LEN, Secret};

const KEY: &str = "SOPS_AGE_KEY";
const KEY_FILE: &str = "SOPS_AGE_KEY_FILE";
pub(super) const KEY_CMD: &str = "SOPS_AGE_KEY_CMD";
const SSH_KEY_FILE: &str = "SOPS_AGE_SSH_PRIVATE_KEY_FILE";
pub(super) const SSH_KEY_CMD: &str = "SOPS_AGE_SSH_PRIVATE_KEY_CMD";

/// The variables of the environment that say where identities are.
pub(super) struct Surroundings {
    key: Option<Secret>,
    others: HashMap<&'static str, OsString>,
}

impl Surroundings {
    pub(super) fn of_this_process() -> Self {
        const NAMES: [&str; 9] =
            [KEY, KEY_FILE, KEY_CMD, SSH_KEY_FILE, SSH_KEY_CMD, "XDG_CONFIG_HOME", "HOME", "APPDATA", "USERPROFILE"];
        Self::of(NAMES.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
    }

    /// A variable that is set to nothing counts as not set.
    pub(super) fn of(variables: impl IntoIterator<Item = (&'static str, OsString)>) -> Self {
        let mut others: HashMap<_, _> = variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let key = others.remove(KEY).map(|key| Secret::new(key.into_encoded_bytes()));
        Surroundings { key, others }
    }

    fn get(&self, name: &str) -> Option<&OsString> {
        self.others.get(name)
    }

    /// A command that prints identities.
    pub(super) fn command(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|line| line.to_str())
    }

    fn home(&self) -> Option<PathBuf> {
        self.get(if cfg!(windows) { "USERPROFILE" } else { "HOME" }).map(PathBuf::from)
    }

    /// Go's `os.UserConfigDir`, but that on macOS `XDG_CONFIG_HOME` comes first.
    fn config_folder(&self) -> Option<PathBuf> {
        if cfg!(windows) {
            return self.get("APPDATA").map(PathBuf::from);
        }
        let xdg = self.get("XDG_CONFIG_HOME").map(PathBuf::from);
        let below_home = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".config" };
        xdg.or_else(|| Some(self.home()?.join(below_home)))
    }
}

/// A place where identities were looked for, and what was there.
pub(super) struct Looked {
    /// Such as `SOPS_AGE_KEY_FILE (/etc/app/age.txt)`.
    place: String,
    pub(super) identities: Vec<Identity>,
    /// Why there are not more.
    problem: Option<String>,
}

impl Looked {
    pub(super) fn new(place: impl Into<String>, found: Result<(Vec<Identity>, Option<String>), String>) -> Self {
        let place = place.into();
        match found {
            Ok((identities, problem)) => Looked { place, identities, problem },
            Err(problem) => Looked { place, identities: Vec::new(), problem: Some(problem) },
        }
    }

    /// Reads what a variable, file or command has given: age identities, one in a line or several.
    pub(super) fn at_age_keys(place: impl Into<String>, text: &Secret) -> Self {
        Looked::new(place, age_keys(text.expose()))
    }

    /// The same for an SSH private key.
    pub(super) fn at_ssh_key(place: impl Into<String>, text: &Secret) -> Self {
        let identities = match text.expose_str() {
            Some(text) => ssh_key::identities(text).map(|identities| (identities, None)),
            None => Err("is not text"),
        };
        Looked::new(place, identities.map_err(str::to_owned))
    }

    /// Reads either.
    pub(super) fn at_any(place: impl Into<String>, text: &Secret) -> Self {
        match text.expose_str().is_some_and(|text| text.contains(" PRIVATE KEY-----")) {
            true => Looked::at_ssh_key(place, text),
            false => Looked::at_age_keys(place, text),
        }
    }

    pub(super) fn unset(name: &str) -> Self {
        Looked::new(name, Err("not set".to_owned()))
    }
}

/// Such as `SOPS_AGE_KEY: not set`, `/root/.ssh/id_rsa: 1 identity, another one`.
impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        match self.identities.len() {
            0 if self.problem.is_none() => f.write_str(": holds no identity")?,
            0 => {}
            1 => f.write_str(": 1 identity, which does not fit")?,
            count => write!(f, ": {count} identities, none of which fits")?,
        }
        match &self.problem {
            Some(problem) => write!(f, ": {problem}"),
            None => Ok(()),
        }
    }
}

/// The places that need no command to be run. Blocks while it reads files.
pub(super) fn look(surroundings: &Surroundings) -> Vec<Looked> {
    let mut looked = Vec::new();
    looked.push(match &surroundings.key {
        Some(text) => Looked::at_age_keys(KEY, text),
        None => Looked::unset(KEY),
    });
    let named = |looked: &mut Vec<Looked>, name: &str, read: fn(String, &Secret) -> Looked| {
        looked.push(match surroundings.get(name) {
            Some(path) => at_file(format!("{name} ({})", Path::new(path).display()), Path::new(path), read),
            None => Looked::unset(name),
        });
    };
    named(&mut looked, KEY_FILE, Looked::at_age_keys);
    if let Some(folder) = surroundings.config_folder() {
        let path = folder.join("sops").join("age").join("keys.txt");
        looked.push(at_file(path.display().to_string(), &path, Looked::at_age_keys));
    }
    named(&mut looked, SSH_KEY_FILE, Looked::at_ssh_key);
    if let Some(home) = surroundings.home() {
        for name in ["id_ed25519", "id_rsa"] {
            let path = home.join(".ssh").join(name);
            looked.push(at_file(path.display().to_string(), &path, Looked::at_ssh_key));
        }
    }
    looked
}

fn at_file(place: String, path: &Path, read: impl FnOnce(String, &Secret) -> Looked) -> Looked {
    match read_file(path) {
        Ok(text) => read(place, &text),
        Err(problem) => Looked::new(place, Err(problem)),
    }
}

fn read_file(path: &Path) -> Result<Secret, String> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "not there".to_owned(),
        kind => format!("cannot be read ({kind})"),
    };
    // Opening a pipe would wait for whoever writes into it.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    // Reserved at full size, so that no reallocation leaves a copy of the secret behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_SECRET_LEN + 1));
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_SECRET_LEN as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    match text.len() {
        0..=MAX_SECRET_LEN => Ok(text.into()),
        _ => Err(format!("is larger than {MAX_SECRET_LEN} bytes")),
    }
}

/// age identities, and what is not usable among them. Empty lines and comments are left out.
fn age_keys(text: &[u8]) -> Result<(Vec<Identity>, Option<String>), String> {
    let text = std::str::from_utf8(text).map_err(|_| "is not text".to_owned())?;
    if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE") {
        return Err("is encrypted itself, which is not supported; decrypt it first (age -d)".to_owned());
    }
    let mut identities = Vec::new();
    let mut problem = None;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    for (number, word) in lines.flat_map(|(number, line)| line.split_whitespace().map(move |word| (number + 1, word))) {
        let unusable = match word {
            _ if word.starts_with("AGE-PLUGIN-") => "is an age plugin's, which is not supported",
            _ if word.starts_with("AGE-SECRET-KEY-PQ-") => "is post-quantum, which is not supported",
            _ => match Identity::parse(word) {
                Some(identity) => {
                    identities.push(identity);
                    continue;
                }
                None => "is no age identity (AGE-SECRET-KEY-1…)",
            },
        };
        problem = Some(format!("line {number} {unusable}"));
    }
    Ok((identities, problem))
}
