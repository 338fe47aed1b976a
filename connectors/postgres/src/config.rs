//! What a configuration says about one PostgreSQL database.
//!
//! Settings are checked once, when a database is opened; the rest of the crate trusts them.
//! Where the database is, and how to reach it, is an [`Endpoint`]; both drivers of this crate (sqlx, and the replication protocol's own) start from it, so they agree on every default.
//! No message of this module quotes the `url`, which may hold a password.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_core::connector::Secret;
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Error, Result};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::history::History;
use crate::position::Lsn;
use crate::snapshot::PREFIX;

/// The settings of a PostgreSQL system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the database is: `postgres://user[:password]@host[:port]/database?sslmode=verify-full`; parameters are `host` (a socket's folder too), `port`, `user`, `password`, `dbname`, `sslmode`, `sslrootcert`, `sslcert` and `sslkey`.
    pub url: Secret<String>,
    /// The password, where it does not stand in the `url`.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// The replication slot that the source reads; `lockstep_<system>` where absent.
    #[serde(default)]
    pub slot: Option<String>,
    /// The publication that names the source's tables; `lockstep_<system>` where absent.
    #[serde(default)]
    pub publication: Option<String>,
    /// What a publication that Lockstep makes tells of the tables.
    #[serde(default)]
    pub publish: Publish,
    /// The version of the replication protocol: with 2 the server tells a large transaction while it is under way, and it waits in the `spool` until it is committed; with 1 the server keeps it and tells it then.
    #[serde(default = "defaults::protocol")]
    #[schemars(range(min = 1, max = 2))]
    pub protocol: u8,
    /// The folder for large transactions that have not ended; relative paths start at the configuration's folder. Files in it that end with `.spool` are removed at every start, so no other source may use it.
    #[serde(default)]
    pub spool: Option<PathBuf>,
    /// Most bytes that the `spool` may take.
    #[serde(default = "defaults::spool_bytes")]
    pub spool_bytes: u64,
    /// When the tables are read from their first row.
    #[serde(default)]
    pub snapshot: Snapshot,
    /// Tables whose rows are events: that a row is inserted is told, and nothing that becomes of it afterwards; the application may delete it at once.
    #[serde(default)]
    pub outbox: Vec<String>,
    /// Messages that applications write into the server's log with `pg_logical_emit_message`: the name of a table, as flows read it, and the prefix of the messages that are its rows.
    #[serde(default)]
    pub messages: BTreeMap<String, String>,
    /// Tables that keep what was, by table: `history = "scd2"` for a slowly changing dimension, `history = "append"` for events; told to a sink and a reader.
    #[serde(default)]
    pub tables: BTreeMap<String, Arc<History>>,
    /// Where a first start begins in the server's log (`16/B374D848`) when another tool has copied the rows until there; its `slot` must still stand at that place or before it.
    #[serde(default)]
    pub start_at: Option<String>,
    /// The life of the source whose end without all its changes is accepted; the message of a lost slot names it. A new life then begins as the `snapshot` setting says.
    #[serde(default)]
    pub accept_gap_of: Option<String>,
    /// Most rows that one step of a snapshot reads (1 to 1000000).
    #[serde(default = "defaults::snapshot_rows")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub snapshot_rows: usize,
    /// Most connections over which a snapshot reads one table at once (1 to 8).
    #[serde(default = "defaults::snapshot_connections")]
    #[schemars(range(min = 1, max = 8))]
    pub snapshot_connections: usize,
    /// Most changes that the source emits, or the sink takes, in one batch (1 to 100000).
    #[serde(default = "defaults::batch_max")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch_max: usize,
    /// Most bytes of values that the source emits in one batch (1024 to 268435456); one larger row still travels, alone.
    #[serde(default = "defaults::batch_bytes")]
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub batch_bytes: usize,
    /// Most connections that a sink or a reader holds at once (1 to 64); the replication connection comes on top.
    #[serde(default = "defaults::connections")]
    #[schemars(range(min = 1, max = 64))]
    pub connections: usize,
}

