//! Which certificates: the options that `list`, `export` and others share.

use clap::Args;
use time::OffsetDateTime;

use trust_ledger_registry::name::NamePatternError;
use trust_ledger_registry::{Category, Filter, NamePattern, Registry, Status};

use crate::failure::{Failure, Result};
use crate::output::time::When;
use crate::selection::issuer_id;

/// Conditions that all have to hold.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which certificates")]
pub(crate) struct FilterArguments {
    /// Name (CN or alternative name): exact, 'text*', '*.domain' or '*@domain'; others with --scan
    #[arg(value_name = "PATTERN", help_heading = "Arguments")]
    pattern: Option<String>,

    /// With this status now: valid, expired, revoked, on-hold, not-yet-valid
    #[arg(long, value_name = "STATUS")]
    status: Option<Status>,

    /// Of this category: ca, user, service, device, internal
    #[arg(long, value_name = "CATEGORY")]
    category: Option<Category>,

    /// Of this issuer: its id, key identifier, or part of its name
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,

    /// Of this owner
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,

    /// With this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,

    /// From this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// With findings only: weak keys and signatures, duplicate serials, keys used twice
    #[arg(long)]
    weak: bool,

    /// Valid until before this day, or before so far from now (30d)
    #[arg(long, value_name = "WHEN")]
    expires_before: Option<When>,

    /// Valid until this day or longer, or so far from now or longer
    #[arg(long, value_name = "WHEN")]
    expires_after: Option<When>,

    /// Registered before this day, or longer ago than this (7d)
    #[arg(long, value_name = "WHEN")]
    registered_before: Option<When>,

    /// Registered on this day or later, or within this time
    #[arg(long, value_name = "WHEN")]
    registered_after: Option<When>,

    /// Allow patterns that have to look at every name, such as '*db*'
    #[arg(long)]
    scan: bool,
}

impl FilterArguments {
    /// The registry's filter. Asks the registry for the issuer, if one is named.
    pub(crate) async fn resolve(&self, registry: &Registry) -> Result<Filter> {
        let now = OffsetDateTime::now_utc();
        let issuer = match &self.issuer {
            Some(text) => Some(issuer_id(registry, text).await?),
            None => None,
        };
        Ok(Filter {
            serial: None,
            status: self.status,
            category: self.category,
            issuer,
            name: self.pattern.as_deref().map(|pattern| self.name(pattern)).transpose()?,
            owner: self.owner.clone(),
            tag: self.tag.clone(),
            source: self.source.clone(),
            weak: self.weak,
            expires_from: self.expires_after.map(|when| when.ahead(now)),
            expires_until: self.expires_before.map(|when| when.ahead(now)),
            registered_from: self.registered_after.map(|when| when.ago(now)),
            registered_until: self.registered_before.map(|when| when.ago(now)),
        })
    }

    fn name(&self, pattern: &str) -> Result<NamePattern> {
        let parsed = if self.scan { NamePattern::parse_with_scan(pattern) } else { NamePattern::parse(pattern) };
        parsed.map_err(|error: NamePatternError| Failure::usage(error.to_string()))
    }
}
