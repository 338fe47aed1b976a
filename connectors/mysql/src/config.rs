//! What a configuration says about one MySQL or MariaDB database.
//!
//! Settings are checked once, when a database is opened; the rest of the crate trusts them.
//! No message of this module quotes the `url`, which may hold a password.

use std::path::{Path, PathBuf};

use lockstep_core::connector::Secret;
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Error, Result};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// The settings of a MySQL or MariaDB system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the database is: `mysql://user[:password]@host[:port]/database?sslmode=verify-full`; parameters are `socket` (a Unix socket's file), `sslmode`, `sslrootcert`, `sslcert` and `sslkey`.
    pub url: Secret<String>,
    /// The password, where it does not stand in the `url`.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// The number under which the source reads the binary log as a replica does (1 to 4294967295); no server and no other reader may bear it. Made from the system's name where absent.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub server_id: Option<u32>,
    /// When the source reads whole tables: `initial` (once), `never` (changes only), `always` (at every start), `when_needed` (once, and again after changes were lost, without being asked).
    #[serde(default)]
    pub snapshot: Snapshot,
    /// The GTID position after which a source without a position begins, such as `0-1-200` (MariaDB) or a GTID set (MySQL); needs `snapshot = "never"`.
    #[serde(default)]
    pub start_at: Option<String>,
    /// The life of the source whose end without all its changes is accepted; the message about lost changes names it. A new life then begins with a snapshot.
    #[serde(default)]
    pub accept_gap_of: Option<String>,
    /// Most rows that one step of a snapshot reads (1 to 1000000).
    #[serde(default = "defaults::snapshot_rows")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub snapshot_rows: usize,
    /// Most changes that the source emits, or the sink takes, in one batch (1 to 100000).
    #[serde(default = "defaults::batch_max")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch_max: usize,
    /// Most bytes of values that the source emits in one batch (1024 to 268435456); one larger row still travels, alone.
    #[serde(default = "defaults::batch_bytes")]
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub batch_bytes: usize,
    /// Most connections that a sink or a reader holds at once (1 to 64); the one that reads the binary log comes on top.
    #[serde(default = "defaults::connections")]
    #[schemars(range(min = 1, max = 64))]
    pub connections: usize,
    /// How often, in milliseconds, the server says that it is there while nothing happens (10 to 60000).
    #[serde(default = "defaults::heartbeat_ms")]
    #[schemars(range(min = 10, max = 60_000))]
    pub heartbeat_ms: u64,
}

/// When whole tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// At the beginning of a life.
    #[default]
    Initial,
    /// Never: only changes are told.
    Never,
    /// At every start of the source.
    Always,
    /// At the beginning of a life, and a life begins by itself where changes were lost.
    WhenNeeded,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn snapshot_rows() -> usize {
        5000
    }
    pub(super) fn batch_max() -> usize {
        1000
    }
    pub(super) fn batch_bytes() -> usize {
        4 * 1024 * 1024
    }
    pub(super) fn connections() -> usize {
        4
    }
    pub(super) fn heartbeat_ms() -> u64 {
        2000
    }
}

/// Where a database is and how to reach it, every default filled in.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The file of a Unix socket, which is used instead of host and port.
    pub(crate) socket: Option<String>,
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

/// What is asked of TLS; the words of the `postgres` connector.
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

