//! Progress of long work, on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::escape::for_terminal;

/// A bar or counter that is drawn only on a terminal, and never with `--quiet`. Gone when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Work measured in bytes, whose number becomes known on the way.
    pub(crate) fn of_bytes(quiet: bool) -> Progress {
        Progress::new(quiet, "{bar:24} {bytes:>11} of {total_bytes}  {msg}  {elapsed}")
    }

    /// Work measured in a database's pages.
    pub(crate) fn of_pages(doing: &'static str, quiet: bool) -> Progress {
        let progress = Progress::new(quiet, "{msg} {bar:24} {percent:>3} %  {elapsed}");
        progress.bar.set_message(doing);
        progress
    }

    /// Work measured in rows.
    pub(crate) fn of_rows(quiet: bool) -> Progress {
        Progress::new(quiet, "{msg} {bar:24} {human_pos:>11} of {human_len} rows  {elapsed}")
    }

    /// Work whose end is not known.
    pub(crate) fn of_work(doing: &'static str, quiet: bool) -> Progress {
        let progress = Progress::new(quiet, "{spinner} {msg} … {elapsed}");
        progress.bar.set_message(doing);
        progress
    }

    fn new(quiet: bool, template: &str) -> Progress {
        let target = if quiet || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(8)
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Progress { bar }
    }

    /// Says how far the work is.
    pub(crate) fn set(&self, position: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(position);
    }

    /// Says what is being worked on; text from anywhere.
    pub(crate) fn say(&self, text: &str) {
        self.bar.set_message(for_terminal(text).into_owned());
    }

    /// Writes a line to standard error without tearing the bar.
    pub(crate) fn line(&self, text: &str) {
        self.bar.suspend(|| {
            // Nobody is left to be told that standard error is gone.
            let _ = writeln!(io::stderr(), "{text}");
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
