//! The address of a database, and how to reach it.
//!
//! TLS is said in the words of the other connectors (`sslmode`, `sslrootcert`, `sslcert`); everything else is left to the driver.
//! No message of this module quotes the address, which may hold a password.

use std::path::Path;
use std::time::Duration;

use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Error, Result};
use mongodb::options::{ClientOptions, ServerAddress, Tls, TlsOptions};

use crate::config::Config;

/// How long to look for a server that does what is asked.
const SELECT_MAX: Duration = Duration::from_secs(10);
/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);
const EXAMPLE: &str =
    "write it as mongodb://user:password@host:27017/database?replicaSet=rs0&authSource=admin";

/// What is asked of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS, unverified.
    Require,
    /// TLS with a certificate of a known authority that bears the host's name.
    VerifyFull,
}

const MODES: [(&str, TlsMode); 3] = [
    ("disable", TlsMode::Disable),
    ("require", TlsMode::Require),
    ("verify-full", TlsMode::VerifyFull),
];

/// The driver's options, and the name of the database.
pub(crate) async fn options(
    config: &Config,
    folder: &Path,
    application: &str,
) -> Result<(ClientOptions, String)> {
    let parts = Parts::read(config.url.expose())?;
    // The driver's own words may quote the address, so they are not passed on.
    let mut options = ClientOptions::parse(&parts.rest)
        .await
        .map_err(|_| Error::config("`url` cannot be read").help(EXAMPLE))?;
    let database = options
        .default_database
        .clone()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Error::config("`url` names no database").help(EXAMPLE))?;
    if let Some(password) = &config.password {
        let credential = options.credential.as_mut().ok_or_else(|| {
            Error::config("there is a `password`, but `url` names no user").help(EXAMPLE)
        })?;
        if credential.password.is_some() {
            return Err(
                Error::config("the password stands in `url` and in `password`")
                    .help("leave one of them out"),
            );
        }
        credential.password = Some(password.expose().clone());
    }
    let local = options.hosts.iter().all(is_loopback);
    options.tls = Some(parts.tls(folder, local)?);
    options.app_name = Some(application.to_owned());
    options.max_pool_size = Some(config.connections + 1);
    options.server_selection_timeout = Some(SELECT_MAX);
    options.connect_timeout = Some(CONNECT_MAX);
    Ok((options, database))
}

/// An address without what it says of TLS, and that.
#[derive(Debug, Default)]
struct Parts {
    rest: String,
    mode: Option<TlsMode>,
    authority: Option<String>,
    certificate: Option<String>,
}

impl Parts {
    fn read(text: &str) -> Result<Parts> {
        if text.starts_with("mongodb+srv://") {
            return Err(Error::unsupported(
                "`url` begins with `mongodb+srv:`, whose hosts would have to be looked up in DNS",
            )
            .help("write the hosts out: mongodb://host1:27017,host2:27017/database?replicaSet=…&sslmode=verify-full"));
        }
        if !text.starts_with("mongodb://") {
            return Err(Error::config("`url` does not begin with `mongodb:`").help(EXAMPLE));
        }
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let mut parts = Parts::default();
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !parts.take(name, value)? {
                kept.push(pair);
            }
        }
        parts.rest = match kept.is_empty() {
            true => address.to_owned(),
            false => format!("{address}?{}", kept.join("&")),
        };
        Ok(parts)
    }

    /// Takes a parameter that says something of TLS; false where it says something else.
    fn take(&mut self, name: &str, value: &str) -> Result<bool> {
        let lower = name.to_ascii_lowercase();
        let place = match lower.as_str() {
            "sslmode" => {
                let named = MODES.iter().find(|(word, _)| *word == value);
                let (_, mode) = named.ok_or_else(|| {
                    Error::config(format!("`sslmode={value}` in `url` is not known here"))
                        .help(suggestion(value, MODES.map(|(word, _)| word)))
                })?;
                self.mode = Some(*mode);
                return Ok(true);
            }
            "sslrootcert" => &mut self.authority,
            "sslcert" => &mut self.certificate,
            "sslkey" => {
                return Err(Error::config("`sslkey` in `url` is not known here").help(
                    "put the certificate and its key into one PEM file, and name it as `sslcert`",
                ));
            }
            "ssl" => return Err(mistaken(name)),
            _ if lower.starts_with("tls") => return Err(mistaken(name)),
            _ => return Ok(false),
        };
        // A path seldom needs the percent signs of an address, but may have them.
        *place = Some(value.replace("%2F", "/").replace("%20", " "));
        Ok(true)
    }

    fn tls(self, folder: &Path, local: bool) -> Result<Tls> {
        let default = if local {
            TlsMode::Disable
        } else {
            TlsMode::VerifyFull
        };
        let file = |name: Option<String>| name.map(|name| folder.join(name));
        let mode = self.mode.unwrap_or(default);
        let (authority, certificate) = (file(self.authority), file(self.certificate));
        if mode == TlsMode::Disable && (authority.is_some() || certificate.is_some()) {
            return Err(
                Error::config("`url` names certificates, but TLS is not asked for")
                    .help("add sslmode=verify-full to `url`"),
            );
        }
        for path in [&authority, &certificate].into_iter().flatten() {
            std::fs::metadata(path).map_err(|error| {
                Error::config(format!("there is no certificate at `{}`", path.display()))
                    .because(error)
                    .help("check the path; relative ones start at the configuration's folder")
            })?;
        }
        let options = |lax: bool| {
            let mut options = TlsOptions::default();
            options.allow_invalid_certificates = lax.then_some(true);
            options.ca_file_path = authority;
            options.cert_key_file_path = certificate;
            Tls::Enabled(options)
        };
        Ok(match mode {
            TlsMode::Disable => Tls::Disabled,
            TlsMode::Require => options(true),
            TlsMode::VerifyFull => options(false),
        })
    }
}

