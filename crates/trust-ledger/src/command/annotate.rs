//! `annotate`: what people say about certificates.

use clap::{ArgGroup, Args};
use serde::Serialize;
use uuid::Uuid;

use trust_ledger_registry::{Annotated, AnnotationChange, Category, Registry};

use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::selection::{self, Names};

/// Change owner, tags, note, category or source of certificates
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("changes").required(true).multiple(true))]
#[command(after_help = "Examples:
  trust-ledger annotate 0x1a2b --owner web --tag +prod --tag -test
  trust-ledger annotate ./server.pem --note 'renewed by hand, see ticket 7'
  trust-ledger annotate 0x1a2b --owner ''       remove the owner")]
pub(crate) struct Arguments {
    /// Ids, fingerprints, serials, or files with a certificate
    #[arg(value_name = "CERTIFICATE", required = true)]
    certificates: Vec<String>,

    /// Who answers for it; empty to remove
    #[arg(long, value_name = "NAME", group = "changes")]
    owner: Option<String>,

    /// Add a tag (x or +x) or remove one (-x); may be repeated
    #[arg(long, value_name = "[+|-]TAG", allow_hyphen_values = true, group = "changes")]
    tag: Vec<String>,

    /// Free text; empty to remove
    #[arg(long, value_name = "TEXT", group = "changes")]
    note: Option<String>,

    /// What it is used for: ca, user, service, device, internal
    #[arg(long, value_name = "CATEGORY", group = "changes")]
    category: Option<Category>,

    /// Where it comes from; empty to remove
    #[arg(long, value_name = "NAME", group = "changes")]
    source: Option<String>,

    /// Issuer of serials: id, key identifier, or part of the name
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
}

#[derive(Serialize)]
struct Outcome {
    id: Uuid,
    outcome: &'static str,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let change = change(arguments)?;
    // All are found before the first is changed: a slip in the last leaves the others as they are.
    let mut records = Vec::new();
    for certificate in &arguments.certificates {
        records.push(selection::one(registry, certificate, arguments.issuer.as_deref(), Names::Refused).await?);
    }
    let mut outcomes = Vec::new();
    for record in records {
        let outcome = match registry.annotate(record.id, &change).await? {
            Annotated::Changed => "changed",
            Annotated::Unchanged => "unchanged",
            Annotated::NotFound => {
                return Err(Failure::not_found(format!("certificate {} was deleted meanwhile", record.id)));
            }
        };
        if !output.is_json() {
            output.text(&format!("{outcome}  {}  {}\n", record.id, for_terminal(&record.display_name())))?;
        }
        outcomes.push(Outcome { id: record.id, outcome });
    }
    if output.is_json() {
        output.array(outcomes)?;
    }
    Ok(Exit::Done)
}

fn change(arguments: &Arguments) -> Result<AnnotationChange> {
    let mut change = AnnotationChange {
        owner: arguments.owner.clone(),
        note: arguments.note.clone(),
        category: arguments.category,
        source: arguments.source.clone(),
        ..AnnotationChange::default()
    };
    for tag in &arguments.tag {
        let (list, tag) = match tag.strip_prefix('-') {
            Some(tag) => (&mut change.remove_tags, tag),
            None => (&mut change.add_tags, tag.strip_prefix('+').unwrap_or(tag)),
        };
        if tag.trim().is_empty() {
            return Err(Failure::usage("an empty tag: write --tag x to add, --tag -x to remove"));
        }
        list.push(tag.to_owned());
    }
    Ok(change)
}
