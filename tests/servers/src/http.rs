//! Just enough HTTP to ask a server on this machine how it is.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long one answer may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// The most that is read of an answer.
const ANSWER_MAX: u64 = 4 << 20;

/// An answer: its status and its body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Asks `http://127.0.0.1:port/path`.
pub(crate) fn get(port: u16, path: &str) -> Result<Answer> {
    ask(
        port,
        &format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"),
    )
}

/// Sends JSON to `http://127.0.0.1:port/path`.
pub(crate) fn post(port: u16, path: &str, body: &str) -> Result<Answer> {
    let length = body.len();
    ask(
        port,
        &format!(
            "POST {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    )
}

/// Puts nothing at `http://127.0.0.1:port/path`.
pub(crate) fn put(port: u16, path: &str) -> Result<Answer> {
    ask(
        port,
        &format!("PUT {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"),
    )
}

/// Sends a whole request.
fn ask(port: u16, request: &str) -> Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    // Version 1.0: the answer ends where the connection ends, and is not cut into chunks.
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut bytes)?;
    read(&String::from_utf8_lossy(&bytes))
}

fn read(text: &str) -> Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_split_into_status_and_body() {
        let answer = read("HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\n{\"x\":1}").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "{\"x\":1}"));
        for broken in ["", "\r\n\r\n", "HTTP/1.0\r\n\r\n", "HTTP/1.0 x\r\n\r\n"] {
            assert!(read(broken).is_err(), "{broken:?}");
        }
    }
}