fn mistaken(name: &str) -> Error {
    Error::config(format!("`{name}` in `url` is not known here"))
        .help("say sslmode=verify-full, with sslrootcert=ca.pem for an authority of your own and sslcert=client.pem for a certificate to show")
}

fn is_loopback(host: &ServerAddress) -> bool {
    match host {
        ServerAddress::Tcp { host, .. } => {
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|host| host.is_loopback())
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(url: &str) -> Result<(ClientOptions, String)> {
        let config = serde_json::json!({ "url": url });
        let config: Config = serde_json::from_value(config).unwrap();
        options(&config, Path::new("."), "test").await
    }

    #[tokio::test]
    async fn tls_is_the_default_beyond_this_machine() {
        let (near, name) = read("mongodb://127.0.0.1:1,localhost:2/shop?replicaSet=a")
            .await
            .unwrap();
        assert_eq!((near.tls, name.as_str()), (Some(Tls::Disabled), "shop"));
        let (far, _) = read("mongodb://u:p@db.example.com/shop?authSource=admin")
            .await
            .unwrap();
        let Some(Tls::Enabled(options)) = far.tls else {
            panic!("no TLS");
        };
        assert_eq!(options.allow_invalid_certificates, None);
        assert_eq!(far.credential.unwrap().source.as_deref(), Some("admin"));
        let (lax, _) = read("mongodb://127.0.0.1/shop?sslmode=require")
            .await
            .unwrap();
        assert!(matches!(lax.tls, Some(Tls::Enabled(_))));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_said_without_the_password() {
        for (url, part) in [
            ("mongodb://u:hunter2@h", "no database"),
            ("mongodb://u:hunter2@h/", "no database"),
            ("mongodb://u:hun@ter2@h/d", "cannot be read"),
            ("mongodb+srv://u:hunter2@h/d", "mongodb+srv"),
            ("postgres://u:hunter2@h/d", "does not begin"),
            ("mongodb://u:hunter2@h/d?sslmode=prefer", "sslmode=prefer"),
            ("mongodb://u:hunter2@h/d?tls=true", "`tls`"),
            ("mongodb://u:hunter2@h/d?ssl=true", "`ssl`"),
            ("mongodb://u:hunter2@h/d?sslkey=k.pem", "`sslkey`"),
            ("mongodb://u:hunter2@h/d?sslrootcert=none.pem", "none.pem"),
            (
                "mongodb://u:hunter2@127.0.0.1/d?sslrootcert=a.pem",
                "TLS is not asked for",
            ),
        ] {
            let error = read(url).await.unwrap_err();
            assert!(error.to_string().contains(part), "{error:?}");
            let all = format!("{error:?}{:?}", error.help_text());
            assert!(!all.contains("hunter2") && !all.contains("ter2"), "{all}");
        }
    }
}
