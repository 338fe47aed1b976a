//! The `[log]` section: what it says for the engine it names.
//!
//! A key that belongs to the other engine is an error, because its writer expects something of it.

use std::path::PathBuf;

use lockstep_core::connector::Secret;
use lockstep_core::diagnostic::Diagnostic;

use super::file::{Engine, LogText, TlsText};
use super::read::Reading;
use super::{LogConfig, NatsConfig, limits};
use crate::log::nats::Tls;

/// The log's file where the configuration names none.
const PATH: &str = "lockstep.log";

/// Reads the section.
pub(super) fn read(reading: &mut Reading<'_>, text: &LogText) -> LogConfig {
    for (key, engine) in misplaced(text) {
        let message = format!("`{key}` is a key of a log with `engine = \"{engine}\"`");
        let finding = Diagnostic::error("LS-G008", message)
            .at(reading.places.key(&["log", key]))
            .help(format!("remove it, or set `engine = \"{engine}\"`"));
        reading.findings.push(finding);
    }
    let max_age = text.max_age.as_ref().and_then(|written| {
        let written = reading.filled(&["log", "max_age"], written)?;
        reading.parsed(&["log", "max_age"], limits::duration(&written))
    });
    let max_bytes = text.max_bytes.as_ref().and_then(|written| {
        let written = reading.filled(&["log", "max_bytes"], written)?;
        reading.parsed(&["log", "max_bytes"], limits::size(&written))
    });
    match text.engine {
        Engine::Embedded => {
            let written = text.path.as_deref().unwrap_or(PATH);
            let path = reading.filled(&["log", "path"], written);
            LogConfig::Embedded {
                path: reading.folder.join(path.unwrap_or_default()),
                max_age,
                max_bytes,
            }
        }
        Engine::Nats => {
            let nats = NatsConfig {
                max_age,
                max_bytes,
                ..nats(reading, text)
            };
            LogConfig::Nats(Box::new(nats))
        }
    }
}

/// Keys that stand there for the other engine, with that engine's name.
fn misplaced(text: &LogText) -> Vec<(&'static str, &'static str)> {
    let of_nats = [
        ("servers", text.servers.is_some()),
        ("user", text.user.is_some()),
        ("password", text.password.is_some()),
        ("token", text.token.is_some()),
        ("credentials", text.credentials.is_some()),
        ("nkey", text.nkey.is_some()),
        ("tls", text.tls.is_some()),
        ("replicas", text.replicas.is_some()),
        ("monitor", text.monitor.is_some()),
    ];
    match text.engine {
        Engine::Embedded => of_nats
            .into_iter()
            .filter(|(_, there)| *there)
            .map(|(key, _)| (key, "nats"))
            .collect(),
        Engine::Nats if text.path.is_some() => vec![("path", "embedded")],
        Engine::Nats => Vec::new(),
    }
}

fn nats(reading: &mut Reading<'_>, text: &LogText) -> NatsConfig {
    let mut secrets = Vec::new();
    let password = secret(reading, "password", text.password.as_ref(), &mut secrets);
    let token = secret(reading, "token", text.token.as_ref(), &mut secrets);
    let nkey = secret(reading, "nkey", text.nkey.as_ref(), &mut secrets);
    let user = plain(reading, &["log", "user"], text.user.as_ref());
    let file = |reading: &mut Reading<'_>, path: &[&str], written: Option<&String>| {
        plain(reading, path, written).map(|path| reading.folder.join(path))
    };
    let credentials: Option<PathBuf> =
        file(reading, &["log", "credentials"], text.credentials.as_ref());
    let tls = text.tls.as_ref().map(|tls: &TlsText| Tls {
        ca: file(reading, &["log", "tls", "ca"], tls.ca.as_ref()),
        certificate: file(
            reading,
            &["log", "tls", "certificate"],
            tls.certificate.as_ref(),
        ),
        key: file(reading, &["log", "tls", "key"], tls.key.as_ref()),
    });
    let config = NatsConfig {
        servers: servers(reading, text),
        user,
        password,
        token,
        credentials,
        nkey,
        tls,
        replicas: replicas(reading, text),
        monitor: monitor(reading, text),
        max_age: None,
        max_bytes: None,
        secrets,
    };
    check_credentials(reading, text);
    config
}

fn plain(reading: &mut Reading<'_>, path: &[&str], written: Option<&String>) -> Option<String> {
    reading.filled(path, written?)
}

