//! Connections for everything but replication, what they are set to, and what PostgreSQL's errors mean.
//!
//! A [`Lease`] is given back only by [`Lease::keep`]; one that is dropped in the middle of anything closes its connection, which rolls its transaction back.
//! So a future may be dropped at any await, and no connection with an unknown state is ever used again.
//! This module also owns how names become part of statements ([`quote`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Kind, Result};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgQueryResult, PgSslMode};
use sqlx::{ConnectOptions, Connection, Executor as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Config, Endpoint, Host, TlsMode};
use crate::origin;

/// How long connecting may take.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 200;
/// What every session is set to: the text forms that [`crate::convert`] reads, and commits that are durable once they are answered.
///
/// A lock is waited for less long than an `apply` may take: a session that is given up while it waits would hold its own locks until it learns of that.
/// In the middle of a statement it learns of that only where the server looks for it, which it can on Linux.
pub(crate) const SESSION: &str = "SET bytea_output = 'hex'; SET IntervalStyle = 'postgres'; SET xmloption = 'content'; \
     SET statement_timeout = 0; SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = 0; SET default_transaction_isolation = 'read committed'; \
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; \
     SELECT set_config('client_connection_check_interval', '2s', false) WHERE version() ~* 'linux'";

/// The connections of one sink or reader.
#[derive(Debug)]
pub(crate) struct Client {
    options: PgConnectOptions,
    endpoint: Endpoint,
    free: Arc<Semaphore>,
    idle: Idle,
    /// Replication origins, one of which marks what a connection writes.
    marks: Vec<String>,
}

/// Connections that nobody uses, outside of any transaction.
type Idle = Arc<Mutex<Vec<PgConnection>>>;

/// A connection in use. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Lease {
    conn: PgConnection,
    /// Whether it was used before, and so may have been cut since.
    used: bool,
    idle: Idle,
    _permit: OwnedSemaphorePermit,
}

impl Client {
    /// Connects once, to say at once what is wrong.
    pub(crate) async fn open(config: &Config, cx: &OpenContext) -> Result<Client> {
        Client::marking(config, cx, Vec::new()).await
    }

    /// The same, with connections whose writes bear one of `marks`.
    pub(crate) async fn marking(
        config: &Config,
        cx: &OpenContext,
        marks: Vec<String>,
    ) -> Result<Client> {
        config.check()?;
        let endpoint = config.endpoint(&cx.folder)?;
        let client = Client {
            options: options(&endpoint, &cx.system)?,
            endpoint,
            free: Arc::new(Semaphore::new(config.connections)),
            idle: Idle::default(),
            marks,
        };
        client.lease().await?.keep();
        Ok(client)
    }

    /// A connection, once there is one to be had.
    pub(crate) async fn lease(&self) -> Result<Lease> {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let permit = permit.map_err(|_| Error::stopped())?;
        let idle = lock(&self.idle).pop();
        let used = idle.is_some();
        let conn = match idle {
            Some(conn) => conn,
            None => {
                let mut conn = connect(&self.options, &self.endpoint).await?;
                origin::mark(&mut conn, &self.marks).await?;
                conn
            }
        };
        Ok(Lease {
            conn,
            used,
            idle: Arc::clone(&self.idle),
            _permit: permit,
        })
    }

    /// A connection inside a transaction that `begin` starts. One that was cut while nobody used it is replaced.
    pub(crate) async fn begin(&self, begin: &'static str) -> Result<Lease> {
        loop {
            let mut lease = self.lease().await?;
            match run(lease.conn(), begin).await {
                Ok(_) => return Ok(lease),
                // The others are as old.
                Err(_) if lease.used => lock(&self.idle).clear(),
                Err(error) => return Err(failure("cannot begin a transaction", error)),
            }
        }
    }
}

impl Lease {
    /// Gives the connection back, outside of any transaction.
    pub(crate) fn keep(self) {
        lock(&self.idle).push(self.conn);
    }

    /// The connection.
    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }
}