/// When the tables are read from their first row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// When a life of the source begins, and a table whenever its changes did not tell everything.
    #[default]
    Initial,
    /// As `initial`; besides, a slot that lost changes begins a new life by itself instead of stopping the source.
    WhenNeeded,
    /// As `when_needed`, and at every start whose predecessor had read them to the end.
    Always,
    /// Only on demand: where changes did not tell everything, a warning says so.
    Never,
}

/// What a publication that Lockstep makes tells of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Publish {
    /// Every column of every row.
    #[default]
    All,
    /// Only columns and rows that mappings want, as far as the table's replica identity and PostgreSQL 15 allow it. Who changes that replica identity later has to mend the publication with it: until then the server refuses updates and deletes of the table.
    Wanted,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn protocol() -> u8 {
        2
    }
    pub(super) fn spool_bytes() -> u64 {
        64 * 1024 * 1024 * 1024
    }
    pub(super) fn snapshot_rows() -> usize {
        20_000
    }
    pub(super) fn snapshot_connections() -> usize {
        1
    }
    pub(super) fn batch_max() -> usize {
        4000
    }
    pub(super) fn batch_bytes() -> usize {
        4 * 1024 * 1024
    }
    pub(super) fn connections() -> usize {
        4
    }
}

/// Where a database is and how to reach it, every default filled in.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<Secret<String>>,
    pub(crate) database: String,
    pub(crate) tls: TlsMode,
    /// PEM file of the authorities that may have signed the server's certificate; the system's own where absent.
    pub(crate) root_certificate: Option<PathBuf>,
    /// PEM file of the certificate that this client shows.
    pub(crate) client_certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub(crate) client_key: Option<PathBuf>,
}

/// A host name or address, or the folder of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name or an address, IPv6 without brackets.
    Tcp(String),
    /// The folder that holds `.s.PGSQL.<port>`.
    Socket(PathBuf),
}

/// What is asked of TLS, in libpq's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS where the server offers it, unverified.
    Prefer,
    /// TLS, unverified unless a root certificate is named.
    Require,
    /// TLS with a certificate of a known authority.
    VerifyCa,
    /// TLS with a certificate of a known authority that bears the host's name.
    VerifyFull,
}

impl TlsMode {
    const NAMES: [(&'static str, TlsMode); 5] = [
        ("disable", TlsMode::Disable),
        ("prefer", TlsMode::Prefer),
        ("require", TlsMode::Require),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-full", TlsMode::VerifyFull),
    ];

    fn parse(word: &str) -> Result<TlsMode> {
        let named = TlsMode::NAMES.iter().find(|(name, _)| *name == word);
        named.map(|(_, mode)| *mode).ok_or_else(|| {
            Error::config(format!("`sslmode={word}` in `url` is not known"))
                .help(suggestion(word, TlsMode::NAMES.map(|(name, _)| name)))
        })
    }
}

/// Most bytes of a name in PostgreSQL.
const NAME_MAX: usize = 63;
/// What a URL may say behind its question mark.
const PARAMETERS: [&str; 9] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
];

