//! The socket under a connection: plain, inside TLS, or of this machine alone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP without TLS.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// A Unix socket.
    #[cfg(unix)]
    Local(tokio::net::UnixStream),
}

impl Socket {
    /// Whether nobody on the way can read along.
    pub(super) fn is_private(&self) -> bool {
        !matches!(self, Socket::Plain(_))
    }

    /// The server's certificate, by which a password exchange can be bound to this very connection.
    pub(super) fn certificate(&self) -> Option<&[u8]> {
        match self {
            Socket::Tls(stream) => {
                let certificates = stream.get_ref().1.peer_certificates()?;
                certificates.first().map(|certificate| certificate.as_ref())
            }
            _ => None,
        }
    }
}

macro_rules! on_each {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Plain($stream) => $call,
            Socket::Tls($stream) => $call,
            #[cfg(unix)]
            Socket::Local($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_each!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_each!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
