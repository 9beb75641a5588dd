//! Integration tests of the register, by subject. Most run on each engine.

mod blocking;
mod concurrency;
mod copy;
mod counts;
mod deletion;
mod events;
mod import;
mod issuers;
mod listing;
mod lookup;
mod migration;
mod openssl_agrees;
mod registration;
mod revocation;
mod revocation_lists;
mod several_machines;
mod support;
mod tokens;
