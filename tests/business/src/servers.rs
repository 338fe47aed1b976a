//! The servers that a stage may run on besides its folder: a nats-server for the log, a PostgreSQL cluster for each system that is one.
//!
//! A cluster of its own for each system, so that source and target can be killed apart.
//! It starts, kills and restarts them; they are ended, and their data removed, when it is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use lockstep_servers::{find, nats, postgres, skip};

use crate::configuration::Log;
use crate::systems::{POSTGRES, url_path};

/// A process that can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// The runtime.
    Runtime,
    /// The nats-server that holds the log.
    Log,
    /// The PostgreSQL cluster of a system.
    System(&'static str),
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Victim::Runtime => f.write_str("the runtime"),
            Victim::Log => f.write_str("nats-server"),
            Victim::System(system) => write!(f, "the PostgreSQL of {system}"),
        }
    }
}

/// Running servers.
#[derive(Debug, Default)]
pub struct Servers {
    nats: Option<nats::Server>,
    clusters: BTreeMap<&'static str, postgres::Server>,
}

impl Servers {
    /// Starts what is asked for, or says that the test is skipped because it is not installed.
    ///
    /// # Panics
    /// Where nothing may be skipped, and where a server does not start.
    #[must_use]
    pub fn start(nats: bool, postgres: bool) -> Option<Servers> {
        if nats && find::nats_server().is_none() {
            skip("nats-server");
            return None;
        }
        if postgres && find::postgres_bin().is_none() {
            skip("PostgreSQL");
            return None;
        }
        // A killed server loses nothing that it has written, so tests need not wait for the disk.
        let servers = Servers::run(nats, postgres, false);
        Some(servers.unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Starts what is asked for.
    ///
    /// # Errors
    /// Something is not installed, or does not start.
    pub fn launch(nats: bool, postgres: bool) -> Result<Servers> {
        Servers::run(nats, postgres, true)
    }

    fn run(nats: bool, postgres: bool, fsync: bool) -> Result<Servers> {
        let mut servers = Servers::default();
        if nats {
            servers.nats = Some(nats::Server::launch(&nats::Options {
                sync_always: fsync,
                ..nats::Options::default()
            })?);
        }
        let options = postgres::Options {
            fsync,
            // A killed server comes back as soon as it has read its log, not after it synced every file it ever had.
            settings: vec!["recovery_init_sync_method = syncfs".to_owned()],
            ..postgres::Options::default()
        };
        if postgres {
            for system in POSTGRES {
                let cluster = postgres::Server::launch(&options)?;
                servers.clusters.insert(system, cluster);
            }
        }
        Ok(servers)
    }

    /// Everything that can be killed, the runtime first.
    #[must_use]
    pub fn victims(&self) -> Vec<Victim> {
        let log = self.nats.iter().map(|_| Victim::Log);
        let systems = self.clusters.keys().map(|system| Victim::System(system));
        [Victim::Runtime]
            .into_iter()
            .chain(log)
            .chain(systems)
            .collect()
    }

    /// Tells whether there is no server at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nats.is_none() && self.clusters.is_empty()
    }

    /// Where the log is.
    #[must_use]
    pub fn log(&self) -> Log {
        match &self.nats {
            None => Log::Embedded,
            Some(server) => Log::Nats {
                server: server.url(),
                monitor: server.monitor_url(),
            },
        }
    }

    /// How a person connects to a system, without the password.
    #[must_use]
    pub fn port(&self, system: &str) -> Option<u16> {
        self.clusters.get(system).map(postgres::Server::port)
    }

    /// Makes an empty database for each system that is a PostgreSQL one, and leaves its address in the stage's folder.
    pub(crate) fn prepare(&self, folder: &Path) -> Result<()> {
        let mut passwords = String::new();
        for (system, cluster) in &self.clusters {
            cluster
                .sql("postgres", &format!("CREATE DATABASE {system}"))
                .with_context(|| format!("cannot create the database of {system}"))?;
            secret(&url_path(folder, system), &cluster.url(system))?;
            let (port, password) = (cluster.port(), cluster.password());
            passwords.push_str(&format!("127.0.0.1:{port}:*:*:{password}\n"));
        }
        if !passwords.is_empty() {
            secret(&folder.join("pgpass"), &passwords)?;
        }
        Ok(())
    }

    pub(crate) fn kill(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Log => self.nats_mut()?.kill(),
            Victim::System(system) => self.cluster_mut(system)?.kill(),
            Victim::Runtime => bail!("the runtime is no server"),
        }
    }

    pub(crate) fn restart(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Log => self.nats_mut()?.restart(),
            Victim::System(system) => self.cluster_mut(system)?.restart(),
            Victim::Runtime => bail!("the runtime is no server"),
        }
    }

    fn nats_mut(&mut self) -> Result<&mut nats::Server> {
        self.nats.as_mut().context("there is no nats-server")
    }

    fn cluster_mut(&mut self, system: &str) -> Result<&mut postgres::Server> {
        let cluster = self.clusters.get_mut(system);
        cluster.with_context(|| format!("{system} is no PostgreSQL database"))
    }
}

/// Writes a file that only its owner may read.
fn secret(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options
        .open(path)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}
