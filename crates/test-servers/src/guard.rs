//! A small `sh` that starts a server, ends it, and outlives us for as long as that takes.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Reads orders, one a line: `start`, or the signal that ends the server. Its input ends when we drop the guard *or
/// die*, however we die: then it ends the server and removes its folder. A signal is repeated until it has worked,
/// because `sh` starts its children with SIGINT and SIGQUIT ignored, and the first may come before the server listens
/// to it. `kill` fails once the server has ended: `sh` takes note of ended children whenever it runs `sleep`.
const SCRIPT: &str = r#"
folder=$1 log=$2 last=$3
shift 3
server=
end() {
    tries=0
    while [ -n "$server" ] && kill -s "$1" "$server" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -le 500 ] || kill -s KILL "$server"
        sleep 0.02
    done
    server=
}
while read -r order; do
    if [ "$order" = start ]; then
        "$@" </dev/null >>"$log" 2>&1 &
        server=$!
        echo "$server"
    else
        end "$order"
        echo ended
    fi
done
end "$last"
rm -rf "$folder"
"#;

/// How long a server may take to be ready; only a machine in trouble needs so much.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shell to hand to [`Guard::new`].
pub(crate) const SHELL: &str = "/bin/sh";

/// A server's process and the folder it lives in; both are gone after drop.
pub(crate) struct Guard {
    shell: Child,
    /// `None` while it is dropped.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    server: Option<u32>,
    folder: PathBuf,
}

impl Guard {
    /// A guard for the server `program` (with its arguments) in `folder`, which becomes the guard's. `shell` starts `sh`
    /// with the user and the environment that the server is to have. The server's output goes to `folder/log`; in the
    /// end the signal `last` ends it. Nothing is started yet, and nothing needs to be: a guard without a server is a
    /// folder that is removed however we end.
    pub(crate) fn new(folder: &Path, mut shell: Command, last: &str, program: &[OsString]) -> Guard {
        shell.args(["-c", SCRIPT, "guard"]).arg(folder).arg(folder.join("log")).arg(last).args(program);
        // In a process group of its own: Ctrl-C is for the tests, the guard sees them end.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().expect("sh can be started");
        let orders = shell.stdin.take();
        let answers = BufReader::new(shell.stdout.take().expect("stdout is a pipe"));
        Guard { shell, orders, answers, server: None, folder: folder.to_owned() }
    }

    /// Starts the server and waits until it is `ready`. False when it ended before that.
    pub(crate) fn start(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        assert!(self.server.is_none(), "the server runs already");
        let pid = self.order("start");
        self.server = Some(pid.trim().parse().expect("the guard answers with the process id"));
        let begun = Instant::now();
        while !ready() {
            if !self.is_running() {
                self.server = None;
                self.order("KILL"); // already ended; it is only taken note of
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "not ready after {PATIENCE:?}; its log:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Ends the server with a signal (`INT`, `QUIT`, …) and waits until it has ended. Nothing to do if it has.
    pub(crate) fn end(&mut self, signal: &str) {
        if self.server.take().is_some() {
            self.order(signal);
        }
    }

    /// Process id, while it runs or should.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.server
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// All that the server has written.
    pub(crate) fn log(&self) -> String {
        fs::read(self.folder.join("log")).map_or_else(|_| String::new(), |log| String::from_utf8_lossy(&log).into())
    }

    fn is_running(&self) -> bool {
        let Some(pid) = self.server else { return false };
        // The state follows the name, which is in parentheses. A zombie has ended; the guard has not looked yet.
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
    }

    fn order(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("not being dropped");
        let mut answer = String::new();
        let answered = writeln!(orders, "{order}").and_then(|()| self.answers.read_line(&mut answer));
        assert!(matches!(answered, Ok(1..)), "the guard of {} is gone: {answered:?}", self.folder.display());
        answer
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.orders.take());
        // It fails only if somebody else has waited for it.
        let _ = self.shell.wait();
    }
}

/// A TCP port of 127.0.0.1 that was free a moment ago. Somebody may take it before the server does: try again then.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.expect("a port is free on 127.0.0.1").port()
}
