//! Packages of the system that the tests, or the build of what they test, need.

use std::path::Path;
use std::process::Command;

use crate::steps;

/// Something the tests need, how to see that it is there, and the Debian packages that bring it.
struct Need {
    what: &'static str,
    present: fn() -> bool,
    packages: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    // Second opinion on every certificate and CRL.
    Need { what: "openssl", present: || succeeds("openssl", &["version"]), packages: &["openssl"] },
    // The trust store that the README imports.
    Need {
        what: "/etc/ssl/certs",
        present: || Path::new("/etc/ssl/certs/ca-certificates.crt").exists(),
        packages: &["ca-certificates"],
    },
    // Debian splits `venv` from Python: the module is there and fails for want of `ensurepip`.
    Need {
        what: "python3 with venv",
        present: || succeeds("python3", &["-c", "import venv, ensurepip"]),
        packages: &["python3", "python3-venv"],
    },
    // The vendored OpenSSL is configured by a Perl script, for which Debian's perl-base is not enough.
    Need {
        what: "perl with its modules",
        present: || system_openssl() || succeeds("perl", &["-MFindBin", "-MIPC::Cmd", "-MTime::Piece", "-e", "1"]),
        packages: &["perl"],
    },
    Need { what: "make", present: || system_openssl() || succeeds("make", &["--version"]), packages: &["make"] },
    Need {
        what: "OpenSSL's headers (OPENSSL_NO_VENDOR is set)",
        present: || !system_openssl() || succeeds("pkg-config", &["--exists", "openssl"]),
        packages: &["libssl-dev", "pkg-config"],
    },
    // The crate test-servers finds its programs in the same places. Each test starts servers of its own.
    Need { what: "PostgreSQL", present: || holds("/usr/lib/postgresql", "bin/initdb"), packages: &["postgresql"] },
    Need { what: "pgbouncer", present: || Path::new("/usr/sbin/pgbouncer").exists(), packages: &["pgbouncer"] },
    // A PostgreSQL that checks IAM tokens as RDS does.
    Need {
        what: "PAM modules",
        present: || is_library("libpam_wrapper.so") && is_library("security/pam_python.so"),
        packages: &["libpam-wrapper", "libpam-python"],
    },
];

/// Installs what is missing, or says what to type.
pub(super) fn install_missing() -> Result<(), String> {
    steps::step("system", || {
        let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.present)()).collect();
        if missing.is_empty() {
            return Ok(((), "has all that the tests need".to_owned()));
        }
        let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
        install(&packages).map_err(|reason| {
            let whats: Vec<&str> = missing.iter().map(|need| need.what).collect();
            format!("the tests need {}, and {reason}; {}", whats.join(", "), to_type(&packages))
        })?;
        match missing.iter().find(|need| !(need.present)()) {
            None => Ok(((), format!("installed {}", packages.join(" ")))),
            Some(need) => Err(format!(
                "{} was installed, but {} is still not found: does something earlier in PATH hide it?",
                need.packages.join(" "),
                need.what
            )),
        }
    })
}

fn to_type(packages: &[&str]) -> String {
    let packages = packages.join(" ");
    if succeeds("apt-get", &["--version"]) {
        format!("type: sudo apt-get install {packages}")
    } else {
        format!("install what Debian calls: {packages}")
    }
}

fn install(packages: &[&str]) -> Result<(), String> {
    if !succeeds("apt-get", &["--version"]) {
        return Err("there is no apt-get to install it".to_owned());
    }
    let sudo = if succeeds("test", &["-w", "/var/lib/dpkg"]) {
        false
    } else if succeeds("sudo", &["-n", "true"]) {
        true
    } else {
        return Err("this user may not install it (not root, and sudo asks for a password)".to_owned());
    };
    steps::announce("system", &format!("apt-get install {}", packages.join(" ")));
    // A foreign repository that cannot be reached must not stop us: Debian's lists may be good, and the
    // installation says so if they are not.
    let update = steps::output(apt_get(sudo).arg("update"));
    let mut install = apt_get(sudo);
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    steps::output(&mut install).map(drop).map_err(|error| match update {
        Ok(_) => error,
        Err(earlier) => format!("{error} (before that, {earlier})"),
    })
}

fn apt_get(sudo: bool) -> Command {
    let mut command = Command::new(if sudo { "sudo" } else { "env" });
    if sudo {
        command.arg("-n").arg("env");
    }
    // A new machine may still be installing its own updates: wait for apt's lock instead of failing.
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300"]);
    command
}

/// Whether a folder in `parent`, whatever its name (a version, an architecture), holds `file`.
fn holds(parent: &str, file: &str) -> bool {
    Path::new(parent).read_dir().is_ok_and(|entries| entries.flatten().any(|entry| entry.path().join(file).exists()))
}

fn is_library(file: &str) -> bool {
    ["/usr/lib", "/lib", "/usr/lib64"].iter().any(|folder| Path::new(folder).join(file).exists())
        || holds("/usr/lib", file)
}

/// Whether the build links the system's OpenSSL, by the rule of the crate openssl-sys.
fn system_openssl() -> bool {
    std::env::var_os("OPENSSL_NO_VENDOR").is_some_and(|value| value != "0")
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    steps::output(Command::new(program).args(arguments)).is_ok()
}
