//! MongoDB as a replica set: change streams and transactions need one, even of a single server.
//!
//! [`Database`] is the cheap way, a name of its own in a shared server; [`Server`] is a server of one's own, for kills and special settings; [`Cluster`] has three members, for elections.

mod cluster;
mod database;
mod wire;

pub use cluster::Cluster;
pub use database::{Database, SHARED};
pub use wire::{Field, Reply};

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::certificates::Leaf;
use crate::process::Supervised;
use crate::{find, port, random, skip, wait};

/// The administrator of a server that asks who one is.
pub const SUPERUSER: &str = "root";

/// How long a server may take until it is ready; after a kill it replays its journal first.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How often a start is tried with another port when somebody else was quicker.
const STARTS: usize = 5;
/// The name of every replica set.
const SET: &str = "rs0";

/// How a server is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether it asks who one is; the administrator is [`SUPERUSER`].
    pub auth: bool,
    /// The certificate to serve TLS with, beside plain connections.
    pub tls: Option<Leaf>,
    /// The most megabytes of its log of changes, 990 or more; its own default where absent.
    pub oplog_mb: Option<u32>,
    /// More arguments.
    pub arguments: Vec<String>,
}

/// A running single-member replica set; killed, and its data removed, when dropped.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    process: Supervised,
    port: u16,
    password: Option<String>,
    options: Options,
}

impl Server {
    /// Starts a server, or says that the test is skipped because there is no mongod.
    ///
    /// # Panics
    ///
    /// When mongod is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start(options: &Options) -> Option<Server> {
        if find::mongod().is_none() {
            skip("mongod");
            return None;
        }
        Some(Server::launch(options).unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Makes and starts a server, a replica set of itself.
    ///
    /// # Errors
    ///
    /// When there is no mongod, or it does not become ready.
    pub fn launch(options: &Options) -> Result<Server> {
        let mut server = Server::member(options)?;
        server.initiate(&[server.port])?;
        server.until_primary()?;
        if options.auth {
            let password = random::hex();
            server.create_superuser(&password)?;
            server.password = Some(password);
        }
        Ok(server)
    }

    /// Starts a server that waits to be told whose member it is.
    fn member(options: &Options) -> Result<Server> {
        let mut server = Server {
            program: find::mongod().context("mongod is not installed")?,
            process: Supervised::new("mongod", None)?,
            port: 0,
            password: None,
            options: options.clone(),
        };
        fs::create_dir(server.process.folder().join("data"))?;
        for attempt in 1..=STARTS {
            server.port = port::free()?;
            match server.begin() {
                Ok(()) => break,
                // Somebody else has taken the port since it was found free.
                Err(_) if attempt < STARTS && server.log().contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(server)
    }

    fn begin(&mut self) -> Result<()> {
        let folder = self.process.folder().to_owned();
        let mut command = Command::new(&self.program);
        command
            .arg("--dbpath")
            .arg(folder.join("data"))
            .args(["--replSet", SET, "--bind_ip", "127.0.0.1"])
            .args(["--port", &self.port.to_string()])
            .args(["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"])
            .args(["--setParameter", "diagnosticDataCollectionEnabled=false"]);
        if self.options.auth {
            let key = folder.join("key");
            // A restart finds it there, and read-only.
            let _ = fs::remove_file(&key);
            fs::write(&key, "akeyofthemembersofatest0")?;
            fs::set_permissions(&key, fs::Permissions::from_mode(0o400))?;
            command.arg("--keyFile").arg(key);
        }
        if let Some(leaf) = &self.options.tls {
            // The server wants certificate and key in one file.
            let both = folder.join("server.pem");
            let mut text = fs::read_to_string(&leaf.certificate)?;
            text.push_str(&fs::read_to_string(&leaf.key)?);
            fs::write(&both, text)?;
            command.args(["--tlsMode", "preferTLS", "--tlsCertificateKeyFile"]);
            command.arg(both).arg("--tlsCAFile").arg(&leaf.authority);
            command.arg("--tlsAllowConnectionsWithoutCertificates");
        }
        if let Some(megabytes) = self.options.oplog_mb {
            command.args(["--oplogSize", &megabytes.to_string()]);
        }
        command.args(&self.options.arguments);
        self.process.start(&mut command)?;
        let port = self.port;
        self.process.until_ready(READY_DEADLINE, |_| {
            wire::command(port, "admin", &[("ping", Field::Int(1))]).is_ok()
        })
    }

    /// Tells the server whose member it is.
    fn initiate(&self, ports: &[u16]) -> Result<()> {
        let member = |(id, port): (usize, &u16)| {
            let id = i32::try_from(id).unwrap_or(0);
            Field::Document(vec![
                ("_id".to_owned(), Field::Int(id)),
                ("host".to_owned(), Field::Text(format!("127.0.0.1:{port}"))),
            ])
        };
        let settings = vec![("electionTimeoutMillis".to_owned(), Field::Int(2000))];
        let config = Field::Document(vec![
            ("_id".to_owned(), Field::Text(SET.to_owned())),
            (
                "members".to_owned(),
                Field::Array(ports.iter().enumerate().map(member).collect()),
            ),
            ("settings".to_owned(), Field::Document(settings)),
        ]);
        // A member that has only just started may not be reachable yet.
        wait::until("the replica set", READY_DEADLINE, || {
            let asked = wire::command(self.port, "admin", &[("replSetInitiate", config.clone())]);
            match asked {
                Ok(_) => Ok(Some(())),
                Err(error) if error.to_string().contains("already initialized") => Ok(Some(())),
                Err(error) if error.to_string().contains("NodeNotFound") => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn until_primary(&self) -> Result<()> {
        wait::until("the election of a primary", READY_DEADLINE, || {
            Ok(self.is_primary().then_some(()))
        })
    }

    /// Whether it takes writes.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        let hello = wire::command(self.port, "admin", &[("hello", Field::Int(1))]);
        hello.is_ok_and(|reply| reply.is_true("isWritablePrimary"))
    }

    /// Makes the administrator: until there is somebody, a server lets anybody on its machine do that.
    fn create_superuser(&self, password: &str) -> Result<()> {
        let roles = Field::Array(vec![Field::Text("root".to_owned())]);
        wire::command(
            self.port,
            "admin",
            &[
                ("createUser", Field::Text(SUPERUSER.to_owned())),
                ("pwd", Field::Text(password.to_owned())),
                ("roles", roles),
            ],
        )?;
        Ok(())
    }

    /// Ends the server with SIGKILL.
    ///
    /// # Errors
    ///
    /// When it could not be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again on the same port and data, after killing it where it still runs, and waits until it takes writes.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.begin()?;
        self.until_primary()
    }

    /// Freezes it, as a machine does that swaps: connections stay open and nobody answers.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.process.freeze()
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.process.thaw()
    }

    /// Runs a command in a database of a server where nobody is asked who they are, as [`Database::command`] does.
    ///
    /// # Errors
    ///
    /// When the server cannot be asked, or does not do it.
    pub fn command(&self, database: &str, fields: &[(&str, Field)]) -> Result<Reply> {
        wire::command(self.port, database, fields)
    }

    /// Where the administrator, or anybody where nobody is asked, connects to a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        match &self.password {
            Some(password) => self.url_as(SUPERUSER, password, database) + "&authSource=admin",
            None => format!(
                "mongodb://127.0.0.1:{}/{database}?replicaSet={SET}",
                self.port
            ),
        }
    }

    /// Where somebody else connects to a database that knows them.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "mongodb://{user}:{password}@127.0.0.1:{}/{database}?replicaSet={SET}",
            self.port
        )
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Everything it has logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.said()
    }
}
