//! Connections for SQL, what they are set to, and what the server's errors mean.
//!
//! A [`Lease`] is given back only by [`Lease::keep`]; one that is dropped in the middle of anything closes its connection, which rolls its transaction back.
//! So a future may be dropped at any await, and no connection with an unknown state is ever used again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Kind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, DriverError, Opts, OptsBuilder, Row, SslOpts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Config, Endpoint, TlsMode};
use crate::ddl::Case;
use crate::statements::Target;

/// How long connecting may take.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Most temporary tables on one connection.
const STAGES_MAX: usize = 64;
/// How often a connection that says nothing is probed.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// What every session is set to: strict, in UTC, in Unicode, whatever the server's own settings are.
///
/// A lock is waited for less long than an `apply` may take: a session that is given up while it waits would hold its own locks until it learns of that.
const SESSION: &str = "SET NAMES utf8mb4; \
     SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO', \
     time_zone = '+00:00', autocommit = 1, wait_timeout = 28800, net_write_timeout = 600, net_read_timeout = 600, \
     lock_wait_timeout = 20, innodb_lock_wait_timeout = 20, foreign_key_checks = 1, unique_checks = 1, sql_safe_updates = 0; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// The connections of one source, sink or reader.
#[derive(Debug)]
pub(crate) struct Client {
    endpoint: Endpoint,
    server: Server,
    free: Arc<Semaphore>,
    idle: Idle,
}

/// What is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Whether it is MariaDB.
    pub(crate) maria: bool,
    /// Its version.
    pub(crate) version: (u16, u16, u16),
    /// Whether names of tables differ by their case.
    pub(crate) case: Case,
    /// The longest statement it takes, in bytes.
    pub(crate) packet_max: usize,
}

/// Connections that nobody uses, outside of any transaction.
type Idle = Arc<Mutex<Vec<Held>>>;

/// A connection, and the temporary tables that were made on it.
#[derive(Debug)]
struct Held {
    conn: Conn,
    stages: Vec<String>,
}

impl From<Conn> for Held {
    fn from(conn: Conn) -> Held {
        Held {
            conn,
            stages: Vec::new(),
        }
    }
}

/// A connection in use. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Lease {
    held: Held,
    /// Whether it was used before, and so may have been cut since.
    used: bool,
    idle: Idle,
    _permit: OwnedSemaphorePermit,
}

impl Client {
    /// Connects once, to say at once what is wrong.
    pub(crate) async fn open(config: &Config, cx: &OpenContext) -> Result<Client> {
        config.check()?;
        let endpoint = config.endpoint(&cx.folder)?;
        let mut conn = connect(&endpoint).await?;
        let server = Server::ask(&mut conn).await?;
        let idle = Idle::default();
        lock(&idle).push(conn.into());
        Ok(Client {
            endpoint,
            server,
            free: Arc::new(Semaphore::new(config.connections)),
            idle,
        })
    }

    /// Where the connections go.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What is there.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// A connection on which `begin` has been run. One that was cut while nobody used it is replaced.
    pub(crate) async fn begin(&self, begin: &str) -> Result<Lease> {
        loop {
            let mut lease = self.lease().await?;
            match lease.conn().query_drop(begin).await {
                Ok(()) => return Ok(lease),
                // The others are as old.
                Err(_) if lease.used => lock(&self.idle).clear(),
                Err(error) => return Err(failure("cannot begin a transaction", error)),
            }
        }
    }

    /// A connection that is kept for long, beside those that are counted.
    pub(crate) async fn side(&self) -> Result<Lease> {
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await;
        Ok(Lease {
            held: connect(&self.endpoint).await?.into(),
            used: false,
            idle: Idle::default(),
            _permit: permit.map_err(|_| Error::stopped())?,
        })
    }

    async fn lease(&self) -> Result<Lease> {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let permit = permit.map_err(|_| Error::stopped())?;
        let idle = lock(&self.idle).pop();
        let used = idle.is_some();
        let held = match idle {
            Some(held) => held,
            None => connect(&self.endpoint).await?.into(),
        };
        Ok(Lease {
            held,
            used,
            idle: Arc::clone(&self.idle),
            _permit: permit,
        })
    }
}

