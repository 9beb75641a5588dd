//! Core dumps: a process's memory in a file, keys and passwords included.

use std::io;

/// Asks the system not to write this process's memory to a file when it crashes, and to let no other process of the same
/// user read it. For programs; the library never calls it by itself.
///
/// On Linux the process is marked as not dumpable (`PR_SET_DUMPABLE`), which also keeps debuggers of the same user off; on all
/// Unix systems the largest core file's size becomes 0 (`RLIMIT_CORE`), for child processes too. Elsewhere nothing is done.
/// It does not help against root, nor against memory that is swapped out or in a suspended machine's image.
///
/// # Errors
///
/// The system's own, when it refuses. The process can go on without.
///
/// Sources: `prctl(2)`, `setrlimit(2)`, `core(5)`: a dump that is piped to a program does not ask for `RLIMIT_CORE`.
pub fn forbid_core_dumps() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    let marked = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    #[cfg(unix)]
    {
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    }
    #[cfg(target_os = "linux")]
    marked?;
    Ok(())
}
