//! Why no connection was lent.

use std::fmt;
use std::time::Duration;

use crate::error::Holder;

/// Why no connection was lent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AcquireError<E> {
    /// All connections were lent for the whole acquire timeout.
    AllBusy {
        /// How long this caller waited.
        waited: Duration,
        /// How many connections there are; from [`close`](super::Pool::close), how many are not home yet.
        size: usize,
        /// The borrower that has held one longest.
        oldest: Option<Holder>,
    },
    /// Connections were being made or tested for the whole acquire timeout.
    Connecting {
        /// How long this caller waited.
        waited: Duration,
        /// Why the last attempt failed, if one did.
        last: Option<E>,
    },
    /// No connection could be made, after all attempts.
    Connect(E),
    /// The connector panicked; its message is in the panic hook's output.
    ConnectorPanicked,
    /// The pool was closed.
    Closed,
    /// The runtime that the background task ran on was shut down. [`acquire`](super::Pool::acquire) waits again and never answers this.
    #[doc(hidden)]
    DriverLost,
}

impl<E> fmt::Display for AcquireError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::AllBusy { waited, size, oldest } => {
                write!(f, "all {size} connections are busy and none came home within {waited:.1?}")?;
                oldest.iter().try_for_each(|holder| write!(f, "; the longest is held by {holder}"))
            }
            AcquireError::Connecting { waited, .. } => write!(f, "no connection could be made within {waited:.1?}"),
            AcquireError::Connect(_) => f.write_str("no connection could be made"),
            AcquireError::ConnectorPanicked => f.write_str("making a connection panicked"),
            AcquireError::Closed => f.write_str("the pool is closed"),
            AcquireError::DriverLost => f.write_str("the runtime of the pool's background task was shut down"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for AcquireError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AcquireError::Connecting { last, .. } => last.as_ref().map(|last| last as _),
            AcquireError::Connect(error) => Some(error),
            _ => None,
        }
    }
}