impl Lease {
    /// Gives the connection back, outside of any transaction.
    pub(crate) fn keep(self) {
        lock(&self.idle).push(self.held);
    }

    /// The connection.
    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.held.conn
    }

    /// Sees to it that the temporary table of a target exists on the connection, outside of any transaction.
    pub(crate) async fn stage(&mut self, target: &Target) -> Result<()> {
        if self.held.stages.contains(&target.stage) {
            return Ok(());
        }
        let failed = |error| {
            failure("cannot make a temporary table", error).with("table", &target.shape.name)
        };
        if self.held.stages.len() >= STAGES_MAX {
            let drop = format!(
                "DROP TEMPORARY TABLE IF EXISTS {}",
                self.held.stages.join(", ")
            );
            self.held.conn.query_drop(drop).await.map_err(failed)?;
            self.held.stages.clear();
        }
        self.held
            .conn
            .query_drop(&target.create_stage)
            .await
            .map_err(failed)?;
        self.held.stages.push(target.stage.clone());
        Ok(())
    }
}

impl Server {
    /// Asks who it is.
    pub(crate) async fn ask(conn: &mut Conn) -> Result<Server> {
        let answer: Option<(String, u64, u64)> = conn
            .query_first("SELECT VERSION(), @@max_allowed_packet, @@lower_case_table_names")
            .await
            .map_err(|error| failure("cannot ask the server for its version", error))?;
        let (text, packet_max, lower) = answer.unwrap_or_default();
        Ok(Server {
            maria: text.to_ascii_lowercase().contains("mariadb"),
            version: version(&text),
            case: if lower == 0 {
                Case::Exact
            } else {
                Case::Ignored
            },
            packet_max: usize::try_from(packet_max).unwrap_or(usize::MAX).max(1024),
        })
    }
}

/// Reads `10.11.14-MariaDB-log`; old MariaDB put `5.5.5-` before it.
fn version(text: &str) -> (u16, u16, u16) {
    let text = text.strip_prefix("5.5.5-").unwrap_or(text);
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit());
    let mut numbers = text[..end.unwrap_or(text.len())].split('.');
    let mut next = || {
        numbers
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    (next(), next(), next())
}

fn lock(idle: &Mutex<Vec<Held>>) -> std::sync::MutexGuard<'_, Vec<Held>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects and sets the session.
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Conn> {
    let opened = tokio::time::timeout(CONNECT_MAX, open(endpoint)).await;
    let opened = opened.map_err(|_| {
        Error::transient(format!(
            "the server at {endpoint} did not answer within {} s",
            CONNECT_MAX.as_secs()
        ))
    })?;
    let failed = |error| failure(&format!("cannot connect to {endpoint}"), error);
    let mut conn = opened.map_err(failed)?;
    conn.query_drop(SESSION).await.map_err(failed)?;
    Ok(conn)
}

async fn open(endpoint: &Endpoint) -> mysql_async::Result<Conn> {
    let no_tls = |error: &mysql_async::Error| {
        matches!(
            error,
            mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer)
        )
    };
    match Conn::new(options(endpoint, endpoint.tls)).await {
        Err(error) if endpoint.tls == TlsMode::Prefer && no_tls(&error) => {
            Conn::new(options(endpoint, TlsMode::Disable)).await
        }
        opened => opened,
    }
}

fn options(endpoint: &Endpoint, tls: TlsMode) -> Opts {
    let options = OptsBuilder::default()
        .ip_or_hostname(endpoint.host.clone())
        .tcp_port(endpoint.port)
        .user(Some(endpoint.user.clone()))
        .pass(
            endpoint
                .password
                .as_ref()
                .map(|password| password.expose().clone()),
        )
        .db_name(Some(endpoint.database.clone()))
        .socket(endpoint.socket.clone())
        .prefer_socket(false)
        .tcp_keepalive(Some(KEEPALIVE))
        .tcp_nodelay(true)
        // Texts differ from row to row, so none would be met again.
        .stmt_cache_size(0)
        // The largest packet of the protocol: an event of the log may be larger than what clients may send.
        .max_allowed_packet(Some(1 << 30))
        .wait_timeout(Some(28_800))
        .client_found_rows(true)
        .ssl_opts(tls_options(endpoint, tls));
    options.into()
}

