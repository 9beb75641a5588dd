//! Durability, proven on a disk that forgets: what was acknowledged is there after a power cut, a full disk and an I/O
//! error at any call.
//!
//! A killed process keeps the page cache, so that it proves little. [`disk`] is a model of a disk that knows what has been
//! synced, and can lose the rest, refuse a call or hold one; [`shim`] is the VFS that puts every database of this process
//! on one. Each test has a disk of its own; none depends on how fast
//! anything is.

#![cfg(unix)]

mod disk;
mod faults;
mod group_commit;
mod ledger;
mod power_cut;
mod random;
mod shim;

use strongroom::{Config, KeySource};

use self::disk::Disk;

/// A raw key, so that tests do not spend their time on key derivation.
const RAW_KEY: &str = "x'2DD29CA851E7B56E4697B0E1F08507293D761A05CE4D1B628663F411A8086D99'";

/// The database on a disk.
fn config(disk: &Disk) -> Config {
    Config::sqlite(disk.database()).key(KeySource::literal(RAW_KEY))
}