impl Config {
    /// Checks every bound, and the names of slot and publication.
    ///
    /// # Errors
    /// The first setting outside its bounds, with both of them.
    pub(crate) fn check(&self) -> Result<()> {
        let within = |name: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::config(format!(
                "`{name} = {value}` is out of bounds: it must be {low} to {high}"
            ))
            .help(format!("leave `{name}` out to get the default")))
        };
        for (table, history) in &self.tables {
            history.check(table)?;
        }
        within("snapshot_rows", self.snapshot_rows, 1, 1_000_000)?;
        within("snapshot_connections", self.snapshot_connections, 1, 8)?;
        within("batch_max", self.batch_max, 1, 100_000)?;
        within("batch_bytes", self.batch_bytes, 1024, 268_435_456)?;
        within("connections", self.connections, 1, 64)?;
        within("protocol", self.protocol.into(), 1, 2)?;
        self.start_at()?;
        self.check_messages()?;
        if let Some(slot) = &self.slot {
            let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            if slot.is_empty() || slot.len() > NAME_MAX || !slot.bytes().all(legal) {
                return Err(Error::config(format!(
                    "`slot = \"{slot}\"` is not a name that PostgreSQL takes"
                ))
                .help("use 1 to 63 lower-case letters, digits and underscores"));
            }
        }
        match &self.publication {
            Some(name) if name.is_empty() || name.len() > NAME_MAX => Err(Error::config(format!(
                "`publication = \"{name}\"` is not a name that PostgreSQL takes"
            ))
            .help("use 1 to 63 bytes")),
            _ => Ok(()),
        }
    }

    fn check_messages(&self) -> Result<()> {
        let mut prefixes = BTreeSet::new();
        for (table, prefix) in &self.messages {
            let why = if prefix == PREFIX {
                "is Lockstep's own"
            } else if prefix.is_empty() {
                "is empty"
            } else if !prefixes.insert(prefix) {
                "stands for two tables"
            } else {
                continue;
            };
            return Err(Error::config(format!(
                "the prefix `{prefix}` of messages that are rows of `{table}` {why}"
            ))
            .help("give each table in `messages` a prefix of its own"));
        }
        Ok(())
    }

    /// Where a first start begins, where that is said.
    pub(crate) fn start_at(&self) -> Result<Option<Lsn>> {
        let place = self.start_at.as_deref().map(str::parse::<Lsn>).transpose();
        place.map_err(|error| {
            Error::config("`start_at` is not a place in a server's log")
                .because(error)
                .help("take it from the other tool, or from SELECT confirmed_flush_lsn FROM pg_replication_slots")
        })
    }

    /// Whether a life whose changes are lost is followed by a new one unasked.
    pub(crate) fn heals(&self) -> bool {
        matches!(self.snapshot, Snapshot::WhenNeeded | Snapshot::Always)
    }

    /// The folder of a system's spool; a relative one starts at `folder`.
    pub(crate) fn spool(&self, folder: &Path, system: &str) -> PathBuf {
        match &self.spool {
            Some(spool) => folder.join(spool),
            None => folder.join("lockstep-spool").join(own_name(system)),
        }
    }

    /// The replication slot of a system.
    pub(crate) fn slot(&self, system: &str) -> String {
        self.slot.clone().unwrap_or_else(|| own_name(system))
    }

    /// The publication of a system.
    pub(crate) fn publication(&self, system: &str) -> String {
        self.publication.clone().unwrap_or_else(|| own_name(system))
    }

    /// Where the database is; relative certificate paths start at `folder`.
    ///
    /// # Errors
    /// A URL that cannot be read, or that asks for something this connector does not know.
    pub(crate) fn endpoint(&self, folder: &Path) -> Result<Endpoint> {
        let parts = Parts::read(self.url.expose())?;
        let password = match (parts.password, &self.password) {
            (Some(_), Some(_)) => {
                return Err(
                    Error::config("the password stands in `url` and in `password`")
                        .help("leave one of them out"),
                );
            }
            (Some(password), None) => Some(Secret::new(password)),
            (None, password) => password.clone(),
        };
        let host = parts
            .host
            .ok_or_else(|| Error::config("`url` names no host").help(EXAMPLE))?;
        let user = parts
            .user
            .ok_or_else(|| Error::config("`url` names no user").help(EXAMPLE))?;
        let host = if host.starts_with('/') {
            Host::Socket(host.into())
        } else {
            Host::Tcp(host)
        };
        let tls = match (&host, parts.tls) {
            (Host::Socket(_), _) => TlsMode::Disable,
            (_, Some(tls)) => tls,
            (Host::Tcp(host), None) if is_loopback(host) => TlsMode::Prefer,
            (Host::Tcp(_), None) => TlsMode::VerifyFull,
        };
        // As libpq has it: who names an authority wants it asked.
        let tls = match tls {
            TlsMode::Require if parts.root_certificate.is_some() => TlsMode::VerifyCa,
            tls => tls,
        };
        if parts.client_certificate.is_some() != parts.client_key.is_some() {
            return Err(Error::config(
                "`url` names one of `sslcert` and `sslkey` without the other",
            )
            .help("name both, or neither"));
        }
        let file = |name: Option<String>| name.map(|name| folder.join(name));
        Ok(Endpoint {
            host,
            port: parts.port.unwrap_or(5432),
            database: parts.database.unwrap_or_else(|| user.clone()),
            user,
            password,
            tls,
            root_certificate: file(parts.root_certificate),
            client_certificate: file(parts.client_certificate),
            client_key: file(parts.client_key),
        })
    }
}

