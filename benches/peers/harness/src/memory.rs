//! How much memory the process has had at most, as Linux counts it (proc_pid_status(5), `VmHWM` and `VmRSS`).

/// From here on, only what is added counts.
pub struct Peak {
    before: f64,
}

impl Peak {
    /// None where there is no `/proc`.
    pub fn watch() -> Option<Self> {
        // 5 sets the peak to what is used now: proc_pid_clear_refs(5).
        std::fs::write("/proc/self/clear_refs", "5").ok()?;
        Some(Peak { before: status("VmRSS:")? })
    }

    /// MiB by which memory grew at most.
    pub fn growth(&self) -> Option<f64> {
        Some(status("VmHWM:")? - self.before)
    }
}

fn status(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}
