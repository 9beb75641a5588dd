//! `import`: certificates, revocations and CA databases from wherever they are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use trust_ledger_registry::{Annotations, Category, ImportInput, ImportOptions, ImportSummary, Registry};

use crate::failure::{Exit, Failure, Result};
use crate::output::escape::for_terminal;
use crate::output::number::{counted, grouped, plural};
use crate::output::{Output, say};
use crate::selection::issuer_id;

/// Refusals that are listed; all are counted.
const LISTED: usize = 20;

/// Record certificates and revocations found in files, folders or a stream
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger import /etc/ssl/certs            what this machine trusts
  trust-ledger import --owner web --tag prod certs/ ca.crl
  kubectl get secrets -A -o json | trust-ledger import --source k8s -
  trust-ledger import /etc/easy-rsa/pki         with its CRL and index.txt

Reads PEM (also within other text), DER, PKCS#7, CRLs, index.txt of openssl and easy-rsa, JSON and NDJSON with \
certificates anywhere in it. Private keys are passed over, never stored or shown. Importing again changes nothing. \
What cannot be read is refused with its place, the rest goes in; the exit code is then 4.")]
pub(crate) struct Arguments {
    /// Files and folders; - for standard input
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Where they come from, such as vault
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Who answers for them
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,

    /// A tag for all; may be repeated
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,

    /// What they are used for; by default what each says: ca, user, service, device
    #[arg(long, value_name = "CATEGORY")]
    category: Option<Category>,

    /// The issuer whose index.txt this is, when it cannot be told: id, key identifier, or part of the name
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: Arguments) -> Result<Exit> {
    let inputs = inputs(&arguments.paths)?;
    let annotates = arguments.owner.is_some() || !arguments.tag.is_empty() || arguments.category.is_some();
    let options = ImportOptions {
        annotations: Annotations {
            source: arguments.source,
            owner: arguments.owner,
            tags: arguments.tag,
            category: arguments.category,
            ..Annotations::default()
        },
        issuer: match &arguments.issuer {
            Some(issuer) => Some(issuer_id(registry, issuer).await?),
            None => None,
        },
    };
    let progress = output.progress_of_bytes();
    let mut committed = 0;
    let outcome = registry
        .import(inputs, &options, &mut |so_far| {
            let certificates = so_far.new + so_far.known;
            progress.set(so_far.bytes_read, so_far.bytes_total);
            progress.say(&counted(certificates, "certificate"));
            if output.is_verbose() && certificates > committed {
                // Scripts wait for this line: what it counts survives a crash from here on.
                progress.line(&format!("committed {certificates} certificates"));
            }
            committed = certificates;
        })
        .await;
    drop(progress);
    let summary = match &outcome {
        Ok(summary) => summary,
        Err(stopped) => &*stopped.summary,
    };
    // What went in before a full disk stays, so it is told as well.
    report(output, summary, annotates)?;
    let summary = outcome?;
    let has_problems = summary.refused_count > 0 || !summary.lists_dropped.is_empty() || !summary.forged.is_empty();
    Ok(if has_problems { Exit::Problems } else { Exit::Done })
}

/// All paths are looked at before the first is read: a slip in the last leaves the ledger as it is.
fn inputs(paths: &[PathBuf]) -> Result<Vec<ImportInput>> {
    let streams = paths.iter().filter(|path| path.as_path() == Path::new("-")).count();
    if streams > 1 {
        return Err(Failure::usage("standard input (-) can be read only once"));
    }
    paths
        .iter()
        .map(|path| {
            if path == Path::new("-") {
                return Ok(ImportInput::Stream { name: "-".to_owned(), reader: Box::new(io::stdin()) });
            }
            match fs::metadata(path) {
                Ok(_) => Ok(ImportInput::Path(path.clone())),
                Err(error) => Err(Failure::failed(format!("{} cannot be read", path.display())).caused_by(error)),
            }
        })
        .collect()
}

fn report(output: &Output, summary: &ImportSummary, annotates: bool) -> Result<()> {
    for refusal in summary.refused.iter().take(LISTED) {
        say(&format!("refused: {}: {}", for_terminal(&refusal.position), for_terminal(&refusal.reason)));
    }
    if summary.refused_count > LISTED as u64 {
        say(&format!("refused: {} more", grouped(summary.refused_count - LISTED as u64)));
    }
    for position in summary.forged.iter().take(LISTED) {
        say(&format!(
            "forged: {}: a CRL that its issuer, who is in the ledger, did not sign; it is noted and not believed",
            for_terminal(position)
        ));
    }
    for source in summary.lists_dropped.iter().take(LISTED) {
        say(&format!(
            "dropped: {}: a CRL recorded before its issuer was known, who turns out not to have signed it",
            for_terminal(source)
        ));
    }
    for position in summary.unchecked.iter().take(LISTED) {
        let later = if summary.unchecked_not_kept.contains(position) {
            "it is too large to be kept, so import it again when its issuer is"
        } else {
            "it is kept and checked when its issuer is"
        };
        output.note(&format!(
            "not checked: {}: the CRL's signature; its issuer's certificate is not in the ledger, or its key cannot be \
             used; {later}",
            for_terminal(position)
        ));
    }
    if output.is_json() {
        return output.object(summary);
    }
    output.text(&describe(summary, annotates))
}

/// The summary: what there is none of is left out, but for certificates and refusals, which are always asked about.
fn describe(summary: &ImportSummary, annotates: bool) -> String {
    let known = if annotates && summary.known > 0 {
        "already known, or found twice; they keep their owner, tags and category (trust-ledger annotate changes them)"
    } else {
        "already known, or found twice"
    };
    let mut lines = vec![(summary.new, "new".to_owned()), (summary.known, known.to_owned())];
    let mut optional = |count: u64, what: String| {
        if count > 0 {
            lines.push((count, what));
        }
    };
    let mut nouns = |count: u64, noun: &str, what: &str| optional(count, format!("{} {what}", plural(count, noun)));
    nouns(summary.revocations, "revocation", "recorded");
    nouns(summary.revocations_known, "revocation", "already known");
    nouns(summary.revocations_outdated, "hold", "passed over: a newer CRL has spoken");
    nouns(summary.holds_lifted, "hold", "lifted");
    nouns(summary.lists_checked, "CRL", "of an earlier import checked now that its issuer is known");
    nouns(summary.forged.len() as u64, "CRL", "noted and not believed: not signed by its issuer");
    nouns(summary.lists_dropped.len() as u64, "CRL", "of an earlier import dropped");
    for (kind, count) in &summary.skipped {
        optional(*count, format!("skipped: {}", for_terminal(kind)));
    }
    lines.push((summary.refused_count, "refused".to_owned()));
    let lines: Vec<(String, String)> = lines.into_iter().map(|(count, what)| (grouped(count), what)).collect();
    let width = lines.iter().map(|(count, _)| count.len()).max().unwrap_or(0);
    lines.iter().map(|(count, what)| format!("{count:>width$}  {what}\n")).collect()
}
