//! Servers that check IAM tokens as RDS and Aurora DSQL do: PAM (libpam-wrapper) asks `iam/pam_iam.py`
//! (libpam-python). A refused token is SQLSTATE 28000.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Access, Postgres, Setup};
use crate::Identity;
use crate::account;

/// The access keys that tokens are to be signed with.
#[derive(Clone)]
pub struct IamKeys {
    /// `AKIA…` or `ASIA…`; any text without `=`, `/` and line ends.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
    /// With it, tokens without this session token are refused; without it, those with any.
    pub session_token: Option<String>,
    /// Region that tokens are signed for.
    pub region: String,
}

/// Whose tokens a server takes.
#[derive(Clone)]
pub(super) struct Service {
    /// As in a token's scope.
    name: &'static str,
    keys: IamKeys,
}

/// What makes PAM work without root and without `/etc`.
pub(crate) struct Pam {
    wrapper: PathBuf,
    python: PathBuf,
}

const MODULE: &str = include_str!("iam/pam_iam.py");

impl Postgres {
    /// Like RDS with IAM: `user`, a member of `rds_iam`, comes in over TLS with a token that is signed with `keys` and
    /// at most 900 s old. Other roles that a test makes come in with a password.
    ///
    /// Tokens are taken for the hosts `db.test`, `localhost` and `127.0.0.1` with the server's port; see
    /// [`accept_tokens_for`](Postgres::accept_tokens_for). The log says of each how
    /// old it was, or why it was refused.
    ///
    /// At most 61 sessions can have come in so at a time, on the whole machine: each has a folder `/tmp/pam.X` of
    /// pam_wrapper's, X being one letter or digit. Further ones are cut off.
    pub fn rds_iam(user: &str, keys: &IamKeys, server: &Identity) -> Setup {
        let service = Service { name: "rds-db", keys: keys.clone() };
        Setup::new(user, Access::Iam(service)).tls(server)
    }

    /// Like Aurora DSQL, as far as logging in goes: `admin` with tokens of the action `DbConnectAdmin`, any other
    /// `user` with `DbConnect`; tokens name no user and no port. All else as [`rds_iam`](Postgres::rds_iam).
    pub fn dsql(user: &str, keys: &IamKeys, server: &Identity) -> Setup {
        let service = Service { name: "dsql", keys: keys.clone() };
        Setup::new(user, Access::Iam(service)).tls(server)
    }

    /// Moves the clock by which tokens age, against the real one: `shift_iam_clock(901)` and a token made now is
    /// 901 s old. For logins from now on.
    pub fn shift_iam_clock(&self, seconds: i64) {
        write(&self.folder.join("data/iam-clock"), &seconds.to_string());
    }

    /// Takes tokens for this endpoint too (`host:port`): a proxy's in front of the server.
    pub fn accept_tokens_for(&self, endpoint: &str) {
        let file = self.folder.join("data/iam-endpoints");
        let accepted = fs::read_to_string(&file).expect("this server checks IAM tokens");
        write(&file, &format!("{accepted}{endpoint}\n"));
    }
}

impl Service {
    /// Writes the module and its settings into the data folder.
    pub(super) fn configure(&self, data: &Path, port: u16) {
        let (keys, pam) = (&self.keys, pam().expect("`needs::iam()` was asked: PAM's modules are installed"));
        let session_token = keys.session_token.as_deref().unwrap_or_default();
        let conf = format!(
            "service={}\nregion={}\naccess_key={}\nsecret_key={}\nsession_token={session_token}\n",
            self.name, keys.region, keys.access_key, keys.secret_key,
        );
        write(&data.join("iam.conf"), &conf);
        write(&data.join("iam-clock"), "0");
        write(&data.join("iam-endpoints"), &crate::Ca::NAMES.map(|host| format!("{host}:{port}\n")).concat());
        let module = data.join("pam_iam.py");
        write(&module, MODULE);
        let rules =
            format!("auth required {} {}\naccount required pam_permit.so\n", pam.python.display(), module.display());
        fs::create_dir_all(data.join("pam.d")).expect("own folder");
        write(&data.join("pam.d/rdsiam"), &rules);
    }
}

/// What the server's environment needs, as arguments of `env`.
pub(super) fn environment(data: &Path) -> Vec<OsString> {
    let pam = pam().expect("`needs::iam()` was asked: PAM's modules are installed");
    let variable = |name: &str, value: &Path| {
        let mut variable = OsString::from(name);
        variable.push(value);
        variable
    };
    vec![
        variable("LD_PRELOAD=", &pam.wrapper),
        "PAM_WRAPPER=1".into(),
        variable("PAM_WRAPPER_SERVICE_DIR=", &data.join("pam.d")),
    ]
}

/// Where Debian and Ubuntu have the two, in their folder for libraries or in that for one architecture.
pub(crate) fn pam() -> Option<Pam> {
    let folders = || {
        let own = Path::new("/usr/lib").read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
        ["/usr/lib", "/lib", "/usr/lib64"].map(PathBuf::from).into_iter().chain(own)
    };
    let find = |name: &str| folders().map(|folder| folder.join(name)).find(|path| path.exists());
    Some(Pam { wrapper: find("libpam_wrapper.so")?, python: find("security/pam_python.so")? })
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    account::own(path);
}
