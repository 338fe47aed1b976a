//! The source's own transport: PostgreSQL's protocol as far as logical replication needs it, which no driver carries.
//!
//! It owns sockets, TLS, authentication, simple queries, `COPY … TO STDOUT` and the two-way copy of a replication stream.
//! It does not know what the bytes inside a stream mean (`pgoutput`), nor slots, tables or positions.
//!
//! Invariants: nothing that a server sends can panic or take memory beyond one message of [`MESSAGE_MAX`] bytes; a password goes in clear text only through TLS or a Unix socket; no error holds a secret.

mod auth;
mod copy;
mod der;
mod failure;
mod message;
mod replication;
mod socket;
mod tls;

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use lockstep_core::{Error, Result};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::config::Endpoint;

pub(crate) use copy::lines as copy_lines;
pub(crate) use failure::{Refusal, is_state};
pub(crate) use message::{Data, data};
pub(crate) use replication::{Pace, Release, Slab, Streaming, stream};
pub(crate) use socket::Socket;

/// Most bytes of one message; PostgreSQL itself makes none larger.
pub(crate) const MESSAGE_MAX: usize = 1 << 30;
/// How much the read buffer takes from the socket at once.
const READ_AT_ONCE: usize = 128 * 1024;
/// How long connecting may take, authentication included.
const CONNECT_MAX: Duration = Duration::from_secs(15);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Ordinary SQL.
    Sql,
    /// Replication commands, and SQL as well.
    Replication,
}

/// One connection, ready for a command.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    inbox: BytesMut,
    outbox: BytesMut,
}

/// A row of a simple query, every column as text.
pub(crate) type Line = Vec<Option<String>>;

/// Settings of every session: values travel as text, so their spelling is fixed, and nothing ends a session that is idle by nature.
const SETTINGS: [(&str, &str); 11] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("search_path", "pg_catalog"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("synchronous_commit", "local"),
];

