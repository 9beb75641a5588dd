//! A guest book over HTTP: each request has a session, which is stored when the answer is good.
//!
//! `cargo run -p strongroom --features axum --example axum_service`
//!
//! It serves itself three requests. Prints:
//!
//! ```text
//! POST alice: 200
//! POST alice: 409 application/problem+json
//! GET: alice
//! ```

use std::io;

use axum::{Router, routing::get};
use strongroom::axum::{ReadSession, Session, SessionLayer};
use strongroom::{Database, Result, params};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn add(session: Session, name: String) -> Result<()> {
    session.lock().await?.execute("INSERT INTO guest (name) VALUES ($1)", params![name]).await?;
    Ok(())
}

async fn list(reading: ReadSession) -> Result<String> {
    let rows = reading.lock().await?.fetch_all("SELECT name FROM guest ORDER BY name", params![]).await?;
    let names: Vec<String> = rows.iter().map(|row| row.get("name")).collect::<Result<_>>()?;
    Ok(names.join(", "))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let db = Database::connect("sqlite::memory:").await?;
    db.execute("CREATE TABLE guest (name TEXT PRIMARY KEY)", params![]).await?;
    let service = Router::new().route("/guests", get(list).post(add)).layer(SessionLayer::new(db));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, service).await });

    for _ in 0..2 {
        let answer = request(address, "POST", "alice").await?;
        let problem = if answer.contains("application/problem+json") { " application/problem+json" } else { "" };
        println!("POST alice: {}{problem}", &answer[9..12]);
    }
    let answer = request(address, "GET", "").await?;
    println!("GET: {}", answer.lines().last().unwrap_or_default());
    Ok(())
}

/// A client in a few lines, so that the example needs no other crate.
async fn request(address: std::net::SocketAddr, method: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let head = format!("{method} /guests HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