fn tls_options(endpoint: &Endpoint, tls: TlsMode) -> Option<SslOpts> {
    let mut options = SslOpts::default();
    match tls {
        TlsMode::Disable => return None,
        TlsMode::Prefer | TlsMode::Require => {
            options = options
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true);
        }
        TlsMode::VerifyCa => options = options.with_danger_skip_domain_validation(true),
        TlsMode::VerifyFull => {}
    }
    if matches!(tls, TlsMode::VerifyCa | TlsMode::VerifyFull) {
        let roots = match &endpoint.root_certificate {
            Some(file) => vec![file.clone().into()],
            None => {
                let found = rustls_native_certs::load_native_certs();
                let found = found.certs.into_iter();
                found
                    .map(|certificate| certificate.to_vec().into())
                    .collect()
            }
        };
        options = options
            .with_root_certs(roots)
            .with_disable_built_in_roots(true);
    }
    if let (Some(certificate), Some(key)) = (&endpoint.client_certificate, &endpoint.client_key) {
        let identity = ClientIdentity::new(certificate.clone().into(), key.clone().into());
        options = options.with_client_identity(Some(identity));
    }
    Some(options)
}

/// The number of a server's error, 0 where it is none of the server's.
pub(crate) fn code(error: &mysql_async::Error) -> u16 {
    match error {
        mysql_async::Error::Server(error) => error.code,
        _ => 0,
    }
}

/// What the runtime does about an error of the server.
pub(crate) fn kind(code: u16) -> Kind {
    match code {
        // Access denied, in its several forms, and commands that need a privilege.
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 | 1820 | 4151 => Kind::Unauthorized,
        // Too many connections, shutdown, killed, lock waits and deadlocks, timeouts, a full disk, a table that was altered meanwhile.
        1040
        | 1053
        | 1203
        | 1205
        | 1213
        | 1226
        | 1317
        | 1412
        | 1614
        | 1637
        | 1927
        | 1021
        | 1114
        | 1969
        | 3024
        | 1158..=1161
        | 1615
        | 1020 => Kind::Transient,
        // No such database, table or column; read-only; not as this connector needs it.
        1046 | 1049 | 1051 | 1054 | 1109 | 1146 | 1290 | 1836 | 1792 | 1193 => Kind::Config,
        1235 => Kind::Unsupported,
        // What a row can be at fault for.
        1048
        | 1062
        | 1169
        | 1216
        | 1217
        | 1263
        | 1264
        | 1265
        | 1292
        | 1364
        | 1366
        | 1369
        | 1406
        | 1411
        | 1416
        | 1425
        | 1441
        | 1451
        | 1452
        | 1557
        | 1586
        | 1644
        | 1690
        | 1748
        | 1761
        | 1762
        | 1859
        | 1977
        | 3140..=3158
        | 3819
        | 3854
        | 4025
        | 4038
        | 1118
        | 1153
        | 1526
        | 1906 => Kind::Invalid,
        _ => Kind::Unexpected,
    }
}

/// The server's words on an error, without the values that some of them quote.
pub(crate) fn words(code: u16, message: &str) -> String {
    let from = |marker: &str| message.rfind(marker).map(|at| &message[at..]);
    let cut = match code {
        1062 | 1169 | 1557 | 1586 | 1859 | 1761 | 1762 => {
            format!(
                "another row has the same value {}",
                from("for key").unwrap_or("in a unique index")
            )
        }
        1366 | 1292 | 1411 | 1525 => {
            format!(
                "the value does not fit {}",
                from("for column").unwrap_or("its column")
            )
        }
        1690 => "a number is out of range".to_owned(),
        1048 | 1263 | 1264 | 1265 | 1364 | 1406 | 1451 | 1452 | 1216 | 1217 | 1369 | 1526
        | 3819 | 4025 | 1906 => message.to_owned(),
        1153 => "the row is larger than the server's max_allowed_packet".to_owned(),
        // What a trigger says is for people to read.
        1644 => message.to_owned(),
        _ => format!("the server refuses it with error {code}"),
    };
    // The number of a row means nothing to whoever reads it.
    match cut.rfind(" at row ") {
        Some(at) => cut[..at].to_owned(),
        None => cut,
    }
}

