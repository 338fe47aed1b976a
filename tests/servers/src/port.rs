//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Ports below those that outgoing connections get on Linux, so that nobody takes the port of a server while it is down.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// How many ports are tried.
const TRIES: usize = 200;

/// A port that nobody listens on.
///
/// Somebody may take it before the server does; whoever starts a server tries again with another port then.
pub(crate) fn free() -> Result<u16> {
    for _ in 0..TRIES {
        let at = crate::random::number() % u64::from(COUNT);
        let port = FIRST + u16::try_from(at).unwrap_or(0);
        if is_free(port) {
            return Ok(port);
        }
    }
    bail!(
        "none of {TRIES} ports between {FIRST} and {} is free",
        FIRST + COUNT
    )
}

/// Whether a server could listen on the port now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
