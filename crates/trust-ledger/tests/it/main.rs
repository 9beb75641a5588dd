//! The program as a user meets it: the real binary, in a home folder of its own.

mod certificates;
mod copy;
mod crash;
mod db;
mod expiring;
mod first_run;
mod help;
mod home;
mod import;
mod keys;
mod list;
mod postgresql;
mod revoke;
mod server;
mod service;
mod show;
mod stats;
#[cfg(target_os = "linux")]
mod terminal;
mod upkeep;
