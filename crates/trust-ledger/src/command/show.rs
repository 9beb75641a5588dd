//! `show`: everything about one certificate.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;

use trust_ledger_registry::certificate::{NEVER, pem};
use trust_ledger_registry::{Certificate, Record, Registry, Revocation};

use crate::failure::{Exit, Failure, Result};
use crate::output::escape::for_terminal;
use crate::output::record::{WithMore, tone};
use crate::output::time::{date, distance, moment};
use crate::output::{Output, say};
use crate::selection::{self, Meaning, Names};

/// Width of a field's label: a fingerprint then fits a line of 80.
const LABEL: usize = 14;

/// Width of an extension's name.
const EXTENSION: usize = 24;

/// Details of a certificate that its record says as well.
const IN_RECORD: [&str; 7] =
    ["serial", "signatureAlgorithm", "issuer", "notBefore", "notAfter", "subject", "publicKey"];

/// Show everything about one certificate
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger show www.example.com     the current certificate of a name
  trust-ledger show 04:a1:b2 --issuer 'Example CA'
  trust-ledger show ./server.pem        what is known of the one in a file
  trust-ledger show 0198c2f5-5d0e-7000-8000-0123456789ab --json

A serial with 0x, colons or letters is hex; bare digits are tried as decimal and as hex.")]
pub(crate) struct Arguments {
    /// Its id, SHA-256 fingerprint, serial, name, or a file with it
    #[arg(value_name = "CERTIFICATE")]
    certificate: String,

    /// Its issuer: id, key identifier, or part of the name
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,

    /// Add the certificate itself as PEM
    #[arg(long)]
    pem: bool,
}

#[derive(Serialize)]
struct More {
    details: Vec<ShownDetail>,
    revocation: Option<Revocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<String>,
}

#[derive(Serialize)]
struct ShownDetail {
    label: String,
    value: String,
    critical: bool,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let found = selection::one(registry, &arguments.certificate, arguments.issuer.as_deref(), Names::Allowed).await;
    let record = match found {
        Err(failure) if failure.exit() == Exit::NotFound => {
            return match revocation_alone(registry, arguments).await? {
                Some(revocation) => show_revocation(registry, output, &revocation).await,
                None => Err(failure),
            };
        }
        found => found?,
    };
    let gone = || Failure::not_found(format!("certificate {} was deleted meanwhile", record.id));
    let der = registry.der(record.id).await?.ok_or_else(gone)?;
    let revocation = revocation_of(registry, &record).await?;
    let details = match Certificate::from_der(&der) {
        Ok(certificate) => certificate
            .details()
            .into_iter()
            .map(|detail| ShownDetail { label: detail.label, value: detail.value, critical: detail.critical })
            .collect(),
        // It was read when it was registered; an older program may have been more lenient.
        Err(error) => {
            tracing::warn!(%error, "the stored certificate cannot be read by this version");
            Vec::new()
        }
    };
    let pem = arguments.pem.then(|| pem(&der));
    if output.is_json() {
        output.object(&WithMore { record: &record, more: More { details, revocation, pem } })?;
    } else {
        let mut text = describe(&record, revocation.as_ref(), &details, output);
        if let Some(pem) = pem {
            text.push('\n');
            text.push_str(&pem);
        }
        output.text(&text)?;
    }
    Ok(Exit::Done)
}

async fn revocation_of(registry: &Registry, record: &Record) -> Result<Option<Revocation>> {
    if record.revoked_at.is_none() {
        return Ok(None);
    }
    let serial = trust_ledger_registry::Serial::parse_candidates(&format!("0x{}", record.serial).replace("0x-", "-0x"));
    match serial.ok().and_then(|serials| serials.into_iter().next()) {
        Some(serial) => Ok(registry.revocation(&serial, record.issuer_id).await?),
        None => Ok(None),
    }
}

/// The revocation of a serial whose certificate was never seen.
async fn revocation_alone(registry: &Registry, arguments: &Arguments) -> Result<Option<Revocation>> {
    let Ok(Meaning::SerialOrName { serials, .. }) = Meaning::read(&arguments.certificate) else { return Ok(None) };
    let issuer = match &arguments.issuer {
        Some(issuer) => Some(selection::issuer_id(registry, issuer).await?),
        None => None,
    };
    let mut found = Vec::new();
    for serial in serials {
        found.extend(registry.revocations_by_serial(&serial).await?);
    }
    found.retain(|revocation| issuer.is_none_or(|issuer| revocation.issuer_id == issuer));
    match (found.len(), found.pop()) {
        (0 | 1, revocation) => Ok(revocation),
        (count, last) => {
            for revocation in found.iter().chain(&last) {
                say(&format!("serial {}  issuer {}", revocation.serial.to_hex(), revocation.issuer_id));
            }
            Err(Failure::usage(format!(
                "{:?} can mean {count} revocations, whose certificates are not in the ledger; name the issuer with \
                 --issuer, and a hex serial with 0x",
                arguments.certificate
            )))
        }
    }
}

