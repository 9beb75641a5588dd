//! `token`: who may use the service.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use trust_ledger_registry::{Registry, Role, Token};

use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::output::table::{Cell, Column, Table, Tone};
use crate::output::time::{When, date, distance, parse_span, rfc3339};

/// Make, list and revoke the tokens that let programs use the service
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger token create ci --role registrar --expires 30d
  trust-ledger token list
  trust-ledger token revoke ci

The audit trail names the token as who made a change. A revoked one works for a second more at most.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token, whose text is shown this once
    #[command(after_help = "Examples:
  trust-ledger token create ci --role registrar
  trust-ledger token create prometheus --role reader --expires never --json

Roles: reader (read), registrar (register, annotate), revoker (revoke, lift holds, record CRLs), admin (everything, also the audit \
trail and pruning). Every role may read.")]
    Create {
        /// What it is called in the audit trail
        name: String,

        /// What it may be used for: reader, registrar, revoker, admin
        #[arg(long, value_name = "ROLE")]
        role: Role,

        /// From when on it is refused: a time from now, or never
        #[arg(long, value_name = "DURATION|never", default_value = "90d", value_parser = parse_end)]
        expires: End,
    },
    /// List tokens
    #[command(after_help = "Examples:
  trust-ledger token list
  trust-ledger token list --json")]
    List,
    /// Revoke a token for good
    #[command(after_help = "Examples:
  trust-ledger token revoke ci
  trust-ledger token revoke 0198c2f5-5d0e-7000-8000-0123456789ab")]
    Revoke {
        /// Its name or id
        token: String,
    },
}

/// When a token ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Never,
    In(Duration),
}

fn parse_end(text: &str) -> Result<End, String> {
    if text == "never" { Ok(End::Never) } else { parse_span(text).map(End::In) }
}

/// A new token in JSON.
#[derive(Serialize)]
struct Created<'a> {
    token: &'a str,
    id: Uuid,
    name: &'a str,
    role: Role,
    expires_at: Option<String>,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    match &arguments.command {
        Command::Create { name, role, expires } => create(registry, output, name, *role, *expires).await,
        Command::List => list(registry, output).await,
        Command::Revoke { token } => revoke(registry, output, token).await,
    }
}

async fn create(registry: &Registry, output: &Output, name: &str, role: Role, expires: End) -> Result<Exit> {
    let expires_at = match expires {
        End::Never => None,
        End::In(span) => Some(When::Away(span).ahead(OffsetDateTime::now_utc())),
    };
    let (token, text) = registry.create_token(name, role, expires_at).await?;
    let expires_at = token.expires_at;
    if output.is_json() {
        let expires_at = expires_at.map(rfc3339);
        output.object(&Created { token: text.expose(), id: token.id, name: &token.name, role, expires_at })?;
    } else {
        output.text(&format!("{}\n", text.expose()))?;
        let until = expires_at.map_or("does not expire".to_owned(), |at| format!("expires {}", date(at)));
        output.note(&format!("This is shown once. {}, {role}, {until}", for_terminal(&token.name)));
    }
    Ok(Exit::Done)
}

async fn list(registry: &Registry, output: &Output) -> Result<Exit> {
    let tokens = registry.tokens().await?;
    if output.is_json() {
        output.array(&tokens)?;
        return Ok(Exit::Done);
    }
    if tokens.is_empty() {
        output.note("no token yet; `trust-ledger token create NAME --role reader` makes one");
        return Ok(Exit::Done);
    }
    let now = OffsetDateTime::now_utc();
    let mut table = Table::new([
        Column::new("NAME").cut_to(12, 0),
        Column::new("ROLE"),
        Column::new("STATE"),
        Column::new("EXPIRES"),
        Column::new("LAST USED"),
        Column::new("ID").optional(0),
    ]);
    for token in &tokens {
        let (state, tone) = state(token, now);
        table.row([
            Cell::from(&token.name),
            Cell::from(token.role.as_str()),
            Cell::toned(state, tone),
            Cell::from(token.expires_at.map_or("never".to_owned(), date)),
            Cell::from(token.last_used_at.map_or("never".to_owned(), |at| distance(at, now))),
            Cell::from(token.id.to_string()),
        ]);
    }
    output.text(&table.render(output.width(), output.is_coloured()))?;
    Ok(Exit::Done)
}

fn state(token: &Token, now: OffsetDateTime) -> (&'static str, Tone) {
    match (token.revoked_at, token.is_live(now)) {
        (Some(_), _) => ("revoked", Tone::Bad),
        (None, true) => ("live", Tone::Good),
        (None, false) => ("expired", Tone::Faint),
    }
}

async fn revoke(registry: &Registry, output: &Output, text: &str) -> Result<Exit> {
    let now = OffsetDateTime::now_utc();
    let tokens = registry.tokens().await?;
    let id = Uuid::try_parse(text).ok().filter(|_| text.contains('-'));
    let is_meant = |token: &&Token| id.map_or(token.name == text && token.is_live(now), |id| token.id == id);
    // Of the names of live tokens there is one each, but for two that were made at the same moment.
    let found: Vec<&Token> = tokens.iter().filter(is_meant).collect();
    let token = match found[..] {
        [token] => token,
        [] => return Err(Failure::not_found(format!("no live token {text:?}; `trust-ledger token list` shows them"))),
        _ => return Err(Failure::usage(format!("{text:?} can mean {} tokens; name one by its id", found.len()))),
    };
    let gone = || Failure::not_found(format!("no token {}", token.id));
    let revoked = registry.revoke_token(token.id).await?.ok_or_else(gone)?;
    if output.is_json() {
        output.object(&revoked)?;
    } else {
        output.text(&format!("revoked: {} ({})\n", for_terminal(&revoked.name), revoked.id))?;
    }
    Ok(Exit::Done)
}
