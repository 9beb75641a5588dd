//! The proxy in front of a server that answers each line with the same in capitals.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use test_servers::{Fault, FaultProxy};

/// The server's address, and how many lines it has read.
fn shouter() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, lines) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = lines.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, counted) = (client.unwrap(), counted.clone());
            thread::spawn(move || {
                let (mut lines, mut line) = (BufReader::new(&client), String::new());
                // A line without an end is none.
                while lines.read_line(&mut line).is_ok() && line.ends_with('\n') {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let _ = (&client).write_all(line.to_uppercase().as_bytes());
                    line.clear();
                }
            });
        }
    });
    (address, lines)
}

fn connect(proxy: &FaultProxy) -> TcpStream {
    let client = TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    client
}

/// What the server says to `line`, or what becomes of the connection.
fn ask(mut client: &TcpStream, line: &str) -> Result<String, ErrorKind> {
    writeln!(client, "{line}").map_err(|error| error.kind())?;
    hear(client, line.len())
}

fn hear(mut client: &TcpStream, length: usize) -> Result<String, ErrorKind> {
    let mut answer = vec![0; length + 1];
    client.read_exact(&mut answer).map_err(|error| error.kind())?;
    Ok(String::from_utf8(answer).unwrap().trim_end().to_owned())
}

#[test]
fn everything_passes_and_is_counted() {
    let (server, _) = shouter();
    let proxy = FaultProxy::in_front_of(server);
    let (one, two) = (connect(&proxy), connect(&proxy));
    assert_eq!(ask(&one, "hello").unwrap(), "HELLO");
    assert_eq!(ask(&two, "you").unwrap(), "YOU");
    assert_eq!((proxy.connections(), proxy.open()), (2, 2));
    assert_eq!((proxy.bytes_to_server(), proxy.bytes_to_client()), (10, 10));
    // A client that has said all still hears all.
    (&one).write_all(b"last\n").unwrap();
    one.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(hear(&one, 4).unwrap(), "LAST");
    assert_eq!((&one).read(&mut [0]).unwrap(), 0);
}

#[test]
fn delay_holds_each_way() {
    let (server, _) = shouter();
    let proxy = FaultProxy::in_front_of(server);
    let client = connect(&proxy);
    assert_eq!(ask(&client, "a").unwrap(), "A");
    proxy.set(Fault::Delay(Duration::from_millis(40)));
    let begun = Instant::now();
    assert_eq!(ask(&client, "b").unwrap(), "B");
    assert!(begun.elapsed() >= Duration::from_millis(80));
}

#[test]
fn a_blackhole_accepts_and_says_nothing_until_it_is_lifted() {
    let (server, lines) = shouter();
    let proxy = FaultProxy::in_front_of(server);
    let old = connect(&proxy);
    assert_eq!(ask(&old, "a").unwrap(), "A");
    proxy.set(Fault::Blackhole);
    let new = connect(&proxy);
    assert_eq!(ask(&old, "old").unwrap_err(), ErrorKind::WouldBlock);
    assert_eq!(ask(&new, "new").unwrap_err(), ErrorKind::WouldBlock);
    assert_eq!(lines.load(Ordering::SeqCst), 1);
    proxy.set(Fault::Pass);
    assert_eq!(hear(&old, 3).unwrap(), "OLD");
    assert_eq!(hear(&new, 3).unwrap(), "NEW");
}

#[test]
fn reset_hits_old_and_new_connections() {
    let (server, _) = shouter();
    let proxy = FaultProxy::in_front_of(server);
    let old = connect(&proxy);
    assert_eq!(ask(&old, "a").unwrap(), "A");
    proxy.set(Fault::Reset);
    assert_eq!(proxy.open(), 0);
    assert_eq!((&old).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let new = connect(&proxy);
    assert_eq!((&new).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.set(Fault::Pass);
    assert_eq!(ask(&connect(&proxy), "b").unwrap(), "B");
}

#[test]
fn refuse_hits_new_connections_only() {
    let (server, _) = shouter();
    let proxy = FaultProxy::in_front_of(server);
    let old = connect(&proxy);
    assert_eq!(ask(&old, "a").unwrap(), "A");
    for _ in 0..3 {
        proxy.set(Fault::Refuse);
        assert_eq!(TcpStream::connect(proxy.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(ask(&old, "b").unwrap(), "B");
        proxy.set(Fault::Pass);
        assert_eq!(ask(&connect(&proxy), "c").unwrap(), "C");
    }
}

#[test]
fn an_answer_is_cut_at_the_byte() {
    let (server, _) = shouter();
    let proxy = FaultProxy::in_front_of(server);
    let client = connect(&proxy);
    assert_eq!(ask(&client, "before").unwrap(), "BEFORE");
    proxy.set(Fault::CutAfter(6));
    assert_eq!(ask(&client, "abc").unwrap(), "ABC");
    (&client).write_all(b"def\n").unwrap();
    let mut rest = Vec::new();
    (&client).read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"DE");
    assert_eq!(proxy.fault(), Fault::Pass);
    assert_eq!(ask(&connect(&proxy), "again").unwrap(), "AGAIN");
}

#[test]
fn a_lost_request_was_not_done_and_a_lost_answer_was() {
    let (server, lines) = shouter();
    let proxy = FaultProxy::in_front_of(server);
    for (fault, done) in [(Fault::LoseRequest(b"commit\n".to_vec()), 1), (Fault::LoseAnswer(b"commit\n".to_vec()), 2)] {
        let (client, before) = (connect(&proxy), lines.load(Ordering::SeqCst));
        proxy.set(fault);
        assert_eq!(ask(&client, "insert").unwrap(), "INSERT");
        // In two pieces, so that the pattern is in neither.
        (&client).write_all(b"com").unwrap();
        thread::sleep(Duration::from_millis(20));
        (&client).write_all(b"mit\n").unwrap();
        assert!(matches!((&client).read(&mut [0]), Ok(0)));
        assert_eq!(lines.load(Ordering::SeqCst) - before, done);
        assert_eq!(proxy.fault(), Fault::Pass);
    }
}

#[test]
fn close_all_ends_what_is_open_and_no_more() {
    let (server, _) = shouter();
    let proxy = FaultProxy::in_front_of(server);
    let client = connect(&proxy);
    assert_eq!(ask(&client, "a").unwrap(), "A");
    proxy.close_all();
    assert_eq!(proxy.open(), 0);
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
    assert_eq!(ask(&connect(&proxy), "b").unwrap(), "B");
}