async fn show_revocation(registry: &Registry, output: &Output, revocation: &Revocation) -> Result<Exit> {
    if output.is_json() {
        output.object(&serde_json::json!({ "revocation": revocation }))?;
    } else {
        let mut text = String::from("a revocation; its certificate is not in the ledger\n");
        line(&mut text, "serial", &revocation.serial.to_hex());
        let issuers = registry.issuers().await?;
        if let Some(issuer) = issuers.iter().find(|issuer| issuer.id == revocation.issuer_id) {
            line(&mut text, "issuer", &issuer.name);
        }
        line(&mut text, "issuer id", &revocation.issuer_id.to_string());
        describe_revocation(&mut text, revocation);
        output.text(&text)?;
    }
    Ok(Exit::Done)
}

fn describe(record: &Record, revocation: Option<&Revocation>, details: &[ShownDetail], output: &Output) -> String {
    let now = OffsetDateTime::now_utc();
    let mut text = format!("{}\n", for_terminal(&record.display_name()));
    let status = tone(record.status).paint(record.status.as_str(), output.is_coloured());
    let _ = writeln!(text, "  {:<LABEL$}{status}", "status");
    if let Some(revocation) = revocation {
        describe_revocation(&mut text, revocation);
    }
    let with_distance = |when| match distance(when, now) {
        distance if distance.is_empty() => moment(when),
        distance => format!("{} ({distance})", moment(when)),
    };
    line(&mut text, "not before", &moment(record.not_before));
    line(&mut text, "not after", &with_distance(record.not_after));
    if record.not_after != NEVER && record.not_after < record.not_before {
        line(&mut text, "", "never valid: not after lies before not before");
    }
    if let Some(id) = record.replaced_by {
        line(&mut text, "replaced by", &id.to_string());
    }
    for finding in &record.findings {
        line(&mut text, "finding", finding.as_str());
    }
    line(&mut text, "subject", if record.subject.is_empty() { "(empty)" } else { &record.subject });
    for name in &record.names {
        let shown = name.display();
        let spelled = if shown == name.value { shown } else { format!("{shown} ({})", name.value) };
        line(&mut text, name.kind.as_str(), &spelled);
    }
    line(&mut text, "issuer", &record.issuer);
    line(&mut text, "serial", &record.serial);
    line(&mut text, "in decimal", &record.serial_decimal);
    let key = match record.key_bits {
        Some(bits) => format!("{} ({bits} bits)", record.key_algorithm),
        None => record.key_algorithm.clone(),
    };
    line(&mut text, "key", &key);
    line(&mut text, "signature", &record.signature_algorithm);
    line(&mut text, "sha-256", &record.fingerprint_sha256);
    let ca = if record.is_ca && record.category.as_str() != "ca" { " (its basicConstraints say CA)" } else { "" };
    line(&mut text, "category", &format!("{}{ca}", record.category));
    for (label, value) in [("owner", &record.owner), ("source", &record.source), ("note", &record.note)] {
        if let Some(value) = value {
            line(&mut text, label, value);
        }
    }
    if !record.tags.is_empty() {
        line(&mut text, "tags", &record.tags.join(", "));
    }
    line(&mut text, "registered", &moment(record.registered_at));
    line(&mut text, "id", &record.id.to_string());
    line(&mut text, "issuer id", &record.issuer_id.to_string());
    let extensions: Vec<&ShownDetail> =
        details.iter().filter(|detail| !IN_RECORD.contains(&detail.label.as_str())).collect();
    if !extensions.is_empty() {
        text.push_str("in the certificate\n");
    }
    for detail in extensions {
        let critical = if detail.critical { "critical: " } else { "" };
        labelled(&mut text, EXTENSION, &detail.label, &format!("{critical}{}", detail.value));
    }
    text
}

fn describe_revocation(text: &mut String, revocation: &Revocation) {
    let what = if revocation.reason.as_str() == "certificateHold" { "on hold since" } else { "revoked" };
    line(text, what, &format!("{}, {}", moment(revocation.revoked_at), revocation.reason));
    if let Some(when) = revocation.invalidity_date {
        line(text, "invalid since", &date(when));
    }
    if let Some(source) = &revocation.source {
        line(text, "revoked by", source);
    }
    line(text, "recorded", &moment(revocation.recorded_at));
    if !revocation.checked {
        line(text, "not checked", "issuer unknown, so the signature of the CRL that says so is not verified");
    }
}

/// One field; text from anywhere is made harmless.
fn line(text: &mut String, label: &str, value: &str) {
    labelled(text, LABEL, label, value);
}

/// A label and its value; a longer label has a line of its own.
fn labelled(text: &mut String, width: usize, label: &str, value: &str) {
    let (label, value) = (for_terminal(label), for_terminal(value));
    // Writing to a String cannot fail.
    let _ = if label.len() < width {
        writeln!(text, "  {label:<width$}{value}")
    } else {
        writeln!(text, "  {label}\n  {:<width$}{value}", "")
    };
}
