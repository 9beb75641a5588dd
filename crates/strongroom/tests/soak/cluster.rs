//! A primary with a synchronous standby, each behind a proxy, and what befalls them while others work.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use strongroom::Config;
use test_servers::{Fault, FaultProxy, Postgres};

use crate::random::Random;

pub(crate) struct Cluster {
    nodes: [Node; 2],
    /// Which of them is the primary.
    primary: AtomicUsize,
    failovers: AtomicUsize,
    restarts: AtomicUsize,
}

struct Node {
    server: Postgres,
    proxy: FaultProxy,
}

impl Cluster {
    /// Starts runtimes of its own, so it must not be called from a task.
    pub(crate) fn start() -> Self {
        // A standby that lost its primary for a moment holds every commit up until it tries again.
        let primary = Postgres::plain().setting("wal_retrieve_retry_interval", "100ms").start();
        let standby = primary.standby();
        let node = |server: Postgres| Node { proxy: FaultProxy::in_front_of(server.address()), server };
        Cluster {
            nodes: [node(primary), node(standby)],
            primary: AtomicUsize::new(0),
            failovers: AtomicUsize::new(0),
            restarts: AtomicUsize::new(0),
        }
    }

    /// Whichever is the primary, through its proxy.
    pub(crate) fn config(&self) -> Config {
        let hosts = self.nodes.each_ref().map(|node| node.proxy.address().to_string()).join(",");
        let url = format!("postgres://app@{hosts}/app?target_session_attrs=primary&connect_timeout=2");
        Config::from_url(&url).expect("it is well formed")
    }

    /// Lets one fault happen, and makes it good again. Blocks.
    pub(crate) fn disturb(&self, random: &mut Random) {
        let at = self.primary.load(Ordering::Relaxed);
        let (node, other) = (&self.nodes[at], &self.nodes[1 - at]);
        let moment = Duration::from_millis(random.below(500));
        let pattern = if random.once_in(2) { "COMMIT" } else { "INSERT" }.as_bytes().to_vec();
        let fault = match random.below(10) {
            0 => Fault::Delay(moment / 10),
            1 => Fault::Blackhole,
            2 => Fault::Reset,
            3 => Fault::Refuse,
            4 => Fault::CutAfter(random.below(20_000)),
            5 => Fault::LoseRequest(pattern),
            6 => Fault::LoseAnswer(pattern),
            7 => {
                node.server.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'");
                return sleep(moment);
            }
            8 => {
                node.server.restart();
                self.restarts.fetch_add(1, Ordering::Relaxed);
                return sleep(moment);
            }
            _ => {
                node.server.kill();
                sleep(moment);
                other.server.promote();
                self.primary.store(1 - at, Ordering::Relaxed);
                self.failovers.fetch_add(1, Ordering::Relaxed);
                sleep(moment);
                return node.server.rejoin(&other.server);
            }
        };
        node.proxy.set(fault);
        sleep(moment);
        if random.once_in(4) {
            node.proxy.close_all();
        }
        node.proxy.set(Fault::Pass);
        sleep(moment);
    }

    /// How often the primary was replaced and restarted, for people.
    pub(crate) fn history(&self) -> String {
        let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        format!("{} failovers, {} restarts", count(&self.failovers), count(&self.restarts))
    }

    /// The clients' sessions on the primary that are in a transaction, or all there are.
    pub(crate) fn sessions(&self, only_in_transaction: bool) -> Vec<String> {
        let server = &self.nodes[self.primary.load(Ordering::Relaxed)].server;
        let sessions = server.sessions().into_iter().filter(|session| session.user == "app");
        let wanted = sessions.filter(|session| !only_in_transaction || session.state.starts_with("idle in"));
        wanted.map(|session| format!("{}: {}", session.state, session.query)).collect()
    }
}