/// Turns the driver's error into ours.
pub(crate) fn failure(what: &str, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(error) => {
            let kind = kind(error.code);
            let said = if matches!(kind, Kind::Invalid) {
                words(error.code, &error.message)
            } else {
                error.message.clone()
            };
            let made = Error::new(kind, what)
                .with("code", error.code)
                .because(Said(said));
            match kind {
                Kind::Unauthorized => made.help("check user, password and privileges; the connector's README lists the least ones"),
                Kind::Config if error.code == 1290 || error.code == 1836 || error.code == 1792 => {
                    made.help("let `url` name the primary, which takes writes")
                }
                _ => made,
            }
        }
        mysql_async::Error::Io(mysql_async::IoError::Tls(error)) => {
            untrusted(what, error.to_string())
        }
        // The handshake fails inside of reading and writing.
        mysql_async::Error::Io(mysql_async::IoError::Io(error))
            if error.kind() == std::io::ErrorKind::InvalidData
                && error.to_string().contains("certificate") =>
        {
            untrusted(what, error.to_string())
        }
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => Error::config(what)
            .because(Said("the server does not offer TLS".to_owned()))
            .help("set up TLS on the server, or say `sslmode=disable` where the way to it is safe"),
        mysql_async::Error::Io(error) => Error::transient(what).because(Said(error.to_string())),
        mysql_async::Error::Driver(DriverError::ConnectionClosed) => {
            Error::transient(what).because(Said("the connection was closed".to_owned()))
        }
        mysql_async::Error::Driver(error) => Error::unexpected(what).because(Said(quiet(&error))),
        mysql_async::Error::Url(_) => Error::config(what),
        mysql_async::Error::Other(error) => Error::unexpected(what).because(error),
    }
}

fn untrusted(what: &str, said: String) -> Error {
    Error::config(what).because(Said(said)).help(
        "the server's certificate is not trusted: name its authority with `sslrootcert`, or say in `sslmode` how much is to be verified",
    )
}

/// What the driver says, unless it would show values.
fn quiet(error: &DriverError) -> String {
    match error {
        DriverError::FromValue { .. } | DriverError::FromRow { .. } => {
            "a value of another type came".to_owned()
        }
        DriverError::UnexpectedPacket { .. } => {
            "a packet came that the protocol does not know here".to_owned()
        }
        other => other.to_string(),
    }
}

/// Words of the server.
#[derive(Debug)]
struct Said(String);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

/// Runs a query of metadata and gives its rows as texts.
pub(crate) async fn texts(
    conn: &mut Conn,
    sql: &str,
) -> mysql_async::Result<Vec<Vec<Option<String>>>> {
    let rows: Vec<Row> = conn.query(sql).await?;
    let text = |value: mysql_async::Value| match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    };
    Ok(rows
        .into_iter()
        .map(|row| row.unwrap().into_iter().map(text).collect())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, expected) in [
            ("10.11.14-MariaDB-0+deb12u2-log", (10, 11, 14)),
            ("5.5.5-10.3.1-MariaDB", (10, 3, 1)),
            ("8.0.36", (8, 0, 36)),
            ("nonsense", (0, 0, 0)),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }

    #[test]
    fn no_value_is_quoted() {
        for (code, message) in [
            (1062, "Duplicate entry 'ann@example.org' for key 'email'"),
            (
                1366,
                "Incorrect integer value: 'ann@example.org' for column `d`.`t`.`c` at row 1",
            ),
            (
                1292,
                "Incorrect datetime value: 'ann@example.org' for column `d`.`t`.`c` at row 3",
            ),
            (9999, "something with ann@example.org"),
        ] {
            let said = words(code, message);
            assert!(!said.contains("ann@"), "{said}");
            assert!(!said.contains("at row"), "{said}");
        }
        assert!(words(1062, "Duplicate entry 'x' for key 'email'").ends_with("for key 'email'"));
    }
}
