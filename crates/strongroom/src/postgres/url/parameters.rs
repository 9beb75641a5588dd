//! What each key of a URL means. The table for users is in `docs/postgres-connecting.md`.

use std::net::IpAddr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::settings::{ChannelBinding, Host, Keepalive, Place, Settings, TargetSession};
use super::super::tls::{ClientCertificate, Roots, TlsMode};
use crate::key::KeySource;
use crate::secret::Secret;

/// Keys that libpq knows and this crate does not support, and what to do instead.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("gsslib", "GSSAPI is not supported"),
    ("krbsrvname", "GSSAPI is not supported"),
    ("max_protocol_version", "leave it out"),
    ("min_protocol_version", "leave it out"),
    ("oauth_client_id", "OAuth is not supported; give the token by a credential provider"),
    ("oauth_client_secret", "OAuth is not supported; give the token by a credential provider"),
    ("oauth_issuer", "OAuth is not supported; give the token by a credential provider"),
    ("oauth_scope", "OAuth is not supported; give the token by a credential provider"),
    ("passfile", "name the password's source instead: an environment variable, a file of its own, a secret store"),
    ("replication", "this is no replication client"),
    ("require_auth", "use channel_binding=require, which refuses every way to log in that gives the password away"),
    ("requirepeer", "protect the socket's folder by its mode instead"),
    ("scram_client_key", "name the password's source instead"),
    ("scram_server_key", "name the password's source instead"),
    ("service", "service files are not read; write the settings out"),
    ("servicefile", "service files are not read; write the settings out"),
    ("sslcertmode", "name sslcert and sslkey, or leave them out"),
    ("sslcrl", "revocation lists are not read; leave it out"),
    ("sslcrldir", "revocation lists are not read; leave it out"),
    ("sslkeylogfile", "TLS keys are never written down; leave it out"),
    ("ssl_max_protocol_version", "the newest version that both sides know is used; leave it out"),
];

/// What was read so far. A key that comes twice replaces what it said before, as in libpq.
#[derive(Default)]
pub(super) struct Parameters {
    hosts: Vec<String>,
    addresses: Vec<String>,
    ports: Vec<String>,
    password: Option<Secret>,
    fallback_name: Option<String>,
    named: Option<String>,
    keepalives_off: bool,
    keepalive: Keepalive,
    certificate: Option<String>,
    certificate_key: Option<String>,
    passphrase: Option<Secret>,
    settings: Settings,
}

pub(super) fn is_known(key: &str) -> bool {
    // Setting is what tells them apart; the value plays no part in that.
    !matches!(Parameters::default().assign(key, &Zeroizing::default()), Err(Refused::Unknown))
}

/// Why a key or its value is refused.
enum Refused {
    Unknown,
    /// Ready to be shown: neither key nor value is a secret.
    Because(String),
}

impl Parameters {
    /// Adds a server of a URL's list.
    pub(super) fn add_server(&mut self, host: &str, number: &str) -> Result<(), String> {
        // At once: when it is none, what comes later is not what it seems, and must not be shown.
        port(number)?;
        self.hosts.push(host.to_owned());
        self.ports.push(number.to_owned());
        Ok(())
    }

    /// Sets what `key` means. An error shows the key, and of the value only what cannot be a password.
    pub(super) fn set(&mut self, key: &str, value: Zeroizing<String>) -> Result<(), String> {
        self.assign(key, &value).map_err(|refused| match refused {
            Refused::Unknown if is_word(key) => format!("has an unknown key, {key}"),
            Refused::Unknown => "has an unknown key".to_owned(),
            Refused::Because(reason) => reason,
        })?;
        // An empty value is one that was not given, as in libpq.
        if !value.is_empty() {
            self.settings.said.push(key.to_owned());
        }
        Ok(())
    }

