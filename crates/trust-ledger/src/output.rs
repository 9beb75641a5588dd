//! What commands write, and how: tables for people, JSON and CSV for programs.
//!
//! Results go to standard output; everything said about them goes to standard error. Start from [`Output`].

pub(crate) mod chart;
pub(crate) mod escape;
pub(crate) mod file;
pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod progress;
pub(crate) mod record;
pub(crate) mod table;
pub(crate) mod time;

use std::env;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde::Serialize;
use terminal_size::{Width, terminal_size_of};

use self::progress::Progress;
use crate::cli::Global;
use crate::failure::Result;

/// Width of a terminal that does not tell its own, and of charts in files.
const USUAL_WIDTH: usize = 80;

/// How this run writes.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
    coloured: bool,
    width: Option<usize>,
}

impl Output {
    /// By the options and the terminal: `COLUMNS` overrides its width, `NO_COLOR` and `TERM=dumb` its colours.
    pub(crate) fn new(global: &Global) -> Output {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_terminal = io::stdout().is_terminal();
        let columns = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
        let terminal = || terminal_size_of(io::stdout()).map(|(Width(width), _)| usize::from(width));
        Output {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            coloured: is_terminal && !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb"),
            width: columns.or_else(terminal).or(is_terminal.then_some(USUAL_WIDTH)),
        }
    }

    /// Standard output, buffered: flush it, so that a full disk or a closed pipe is noticed.
    pub(crate) fn stdout(&self) -> BufWriter<StdoutLock<'static>> {
        BufWriter::with_capacity(64 * 1024, io::stdout().lock())
    }

    /// Whether `--json` was given.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether `-v` was given.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether standard output takes colours.
    pub(crate) fn is_coloured(&self) -> bool {
        self.coloured
    }

    /// Columns of the terminal; `None` when lines may be of any length (a file, a pipe).
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Columns for what has no length of its own, such as charts.
    pub(crate) fn chart_width(&self) -> usize {
        self.width.unwrap_or(USUAL_WIDTH)
    }

    /// Writes text that is harmless already.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        let mut out = self.stdout();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// Writes one JSON object.
    pub(crate) fn object(&self, value: &impl Serialize) -> Result<()> {
        let mut out = self.stdout();
        json::write_object(&mut out, value)?;
        Ok(out.flush()?)
    }

    /// Writes a JSON array.
    pub(crate) fn array<T: Serialize>(&self, values: impl IntoIterator<Item = T>) -> Result<()> {
        let mut out = self.stdout();
        let mut array = json::Array::begin(&mut out)?;
        for value in values {
            array.element(&mut out, &value)?;
        }
        array.end(&mut out)?;
        Ok(out.flush()?)
    }

    /// Says something about the work on standard error, unless `--quiet`. The text must be harmless.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// A progress display for work measured in bytes.
    pub(crate) fn progress_of_bytes(&self) -> Progress {
        Progress::of_bytes(self.quiet)
    }

    /// A progress bar for work measured in pages.
    pub(crate) fn progress_of_pages(&self, doing: &'static str) -> Progress {
        Progress::of_pages(doing, self.quiet)
    }

    /// A progress bar for work measured in rows.
    pub(crate) fn progress_of_rows(&self) -> Progress {
        Progress::of_rows(self.quiet)
    }

    /// A sign of life for work whose end is not known.
    pub(crate) fn progress_of_work(&self, doing: &'static str) -> Progress {
        Progress::of_work(doing, self.quiet)
    }
}

/// Writes a line to standard error. Nobody is left to be told when that is gone.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
