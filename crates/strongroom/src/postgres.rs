//! The PostgreSQL engine.

mod dial;
mod settings;
mod tls;
mod url;

pub(crate) use self::dial::{Canceller, Dialed, Dialer, Facts, Wire};
pub(crate) use self::settings::Settings;