    fn assign(&mut self, key: &str, value: &Zeroizing<String>) -> Result<(), Refused> {
        let settings = &mut self.settings;
        let given = || Some(value.to_string()).filter(|text| !text.is_empty());
        match key {
            "host" => self.hosts = list(value),
            "hostaddr" => self.addresses = list(value),
            "port" => self.ports = list(value),
            "user" => settings.user = given(),
            "dbname" => settings.database = given(),
            "password" => self.password = secret(value),
            "application_name" => self.named = given(),
            "fallback_application_name" => self.fallback_name = given(),
            "options" => settings.options = given(),
            "connect_timeout" => {
                // libpq takes 0 and less for no limit.
                let seconds = number::<i64>(key, value)?;
                let timeout = u64::try_from(seconds).ok().filter(|&seconds| seconds > 0).unwrap_or(u64::MAX >> 1);
                *settings = std::mem::take(settings).connect_timeout(Duration::from_secs(timeout));
            }
            "keepalives" => self.keepalives_off = !boolean(key, value)?,
            "keepalives_idle" => self.keepalive.idle = seconds(key, value, self.keepalive.idle)?,
            "keepalives_interval" => self.keepalive.interval = seconds(key, value, self.keepalive.interval)?,
            "keepalives_count" => match number(key, value)? {
                0 => {}
                count => self.keepalive.count = count,
            },
            "tcp_user_timeout" => {
                let timeout = Some(Duration::from_millis(number(key, value)?)).filter(|timeout| !timeout.is_zero());
                *settings = std::mem::take(settings).tcp_user_timeout(timeout);
            }
            "statement_timeout" => {
                let timeout = with_unit(key, value)?;
                *settings = std::mem::take(settings).statement_timeout(timeout);
            }
            "lock_timeout" => {
                let timeout = with_unit(key, value)?;
                *settings = std::mem::take(settings).lock_timeout(timeout);
            }
            "named_statements" => settings.named_statements = boolean(key, value)?,
            "target_session_attrs" => settings.target = one_of(key, value, TARGETS)?,
            "load_balance_hosts" => {
                settings.load_balance = one_of(key, value, &[("disable", false), ("random", true)])?;
            }
            "channel_binding" => settings.channel_binding = one_of(key, value, BINDINGS)?,
            "sslmode" => settings.tls.mode = Some(ssl_mode(value)?),
            "sslrootcert" => {
                settings.tls.roots = match value.as_str() {
                    "" => None,
                    "system" => Some(Roots::System),
                    path => Some(Roots::File(path.into())),
                };
            }
            "sslcert" => self.certificate = given(),
            "sslkey" => self.certificate_key = given(),
            "sslpassword" => self.passphrase = secret(value),
            "ssl_min_protocol_version" => {
                settings.tls.only_1_3 = one_of(key, value, &[("TLSv1.2", false), ("TLSv1.3", true)])?;
            }
            // What these may say is what is done anyway.
            "client_encoding" => one_of(key, value, &[("UTF8", ()), ("utf8", ()), ("UTF-8", ()), ("utf-8", ())])?,
            "gssencmode" => one_of(key, value, &[("disable", ()), ("prefer", ())])?,
            "gssdelegation" | "sslcompression" => one_of(key, value, &[("0", ())])?,
            "sslnegotiation" => one_of(key, value, &[("postgres", ())])?,
            "sslsni" => one_of(key, value, &[("1", ())])?,
            _ => match UNSUPPORTED.iter().find(|(name, _)| *name == key) {
                Some((name, instead)) => {
                    return Err(Refused::Because(format!("has {name}, which is not supported: {instead}")));
                }
                None => return Err(Refused::Unknown),
            },
        }
        Ok(())
    }

    /// The settings that all this means.
    pub(super) fn settings(mut self) -> Result<(Settings, Option<Secret>), String> {
        let keepalive = (!self.keepalives_off).then_some(self.keepalive);
        let mut settings = std::mem::take(&mut self.settings).keepalive(keepalive);
        if let Some(name) = self.named.as_deref().or(self.fallback_name.as_deref()) {
            settings = settings.application_name(name);
        }
        settings.tls.client = match (self.certificate.take(), self.certificate_key.take()) {
            (Some(certificate), Some(key)) => Some(ClientCertificate {
                certificate: certificate.into(),
                key: key.into(),
                passphrase: self.passphrase.take().map(|secret| KeySource::literal(secret.expose())),
            }),
            (None, None) if self.passphrase.is_none() => None,
            _ => {
                return Err(
                    "has one of sslcert and sslkey without the other; a client certificate needs both".to_owned()
                );
            }
        };
        (settings.hosts, settings.port) = self.servers()?;
        Ok((settings, self.password))
    }

    /// Joins the lists of hosts, addresses and ports.
    fn servers(&self) -> Result<(Vec<Host>, Option<u16>), String> {
        let (hosts, addresses, ports) = (&self.hosts, &self.addresses, &self.ports);
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            return Err(format!("has {} hosts and {} hostaddr; expected as many", hosts.len(), addresses.len()));
        }
        let count = hosts.len().max(addresses.len());
        if ports.len() > 1 && ports.len() != count {
            return Err(format!(
                "has {} ports and {count} hosts; expected one port, or one for each host",
                ports.len()
            ));
        }
        let ports = ports.iter().map(|text| port(text)).collect::<Result<Vec<_>, _>>()?;
        let at = |list: &[String], index: usize| list.get(index).cloned().unwrap_or_default();
        let one = ports.first().copied().flatten().filter(|_| ports.len() == 1);
        if count <= 1 && at(hosts, 0).is_empty() && at(addresses, 0).is_empty() {
            return Ok((Vec::new(), one));
        }
        let server = |index: usize| {
            let place = place(at(hosts, index), &at(addresses, index))?;
            Ok(Host { place, port: if ports.len() == 1 { one } else { ports.get(index).copied().flatten() } })
        };
        Ok(((0..count).map(server).collect::<Result<_, String>>()?, one))
    }
}

