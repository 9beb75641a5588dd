//! Which certificate, which issuer: finding what an argument means.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use uuid::Uuid;

use trust_ledger_registry::intake::{self, Object, Skipped};
use trust_ledger_registry::{Certificate, Filter, Issuer, NamePattern, Page, Record, Registry, Serial};

use crate::failure::{Failure, Result};
use crate::output::escape::for_terminal;
use crate::output::record::{certificates_table, common_name_of};
use crate::output::say;

/// Matches that are shown when an argument means too many.
const SHOWN: u32 = 20;

/// Whether a name may say which certificate is meant. Where something is changed, it may not: the name's certificate of
/// tomorrow is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Allowed,
    Refused,
}

/// What an argument can mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The ledger's id.
    Id(Uuid),
    /// SHA-256 of the DER: 64 hex digits, colons allowed, `sha256:` before it allowed.
    Fingerprint([u8; 32]),
    /// A file with one certificate, of which this is the SHA-256.
    File([u8; 32]),
    /// A serial, in the readings that its digits allow, or a name.
    SerialOrName {
        /// Readings as a serial: none when it cannot be one.
        serials: Vec<Serial>,
        /// The text as a name.
        name: String,
    },
}

impl Meaning {
    /// Reads an argument. What looks like an id or a fingerprint is one, and what is a file is read.
    ///
    /// # Errors
    ///
    /// A file that is there and holds no certificate, or several. Nothing of a private key is ever shown.
    pub(crate) fn read(text: &str) -> Result<Meaning> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Failure::usage("an empty argument names no certificate"));
        }
        // Without hyphens it could as well be a serial.
        if let (true, Ok(id)) = (text.contains('-'), Uuid::try_parse(text)) {
            return Ok(Meaning::Id(id));
        }
        if let Some(fingerprint) = fingerprint(text) {
            return Ok(Meaning::Fingerprint(fingerprint));
        }
        let path = Path::new(text);
        if path.is_file() {
            return Ok(Meaning::File(*certificate_in(path)?.fingerprint()));
        }
        // A path that is not there is more likely a slip than a name.
        if text.contains('/') && !text.contains("://") {
            return Err(Failure::not_found(format!("{text}: there is no such file")));
        }
        Ok(Meaning::SerialOrName { serials: Serial::parse_candidates(text).unwrap_or_default(), name: text.to_owned() })
    }

    /// The certificates in the ledger that the argument can mean; all are asked for an issuer if one is given.
    pub(crate) async fn find(&self, registry: &Registry, issuer: Option<Uuid>, names: Names) -> Result<Vec<Record>> {
        let mut found = match self {
            Meaning::Id(id) => registry.get(*id).await?.into_iter().collect(),
            Meaning::Fingerprint(fingerprint) | Meaning::File(fingerprint) => {
                registry.by_fingerprint(fingerprint).await?.into_iter().collect()
            }
            Meaning::SerialOrName { serials, name } => {
                let mut found: Vec<Record> = Vec::new();
                for serial in serials {
                    found.extend(registry.by_serial(serial, issuer).await?);
                }
                if names == Names::Allowed {
                    found.extend(by_name(registry, name).await?);
                }
                found
            }
        };
        if let Some(issuer) = issuer {
            found.retain(|record: &Record| record.issuer_id == issuer);
        }
        let mut seen = std::collections::HashSet::new();
        found.retain(|record| seen.insert(record.id));
        Ok(found)
    }
}

/// The one certificate that an argument means.
///
/// # Errors
///
/// None is found; or several, which are then listed in the message.
pub(crate) async fn one(registry: &Registry, text: &str, issuer: Option<&str>, names: Names) -> Result<Record> {
    let meaning = Meaning::read(text)?;
    let issuer = match issuer {
        Some(issuer) => Some(issuer_id(registry, issuer).await?),
        None => None,
    };
    let mut found = meaning.find(registry, issuer, names).await?;
    match (found.len(), found.pop()) {
        (1, Some(record)) => Ok(record),
        (0, _) | (_, None) => Err(not_found(text, &meaning, names)),
        (count, Some(last)) => {
            found.push(last);
            Err(ambiguous(text, count, &found))
        }
    }
}