fn lock(idle: &Mutex<Vec<PgConnection>>) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What sqlx is told of an endpoint.
pub(crate) fn options(endpoint: &Endpoint, system: &str) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::new_without_pgpass()
        .port(endpoint.port)
        .username(&endpoint.user)
        .database(&endpoint.database)
        .application_name(&format!("lockstep {system}"))
        .extra_float_digits(3)
        .statement_cache_capacity(STATEMENTS_MAX)
        .disable_statement_logging();
    let options = match &endpoint.host {
        Host::Tcp(host) => options.host(host),
        Host::Socket(folder) => options.socket(folder),
    };
    // What the environment says for other programs is not for this one.
    let password = endpoint.password.as_ref().map(|secret| secret.expose());
    let mut options = options.password(password.map_or("", String::as_str));
    options = options.ssl_mode(match endpoint.tls {
        TlsMode::Disable => PgSslMode::Disable,
        TlsMode::Prefer => PgSslMode::Prefer,
        TlsMode::Require => PgSslMode::Require,
        TlsMode::VerifyCa => PgSslMode::VerifyCa,
        TlsMode::VerifyFull => PgSslMode::VerifyFull,
    });
    for (name, file) in [
        ("sslrootcert", &endpoint.root_certificate),
        ("sslcert", &endpoint.client_certificate),
        ("sslkey", &endpoint.client_key),
    ] {
        let Some(file) = file else { continue };
        std::fs::metadata(file).map_err(|error| {
            Error::config(format!("the file of `{name}` cannot be read"))
                .with("path", file.display())
                .because(error)
                .help("relative paths start at the configuration's folder")
        })?;
        options = match name {
            "sslrootcert" => options.ssl_root_cert(file),
            "sslcert" => options.ssl_client_cert(file),
            _ => options.ssl_client_key(file),
        };
    }
    Ok(options)
}

/// Connects and sets the session up.
pub(crate) async fn connect(
    options: &PgConnectOptions,
    endpoint: &Endpoint,
) -> Result<PgConnection> {
    let attempt = async {
        let mut conn = PgConnection::connect_with(options).await?;
        run(&mut conn, SESSION).await?;
        Ok(conn)
    };
    match tokio::time::timeout(CONNECT_MAX, attempt).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(failure("cannot connect to PostgreSQL", error).with("at", endpoint)),
        Err(_) => Err(Error::transient("PostgreSQL does not answer")
            .with("at", endpoint)
            .help("check host, port and firewall; trying again goes on by itself")),
    }
}

/// Quotes an identifier; the only place where a name becomes part of a statement.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal, for the places where PostgreSQL allows no parameter.
pub(crate) fn literal(text: &str) -> String {
    // The form with an `E` means the same whatever `standard_conforming_strings` says.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Runs statements that this crate wrote, of its own words, [`quote`]d names and [`literal`]s, in one round trip.
pub(crate) async fn run(conn: &mut PgConnection, statements: &str) -> sqlx::Result<PgQueryResult> {
    // A plain text goes by the simple protocol, which takes several statements at once.
    conn.execute(statements).await
}

/// PostgreSQL's five characters for an error, where it was PostgreSQL that spoke.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<&str> {
    match error {
        sqlx::Error::Database(error) => error
            .try_downcast_ref::<PgDatabaseError>()
            .map(PgDatabaseError::code),
        _ => None,
    }
}

/// Turns an error into Lockstep's, by what the runtime should do about it.
pub(crate) fn failure(what: &str, error: sqlx::Error) -> Error {
    let (kind, help) = match &error {
        sqlx::Error::Database(_) => by_state(sqlstate(&error).unwrap_or_default()),
        sqlx::Error::Io(io)
            if io
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>()) =>
        {
            TLS
        }
        sqlx::Error::Tls(_) => TLS,
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::NotFound => (
            Kind::Config,
            Some(
                "there is no socket in that folder: check `host` and `port`, and that the server runs",
            ),
        ),
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => (
            Kind::Transient,
            Some(
                "nothing listens there: check host and port, and that the server runs; trying again goes on by itself",
            ),
        ),
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => (Kind::Transient, None),
        sqlx::Error::Configuration(_) => (Kind::Config, None),
        _ => (Kind::Unexpected, None),
    };
    let failed = Error::new(kind, what.to_owned()).because(Words::of(error));
    match help {
        Some(help) => failed.help(help),
        None => failed,
    }
}

const TLS: (Kind, Option<&str>) = (
    Kind::Config,
    Some(
        "check `sslmode`, that the certificate bears the host's name, and that `sslrootcert` names the authority that signed it",
    ),
);

