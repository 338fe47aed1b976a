//! Proving who we are: SCRAM-SHA-256 bound to the TLS connection where that is possible, MD5, and clear text where nobody can read along.

use bytes::Bytes;
use lockstep_core::connector::Secret;
use lockstep_core::{Error, Kind, Result};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;

use super::failure::Refusal;
use super::{Connection, tls, unexpected};
use crate::config::Endpoint;

const SCRAM: &str = "SCRAM-SHA-256";
const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Answers whatever the server asks until it is content.
pub(super) async fn authenticate(connection: &mut Connection, endpoint: &Endpoint) -> Result<()> {
    loop {
        let (code, body) = request(connection).await?;
        match (code, &body[..]) {
            (0, _) => return Ok(()),
            (3, _) if !connection.socket.is_private() => {
                return Err(Error::config(
                    "the server asks for the password in clear text on a connection that is not encrypted",
                )
                .help("set sslmode=verify-full in the url, or let pg_hba.conf ask for scram-sha-256"));
            }
            (3, _) => {
                let password = password(endpoint)?.expose().as_bytes().to_vec();
                answer(connection, &password)?;
            }
            (5, &[a, b, c, d, ..]) => {
                let password = password(endpoint)?.expose().as_bytes();
                let hash = md5_hash(endpoint.user.as_bytes(), password, [a, b, c, d]);
                answer(connection, hash.as_bytes())?;
            }
            (10, mechanisms) => scram(connection, endpoint, mechanisms).await?,
            (other, _) => {
                return Err(Error::unsupported(format!(
                    "the server asks for authentication method {other}, which Lockstep does not know"
                ))
                .with("user", &endpoint.user)
                .help("let pg_hba.conf ask this user for scram-sha-256 or a client certificate"));
            }
        }
    }
}

async fn scram(connection: &mut Connection, endpoint: &Endpoint, offered: &[u8]) -> Result<()> {
    let offers = |name: &str| {
        offered
            .split(|byte| *byte == 0)
            .any(|one| one == name.as_bytes())
    };
    let digest = connection
        .socket
        .certificate()
        .and_then(tls::certificate_digest);
    let (mechanism, binding) = match digest {
        Some(digest) if offers(SCRAM_PLUS) => {
            (SCRAM_PLUS, ChannelBinding::tls_server_end_point(digest))
        }
        // Says that we would have bound it, so that nobody between us can hide that the server can.
        Some(_) => (SCRAM, ChannelBinding::unrequested()),
        None => (SCRAM, ChannelBinding::unsupported()),
    };
    if !offers(mechanism) {
        return Err(Error::unsupported(
            "the server offers no password exchange that Lockstep knows",
        )
        .help("let pg_hba.conf ask this user for scram-sha-256"));
    }
    let password = password(endpoint)?.expose().as_bytes();
    let mut exchange = ScramSha256::new(password, binding);
    frontend::sasl_initial_response(mechanism, exchange.message(), &mut connection.outbox)
        .map_err(|error| broken(&error))?;
    let challenge = expect(connection, 11).await?;
    exchange
        .update(&challenge)
        .map_err(|error| broken(&error))?;
    frontend::sasl_response(exchange.message(), &mut connection.outbox)
        .map_err(|error| broken(&error))?;
    let proof = expect(connection, 12).await?;
    // The server proves that it knows the password too.
    exchange.finish(&proof).map_err(|error| broken(&error))
}

async fn expect(connection: &mut Connection, code: u32) -> Result<Bytes> {
    match request(connection).await? {
        (found, body) if found == code => Ok(body),
        (found, _) => Err(Error::unexpected(format!(
            "the server answered a password exchange with {found} instead of {code}"
        ))),
    }
}

/// The next authentication request: its code and what follows it.
async fn request(connection: &mut Connection) -> Result<(u32, Bytes)> {
    loop {
        match connection.receive().await? {
            (b'R', body) if body.len() >= 4 => {
                let code = u32::from_be_bytes([body[0], body[1], body[2], body[3]]);
                return Ok((code, body.slice(4..)));
            }
            (b'E', body) => return Err(Refusal::parse(&body).into_error()),
            // A notice, or the protocol versions the server can do.
            (b'N' | b'v', _) => {}
            (tag, _) => return Err(unexpected(tag, "authentication")),
        }
    }
}

fn answer(connection: &mut Connection, password: &[u8]) -> Result<()> {
    frontend::password_message(password, &mut connection.outbox)
        .map_err(|_| Error::config("the password holds a zero byte"))
}

fn password(endpoint: &Endpoint) -> Result<&Secret<String>> {
    endpoint.password.as_ref().ok_or_else(|| {
        Error::new(Kind::Unauthorized, "the server asks for a password, and none is configured")
            .with("user", &endpoint.user)
            .help("set `password = \"${NAME}\"` for the system, with the password in that environment variable")
    })
}

fn broken(error: &std::io::Error) -> Error {
    Error::new(
        Kind::Unauthorized,
        "the password exchange with the server failed",
    )
    .because(error.to_string())
    .help("check that the address is that of the right server, and that nobody stands between")
}