impl Connection {
    /// Connects and authenticates; `application` is the name under which the server shows the session.
    ///
    /// # Errors
    /// A server that cannot be reached is transient; what somebody has to mend (a password, a certificate, a right) says how.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        application: &str,
        purpose: Purpose,
    ) -> Result<Connection> {
        let opening = async {
            let socket = tls::connect(endpoint).await?;
            let mut connection = Connection {
                socket,
                inbox: BytesMut::with_capacity(READ_AT_ONCE),
                outbox: BytesMut::new(),
            };
            let mut parameters = vec![
                ("user", endpoint.user.as_str()),
                ("database", endpoint.database.as_str()),
                ("application_name", application),
            ];
            if purpose == Purpose::Replication {
                parameters.push(("replication", "database"));
            }
            parameters.extend(SETTINGS);
            frontend::startup_message(parameters, &mut connection.outbox)
                .map_err(|error| Error::config("the url holds a zero byte").because(error))?;
            auth::authenticate(&mut connection, endpoint).await?;
            connection.ready().await?;
            Ok(connection)
        };
        match tokio::time::timeout(CONNECT_MAX, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Error::transient(format!(
                "the server at {endpoint} did not answer within {} s",
                CONNECT_MAX.as_secs()
            ))
            .help("check host and port, and that no firewall stands between")),
        }
    }

    /// Runs statements and gives the rows of all of them.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Line>> {
        self.send_query(sql)?;
        let mut lines = Vec::new();
        let mut refused = None;
        loop {
            let (tag, body) = self.receive().await?;
            match tag {
                b'D' => lines.push(message::line(&body)?),
                b'E' => refused = refused.or(Some(Refusal::parse(&body))),
                b'Z' => break,
                b'T' | b'C' | b'I' | b'S' | b'N' => {}
                other => return Err(unexpected(other, "a query")),
            }
        }
        refused.map_or(Ok(lines), |refusal| Err(refusal.into_error()))
    }

    /// Runs statements, some of which copy rows out: `take` gets the number of the copy, from 1, and the data of every copied row in PostgreSQL's text form; the result is the rows of the other statements.
    pub(crate) async fn copy_out(
        &mut self,
        sql: &str,
        mut take: impl FnMut(usize, Bytes) -> Result<()>,
    ) -> Result<Vec<Line>> {
        self.send_query(sql)?;
        let mut lines = Vec::new();
        let (mut failed, mut copy) = (None, 0);
        loop {
            let (tag, body) = self.receive().await?;
            match tag {
                b'd' if failed.is_none() => failed = take(copy, body).err(),
                b'D' => lines.push(message::line(&body)?),
                b'E' if failed.is_none() => failed = Some(Refusal::parse(&body).into_error()),
                b'H' => copy += 1,
                b'Z' => break,
                b'd' | b'E' | b'c' | b'T' | b'C' | b'I' | b'S' | b'N' => {}
                other => return Err(unexpected(other, "a copy")),
            }
        }
        failed.map_or(Ok(lines), Err)
    }

    /// Begins a two-way copy; from then on the connection carries nothing else.
    pub(crate) async fn copy_both(&mut self, command: &str) -> Result<()> {
        self.send_query(command)?;
        let mut refused = None;
        loop {
            let (tag, body) = self.receive().await?;
            match tag {
                b'W' => return Ok(()),
                b'E' => refused = Some(Refusal::parse(&body)),
                b'Z' => {
                    return Err(refused.map_or_else(
                        || unexpected(tag, "the start of replication"),
                        Refusal::into_error,
                    ));
                }
                b'S' | b'N' => {}
                other => return Err(unexpected(other, "the start of replication")),
            }
        }
    }

    /// The parts of a connection that streams: its socket, and what has been read already.
    pub(crate) fn into_parts(self) -> (Socket, BytesMut) {
        (self.socket, self.inbox)
    }

    fn send_query(&mut self, sql: &str) -> Result<()> {
        frontend::query(sql, &mut self.outbox)
            .map_err(|error| Error::config("a name holds a zero byte").because(error))
    }

    /// Waits until the server takes commands.
    async fn ready(&mut self) -> Result<()> {
        loop {
            let (tag, body) = self.receive().await?;
            match tag {
                b'Z' => return Ok(()),
                b'E' => return Err(Refusal::parse(&body).into_error()),
                b'K' | b'S' | b'N' | b'v' => {}
                other => return Err(unexpected(other, "the start of the session")),
            }
        }
    }

    /// Sends what waits to be sent, then gives the next message.
    async fn receive(&mut self) -> Result<(u8, Bytes)> {
        if self.outbox.has_remaining() {
            while self.outbox.has_remaining() {
                let sent = self.socket.write_buf(&mut self.outbox).await;
                if sent.map_err(|error| failure::cut(&error))? == 0 {
                    return Err(failure::closed());
                }
            }
            self.socket.flush().await.map_err(|e| failure::cut(&e))?;
        }
        loop {
            if let Some(length) = message::whole(&self.inbox)? {
                let mut whole = self.inbox.split_to(length).freeze();
                let tag = whole[0];
                whole.advance(message::HEADER);
                return Ok((tag, whole));
            }
            fill(&mut self.socket, &mut self.inbox).await?;
        }
    }
}

/// Reads more bytes into a buffer. Dropping the future loses none.
async fn fill(socket: &mut (impl AsyncRead + Unpin), inbox: &mut BytesMut) -> Result<()> {
    inbox.reserve(READ_AT_ONCE);
    match socket.read_buf(inbox).await {
        Ok(0) => Err(failure::closed()),
        Ok(_) => Ok(()),
        Err(error) => Err(failure::cut(&error)),
    }
}

fn unexpected(tag: u8, during: &str) -> Error {
    Error::unexpected(format!(
        "the server sent a message `{}` during {during}",
        tag.escape_ascii()
    ))
    .help("check that the address is that of PostgreSQL itself and not of a pooler or another service")
}