fn not_found(text: &str, meaning: &Meaning, names: Names) -> Failure {
    Failure::not_found(match (meaning, names) {
        (Meaning::File(_), _) => {
            format!("the certificate in {text} is not in the ledger; `trust-ledger import` records it")
        }
        (Meaning::SerialOrName { serials, .. }, Names::Refused) if serials.is_empty() => format!(
            "{text:?} is no id, fingerprint, serial or file; for the ids of a name: trust-ledger list --json {text:?}"
        ),
        (_, Names::Allowed) => {
            format!("no certificate {text:?} in the ledger: no such id, fingerprint, serial or name")
        }
        (_, Names::Refused) => format!("no certificate {text:?} in the ledger: no such id, fingerprint or serial"),
    })
}

/// Says which certificates could be meant, with what tells them apart.
pub(crate) fn ambiguous(text: &str, count: usize, found: &[Record]) -> Failure {
    let shown: Vec<&Record> = found.iter().take(SHOWN as usize).collect();
    let table = certificates_table(&shown);
    say(table.trim_end());
    let more = if count > shown.len() { format!(" (the first {} are shown)", shown.len()) } else { String::new() };
    Failure::usage(format!(
        "{text:?} can mean {count} certificates{more}; name one by its id, or narrow it with --issuer"
    ))
}

/// The current certificate of a name; without one, all that ever had it.
async fn by_name(registry: &Registry, name: &str) -> Result<Vec<Record>> {
    if let Some(record) = registry.by_name(name).await? {
        return Ok(vec![record]);
    }
    // A name may have a star in it, which is none of a pattern.
    let Ok(pattern) = NamePattern::parse(&name.replace('*', "\\*")) else { return Ok(Vec::new()) };
    let filter = Filter { name: Some(pattern), ..Filter::default() };
    Ok(registry.list(&filter, &Page { limit: SHOWN + 1, ..Page::default() }).await?.records)
}

/// The issuer that a text means: its id, its key identifier, its name or common name, or else a part of its name. One
/// whose certificate is in the ledger goes before those that are known by name alone.
pub(crate) async fn issuer(registry: &Registry, text: &str) -> Result<Issuer> {
    let text = text.trim();
    let issuers = registry.issuers().await?;
    if let Ok(id) = Uuid::try_parse(text) {
        let found = issuers.into_iter().find(|issuer| issuer.id == id);
        return found.ok_or_else(|| Failure::not_found(format!("no issuer {id} in the ledger")));
    }
    let key_id = text.replace(':', "").to_lowercase();
    let wanted = text.to_lowercase();
    let is_named = |issuer: &&Issuer| issuer.name == text || common_name_of(&issuer.name) == text;
    let is_meant =
        |issuer: &&Issuer| issuer.key_id.as_deref() == Some(&key_id) || issuer.name.to_lowercase().contains(&wanted);
    let mut found: Vec<&Issuer> = issuers.iter().filter(is_named).collect();
    // An issuer by name alone is what certificates claim whose signature did not verify, or could not be checked.
    if let [known] = found.iter().filter(|issuer| issuer.known).collect::<Vec<_>>()[..] {
        found = vec![known];
    }
    if found.is_empty() && !text.is_empty() {
        found = issuers.iter().filter(is_meant).collect();
    }
    match found[..] {
        [issuer] => Ok(issuer.clone()),
        [] => Err(Failure::not_found(format!("no issuer {text:?} in the ledger; `trust-ledger stats` lists them"))),
        _ => {
            for issuer in found.iter().take(SHOWN as usize) {
                let key_id = issuer.key_id.as_deref().unwrap_or("none");
                let known = if issuer.known { "" } else { "; its certificate is not in the ledger" };
                say(&format!("{}  {}  (key identifier {key_id}{known})", issuer.id, for_terminal(&issuer.name)));
            }
            Err(Failure::usage(format!("{text:?} can mean {} issuers; name one by its id: --issuer ID", found.len())))
        }
    }
}

