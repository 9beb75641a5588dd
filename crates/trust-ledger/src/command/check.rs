//! `check`: can the ledger be used, and if not, what is to be done?

use clap::Args;
use serde::Serialize;

use crate::cli::Global;
use crate::failure::{Exit, Result};
use crate::ledger;
use crate::output::Output;
use crate::output::table::{Cell, Column, Table, Tone};
use crate::settings::{Key, Place, Settings};

/// Check that the ledger can be opened, read and written
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger check
  trust-ledger --db /srv/ledger.db --key-file /etc/ledger.key check --json

Stops at the first step that fails, with exit code 1. Nothing is created or changed.")]
pub(crate) struct Arguments {}

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
            Table::new([Column::new("STEP"), Column::new(""), Column::new("FOUND"), Column::new("MS").right()]);
        for step in &steps {
            let (word, tone) = if step.ok { ("ok", Tone::Good) } else { ("failed", Tone::Bad) };
            table.row([
                Cell::from(step.name),
                Cell::toned(word, tone),
                Cell::from(&step.message),
                Cell::from(format!("{:.1}", step.took_ms)),
            ]);
        }
        // Nothing is cut here: the end of an error says what to do.
        output.text(&table.render(None, output.is_coloured()))?;
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

fn describe_settings(settings: &Settings) -> String {
    let place = match &settings.place {
        Place::File(path) => path.display().to_string(),
        Place::Memory => "in memory".to_owned(),
    };
    match &settings.key {
        Key::Variable(name) => format!("{place}, key from the environment variable {name}"),
        Key::File(path) | Key::Default(path) => format!("{place}, key from {}", path.display()),
        Key::None => format!("{place}, no key"),
    }
}