/// A secret with `${…}` filled in; written out, it is remembered as a secret all the same, and warned of.
fn secret(
    reading: &mut Reading<'_>,
    key: &str,
    written: Option<&Secret<String>>,
    secrets: &mut Vec<Secret<String>>,
) -> Option<Secret<String>> {
    let path = ["log", key];
    let written = written?.expose();
    let value = reading.filled(&path, written)?;
    if !written.contains("${") {
        let message = format!("the secret `{key}` is written out in the configuration");
        let finding = Diagnostic::warning("LS-G027", message)
            .at(reading.places.key(&path))
            .help("write `${NAME}` or `${file:path}` instead, so that the file can be shared");
        reading.findings.push(finding);
    }
    secrets.push(Secret::new(value.clone()));
    Some(Secret::new(value))
}

fn servers(reading: &mut Reading<'_>, text: &LogText) -> Vec<String> {
    let written = text.servers.as_deref().unwrap_or_default();
    if written.is_empty() {
        let finding = Diagnostic::error("LS-G005", "`log` lacks `servers`".to_owned())
            .at(reading.places.value(&["log"]))
            .help("add `servers = [\"nats://127.0.0.1:4222\"]`: the addresses of one cluster's servers");
        reading.findings.push(finding);
    }
    let mut servers = Vec::new();
    for (at, address) in written.iter().enumerate() {
        let place = ["log", "servers", &at.to_string()];
        let Some(address) = reading.filled(&place, address) else {
            continue;
        };
        servers.extend(reading.parsed(&place, server(&address)));
    }
    servers
}

/// An address of a server, without credentials: those have keys of their own, so that they are never shown.
fn server(address: &str) -> Result<String, (String, String)> {
    let help = "write `nats://host:4222`, or `tls://host:4222` for an encrypted connection";
    let rest = address
        .strip_prefix("nats://")
        .or_else(|| address.strip_prefix("tls://"))
        .unwrap_or(address);
    if rest.contains('@') {
        return Err((
            "an address of `log.servers` holds credentials".to_owned(),
            "write them as `user` and `password`, or as `token`, and the address without them"
                .to_owned(),
        ));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:[]%".contains(c);
    let readable = address.parse::<async_nats::ServerAddr>().is_ok();
    if rest.is_empty() || !rest.chars().all(fits) || !readable {
        let shown: String = address.chars().take(80).collect();
        return Err((
            format!("`{shown}` is not an address of a server"),
            help.to_owned(),
        ));
    }
    Ok(address.to_owned())
}

fn replicas(reading: &mut Reading<'_>, text: &LogText) -> u8 {
    let written = text.replicas.unwrap_or(1);
    let fits = if matches!(written, 1 | 3 | 5) {
        Ok(written)
    } else {
        Err((
            format!("`replicas` cannot be {written}"),
            "write 1 for one server, 3 or 5 for a cluster of as many; an even number outlives no more failures".to_owned(),
        ))
    };
    reading.parsed(&["log", "replicas"], fits).unwrap_or(1)
}

fn monitor(reading: &mut Reading<'_>, text: &LogText) -> Option<String> {
    let path = ["log", "monitor"];
    let written = plain(reading, &path, text.monitor.as_ref())?;
    let fits = if written.starts_with("http://") || written.starts_with("https://") {
        Ok(written)
    } else {
        let shown: String = written.chars().take(80).collect();
        Err((
            format!("`{shown}` is not a monitoring address"),
            "write `http://host:8222`, as the server's `http` setting says".to_owned(),
        ))
    };
    reading.parsed(&path, fits)
}

/// One way to say who we are, and whole.
fn check_credentials(reading: &mut Reading<'_>, text: &LogText) {
    let mut found = |key: &str, message: String, help: &str| {
        let finding = Diagnostic::error("LS-G008", message)
            .at(reading.places.key(&["log", key]))
            .help(help.to_owned());
        reading.findings.push(finding);
    };
    match (&text.user, &text.password) {
        (Some(_), None) => found(
            "user",
            "`log.user` has no `password`".to_owned(),
            "add `password = \"${NAME}\"`",
        ),
        (None, Some(_)) => found(
            "password",
            "`log.password` has no `user`".to_owned(),
            "add `user`",
        ),
        _ => {}
    }
    if let Some(tls) = &text.tls
        && tls.certificate.is_some() != tls.key.is_some()
    {
        found(
            "tls",
            "`log.tls` has one of `certificate` and `key`".to_owned(),
            "add the other one: a certificate is nothing without its key",
        );
    }
    let ways = [
        ("user", text.user.is_some()),
        ("token", text.token.is_some()),
        ("credentials", text.credentials.is_some()),
        ("nkey", text.nkey.is_some()),
    ];
    let ways: Vec<&str> = ways
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(key, _)| key)
        .collect();
    if let [first, second, ..] = ways[..] {
        found(
            second,
            format!("`log` says who we are twice: by `{first}` and by `{second}`"),
            "keep the one that the server knows",
        );
    }
}
