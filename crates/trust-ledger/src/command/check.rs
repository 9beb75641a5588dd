//! `check`: can the ledger be used, and if not, what is to be done?

use clap::Args;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::Global;
use crate::failure::{Exit, Result};
use crate::ledger;
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::output::table::{Cell, Column, Table, Tone};
use crate::settings::{Key, Settings};

/// Check that the ledger can be opened, read and written
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger check
  trust-ledger --db /srv/ledger.db --key-file /etc/ledger.key check --json

Stops at the first step that fails, with exit code 1. Nothing is created or changed.")]
pub(crate) struct Arguments {}

/// Columns that the table needs beside what was found: `connection  failed  12345.6  `.
const BESIDE: usize = 29;

#[derive(Serialize)]
struct Report {
    ok: bool,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    name: &'static str,
    ok: bool,
    /// What was found, or why it failed.
    message: String,
    took_ms: f64,
}

pub(crate) async fn run(global: &Global, output: &Output) -> Result<Exit> {
    let settings = Settings::read(global)?;
    let mut steps = vec![Step { name: "settings", ok: true, message: describe_settings(&settings), took_ms: 0.0 }];
    match ledger::check(&settings).await {
        Ok(report) => {
            steps.extend(report.steps.iter().map(|step| Step {
                name: step.name,
                ok: step.outcome.is_ok(),
                message: match &step.outcome {
                    Ok(found) => found.clone(),
                    Err(error) => ledger::explain(error.clone(), &settings).to_string(),
                },
                took_ms: (step.took.as_secs_f64() * 1e6).round() / 1e3,
            }));
        }
        Err(failure) => steps.push(Step { name: "ledger", ok: false, message: failure.to_string(), took_ms: 0.0 }),
    }
    let ok = steps.iter().all(|step| step.ok);
    if output.is_json() {
        output.object(&Report { ok, steps })?;
    } else {
        let mut table =
            Table::new([Column::new("STEP"), Column::new(""), Column::new("MS").right(), Column::new("FOUND")]);
        // Nothing is cut here, since the end of an error says what to do: it goes on below.
        let room = output.width().map_or(usize::MAX, |width| width.saturating_sub(BESIDE).max(20));
        for step in &steps {
            let (word, tone) = if step.ok { ("ok", Tone::Good) } else { ("failed", Tone::Bad) };
            let took = format!("{:.1}", step.took_ms);
            let mut found = wrapped(&for_terminal(&step.message), room).into_iter();
            let first = found.next().unwrap_or_default();
            table.row([Cell::from(step.name), Cell::toned(word, tone), Cell::from(took), Cell::from(first)]);
            for more in found {
                table.row([Cell::default(), Cell::default(), Cell::default(), Cell::from(more)]);
            }
        }
        output.text(&table.render(None, output.is_coloured()))?;
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

/// The text in lines of at most so many columns, broken between words; a longer word is broken where it has to be.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let mut pieces = vec![String::new()];
        for character in word.chars() {
            if pieces.last().is_some_and(|piece| piece.width() + character.width().unwrap_or(0) > width) {
                pieces.push(String::new());
            }
            pieces.iter_mut().last().into_iter().for_each(|piece| piece.push(character));
        }
        for (position, piece) in pieces.into_iter().enumerate() {
            match lines.last_mut() {
                Some(line) if position == 0 && line.width() + 1 + piece.width() <= width => {
                    line.push(' ');
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    lines
}

fn describe_settings(settings: &Settings) -> String {
    match &settings.key {
        Key::None if settings.path().is_none() => settings.config.to_string(),
        Key::None => format!("{}, no key", settings.config),
        key => format!("{}, key from {}", settings.config, key.shown()),
    }
}