/// What to do about a class of errors. The replication protocol's errors mean the same, so its client asks here too.
pub(crate) fn by_state(state: &str) -> (Kind, Option<&'static str>) {
    match state {
        "28P01" | "28000" => (
            Kind::Unauthorized,
            Some("check user and password, and the server's pg_hba.conf"),
        ),
        "42501" => (
            Kind::Unauthorized,
            Some("grant what is missing; the connector's page lists what a role needs"),
        ),
        "3D000" => (Kind::Config, Some("check the database's name in `url`")),
        "25006" => (
            Kind::Transient,
            Some("the server is read-only, as a standby is: let `url` name the primary"),
        ),
        "53300" => (
            Kind::Transient,
            Some(
                "the server has no connection left: raise max_connections, or lower `connections`",
            ),
        ),
        "53100" => (
            Kind::Transient,
            Some("the server's disk is full: free some space, writing goes on by itself"),
        ),
        "55000" => (Kind::Config, None),
        "0A000" => (Kind::Unsupported, None),
        _ => match state.get(..2).unwrap_or_default() {
            // Connection, rollback for concurrency, resources, locks, shutdown, the system.
            "08" | "40" | "53" | "55" | "57" | "58" => (Kind::Transient, None),
            "28" => (Kind::Unauthorized, None),
            "22" | "23" | "21" | "44" | "54" | "P0" => (Kind::Invalid, None),
            "42" | "3F" | "0B" => (Kind::Config, None),
            _ => (Kind::Unexpected, None),
        },
    }
}

/// What PostgreSQL says about an error, without the values of any row.
///
/// Its details quote whole rows and so are left out; the messages of data exceptions quote the value they are about.
pub(crate) fn words(state: &str, message: &str) -> String {
    if !state.starts_with("22") {
        return message.to_owned();
    }
    // A value may hold quotes of its own, so all that stands between the first and the last is taken out.
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last && !message.contains("\"UTF8\"") => {
            format!("{}…{}", &message[..first], &message[last + 1..])
        }
        _ => message.to_owned(),
    }
}

/// An error of sqlx in words that hold no values of rows.
#[derive(Debug)]
struct Words(String);

impl Words {
    fn of(error: sqlx::Error) -> Words {
        match error {
            sqlx::Error::Database(inner) => {
                let state = inner.code().unwrap_or_default();
                Words(format!(
                    "{} (SQLSTATE {state})",
                    words(&state, inner.message())
                ))
            }
            sqlx::Error::Io(error) => Words(error.to_string()),
            sqlx::Error::Tls(error) => Words(error.to_string()),
            error => Words(error.to_string()),
        }
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_quotes() {
        assert_eq!(quote(r#"a"b; DROP"#), r#""a""b; DROP""#);
        assert_eq!(literal(r"it's \"), r"E'it''s \\'");
    }

    #[test]
    fn words_of_the_database_hold_no_values() {
        for (state, message, said) in [
            (
                "22P02",
                "invalid input syntax for type integer: \"secret\"",
                "invalid input syntax for type integer: …",
            ),
            (
                "22P02",
                "invalid input value for enum mood: \"se\"cret\"",
                "invalid input value for enum mood: …",
            ),
            (
                "23514",
                "new row for relation \"t\" violates check constraint \"c\"",
                "new row for relation \"t\" violates check constraint \"c\"",
            ),
            (
                "22021",
                "invalid byte sequence for encoding \"UTF8\": 0x00",
                "invalid byte sequence for encoding \"UTF8\": 0x00",
            ),
        ] {
            assert_eq!(words(state, message), said);
        }
    }

    #[test]
    fn errors_are_sorted_by_what_is_done_about_them() {
        for (state, kind) in [
            ("28P01", Kind::Unauthorized),
            ("42501", Kind::Unauthorized),
            ("3D000", Kind::Config),
            ("42P01", Kind::Config),
            ("57P01", Kind::Transient),
            ("40P01", Kind::Transient),
            ("25006", Kind::Transient),
            ("23505", Kind::Invalid),
            ("P0001", Kind::Invalid),
            ("0A000", Kind::Unsupported),
            ("", Kind::Unexpected),
            ("é", Kind::Unexpected),
        ] {
            assert_eq!(by_state(state).0, kind, "{state}");
        }
    }
}
