use std::io::{Read, Write};
use std::net::TcpStream;

use test_servers::{Moto, needs};

/// Asks for something that needs no signature, and looks for the server after it is dropped.
#[test]
fn moto_answers_and_is_gone_afterwards() {
    let Some(python) = needs::moto() else { return };
    let moto = Moto::start(&python);
    let address = moto.endpoint().strip_prefix("http://").unwrap().to_owned();
    let mut client = TcpStream::connect(&address).unwrap();
    write!(client, "GET /moto-api/data.json HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1") && answer.contains(" 200 OK"), "{answer}");
    drop(moto);
    assert!(TcpStream::connect(&address).is_err());
}
