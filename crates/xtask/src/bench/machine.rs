//! The machine that measures: how fast its disk is, on which everything durable depends, and whether it is busy.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::steps;

const WRITES: usize = 200;

/// Prints how long it takes to make 4 KiB durable, in the middle and at worst, and what else the processors have to do.
pub(super) fn announce(folder: &Path) -> Result<(), String> {
    let (median, longest) = fdatasync(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    // Linux says how many tasks wanted to run, on average over the last minute: proc_loadavg(5).
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("not known");
    steps::announce(
        "machine",
        &format!("fdatasync of 4 KiB takes {median:.0?}, {longest:.1?} at most; {processors} processors, load {load}"),
    );
    Ok(())
}

fn fdatasync(folder: &Path) -> std::io::Result<(Duration, Duration)> {
    let path = folder.join("fdatasync");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..WRITES {
        file.write_all(&[7; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(path)?;
    times.sort_unstable();
    Ok((times[WRITES / 2], times[WRITES - 1]))
}
