//! One connection through the proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Counts, Fault, State};

/// How long a server may take to do what it was sent before its answer is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why nothing more passes.
enum End {
    /// Both sides have said all, or one of them is broken.
    Over,
    Cut,
    /// The server is still to get this, and the client no answer.
    LoseAnswer(Vec<u8>),
}

/// Takes a client's connection to the server until either ends or a fault ends it.
pub(super) async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    sender: Arc<watch::Sender<State>>,
    counts: Arc<Counts>,
) {
    counts.connections.fetch_add(1, Ordering::Relaxed);
    let _open = Open::new(&counts);
    let mut state = sender.subscribe();
    let closed = state.borrow().closed;
    let ended = async {
        // A sender is held above: there is always a next state.
        let state = state.wait_for(|state| state.fault == Fault::Reset || state.closed > closed).await;
        state.is_ok_and(|state| state.fault == Fault::Reset)
    };
    let reset = tokio::select! {
        biased;
        reset = ended => reset,
        () = pass(&mut client, server, &sender, &counts) => false,
    };
    if reset {
        // Lingering for no time makes closing send RST. If the client has gone already, so be it.
        let _ = client.set_zero_linger();
    }
}

/// Connects to the server and lets bytes pass. Errors end the connection, as they would without a proxy.
async fn pass(client: &mut TcpStream, server: SocketAddr, sender: &Arc<watch::Sender<State>>, counts: &Counts) {
    through(&mut sender.subscribe()).await;
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let ((client_read, client_write), (server_read, server_write)) = (client.split(), server.split());
        let mut up = Direction::new(client_read, server_write, sender, &counts.to_server);
        let mut down = Direction::new(server_read, client_write, sender, &counts.to_client);
        let both = async {
            // One side may end before the other: a half-closed connection goes on.
            tokio::select! {
                end = up.requests() => match end { End::Over => down.answers().await, end => end },
                end = down.answers() => match end { End::Over => up.requests().await, end => end },
            }
        };
        both.await
    };
    if let End::LoseAnswer(request) = end {
        // The server reads all before it sees the end of it, and closes when it has done all.
        let lose = async {
            server.write_all(&request).await?;
            server.shutdown().await?;
            counts.to_server.fetch_add(request.len() as u64, Ordering::Relaxed);
            tokio::io::copy(&mut server, &mut tokio::io::sink()).await
        };
        let _ = timeout(PATIENCE, lose).await;
    }
}

/// One way of a connection.
struct Direction<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    sender: &'a watch::Sender<State>,
    state: watch::Receiver<State>,
    count: &'a AtomicU64,
    /// The fault that the next two are about.
    set: u64,
    passed: u64,
    /// The end of what passed, as long as a pattern may begin in it.
    tail: Vec<u8>,
}

impl<'a> Direction<'a> {
    fn new(from: ReadHalf<'a>, to: WriteHalf<'a>, sender: &'a watch::Sender<State>, count: &'a AtomicU64) -> Self {
        Direction { from, to, sender, state: sender.subscribe(), count, set: 0, passed: 0, tail: Vec::new() }
    }

    /// From the client to the server.
    async fn requests(&mut self) -> End {
        while let Some(piece) = self.read().await {
            let state = self.state.borrow().clone();
            if let Fault::LoseRequest(pattern) | Fault::LoseAnswer(pattern) = &state.fault
                && self.finds(pattern, &piece)
                && self.happens(&state)
            {
                let lose_answer = matches!(state.fault, Fault::LoseAnswer(_));
                return if lose_answer { End::LoseAnswer(piece) } else { End::Cut };
            }
            if !self.write(&piece).await {
                return End::Over;
            }
        }
        End::Over
    }

    /// From the server to the client.
    async fn answers(&mut self) -> End {
        while let Some(piece) = self.read().await {
            let state = self.state.borrow().clone();
            if let Fault::CutAfter(bytes) = state.fault {
                let left = usize::try_from(bytes - self.passed.min(bytes)).unwrap_or(usize::MAX);
                if piece.len() >= left && self.happens(&state) {
                    self.write(&piece[..left]).await;
                    return End::Cut;
                }
            }
            if !self.write(&piece).await {
                return End::Over;
            }
        }
        End::Over
    }

    /// The next piece, when the fault lets it through. `None` at the end.
    async fn read(&mut self) -> Option<Vec<u8>> {
        through(&mut self.state).await;
        let mut piece = vec![0; 16 << 10];
        let length = self.from.read(&mut piece).await.unwrap_or(0);
        piece.truncate(length);
        let delay = if let Fault::Delay(delay) = self.state.borrow().fault { Some(delay) } else { None };
        if let Some(delay) = delay {
            sleep(delay).await;
        }
        // The fault may have been set while we waited for the piece.
        through(&mut self.state).await;
        let set = self.state.borrow().set;
        if self.set != set {
            (self.set, self.passed) = (set, 0);
            self.tail.clear();
        }
        if length == 0 {
            let _ = self.to.shutdown().await;
            return None;
        }
        Some(piece)
    }

    async fn write(&mut self, piece: &[u8]) -> bool {
        self.passed += piece.len() as u64;
        // Counted first: who has the bytes finds them counted.
        self.count.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.to.write_all(piece).await.is_ok()
    }

    /// Whether `pattern` ends in this piece; it may have begun in an earlier one.
    fn finds(&mut self, pattern: &[u8], piece: &[u8]) -> bool {
        self.tail.extend_from_slice(piece);
        let found = self.tail.windows(pattern.len()).any(|window| window == pattern);
        let keep = self.tail.len().min(pattern.len() - 1);
        self.tail.drain(..self.tail.len() - keep);
        found
    }

    /// Uses up a fault that happens once. False when another connection was first, or another fault is set.
    fn happens(&self, seen: &State) -> bool {
        self.sender.send_if_modified(|state| {
            let ours = state.set == seen.set && state.fault == seen.fault;
            if ours {
                state.fault = Fault::Pass;
            }
            ours
        })
    }
}

/// Waits as long as nothing passes.
async fn through(state: &mut watch::Receiver<State>) {
    // It fails only when the proxy is dropped, and this with it.
    let _ = state.wait_for(|state| state.fault != Fault::Blackhole).await;
}

/// Counts a connection for as long as it is open.
struct Open<'a>(&'a Counts);

impl Open<'_> {
    fn new(counts: &Counts) -> Open<'_> {
        counts.open.fetch_add(1, Ordering::Relaxed);
        Open(counts)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