/// The id of the issuer that a text means.
pub(crate) async fn issuer_id(registry: &Registry, text: &str) -> Result<Uuid> {
    Ok(issuer(registry, text).await?.id)
}

/// 64 hex digits, with or without colons and `sha256:` (also `SHA256 Fingerprint=`, as openssl prints it).
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_prefix("sha256:").or_else(|| lower.strip_prefix("sha256 fingerprint=")).unwrap_or(&lower);
    let digits: Vec<u8> = bare.bytes().filter(|byte| *byte != b':').collect();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// The one certificate in a file of any form that `import` reads.
fn certificate_in(path: &Path) -> Result<Certificate> {
    let shown = path.display();
    let unreadable = |error| Failure::failed(format!("{shown} cannot be read")).caused_by(error);
    let mut certificates: Vec<Vec<u8>> = Vec::new();
    let mut skipped = None;
    let mut refused = None;
    let file = File::open(path).map_err(unreadable)?;
    intake::read(file, &shown.to_string(), &mut |found| {
        match found.object {
            Object::Certificate(der) if !certificates.contains(&der) => certificates.push(der),
            Object::Skipped(what) if skipped.is_none() => skipped = Some(what),
            Object::Refused(reason) if refused.is_none() => refused = Some((found.position, reason)),
            _ => {}
        }
        if certificates.len() > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .map_err(unreadable)?;
    match (&certificates[..], skipped, refused) {
        ([der], _, _) => Certificate::from_der(der).map_err(|error| Failure::failed(format!("{shown}: {error}"))),
        ([], Some(Skipped::PrivateKey), _) => {
            Err(Failure::failed(format!("{shown} holds a private key and no certificate; nothing of it was read")))
        }
        ([], _, Some((position, reason))) => Err(Failure::failed(format!("{position}: {reason}"))),
        ([], Some(what), _) if what != Skipped::Nothing => {
            Err(Failure::failed(format!("{shown} holds {what} and no certificate")))
        }
        ([], _, _) => Err(Failure::failed(format!("{shown} holds no certificate"))),
        (_, _, _) => Err(Failure::usage(format!("{shown} holds several certificates; name one by its fingerprint"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> Meaning {
        Meaning::read(text).unwrap_or_else(|failure| panic!("{text}: {failure}"))
    }

    #[test]
    fn ids_and_fingerprints_are_known_by_their_form() {
        let id = "0198c2f5-5d0e-7000-8000-0123456789ab";
        assert_eq!(meaning(id), Meaning::Id(id.parse().unwrap()));
        let hex = "0aF1".repeat(16);
        let colons = hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect::<Vec<_>>().join(":");
        for text in [hex.clone(), colons.clone(), format!("sha256:{hex}"), format!("SHA256 Fingerprint={colons}")] {
            let Meaning::Fingerprint(bytes) = meaning(&text) else { panic!("{text}") };
            assert_eq!(bytes[..2], [0x0a, 0xf1]);
        }
    }

    #[test]
    fn bare_digits_are_a_serial_in_two_readings_and_any_text_may_be_a_name() {
        let Meaning::SerialOrName { serials, name } = meaning("10") else { panic!() };
        assert_eq!(serials.iter().map(Serial::to_decimal).collect::<Vec<_>>(), ["10", "16"]);
        assert_eq!(name, "10");
        let Meaning::SerialOrName { serials, .. } = meaning("0x10") else { panic!() };
        assert_eq!(serials.len(), 1);
        let Meaning::SerialOrName { serials, .. } = meaning("www.example.com") else { panic!() };
        assert!(serials.is_empty());
        // 32 hex digits are a serial, not an id without its hyphens.
        assert!(matches!(meaning(&"ab".repeat(16)), Meaning::SerialOrName { serials, .. } if serials.len() == 1));
    }

    #[test]
    fn a_path_that_is_not_there_is_said_to_be_missing() {
        let failure = Meaning::read("./nowhere.pem").unwrap_err();
        assert!(failure.to_string().contains("no such file"), "{failure}");
    }
}
