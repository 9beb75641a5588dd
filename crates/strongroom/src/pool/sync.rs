//! What `slots` takes from outside, in one place: the model check puts loom's lock here.

pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use tokio::time::Instant;