/// What a URL may say behind its question mark.
const PARAMETERS: [&str; 5] = ["socket", "sslmode", "sslrootcert", "sslcert", "sslkey"];
const EXAMPLE: &str = "write it as mysql://user:password@host:3306/database";

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting outside its bounds, with both of them.
    pub(crate) fn check(&self) -> Result<()> {
        let within = |name: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::config(format!(
                "`{name} = {value}` is out of bounds: it must be {low} to {high}"
            ))
            .help(format!("leave `{name}` out to get the default")))
        };
        within("snapshot_rows", self.snapshot_rows as u64, 1, 1_000_000)?;
        within("batch_max", self.batch_max as u64, 1, 100_000)?;
        within("batch_bytes", self.batch_bytes as u64, 1024, 268_435_456)?;
        within("connections", self.connections as u64, 1, 64)?;
        within("heartbeat_ms", self.heartbeat_ms, 10, 60_000)?;
        if let Some(id) = self.server_id {
            within("server_id", id.into(), 1, u32::MAX.into())?;
        }
        if self.start_at.is_some() && self.snapshot != Snapshot::Never {
            return Err(Error::config(
                "`start_at` names where changes begin, but the tables would be read as a whole",
            )
            .help("set `snapshot = \"never\"`, or leave `start_at` out"));
        }
        Ok(())
    }

    /// The number under which a system's source reads the log: the given one, or one that its name makes.
    pub(crate) fn server_id(&self, system: &str) -> u32 {
        self.server_id.unwrap_or_else(|| {
            let hash = system.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            });
            // Operators number their servers from below.
            hash | 0x4000_0000
        })
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
        let missing = |what: &str| Error::config(format!("`url` names no {what}")).help(EXAMPLE);
        let host = match (parts.host, &parts.socket) {
            (Some(host), _) => host,
            (None, Some(_)) => "localhost".to_owned(),
            (None, None) => return Err(missing("host")),
        };
        let tls = match (&parts.socket, parts.tls) {
            (Some(_), _) => TlsMode::Disable,
            (None, Some(tls)) => tls,
            (None, None) if is_loopback(&host) => TlsMode::Prefer,
            (None, None) => TlsMode::VerifyFull,
        };
        // Who names an authority wants it asked.
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
            port: parts.port.unwrap_or(3306),
            socket: parts.socket,
            user: parts.user.ok_or_else(|| missing("user"))?,
            database: parts.database.ok_or_else(|| missing("database"))?,
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
        match &self.socket {
            Some(socket) => write!(f, "{socket}/{}", self.database),
            None => write!(f, "{}:{}/{}", self.host, self.port, self.database),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What a URL says, each part at most once.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<u16>,
    socket: Option<String>,
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
        let url = Url::parse(text).map_err(|error| {
            Error::config("`url` cannot be read")
                .because(error)
                .help(EXAMPLE)
        })?;
        if !matches!(url.scheme(), "mysql" | "mariadb") {
            return Err(Error::config(format!(
                "`url` begins with `{}:`, not with `mysql:`",
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
        let host = url.host_str().unwrap_or_default();
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
            "socket" => &mut self.socket,
            "sslrootcert" => &mut self.root_certificate,
            "sslcert" => &mut self.client_certificate,
            "sslkey" => &mut self.client_key,
            "sslmode" => {
                self.tls = Some(TlsMode::parse(&value)?);
                return Ok(());
            }
            _ => {
                return Err(Error::config(format!(
                    "`url` has a parameter `{name}` that is not known"
                ))
                .help(suggestion(name, PARAMETERS)));
            }
        };
        *place = Some(value).filter(|value| !value.is_empty());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> Config {
        serde_json::from_value(json).unwrap()
    }

    fn endpoint(url: &str) -> Result<Endpoint> {
        config(serde_json::json!({ "url": url })).endpoint(Path::new("/conf"))
    }

    #[test]
    fn a_url_says_where_the_database_is() {
        let full = endpoint(
            "mysql://u%40x:p%2Fw@db.example:3307/shop?sslmode=verify-ca&sslrootcert=ca.pem",
        )
        .unwrap();
        assert_eq!((full.host.as_str(), full.port), ("db.example", 3307));
        assert_eq!(
            (full.user.as_str(), full.database.as_str()),
            ("u@x", "shop")
        );
        assert_eq!(full.password.unwrap().expose(), "p/w");
        assert_eq!(full.tls, TlsMode::VerifyCa);
        assert_eq!(full.root_certificate.unwrap(), Path::new("/conf/ca.pem"));
        for (url, tls) in [
            ("mysql://u@127.0.0.1/d", TlsMode::Prefer),
            ("mysql://u@db.example/d", TlsMode::VerifyFull),
            ("mysql://u@db.example/d?sslmode=require", TlsMode::Require),
            (
                "mysql://u@db.example/d?sslmode=require&sslrootcert=x",
                TlsMode::VerifyCa,
            ),
            ("mysql://u@localhost/d?socket=/run/s.sock", TlsMode::Disable),
        ] {
            assert_eq!(endpoint(url).unwrap().tls, tls, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_showing_the_password() {
        for (url, says) in [
            ("postgres://u:hidden@h/d", "begins with `postgres:`"),
            ("mysql://u:hidden@h", "names no database"),
            ("mysql://h/d", "names no user"),
            (
                "mysql://u:hidden@h/d?sslmode=sometimes",
                "`sslmode=sometimes`",
            ),
            ("mysql://u:hidden@h/d?charset=latin1", "`charset`"),
            ("mysql://u:hidden@h/d?sslcert=a", "without the other"),
            ("nonsense", "cannot be read"),
        ] {
            let error = endpoint(url).err().unwrap();
            assert!(error.to_string().contains(says), "{url}: {error}");
            assert!(!error.chain().contains("hidden"), "{url}: {error:?}");
        }
    }

    #[test]
    fn settings_have_bounds() {
        for (name, value) in [
            ("snapshot_rows", 0),
            ("batch_max", 100_001),
            ("connections", 65),
            ("heartbeat_ms", 5),
            ("server_id", 0),
        ] {
            let error = config(serde_json::json!({ "url": "mysql://u@h/d", name: value }))
                .check()
                .err()
                .unwrap();
            assert!(error.to_string().contains(name), "{error}");
        }
        let error = config(serde_json::json!({ "url": "mysql://u@h/d", "start_at": "0-1-2" }));
        assert!(error.check().is_err());
        let one = config(serde_json::json!({ "url": "mysql://u@h/d" }));
        assert!(one.check().is_ok());
        assert_ne!(one.server_id("shop"), one.server_id("office"));
    }
}
