//! Memory that was freed, and the system.

use std::time::Duration;

/// How often it is given back: looking for it takes milliseconds.
const BETWEEN: Duration = Duration::from_secs(20);

/// Gives freed memory back to the system, again and again; never ends. glibc alone keeps what lies below anything still in
/// use, so that a service would for ever be as large as in its busiest minute.
pub(crate) async fn give_back() {
    loop {
        tokio::time::sleep(BETWEEN).await;
        // A thread that is waited for: nothing is left behind when nobody waits any more.
        let _ = tokio::task::spawn_blocking(trim).await;
    }
}

fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer, and locks what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}
