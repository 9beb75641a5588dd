//! `revoke`: record that a certificate is not to be relied on any more.

use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use trust_ledger_registry::{
    Record, Registry, RevocationEntry, RevocationReason, RevocationRequest, RevocationTarget, Revoke, Serial,
};

use super::confirm;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::output::record::common_name_of;
use crate::output::time::{When, date, moment, rfc3339};
use crate::selection::{self, Meaning, Names};

/// Said with every revocation: it is the misunderstanding that costs most.
const HERE_ONLY: &str = "recorded here only; your CA was not told";

/// Record that a certificate is revoked, or on hold
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger revoke 04:a1:b2 --reason key-compromise
  trust-ledger revoke ./server.pem --reason superseded --yes
  trust-ledger revoke 0x1a2b --issuer 'Example CA' --at 2026-11-01

With --issuer a serial is revoked also without its certificate. A revocation is recorded here only: your CA is not \
told. Reasons are names or codes of RFC 5280: unspecified 0, \
keyCompromise 1, cACompromise 2, affiliationChanged 3, superseded 4, cessationOfOperation 5, certificateHold (or hold) 6, \
privilegeWithdrawn 9, aACompromise 10.")]
pub(crate) struct Arguments {
    /// Its id, SHA-256 fingerprint, serial, or a file with it
    #[arg(value_name = "CERTIFICATE")]
    certificate: String,

    /// Why: keyCompromise, key-compromise or 1
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    reason: RevocationReason,

    /// Since when; by default now
    #[arg(long, value_name = "WHEN")]
    at: Option<When>,

    /// Since when the key is thought to be in other hands
    #[arg(long, value_name = "WHEN")]
    invalidity_date: Option<When>,

    /// Its issuer: id, key identifier, or part of the name
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,

    /// Who or what says so
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
struct Outcome<'a> {
    outcome: &'static str,
    id: Option<Uuid>,
    issuer_id: Uuid,
    serial: &'a str,
    revoked_at: String,
    reason: RevocationReason,
    note: &'static str,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let now = OffsetDateTime::now_utc();
    let request = RevocationRequest {
        reason: arguments.reason,
        revoked_at: arguments.at.map(|when| when.ago(now)),
        invalidity_date: arguments.invalidity_date.map(|when| when.ago(now)),
        source: arguments.source.clone(),
    };
    let issuer = arguments.issuer.as_deref();
    match selection::one(registry, &arguments.certificate, issuer, Names::Refused).await {
        Ok(record) => revoke(registry, output, arguments, &record, &request).await,
        Err(failure) if failure.exit() == Exit::NotFound => {
            match serial_without_certificate(registry, &arguments.certificate, issuer).await? {
                Some((issuer, serial)) => {
                    revoke_serial(registry, output, arguments, issuer, serial, &request, now).await
                }
                None => Err(failure),
            }
        }
        Err(failure) => Err(failure),
    }
}

async fn revoke(
    registry: &Registry,
    output: &Output,
    arguments: &Arguments,
    record: &Record,
    request: &RevocationRequest,
) -> Result<Exit> {
    let name = for_terminal(&record.display_name()).into_owned();
    let verb = if request.reason == RevocationReason::CertificateHold { "Put on hold" } else { "Revoke" };
    confirm(
        &format!(
            "{verb} {name} (serial {}, issuer {}, valid until {}; {})?",
            record.serial,
            for_terminal(&common_name_of(&record.issuer)),
            date(record.not_after),
            request.reason
        ),
        arguments.yes,
    )?;
    let outcome = registry.revoke(&RevocationTarget::Id(record.id), request).await?;
    let subject = Subject { id: Some(record.id), issuer_id: record.issuer_id, serial: &record.serial, name: &name };
    match outcome {
        Revoke::Revoked => {
            // What was stored: a hold made final keeps its date.
            let stored = registry.get(record.id).await?;
            let since = stored.and_then(|record| record.revoked_at).unwrap_or_else(OffsetDateTime::now_utc);
            subject.answer(output, "revoked", since, request.reason)
        }
        Revoke::AlreadyRevoked { since, reason } => subject.answer(output, "already-revoked", since, reason),
        Revoke::NotFound => Err(Failure::not_found(format!("certificate {} was deleted meanwhile", record.id))),
    }
}

/// The serial of a named issuer of which the ledger has no certificate.
pub(super) async fn serial_without_certificate(
    registry: &Registry,
    text: &str,
    issuer: Option<&str>,
) -> Result<Option<(Uuid, Serial)>> {
    let (Some(issuer), Meaning::SerialOrName { mut serials, .. }) = (issuer, Meaning::read(text)?) else {
        return Ok(None);
    };
    let issuer = selection::issuer_id(registry, issuer).await?;
    match (serials.pop(), serials.pop()) {
        (Some(hex), Some(decimal)) => Err(Failure::usage(format!(
            "no certificate with serial {text} is in the ledger, so it must be clear which is meant: 0x{} (decimal \
             {text}) or 0x{}",
            decimal.to_hex(),
            hex.to_hex()
        ))),
        (Some(serial), None) => Ok(Some((issuer, serial))),
        (None, _) => Ok(None),
    }
}

async fn revoke_serial(
    registry: &Registry,
    output: &Output,
    arguments: &Arguments,
    issuer: Uuid,
    serial: Serial,
    request: &RevocationRequest,
    now: OffsetDateTime,
) -> Result<Exit> {
    let revoked_at = request.revoked_at.unwrap_or(now);
    if revoked_at > now {
        return Err(Failure::usage(format!("--at {} lies in the future", rfc3339(revoked_at))));
    }
    let hex = serial.to_hex();
    confirm(
        &format!("Revoke serial {hex}, whose certificate is not in the ledger ({})?", request.reason),
        arguments.yes,
    )?;
    let entry = RevocationEntry {
        serial: serial.clone(),
        revoked_at,
        reason: Some(request.reason),
        invalidity_date: request.invalidity_date,
        not_after: None,
    };
    let recorded = registry.record_revocations(issuer, &[entry], request.source.as_deref()).await?;
    let subject = Subject { id: None, issuer_id: issuer, serial: &hex, name: "a certificate not in the ledger" };
    let word = if recorded.known > 0 { "already-revoked" } else { "revoked" };
    match registry.revocation(&serial, issuer).await? {
        Some(revocation) => subject.answer(output, word, revocation.revoked_at, revocation.reason),
        None => Err(Failure::failed(format!("the revocation of {hex} was lifted meanwhile"))),
    }
}

/// What was revoked.
struct Subject<'a> {
    id: Option<Uuid>,
    issuer_id: Uuid,
    serial: &'a str,
    name: &'a str,
}

impl Subject<'_> {
    fn answer(
        &self,
        output: &Output,
        outcome: &'static str,
        since: OffsetDateTime,
        reason: RevocationReason,
    ) -> Result<Exit> {
        let Subject { id, issuer_id, serial, name } = *self;
        if output.is_json() {
            let revoked_at = rfc3339(since);
            output.object(&Outcome { outcome, id, issuer_id, serial, revoked_at, reason, note: HERE_ONLY })?;
            return Ok(Exit::Done);
        }
        let what = match (outcome, reason) {
            ("revoked", RevocationReason::CertificateHold) => "on hold:",
            ("revoked", _) => "revoked:",
            (_, RevocationReason::CertificateHold) => "already on hold, nothing changed:",
            _ => "already revoked, nothing changed:",
        };
        output.text(&format!("{what} {name} (serial {serial}) since {}, {reason}\n{HERE_ONLY}\n", moment(since)))?;
        Ok(Exit::Done)
    }
}
