//! Sockets: names looked up, options set.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::super::settings::{Place, Settings};

/// A connected socket of either kind. What reads and writes it costs far more than the pointer.
pub(super) type Socket = Box<dyn Stream>;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a socket leads. Kept, so that a cancel request goes to the same server of several behind one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// The addresses of a place, in the system's order; one at least.
    pub(super) async fn all_of(place: &Place, port: u16) -> io::Result<Vec<Self>> {
        match place {
            Place::Unix(folder) => Ok(vec![Address::Unix(folder.join(format!(".s.PGSQL.{port}")))]),
            Place::Tcp { address: Some(address), .. } => Ok(vec![Address::Tcp((*address, port).into())]),
            Place::Tcp { name, address: None } => {
                let found: Vec<_> = tokio::net::lookup_host((name.as_str(), port)).await?.map(Address::Tcp).collect();
                match found.is_empty() {
                    true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
                    false => Ok(found),
                }
            }
        }
    }

    /// Whether nothing that is sent there leaves this machine.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }

    /// The host as it is shown, with the address unless that says nothing new.
    pub(super) fn shown(&self, host: &str) -> String {
        match self {
            Address::Tcp(address) if !host.contains(&address.ip().to_string()) => format!("{host} ({})", address.ip()),
            _ => host.to_owned(),
        }
    }

    pub(super) async fn connect(&self, settings: &Settings) -> io::Result<Socket> {
        match self {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                set_options(&stream, settings)?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

pub(super) fn set_options(stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if let Some(keepalive) = settings.keepalive {
        let options = TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
        #[cfg(not(windows))]
        let options = options.with_retries(keepalive.count);
        socket.set_tcp_keepalive(&options)?;
    }
    #[cfg(target_os = "linux")]
    if settings.tcp_user_timeout.is_some() {
        socket.set_tcp_user_timeout(settings.tcp_user_timeout)?;
    }
    Ok(())
}
