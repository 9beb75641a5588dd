//! `lift-hold`: a certificate on hold may be relied on again.

use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use trust_ledger_registry::{Lift, Registry, RevocationEntry, RevocationReason, RevocationTarget};

use super::revoke::serial_without_certificate;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::output::time::moment;
use crate::selection::{self, Names};

/// Lift the hold of a certificate
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger lift-hold ./server.pem
  trust-ledger lift-hold 0x1a2b --issuer 'Example CA'

Only a hold can be lifted (reason certificateHold): every other revocation is for good. Your CA is not told.")]
pub(crate) struct Arguments {
    /// Its id, SHA-256 fingerprint, serial, or a file with it
    #[arg(value_name = "CERTIFICATE")]
    certificate: String,

    /// Its issuer: id, key identifier, or part of the name
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    outcome: &'static str,
    id: Option<Uuid>,
    issuer_id: Uuid,
    serial: &'a str,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let issuer = arguments.issuer.as_deref();
    let lifted = |id, issuer_id, serial: &str, name: &str| {
        if output.is_json() {
            return output.object(&Outcome { outcome: "lifted", id, issuer_id, serial });
        }
        output.text(&format!(
            "hold lifted: {} (serial {serial})\nrecorded here only; your CA was not told\n",
            for_terminal(name)
        ))
    };
    match selection::one(registry, &arguments.certificate, issuer, Names::Refused).await {
        Ok(record) => {
            let name = record.display_name();
            match registry.lift_hold(&RevocationTarget::Id(record.id)).await? {
                Lift::Lifted => lifted(Some(record.id), record.issuer_id, &record.serial, &name)?,
                Lift::NotOnHold => return Err(Failure::failed(format!("{name} is not on hold; nothing was changed"))),
                Lift::Revoked { since, reason } => {
                    return Err(Failure::failed(format!(
                        "{name} is revoked for good since {} ({reason}); only a hold can be lifted",
                        moment(since)
                    )));
                }
                Lift::NotFound => {
                    return Err(Failure::not_found(format!("certificate {} was deleted meanwhile", record.id)));
                }
            }
        }
        Err(failure) if failure.exit() == Exit::NotFound => {
            let Some((issuer, serial)) = serial_without_certificate(registry, &arguments.certificate, issuer).await?
            else {
                return Err(failure);
            };
            let hex = serial.to_hex();
            match registry.revocation(&serial, issuer).await? {
                Some(revocation) if revocation.reason == RevocationReason::CertificateHold => {}
                Some(revocation) => {
                    return Err(Failure::failed(format!(
                        "serial {hex} is revoked for good since {} ({}); only a hold can be lifted",
                        moment(revocation.revoked_at),
                        revocation.reason
                    )));
                }
                None => return Err(failure),
            }
            let revoked_at = OffsetDateTime::now_utc();
            let entry = RevocationEntry { serial, revoked_at, reason: None, invalidity_date: None, not_after: None };
            let recorded = registry.record_revocations(issuer, &[entry], None).await?;
            if recorded.lifted == 0 {
                return Err(Failure::failed(format!("serial {hex} is not on hold any more; nothing was changed")));
            }
            lifted(None, issuer, &hex, "a certificate not in the ledger")?;
        }
        Err(failure) => return Err(failure),
    }
    Ok(Exit::Done)
}
