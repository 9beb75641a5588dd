//! Streaming replication: a standby, its promotion, and a dead primary that comes back as standby.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Postgres, is_ready, tool};

/// How long a standby may take to catch up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Postgres {
    /// A standby of this server, with the same set-up, on a port of its own. It is synchronous: from now on a commit
    /// here is answered when the standby has it too, and waits while there is none. Takes about 0.5 s.
    pub fn standby(&self) -> Postgres {
        let (folder, name) = (self.setup.folder(), standby_name());
        let (data, source) = (folder.join("data"), self.source(&name));
        let data = data.to_str().expect("temporary folders are UTF-8");
        let options = ["-R", "-X", "stream", "-c", "fast", "--no-sync"];
        tool("pg_basebackup", &[&["-D", data, "-d", &source][..], &options].concat());
        let standby = self.setup.clone().launch(&folder);
        self.wait_for_synchronous(&name);
        standby
    }

    /// Makes a standby the primary. The old one is to be dead, and clients are to come here.
    ///
    /// # Panics
    ///
    /// When it isn't a standby.
    pub fn promote(&self) {
        assert_eq!(self.query("select pg_promote()"), [["t"]], "not promoted; its log:\n{}", self.log());
    }

    /// Brings a server that was killed or stopped back on its port, as synchronous standby of `primary`, which was its
    /// standby (`pg_rewind`): what it had committed alone is gone.
    pub fn rejoin(&self, primary: &Postgres) {
        let mut guard = self.guard();
        guard.end("INT");
        let (data, name) = (self.folder.join("data"), standby_name());
        // A rewind needs to know the newest timeline, which a primary's own first checkpoint writes down.
        primary.execute("checkpoint");
        let (target, source) = (data.to_str().expect("temporary folders are UTF-8"), primary.source(&name));
        tool("pg_rewind", &["-D", target, "--source-server", &source, "-R", "--no-sync"]);
        // The rewind has taken over the other's configuration.
        self.setup.configure(&self.folder, self.port);
        assert!(guard.start(|| is_ready(&data)), "PostgreSQL does not rejoin; its log:\n{}", guard.log());
        drop(guard);
        primary.wait_for_synchronous(&name);
    }

    /// This server for libpq as source of replication, with the standby's name.
    fn source(&self, standby: &str) -> String {
        let folder = self.folder.display();
        format!("host={folder} port={} user=postgres dbname=postgres application_name={standby}", self.port)
    }

    /// Commits wait for a standby from now on; returns when this one is there for it.
    fn wait_for_synchronous(&self, standby: &str) {
        self.execute("alter system set synchronous_standby_names = '*'");
        self.execute("select pg_reload_conf()");
        let state = format!("select sync_state from pg_stat_replication where application_name = '{standby}'");
        let begun = Instant::now();
        while self.query(&state) != [["sync"]] {
            assert!(begun.elapsed() < PATIENCE, "no synchronous standby; the primary's log:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A name that no other standby of this process has.
fn standby_name() -> String {
    static MADE: AtomicU32 = AtomicU32::new(1);
    format!("standby_{}", MADE.fetch_add(1, Ordering::Relaxed))
}
