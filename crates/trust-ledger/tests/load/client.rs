//! An HTTP client as small as it can be: what it costs is taken from the service that it measures.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that is kept for the next request.
pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A request, written out.
#[derive(Clone)]
pub(crate) struct Request(pub(crate) Vec<u8>);

/// An answer, read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn get(path: &str, token: &str) -> Request {
        Request(format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n").into_bytes())
    }

    pub(crate) fn new(method: &str, path: &str, token: &str, kind: &str, body: &[u8]) -> Request {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: {kind}\r\n\
             content-length: {length}\r\n\r\n"
        );
        Request([head.as_bytes(), body].concat())
    }
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, read: Vec::with_capacity(16 << 10) })
    }

    /// Sends while the answer is read, because that may begin before the request has ended.
    pub(crate) async fn ask(&mut self, Request(request): &Request) -> io::Result<Answer> {
        let (mut reading, mut writing) = self.stream.split();
        if request.len() < 32 << 10 {
            // It fits into the socket's buffer.
            writing.write_all(request).await?;
            return answer(&mut reading, &mut self.read).await;
        }
        let (sent, answer) = tokio::join!(writing.write_all(request), answer(&mut reading, &mut self.read));
        // Who is refused in the middle is answered all the same.
        answer.map_err(|error| sent.err().unwrap_or(error))
    }

    /// Sends a piece at a time, with a pause after each.
    pub(crate) async fn ask_slowly(
        &mut self,
        Request(request): &Request,
        size: usize,
        pause: std::time::Duration,
    ) -> io::Result<Answer> {
        for piece in request.chunks(size) {
            self.stream.write_all(piece).await?;
            tokio::time::sleep(pause).await;
        }
        answer(&mut self.stream, &mut self.read).await
    }

    /// Sends the beginning of a request and hangs up.
    pub(crate) async fn hang_up_after(mut self, Request(request): &Request, bytes: usize) -> io::Result<()> {
        self.stream.write_all(&request[..bytes.min(request.len())]).await
    }
}

/// One answer; `read` holds nothing between two.
async fn answer(stream: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> io::Result<Answer> {
    read.clear();
    let head = read_until(stream, read, 0, b"\r\n\r\n").await?;
    let text = std::str::from_utf8(&read[..head]).map_err(|_| wrong("the head is no text"))?;
    let status = text.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| wrong("no status"))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let body = if field("transfer-encoding: chunked").is_some() {
        chunks(stream, read, head).await?
    } else {
        let length: usize = field("content-length: ").map_or(Ok(0), str::parse).map_err(|_| wrong("no length"))?;
        while read.len() < head + length {
            more(stream, read).await?;
        }
        read[head..].to_vec()
    };
    Ok(Answer { status, body })
}

async fn chunks(stream: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>, mut at: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let data = read_until(stream, read, at, b"\r\n").await?;
        let size = std::str::from_utf8(&read[at..data - 2]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(|| wrong("a chunk without size"))?;
        while read.len() < data + size + 2 {
            more(stream, read).await?;
        }
        body.extend_from_slice(&read[data..data + size]);
        if size == 0 {
            return Ok(body);
        }
        read.drain(..data + size + 2);
        at = 0;
    }
}

/// Reads on until `end` is there, from `start` on; where it ends.
async fn read_until(
    stream: &mut (impl AsyncRead + Unpin),
    read: &mut Vec<u8>,
    start: usize,
    end: &[u8],
) -> io::Result<usize> {
    loop {
        if let Some(at) = read[start..].windows(end.len()).position(|window| window == end) {
            return Ok(start + at + end.len());
        }
        more(stream, read).await?;
    }
}

async fn more(stream: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(read).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
