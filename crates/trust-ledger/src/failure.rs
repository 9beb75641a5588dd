//! How a command ends: exit codes, and errors as one line.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::output::escape::for_terminal;

/// Exit codes, the same for every command but `expiring --nagios`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Not done: the ledger, the disk or the input failed.
    Failed,
    /// The command line or the settings are wrong, or ask for more than one thing could mean.
    Usage,
    /// What was asked about is not in the ledger.
    NotFound,
    /// Done, and there are problems to look at: something was refused, something expires.
    Problems,
    /// A monitoring plugin's state, by its own convention.
    Plugin(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Problems => 4,
            Exit::Plugin(state) => state,
        })
    }
}

/// What a command answers.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command did not do what it was asked: an exit code and a chain of causes.
///
/// Not an [`Error`] itself, so that `?` turns every error into one.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// The ledger, the disk or the input failed.
    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Failed, message: Some(message.into()), cause: None }
    }

    /// The command line or the settings are wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, message: Some(message.into()), cause: None }
    }

    /// There is no such thing in the ledger.
    pub(crate) fn not_found(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::NotFound, message: Some(message.into()), cause: None }
    }

    /// Adds what led to this one.
    pub(crate) fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        self.cause = Some(cause.into());
        self
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether this only says that nobody reads the output any more (`| head`).
    pub(crate) fn is_closed_pipe(&self) -> bool {
        let error = self.cause.as_deref().and_then(|cause| cause.downcast_ref::<io::Error>());
        self.message.is_none() && error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { exit: Exit::Failed, message: None, cause: Some(Box::new(error)) }
    }
}

/// One line: the message and its causes, joined by `: `, none said twice, safe for a terminal.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static));
        // Whoever reads or writes a file says which: without a word, it was standard output.
        let is_output = cause.is_some_and(|cause| cause.is::<io::Error>());
        let message = self.message.as_deref().or(is_output.then_some("the output cannot be written"));
        f.write_str(&one_line(message, cause))
    }
}

/// Each cause once, in the fullest of its wordings. What says the same again, be it in other case or with the system's
/// number behind it, is left out, and what a later one says in full gives way to it.
fn one_line(message: Option<&str>, cause: Option<&(dyn Error + 'static)>) -> String {
    let causes: Vec<_> = std::iter::successors(cause, |error| (*error).source()).collect();
    let texts = message.map(str::to_owned).into_iter().chain(causes.iter().map(ToString::to_string));
    let bare = |text: &str| text.split(" (os error").next().unwrap_or(text).trim().to_lowercase();
    let mut parts: Vec<String> = Vec::new();
    for text in texts {
        let said = bare(&text);
        if said.is_empty() || parts.iter().any(|part| part.to_lowercase().contains(&said)) {
            continue;
        }
        parts.retain(|part| !said.contains(&bare(part)));
        parts.push(text.trim().to_owned());
    }
    // The name of a kind of error ("entity not found") says less than the system's words for it.
    for error in causes.iter().filter_map(|cause| cause.downcast_ref::<io::Error>()) {
        let (kind, words) = (error.kind().to_string(), error.to_string());
        let words = words.split(" (os error").next().unwrap_or(&words);
        if parts.len() > 1 && parts.last().is_some_and(|last| bare(last) == bare(words)) {
            let before = parts.len() - 1;
            if let Some(part) = parts[..before].iter_mut().find(|part| part.contains(&kind)) {
                *part = part.replacen(&kind, words, 1);
                parts.pop();
            }
        }
    }
    for_terminal(&parts.join(": ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    #[test]
    fn causes_are_joined_once_each_and_cannot_move_the_cursor() {
        let inner = Layer("Permission denied (os error 13)", None);
        let outer = Layer("a.db: cannot be opened (permission denied)\x1b[2J", Some(Box::new(inner)));
        let failure = Failure::failed("the ledger cannot be used").caused_by(outer);
        assert_eq!(
            failure.to_string(),
            "the ledger cannot be used: a.db: cannot be opened (permission denied)\\u{1b}[2J"
        );
    }

    #[test]
    fn what_a_cause_says_in_full_is_not_said_before_it() {
        let inner = Layer("a.db is locked: another process writes", None);
        let failure = Failure::failed("a.db is locked").caused_by(Layer("the ledger failed", Some(Box::new(inner))));
        assert_eq!(failure.to_string(), "the ledger failed: a.db is locked: another process writes");
    }

    #[test]
    fn the_kind_of_an_error_is_not_said_beside_the_systems_words_for_it() {
        let failure = Failure::failed("key file k: cannot be opened (entity not found)")
            .caused_by(io::Error::from_raw_os_error(2));
        assert_eq!(failure.to_string(), "key file k: cannot be opened (No such file or directory)");
    }

    #[test]
    fn only_a_bare_broken_pipe_is_a_closed_pipe() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::from(pipe()).is_closed_pipe());
        assert!(!Failure::failed("x cannot be read").caused_by(pipe()).is_closed_pipe());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).is_closed_pipe());
    }
}
