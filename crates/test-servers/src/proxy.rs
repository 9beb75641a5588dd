//! A TCP proxy whose faults are switched while it runs.

mod relay;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc as blocking};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A TCP proxy on a free port of 127.0.0.1, in front of a server. It runs on a thread of its own, so it serves blocking
/// and asynchronous tests alike, and a paused clock of theirs is not its. Dropped, it closes all its connections.
///
/// It knows no protocol. Patterns are bytes on the wire, so they are not found within TLS.
pub struct FaultProxy {
    address: SocketAddr,
    orders: Option<mpsc::UnboundedSender<Order>>,
    state: watch::Receiver<State>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

/// What the proxy does to connections. The first five last until another is set. The others happen once, to the first
/// connection they fit, and are [`Fault::Pass`] from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: all bytes pass.
    Pass,
    /// Each piece of data is held for this long, each way: a round trip takes twice as long.
    Delay(Duration),
    /// Connections are accepted and stay open, and nothing passes. What is sent meanwhile waits, and passes later.
    Blackhole,
    /// Open connections are reset (RST) at once, new ones as soon as they are made.
    Reset,
    /// New connections are refused. Open ones go on.
    Refuse,
    /// A connection is closed when so many bytes of the server's answers, counted from now, have passed it.
    CutAfter(u64),
    /// The connection on which the client sends this is closed before the server gets it: the work was *not* done.
    LoseRequest(Vec<u8>),
    /// The connection on which the client sends this is closed when the server has done all it was sent and before
    /// the client gets the answer: the work *was* done. Not found if the client had the statement prepared before.
    /// The server is told that the client has ended, so it must be one that first does what it was sent: PostgreSQL
    /// does, a pooler may not.
    LoseAnswer(Vec<u8>),
}

/// What connections look at: the fault, and which setting of it this is.
#[derive(Clone)]
struct State {
    fault: Fault,
    /// Counts the faults set; bytes are counted and patterns sought from the last one on.
    set: u64,
    /// Counts the calls of `close_all`; connections end when it grows.
    closed: u64,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    open: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

enum Order {
    Set(Fault, blocking::Sender<()>),
    CloseAll(blocking::Sender<()>),
}

impl FaultProxy {
    /// A proxy in front of the server at `server`, which passes everything. Nothing is connected before a client is.
    pub fn in_front_of(server: SocketAddr) -> FaultProxy {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("a port is free on 127.0.0.1");
        let address = listener.local_addr().expect("it is bound");
        let (orders, received) = mpsc::unbounded_channel();
        let (sender, state) = watch::channel(State { fault: Fault::Pass, set: 0, closed: 0 });
        let counts = Arc::new(Counts::default());
        let proxy = Acceptor { address, server, state: Arc::new(sender), counts: counts.clone() };
        let thread = thread::spawn(move || runtime.block_on(proxy.run(listener, received)));
        FaultProxy { address, orders: Some(orders), state, counts, thread: Some(thread) }
    }

    /// Where clients are to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the fault. It holds when this returns.
    pub fn set(&self, fault: Fault) {
        self.order(|done| Order::Set(fault, done));
    }

    /// The fault that is set. [`Fault::Pass`] also when one that happens once has happened.
    pub fn fault(&self) -> Fault {
        self.state.borrow().fault.clone()
    }

    /// Closes all open connections, both ways. They are closed when this returns.
    pub fn close_all(&self) {
        self.order(Order::CloseAll);
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// Bytes that the server was given so far.
    pub fn bytes_to_server(&self) -> u64 {
        self.counts.to_server.load(Ordering::Relaxed)
    }

    /// Bytes that clients were given so far.
    pub fn bytes_to_client(&self) -> u64 {
        self.counts.to_client.load(Ordering::Relaxed)
    }

    fn order(&self, order: impl FnOnce(blocking::Sender<()>) -> Order) {
        let (done, wait) = blocking::channel();
        let orders = self.orders.as_ref().expect("not being dropped");
        assert!(orders.send(order(done)).is_ok(), "the proxy's thread runs");
        wait.recv().expect("the proxy's thread runs");
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // Its panic, if it had one, was printed.
            let _ = thread.join();
        }
    }
}

/// The proxy's side that listens.
struct Acceptor {
    address: SocketAddr,
    server: SocketAddr,
    state: Arc<watch::Sender<State>>,
    counts: Arc<Counts>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut listener = Ok(listener);
        let mut relays = JoinSet::new();
        loop {
            let accept = async {
                match &listener {
                    Ok(listener) => listener.accept().await,
                    Err(_refusing) => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Set(fault, done)) => {
                        let (reset, refuse) = (fault == Fault::Reset, fault == Fault::Refuse);
                        self.state.send_modify(|state| {
                            state.fault = fault;
                            state.set += 1;
                        });
                        if reset {
                            while relays.join_next().await.is_some() {}
                        }
                        listener = self.listen(listener, !refuse);
                        let _ = done.send(());
                    }
                    Some(Order::CloseAll(done)) => {
                        self.state.send_modify(|state| state.closed += 1);
                        while relays.join_next().await.is_some() {}
                        let _ = done.send(());
                    }
                },
                // A client that has gone again before it was accepted is no connection.
                Ok((client, _)) = accept => {
                    let (state, counts) = (self.state.clone(), self.counts.clone());
                    relays.spawn(relay::relay(client, self.server, state, counts));
                }
                Some(_) = relays.join_next() => {}
            }
        }
    }

    /// Turns the listener into one that listens, or into a socket that holds the port and refuses.
    fn listen(&self, listener: Result<TcpListener, TcpSocket>, listen: bool) -> Result<TcpListener, TcpSocket> {
        match (listener, listen) {
            (Err(socket), true) => Ok(socket.listen(1024).expect("the port is ours")),
            (Ok(listener), false) => {
                drop(listener);
                Err(self.hold_port().expect("the port was ours a moment ago"))
            }
            (same, _) => same,
        }
    }

    /// A socket that is bound and does not listen: the kernel refuses who connects.
    fn hold_port(&self) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        Ok(socket)
    }
}