const TARGETS: &[(&str, TargetSession)] = &[
    ("any", TargetSession::Any),
    ("read-write", TargetSession::ReadWrite),
    ("read-only", TargetSession::ReadOnly),
    ("primary", TargetSession::Primary),
    ("standby", TargetSession::Standby),
    ("prefer-standby", TargetSession::PreferStandby),
];

const BINDINGS: &[(&str, ChannelBinding)] =
    &[("disable", ChannelBinding::Disable), ("prefer", ChannelBinding::Prefer), ("require", ChannelBinding::Require)];

fn ssl_mode(value: &str) -> Result<TlsMode, Refused> {
    if let "allow" | "prefer" = value {
        let reason = format!(
            "has sslmode={value}, which whoever is on the wire can turn into no TLS at all; use verify-full, or disable"
        );
        return Err(Refused::Because(reason));
    }
    let modes = [
        ("disable", TlsMode::Disable),
        // Encryption without knowing with whom protects from nobody who can write to the wire.
        ("require", TlsMode::VerifyFull),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-full", TlsMode::VerifyFull),
    ];
    one_of("sslmode", value, &modes)
}

fn place(host: String, address: &str) -> Result<Place, String> {
    if address.is_empty() {
        return Place::parse(&host).map_err(|reason| match host.is_empty() {
            true => "has an empty host in a list; name each".to_owned(),
            false => format!("has a host that {reason}"),
        });
    }
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err("has a hostaddr that is no IP address".to_owned());
    };
    match host.as_str() {
        "" => Ok(Place::Tcp { name: address.to_string(), address: Some(address) }),
        _ => match Place::parse(&host).map_err(|reason| format!("has a host that {reason}"))? {
            Place::Tcp { name, .. } => Ok(Place::Tcp { name, address: Some(address) }),
            Place::Unix(_) => Err("has a hostaddr for a unix socket; name one of them".to_owned()),
        },
    }
}

/// A port, or `None` where it is left empty. The text is not shown: in `postgres://user:secret` it is the password.
fn port(text: &str) -> Result<Option<u16>, String> {
    match text.trim().parse() {
        _ if text.is_empty() => Ok(None),
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err("has a port that is no number from 1 to 65535".to_owned()),
    }
}

fn list(value: &str) -> Vec<String> {
    match value {
        "" => Vec::new(),
        value => value.split(',').map(str::to_owned).collect(),
    }
}

fn secret(value: &str) -> Option<Secret> {
    Some(Secret::new(value)).filter(|secret| !secret.expose().is_empty())
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, Refused> {
    value.trim().parse().map_err(|_| Refused::Because(format!("has a {key} that is no number in range")))
}

/// Seconds; 0 is the default, as in libpq.
fn seconds(key: &str, value: &str, default: Duration) -> Result<Duration, Refused> {
    Ok(match number(key, value)? {
        0 => default,
        seconds => Duration::from_secs(seconds),
    })
}

/// A duration as `postgresql.conf` has it: milliseconds, or a number with a unit; 0 is none.
fn with_unit(key: &str, value: &str) -> Result<Option<Duration>, Refused> {
    let value = value.trim();
    let unit = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (count, unit) = value.split_at(unit);
    let milliseconds = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(Refused::Because(format!("has a {key} with an unknown unit; expected ms, s, min, h or d"))),
    };
    let count = number::<u64>(key, count)?;
    Ok(Some(Duration::from_millis(count.saturating_mul(milliseconds))).filter(|timeout| !timeout.is_zero()))
}

fn boolean(key: &str, value: &str) -> Result<bool, Refused> {
    one_of(key, value, &[("1", true), ("0", false), ("true", true), ("false", false)])
}

fn one_of<T: Copy>(key: &str, value: &str, all: &[(&str, T)]) -> Result<T, Refused> {
    match all.iter().find(|(name, _)| *name == value) {
        Some((_, meaning)) => Ok(*meaning),
        None => {
            let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
            let seen = if is_word(value) { format!("{key}={value}") } else { format!("another {key}") };
            Err(Refused::Because(format!("has {seen}; expected {}", names.join(", "))))
        }
    }
}

/// Whether a text looks like a key or a keyword.
fn is_word(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}