/// `host:port/database`, for messages.
impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]")?,
            Host::Tcp(host) => f.write_str(host)?,
            Host::Socket(folder) => write!(f, "{}", folder.display())?,
        }
        write!(f, ":{}/{}", self.port, self.database)
    }
}

/// The name that Lockstep gives to what it makes for a system: `lockstep_<system>`, in the letters that every kind of name takes.
pub(crate) fn own_name(system: &str) -> String {
    let legal = |c: char| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() { c } else { '_' }
    };
    let mut name: String = "lockstep_"
        .chars()
        .chain(system.chars().map(legal))
        .collect();
    name.truncate(NAME_MAX);
    name
}

const EXAMPLE: &str = "write it as postgres://user:password@host:5432/database";

/// What a URL says, each part at most once.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    tls: Option<TlsMode>,
    root_certificate: Option<String>,
    client_certificate: Option<String>,
    client_key: Option<String>,
}

impl Parts {
    fn read(text: &str) -> Result<Parts> {
        // libpq allows a URL without a host (`postgres:///db?host=/run/postgresql`) but with a user, which the general syntax does not.
        let (text, hostless) = hostless(text);
        let url = Url::parse(&text).map_err(|error| {
            Error::config("`url` cannot be read")
                .because(error)
                .help(EXAMPLE)
        })?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(Error::config(format!(
                "`url` begins with `{}:`, not with `postgres:`",
                url.scheme()
            ))
            .help(EXAMPLE));
        }
        let some = |text: &str| -> Result<Option<String>> {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| {
                Error::config("`url` holds bytes that are not UTF-8 behind a percent sign")
            })?;
            Ok(Some(text.into_owned()).filter(|text| !text.is_empty()))
        };
        let host = url.host_str().filter(|_| !hostless).unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut parts = Parts {
            host: some(host)?,
            port: url.port(),
            user: some(url.username())?,
            password: some(url.password().unwrap_or_default())?,
            database: some(url.path().trim_start_matches('/'))?,
            ..Parts::default()
        };
        for (name, value) in url.query_pairs() {
            parts.set(&name, value.into_owned())?;
        }
        Ok(parts)
    }

    fn set(&mut self, name: &str, value: String) -> Result<()> {
        let place = match name {
            "host" => &mut self.host,
            "user" => &mut self.user,
            "password" => &mut self.password,
            "dbname" => &mut self.database,
            "sslrootcert" => &mut self.root_certificate,
            "sslcert" => &mut self.client_certificate,
            "sslkey" => &mut self.client_key,
            "port" => {
                let port = value.parse().ok().filter(|port| *port > 0);
                let port = port.ok_or_else(|| {
                    Error::config(format!("`port={value}` in `url` is not a port"))
                        .help("use a number from 1 to 65535")
                })?;
                self.port = Some(port);
                return Ok(());
            }
            "sslmode" => {
                self.tls = Some(TlsMode::parse(&value)?);
                return Ok(());
            }
            _ => {
                return Err(Error::config(format!(
                    "`url` has a parameter `{name}`, which is not known"
                ))
                .help(suggestion(name, PARAMETERS)));
            }
        };
        if place.is_some() {
            return Err(
                Error::config(format!("`url` says `{name}` twice")).help("leave one of them out")
            );
        }
        *place = Some(value);
        Ok(())
    }
}

/// Puts a host into a URL that has none, and tells whether it did.
fn hostless(text: &str) -> (String, bool) {
    let Some((scheme, rest)) = text.split_once("://") else {
        return (text.to_owned(), false);
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if authority.is_empty() || authority.ends_with('@') {
        (format!("{scheme}://{authority}none{tail}"), true)
    } else {
        (text.to_owned(), false)
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
